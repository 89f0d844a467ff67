"""Compile one program of all six proxies on a small network in float64 for every test that needs scores."""

import golden
import jax
import numpy as np
import pytest

from jaxnas.data.batch import Batch


@pytest.fixture(scope="session")
def score():
    """Return a function for scores and logits of the small reference network in float64."""
    return golden.compile_proxies(golden.NETWORKS["small"], np.float64)


@pytest.fixture(scope="session")
def batch():
    """Return eight random images [8 32 32 3], as many as the reference has, and their labels."""
    rng = np.random.default_rng(0)
    return Batch(rng.normal(size=(8, 32, 32, 3)), rng.integers(0, 10, 8).astype(np.int32))


@pytest.fixture(scope="session")
def draw_params():
    """Return draw(network, images): every parameter at random, including gammas and betas, some of them negative."""

    def draw(network, images):
        shapes = jax.eval_shape(network.init, jax.random.key(0), np.float32(images), np.zeros(6, np.int8))["params"]
        rng = np.random.default_rng(1)
        return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape) / np.prod(leaf.shape[-4:-1]) ** 0.5, shapes)

    return draw


@pytest.fixture(scope="session")
def params(draw_params, batch):
    return draw_params(golden.NETWORKS["small"], batch.images)
