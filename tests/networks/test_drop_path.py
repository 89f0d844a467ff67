"""Dropped paths: their rates over the depth of a network, counted among copies of one image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.data.images import from_arrays
from jaxnas.errors import InputError
from jaxnas.networks import init_variables
from jaxnas.networks.declared.network import (
    Attention,
    Choose,
    Conv,
    DeclaredNetwork,
    GlobalAverage,
    InvertedResidual,
    LayerNorm,
    Mlp,
    PatchEmbed,
    Repeat,
    Residual,
    Skip,
    choice,
)
from jaxnas.networks.drop_path import DropPath
from jaxnas.objectives.config import TrainingConfig
from jaxnas.objectives.training import TrainingObjective

COPIES, RATE = 3000, 0.5
SIMPLE = Residual(Conv(size=1))
CHOICE = Conv(choice(4, 6), size=1)  # a space has at least one
TOKENS = (Residual(LayerNorm(), Attention(1, head_width=4)), Residual(LayerNorm(), Mlp(1)))
CASES = {  # blocks, and the rates of the paths in their order
    "residual": ((Conv(4), SIMPLE, Conv(size=1), SIMPLE, SIMPLE), (0, 0.25, 0.5)),
    "repeat": ((Conv(4), SIMPLE, Repeat(2, SIMPLE)), (0, 0.25, 0.5)),
    "several in a block": ((PatchEmbed(4, 2), Repeat(2, *TOKENS), GlobalAverage()), (0, 0, 0.5, 0.5)),
    "inverted residual": ((InvertedResidual(4, stride=2), Repeat(2, InvertedResidual(expansion=2))), (0.25, 0.5)),
    "chosen": ((Conv(4), SIMPLE, Choose(InvertedResidual(expansion=2), Skip()), SIMPLE), (0, 0.25, 0.5)),
    "shallower": ((Conv(4), Repeat(choice(2, 3), SIMPLE)), (0, 0.25)),
    "one": ((Conv(4), SIMPLE), (0,)),
}


def outputs(blocks, **options):
    """Return the logits of copies of one image without batch normalisation, for the first options of all choices."""
    network = DeclaredNetwork("mine", (*blocks, CHOICE), num_classes=3, norm="none")
    arch = jnp.zeros(len(network.space.num_choices), jnp.int8)
    image = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
    params = network.params_for(init_variables(network, (4, 4, 2), len(arch), 0)["params"], arch)
    logits = network.apply({"params": params}, jnp.repeat(image, COPIES, axis=0), arch, train=True, **options)
    return np.asarray(logits)


@pytest.mark.parametrize("name", list(CASES))
def test_paths_are_dropped_at_rates_that_rise_over_the_blocks(name):
    blocks, rates = CASES[name]
    logits = outputs(blocks, drop_path=jnp.float32(RATE), rngs={"drop_path": jax.random.key(1)})
    _, counts = np.unique(np.round(logits, 4), axis=0, return_counts=True)
    expected = np.ones(1)
    for rate in filter(None, rates):
        expected = np.concatenate([rate * expected, (1 - rate) * expected])
    assert len(counts) == len(expected)
    np.testing.assert_allclose(np.sort(counts) / COPIES, np.sort(expected), atol=0.04)


def test_kept_paths_are_scaled_so_that_the_mean_stays():
    x = jnp.ones((COPIES, 1, 1, 2))
    for place, rate in ((0, 0.0), (1, 0.3), (2, 0.6), (5, 0.6)):
        out = np.asarray(DropPath(jax.random.key(0), jnp.float32(0.6), 2, place)(x))
        np.testing.assert_allclose(np.unique(out), [0, 1 / (1 - rate)] if rate else [1], rtol=1e-6)
        assert out.mean() == pytest.approx(1, abs=5 * (rate / (1 - rate) / COPIES) ** 0.5 + 1e-6)
        assert (out[..., 0] == out[..., 1]).all()


def test_nothing_is_dropped_without_a_rate():
    blocks, _ = CASES["repeat"]
    at_zero = outputs(blocks, drop_path=jnp.float32(0), rngs={"drop_path": jax.random.key(1)})
    np.testing.assert_array_equal(outputs(blocks), at_zero)


def test_training_drops_paths_and_refuses_networks_without():
    images = np.random.default_rng(0).uniform(size=(60, 4, 4, 2)).astype(np.float32)
    data = from_arrays(images, np.arange(60) % 3)
    config = TrainingConfig(epochs=1, batch_size=8, drop_path=0.9)
    network = DeclaredNetwork("mine", (*CASES["repeat"][0], CHOICE), num_classes=3)
    archs = np.zeros((1, 1), np.int8)
    losses = [
        TrainingObjective(network, archs, data, TrainingConfig(epochs=1, batch_size=8, drop_path=rate)).result(0).loss
        for rate in (0.0, 0.9)
    ]
    assert losses[0] != losses[1]
    with pytest.raises(InputError, match=r"`drop_path` must be 0 as DeclaredNetwork has no paths to drop, got 0\.9"):
        TrainingObjective(DeclaredNetwork("mine", (Conv(4), CHOICE), num_classes=3), archs, data, config)
