"""Batch normalisation against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.networks.batch_norm import BatchNorm, apply_batch_norm


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_equals_numpy(affine, train):
    rng = np.random.default_rng(1)
    x = rng.normal(2.0, 3.0, size=(4, 3, 5, 2))
    gamma, beta = rng.normal(size=(2, 2)) if affine else (None, None)
    mean, variance = rng.normal(size=2), rng.uniform(1, 2, size=2)
    norm = jax.tree.map(jnp.asarray, BatchNorm(gamma, beta, mean, variance))
    out, moved = apply_batch_norm(norm, jnp.asarray(x), train=train)
    of_batch = x.mean((0, 1, 2)), x.var((0, 1, 2))
    used_mean, used_variance = of_batch if train else (mean, variance)
    expected = (x - used_mean) / np.sqrt(used_variance + 1e-5)
    if affine:
        expected = expected * gamma + beta
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)
    if train:  # PyTorch's rule: momentum 0.1, the unbiased variance
        mean, variance = 0.9 * mean + 0.1 * of_batch[0], 0.9 * variance + 0.1 * x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(moved.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(moved.variance, variance, rtol=1e-13)


def test_without_running_statistics_only_those_of_the_minibatch_can_be_used():
    norm = BatchNorm(None, None, None, None)
    with pytest.raises(ValueError, match="batch_stats"):
        apply_batch_norm(norm, jnp.ones((1, 1, 1, 2)), train=False)
