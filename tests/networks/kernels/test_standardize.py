"""Standardisation of chosen architectures against the plain formula, with the derivatives that proxies take."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxnas.networks.kernels.standardize import standardize

EPSILON = 1e-5


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def images():
    return jnp.asarray(np.random.default_rng(0).normal([3.0, -40.0], size=(3, 4, 5, 2)))


def plain(chosen, x):
    mean, variance = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
    return jnp.where(chosen, (x - mean) / jnp.sqrt(variance + EPSILON), x)


def ours(chosen, x):
    return standardize(jnp.asarray(chosen), x, EPSILON, False)[0]


def test_moments_are_those_of_numpy_and_zero_where_it_is_not_chosen(images):
    out, mean, variance = standardize(jnp.array(True), images, EPSILON, False)
    np.testing.assert_allclose(mean, np.mean(images, (0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(variance, np.var(images, (0, 1, 2)), rtol=1e-11)
    np.testing.assert_allclose(out, plain(True, images), rtol=1e-10)
    out, mean, variance = standardize(jnp.array(False), images, EPSILON, False)
    np.testing.assert_array_equal(out, images)
    np.testing.assert_array_equal([mean, variance], 0)


def test_float32_has_little_cancellation_away_from_zero():
    x = np.random.default_rng(0).normal(size=(8, 16, 16, 4)) + 5.0
    variance = standardize(jnp.array(True), jnp.asarray(x, jnp.float32), EPSILON, False)[2]
    np.testing.assert_allclose(variance, np.var(np.float32(x).astype(float), (0, 1, 2)), rtol=3e-6)


def test_a_constant_channel_becomes_zero():
    out, _, variance = standardize(jnp.array(True), jnp.full((2, 3, 3, 1), 7.25), EPSILON, False)
    np.testing.assert_array_equal(out, 0)
    np.testing.assert_array_equal(variance, 0)


@pytest.mark.parametrize("chosen", [True, False])
def test_derivatives_to_second_order_in_both_modes(chosen, images):
    check_grads(partial(ours, chosen), (images[..., :1],), order=2, modes=("fwd", "rev"), rtol=1e-4)


def test_a_batch_has_the_derivatives_of_each(images):
    chosen = jnp.array([True, False, True])
    batch = jnp.stack([images, 2 * images, images[::-1] ** 2])

    def program(apply, chosen, x):
        def total(x):
            return jnp.sin(apply(chosen, x)).sum()

        def along(x):
            return jax.jvp(total, (x,), (jnp.cos(x),))[1]

        return jax.value_and_grad(total)(x), jax.jvp(along, (x,), (x,)), jax.grad(along)(x)

    expected = jax.vmap(partial(program, plain))(chosen, batch)
    found = jax.vmap(partial(program, lambda chosen, x: standardize(chosen, x, EPSILON, False)[0]))(chosen, batch)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-8), found, expected)
