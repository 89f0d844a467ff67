"""Pooling against a plain loop over windows, with first and second derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks.kernels.checks import (
    check_batches,
    check_equal,
    check_finite_differences,
    check_first_derivatives,
    check_second_derivatives,
    draws,
)

from jaxnas.networks.kernels.pools import (
    average_pool_2x2,
    average_pool_3x3,
    average_pool_3x3_transpose,
    max_pool_2x2,
    max_pool_3x3,
)


def over_neighbourhoods(reduce, x):
    """`reduce` over the pixels of each 3x3 neighbourhood that are inside the image."""
    return stack(x, range(x.shape[1]), range(x.shape[2]), lambda n: slice(max(n - 1, 0), n + 2), reduce)


def over_blocks(reduce, x):
    """`reduce` over what there is of each 2x2 block."""
    rows, columns = (range(-(-side // 2)) for side in x.shape[1:3])
    return stack(x, rows, columns, lambda n: slice(2 * n, 2 * n + 2), reduce)


def stack(x, rows, columns, window, reduce):
    return jnp.stack([jnp.stack([reduce(x[:, window(r), window(c)], (1, 2)) for c in columns], 1) for r in rows], 1)


POOLS = {
    "average of 3x3": (average_pool_3x3, lambda x: over_neighbourhoods(jnp.mean, x)),
    "maximum of 3x3": (max_pool_3x3, lambda x: over_neighbourhoods(jnp.max, x)),
    "average of 2x2": (average_pool_2x2, lambda x: over_blocks(jnp.mean, x)),
    "maximum of 2x2": (max_pool_2x2, lambda x: over_blocks(jnp.max, x)),
}
SHAPES = [(2, 5, 4, 3), (1, 1, 1, 2), (1, 1, 6, 1), (2, 2, 3, 1)]
each_pool = pytest.mark.parametrize("pool", POOLS)


@each_pool
@pytest.mark.parametrize(("shape", "dtype"), [*((shape, np.float64) for shape in SHAPES), (SHAPES[0], np.float32)])
def test_equals_the_loop_with_its_first_derivatives(pool, shape, dtype):
    check_first_derivatives(*POOLS[pool], draws(shape, dtype=dtype))


@pytest.mark.parametrize(
    ("pool", "shape", "atol"),
    [
        *(("average of 3x3", shape, 1e-13) for shape in SHAPES),
        *(("average of 2x2", shape, 0) for shape in [(2, 4, 6, 3), (1, 5, 3, 2), (1, 1, 2, 1)]),
    ],
)
def test_values_of_averages_are_those_of_numpy(pool, shape, atol):
    with jax.enable_x64(True):
        (x,) = draws(shape)
        form = over_neighbourhoods if pool == "average of 3x3" else over_blocks
        check_equal(POOLS[pool][0](jnp.asarray(x)), form(np.mean, x), 1e-13, atol)


@pytest.mark.parametrize(("pool", "size"), [(max_pool_3x3, 3), (max_pool_2x2, 2)])
def test_the_gradient_of_equal_pixels_goes_to_the_first_as_in_pytorch(pool, size):
    random = np.random.default_rng(0)
    x, g = random.integers(0, 3, (2, 6, 4, 3)).astype(np.float32), random.normal(size=(2, 6, 4, 3)).astype(np.float32)
    step = 1 if size == 3 else 2
    g = g[:, ::step, ::step]
    expected = np.zeros_like(x)
    for n, row, column, c in np.ndindex(g.shape):
        top, left = (row - 1, column - 1) if size == 3 else (2 * row, 2 * column)
        places = [(i, j) for i in range(top, top + size) for j in range(left, left + size)]
        places = [(i, j) for i, j in places if 0 <= i < x.shape[1] and 0 <= j < x.shape[2]]
        expected[n, *max(places, key=lambda at: x[n, *at, c]), c] += g[n, row, column, c]  # `max` takes the first
    _, pullback = jax.vjp(pool, jnp.asarray(x))
    np.testing.assert_allclose(pullback(g)[0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pool", [max_pool_3x3, max_pool_2x2])
@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_maximum_of_a_window_with_nan_is_nan(pool, place):
    x = np.ones((1, 2, 2, 1), np.float32)
    x[0, *place, 0] = np.nan
    with jax.debug_nans(False):
        assert np.isnan(pool(jnp.asarray(x))).all()


@each_pool
def test_second_derivatives_equal_those_of_the_loop(pool):
    """Of the tanh of the output, as pools themselves are linear between ties."""
    ours, plain = ((lambda x, form=form: jnp.tanh(form(x))) for form in POOLS[pool])
    check_second_derivatives(ours, plain, draws(SHAPES[0]))


@pytest.mark.parametrize(
    "pool", [pytest.param(pool, marks=[pytest.mark.slow] * (pool != "maximum of 3x3")) for pool in POOLS]
)
def test_gradients_to_second_order_in_both_modes(pool):
    check_finite_differences(lambda x: jnp.tanh(POOLS[pool][0](x)), draws((1, 3, 2, 1)))


@each_pool
@pytest.mark.parametrize("axis", [0, 2])
def test_vmap_equals_a_loop_with_gradients(pool, axis):
    check_batches(POOLS[pool][0], draws(SHAPES[0]), (axis,))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_transpose_of_the_average_is_its_pullback(shape):
    with jax.enable_x64(True):
        x, g = draws(shape, shape)
        pullback = jax.jit(lambda x, g: jax.vjp(POOLS["average of 3x3"][1], x)[1](g)[0])
        check_equal(jax.jit(average_pool_3x3_transpose)(g), pullback(x, g))
