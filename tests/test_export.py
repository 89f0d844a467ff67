"""The program for accelerators without float64, lowered for TPU on any machine."""

import re
from functools import partial

import jax
import numpy as np
import pytest

from jaxnas.networks import (
    DARTSNetwork,
    NASBench201Network,
    TransNAS101MacroNetwork,
    TransNAS101MicroNetwork,
    draw_for_all,
)
from jaxnas.proxies import PROXIES, ROBOT_PROXIES, Batch
from jaxnas.proxies.finish import finish_scores
from jaxnas.scoring.plan import make_plan, make_program
from jaxnas.spaces import sample

SMALL = dict(num_classes=3, channels=4, cells_per_stage=1)
CASES = {  # network, pixels, strategy, proxies
    "one proxy": (NASBench201Network(**SMALL), 8, "grouped", ("snip",)),
    "nasbench201": (NASBench201Network(**SMALL), 8, "grouped", (*ROBOT_PROXIES, "nwot", "vkdnw")),
    "all proxies": (NASBench201Network(**SMALL), 8, "grouped", tuple(PROXIES)),
    "transnas101-micro": (TransNAS101MicroNetwork(**SMALL), 32, "grouped", ROBOT_PROXIES),
    "transnas101-macro": (TransNAS101MacroNetwork(**SMALL), 32, "loop", ROBOT_PROXIES),
    "darts": (DARTSNetwork(**SMALL), 8, "loop", ROBOT_PROXIES),
}
FINISHED = ("snip", "synflow", "jacob_cov", "epe_nas", "nwot", "naswot", "vkdnw")


def program_and_arguments(network, pixels, strategy, names, num_archs=6):
    archs = sample(network.space, num_archs, seed=0)
    batch = Batch(
        np.random.default_rng(0).normal(size=(4, pixels, pixels, 3)).astype(np.float32),
        np.arange(4, dtype=np.int32) % 3,
    )
    draw = draw_for_all(network, batch.images.shape[1:], archs.shape[1], seed=0)
    plan = make_plan(network, archs, batch, strategy, num_archs, None)
    functions = tuple((name, PROXIES[name]) for name in names)
    make = partial(make_program, plan.network, functions, strategy, False)
    rows = plan.chunks[0]
    return make, (np.array([len(rows)], np.int32), archs[rows], draw, batch)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_it_lowers_for_tpu(case):
    """Convolutions but those of grasp have bfloat16 operands; shapes are static; neither float64 nor calls occur."""
    make, arguments = program_and_arguments(*CASES[case])
    with jax.default_matmul_precision("bfloat16"):
        exported = jax.export.export(make(float64=False), platforms=["tpu"])(*arguments)
    assert exported.platforms == ("tpu",)
    text = exported.mlir_module()
    types = set(re.findall(r"tensor<([^>]*)>", text))
    assert not [name for name in types if "f64" in name]
    assert not [name for name in types if "?" in name]
    assert "callback" not in text
    convolutions = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert len(convolutions) > 5
    rounded = [
        x for x in convolutions if re.search(r": \(tensor<[\dx]*bf16>, tensor<[\dx]*bf16>\) -> tensor<[\dx]*f32>", x)
    ]
    exact = [x for x in convolutions if x not in rounded]
    assert rounded
    assert bool(exact) == ("grasp" in CASES[case][-1])  # whose terms cancel
    assert all("HIGHEST" in x for x in exact)


@pytest.mark.slow
def test_without_float64_the_scores_are_the_same():
    """Except for rounding; the last steps are computed on the host."""
    make, arguments = program_and_arguments(NASBench201Network(**SMALL), 8, "loop", FINISHED)
    exact, scores = (make(float64=float64)(*arguments) for float64 in (True, False))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(exact)} == {"float64"}
    assert "float64" not in {leaf.dtype.name for leaf in jax.tree.leaves(scores)}
    expected, values = finish_scores(exact), finish_scores(scores)
    assert values.shape == (6, len(FINISHED))
    np.testing.assert_allclose(values, expected, rtol=2e-4, atol=1e-6)
