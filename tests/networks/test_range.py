"""Networks that divide by powers of 2 on the way: what they leave out is known, and float32 is enough for them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.data.batch import Batch
from jaxnas.networks import DARTSNetwork, NASBench201Network, TransNAS101MacroNetwork, TransNAS101MicroNetwork
from jaxnas.networks.declared.network import Choose, Conv, DeclaredNetwork, Dense, Repeat, Residual, Skip, choice
from jaxnas.networks.layers import in_units, rescaled
from jaxnas.networks.params import init_variables
from jaxnas.proxies import PROXIES, Quantities
from jaxnas.proxies.finish import Unfinished
from jaxnas.spaces import sample

SMALL = dict(num_classes=3, channels=4, cells_per_stage=1)
RESIDUALS = Repeat(choice(1, 2), Residual(Choose(Conv(), Skip()), Conv()))
NETWORKS = {
    "nasbench201": (NASBench201Network(num_classes=3, channels=4, cells_per_stage=2), 8),
    "micro": (TransNAS101MicroNetwork(**SMALL), 32),
    "micro, image": (TransNAS101MicroNetwork(**SMALL, head="image"), 32),
    "macro, segmentation": (TransNAS101MacroNetwork(**SMALL, head="segmentation"), 64),
    "darts": (DARTSNetwork(**SMALL), 8),
    "residuals": (DeclaredNetwork("residuals", (Conv(4), RESIDUALS, Conv(4)), num_classes=3), 8),
    "perceptron": (DeclaredNetwork("perceptron", (Dense(8), Repeat(choice(1, 3), Dense(8))), num_classes=3), 1),
}
UNOPTIMISED = {"xla_backend_optimization_level": 0}


class Unhelpful:
    """A network that does not keep its range, as a custom one may ignore the field."""

    def __init__(self, network):
        self.network = network

    def __getattr__(self, name):
        return getattr(self.network, name)

    def clone(self, **fields):
        return Unhelpful(self.network.clone(**{**fields, "keeps_range": False}))


def flow_program(network, names, pixels, dtype):
    """Compiled (params, arch) -> scores, in float64 or without that type."""
    exact = dtype == np.float64
    batch = Batch(np.ones((2, pixels, pixels, 3), dtype), np.zeros(2, np.int32))

    @partial(jax.jit, compiler_options=UNOPTIMISED)
    def program(params, arch):
        scores = [PROXIES[name](Quantities(network, params, arch, batch, float64=exact)) for name in names]
        return [score.finish() if isinstance(score, Unfinished) else score for score in scores]

    def run(params, arch):
        with jax.enable_x64(exact):
            params = jax.tree.map(partial(np.asarray, dtype=dtype), params)
            return np.array(program(params, arch), np.float64)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_float32_is_enough(name):
    """Also with tensors 2^10 times as large, where the flow leaves the range of float32."""
    network, pixels = NETWORKS[name]
    names = ("synflow", "synflow_no_bn") if name == "nasbench201" else ("synflow_no_bn", "logsynflow")
    num_products = sum(name.startswith("synflow") for name in names)
    arch = sample(network.space, 1, seed=1)[0]
    params = init_variables(network, (pixels, pixels, 3), len(arch), seed=0)["params"]
    large = jax.tree.map(lambda leaf: leaf * 2.0**10, params)
    exact = flow_program(Unhelpful(network), names, pixels, np.float64)
    kept = flow_program(network, names, pixels, np.float32)
    with np.errstate(over="ignore"):
        lost = flow_program(Unhelpful(network), names, pixels, np.float32)(large, arch) if "nas" in name else np.inf
    assert not np.isfinite(lost).all()
    if "image" in name:  # else tanh would be flat
        params = jax.tree.map(lambda leaf: leaf / 4, params)
    expected = exact(params, arch)
    assert np.isfinite(expected).all()
    assert (expected > 0).all()
    np.testing.assert_allclose(kept(params, arch), expected, rtol=2e-4)
    if "image" in name:
        return  # of large tensors tanh leaves nothing in any type
    expected = exact(large, arch)[:num_products]  # in a logarithm weights count whose share of the flow is too small
    np.testing.assert_allclose(kept(large, arch)[:num_products], expected, rtol=2e-4)
    assert name in ("perceptron", "residuals") or expected.max() > 1e38


@pytest.mark.slow
def test_a_flow_of_zeros_and_a_vanishing_one():
    network, _ = NETWORKS["nasbench201"]
    names = ("synflow", "synflow_no_bn")
    params = init_variables(network, (8, 8, 3), 6, seed=0)["params"]
    kept = flow_program(network, names, 8, np.float32)
    np.testing.assert_array_equal(kept(params, np.zeros(6, np.int8)), [0, 0])
    tiny, arch = jax.tree.map(lambda leaf: leaf * 2.0**-80, params), np.full(6, 3, np.int8)
    exact = flow_program(Unhelpful(network), names, 8, np.float64)(tiny, arch)
    assert 0 < exact[1] < 1e-45
    np.testing.assert_allclose(kept(tiny, arch), exact, rtol=2e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("power", [-99, -1, 0, 1, 99])
def test_powers_of_two_are_exact(power, dtype):
    with jax.enable_x64(dtype == np.float64):
        x = jnp.asarray(np.array([1.5, -1.25, 0, 1e-3], dtype))
        np.testing.assert_array_equal(in_units(x, jnp.int32(power)), np.ldexp(np.asarray(x), -power))
        scaled, exponent = rescaled(in_units(x, jnp.int32(power)), jnp.int32(power))
        np.testing.assert_array_equal(scaled, x)
        assert exponent == 0


def test_several_activations_have_one_exponent():
    (a, b), exponent = rescaled((jnp.array([5.0]), jnp.array([0.25])), jnp.int32(3))
    assert (float(a[0]), float(b[0]), int(exponent)) == (1.25, 0.0625, 5)
    assert rescaled(a, None) == (a, None)
