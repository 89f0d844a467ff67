"""Spectra of stacked matrices equal NumPy's, without batched LAPACK calls on CPUs, also under vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.proxies.spectrum import eigenvalues, singular_values

MATRICES = np.random.default_rng(0).normal(size=(2, 3, 5, 5)).astype(np.float32)
SYMMETRIC = MATRICES + MATRICES.swapaxes(-1, -2)


@pytest.mark.parametrize("leading", [0, 1, 2])
def test_equal_to_numpy(leading):
    symmetric, any_matrix = (jnp.asarray(stack[(0,) * (2 - leading)]) for stack in (SYMMETRIC, MATRICES))
    np.testing.assert_allclose(eigenvalues(symmetric), np.linalg.eigvalsh(symmetric), rtol=1e-4, atol=1e-5)
    expected = np.linalg.svd(any_matrix[..., :4], compute_uv=False)
    np.testing.assert_allclose(singular_values(any_matrix[..., :4]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere batches are welcome")
@pytest.mark.parametrize("function", [eigenvalues, singular_values])
def test_lapack_sees_one_matrix_at_a_time(function):
    """A batched call hangs when all threads of XLA:CPU's pool wait for it."""
    text = jax.jit(jax.vmap(function)).lower(jnp.asarray(SYMMETRIC)).as_text()
    calls = [line for line in text.splitlines() if "lapack" in line]
    assert calls
    assert all("tensor<5x5xf32>" in line and "x5x5xf32" not in line.replace("tensor<5x5xf32>", "") for line in calls)
