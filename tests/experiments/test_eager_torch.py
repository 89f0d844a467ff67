"""The eager PyTorch baseline of `throughput.py` computes the values of the public code and of jaxnas."""

import importlib
import sys
from pathlib import Path

import golden
import jax
import numpy as np
import pytest

from jaxnas.models.export.torch_code import torch_code, torch_tensors
from jaxnas.models.model import make_model
from jaxnas.networks import DeclaredNetwork, NASBench201Network, init_variables
from jaxnas.networks.declared.network import (
    Activation,
    Attention,
    Conv,
    GlobalAverage,
    InvertedResidual,
    LayerNorm,
    Mlp,
    PatchEmbed,
    Residual,
    choice,
)
from jaxnas.proxies import ROBOT_PROXIES, Batch
from jaxnas.spaces import NASBENCH201, sample

torch = pytest.importorskip("torch", reason="the comparison with PyTorch needs it: pip install -e '.[torch]'")
sys.path.append(str(Path(__file__).parents[2] / "experiments"))  # scripts, not a package
eager_torch = importlib.import_module("eager_torch")
torch.set_num_threads(1)  # on a busy machine two threads wait for each other most of the time

OF_ROUNDING_NOISE = ("grad_norm", "snip", "grasp", "fisher")  # for small/w0 a06, whose convolutions are fed with zeros


def score_eagerly(network, params, arch, batch, shared):
    """Return the six scores of our flax network, computed by PyTorch in float64."""
    copy = eager_torch.NASBench201(arch, network.num_classes, network.channels, network.cells_per_stage).double()
    eager_torch.load_params(copy, params)
    images = torch.from_numpy(np.float64(batch.images).transpose(0, 3, 1, 2))
    return eager_torch.scores(copy, images, torch.from_numpy(np.int64(batch.labels)), shared=shared)


@pytest.mark.data
@pytest.mark.parametrize(
    "shared", [pytest.param(False, marks=pytest.mark.slow, id="apart"), pytest.param(True, id="shared")]
)
@pytest.mark.parametrize("name", ["small/w0", "small/w1"])
def test_all_architectures_equal_the_public_code(golden_folder, name, shared):
    values = golden.load_values(golden_folder)
    params, batch = golden.load_params(golden_folder, name), golden.load_batch(golden_folder, "small")
    assert len(values[name]) == 26
    for id, sections in values[name].items():
        arch = NASBENCH201.parse(values["archs"][id])
        scores = score_eagerly(golden.NETWORKS["small"], params, arch, batch, shared)
        assert scores.keys() == set(ROBOT_PROXIES)
        for proxy, value in scores.items():
            expected = sections["samsung_fp64"][proxy]
            if (name, id) == ("small/w0", "a06") and proxy in OF_ROUNDING_NOISE:
                assert np.isfinite(value), proxy
            else:
                expected = np.nan if expected is None else expected
                np.testing.assert_allclose(value, expected, rtol=1e-9, err_msg=f"{proxy} of {name}/{id}")


@pytest.mark.slow
def test_proxies_of_exported_modules_equal_ours():
    """Of mobile blocks, whose flow leaves activations and gates out, and of a transformer, whose flow keeps them."""
    mobile = (Conv(4, activation=None), Activation("hardswish"), InvertedResidual(expansion=choice(2, 3), squeeze=True))
    block = (Residual(LayerNorm(), Attention(choice(1, 2), 4)), Residual(LayerNorm(), Mlp(2.0)))
    patches = PatchEmbed(8, 2, class_token=False)  # exports add the class token to its position: one tensor of two
    networks = {
        "mobile": DeclaredNetwork("mobile", mobile, num_classes=3, activation="hardswish"),
        "transformer": DeclaredNetwork("vit", (patches, *block, GlobalAverage()), num_classes=3, activation=None),
    }
    rng = np.random.default_rng(0)
    batch = Batch(rng.normal(size=(6, 8, 8, 3)), rng.integers(0, 3, 6).astype(np.int32))
    for name, network in networks.items():
        arch, shape = np.array([1], np.int8), batch.images.shape[1:]
        variables = jax.device_get(init_variables(network, shape, 1, seed=0))
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
        cut = {**variables, "params": jax.device_get(network.params_for(variables["params"], arch))}
        model = make_model(network, arch, cut, shape)
        ours, _ = golden.compile_proxies(network, np.float64)(params, arch, batch)
        for shared in (False, True):
            module = eager_torch.Exported(torch_code(model), torch_tensors(model)).double()
            images = torch.from_numpy(batch.images.transpose(0, 3, 1, 2).copy())
            theirs = eager_torch.scores(module, images, torch.from_numpy(np.int64(batch.labels)), shared=shared)
            for proxy, value in theirs.items():
                np.testing.assert_allclose(value, ours[proxy], rtol=1e-6, err_msg=f"{proxy} of {name}")


@pytest.mark.slow
def test_all_proxies_equal_ours_with_several_cells_per_stage():
    """Without dead edges: convolutions of zeros have scores of rounding noise."""
    network = NASBench201Network(num_classes=7, channels=4, cells_per_stage=2)
    rng = np.random.default_rng(0)
    batch = Batch(rng.normal(size=(8, 16, 16, 3)), rng.integers(0, 7, 8).astype(np.int32))
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape) / np.prod(leaf.shape[-4:-1]) ** 0.5,
        init_variables(network, batch.images.shape[1:], 6, seed=0)["params"],
    )
    score = golden.compile_proxies(network, np.float64)
    for arch in NASBENCH201.canonicalize(sample(NASBENCH201, 8, seed=0)):
        ours, _ = score(params, arch, batch)
        for shared in (False, True):
            theirs = score_eagerly(network, params, arch, batch, shared)
            np.testing.assert_allclose(list(theirs.values()), [ours[name] for name in theirs], rtol=1e-9)
