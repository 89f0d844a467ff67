"""The kernels for GPUs in Pallas's interpreter against the grouped form, one architecture after another."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.networks.kernels import fused, tiles
from jaxnas.networks.kernels.convolution import conv, conv_input, conv_kernel
from jaxnas.networks.kernels.dispatch import Dispatch, mixed
from jaxnas.networks.kernels.pools import average_pool_3x3, average_pool_3x3_transpose
from jaxnas.networks.kernels.standardize import standardize

KINDS = ("zero", "identity", 1, 3, "pool")
OPS = np.array([3, 0, 4, 1, 2, 3], np.int32)
SHAPES = {"an odd image of few channels": (2, 5, 4, 3), "several tiles": (5, 8, 8, 20)}


@pytest.fixture(autouse=True)
def interpreted(monkeypatch):
    monkeypatch.setattr(tiles, "IS_INTERPRETED", True)
    jax.clear_caches()
    yield
    jax.clear_caches()


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def plain(op, gate, x, kernels, transposed):
    """One architecture, from the functions of each op."""
    kind = KINDS[op]
    if kind == "zero":
        return jnp.zeros_like(x)
    if kind == "identity":
        return x
    if kind == "pool":
        return average_pool_3x3_transpose(x) if transposed else average_pool_3x3(x)
    kernel = kernels[0] if kind == 1 else kernels[1]
    if transposed:
        return jnp.where(gate > 0, conv_input(x, kernel), 0)
    return conv(jnp.where(gate > 0, x, 0), kernel)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_map_images_is_the_op_of_each_architecture(shape, transposed):
    channels, count = shape[-1], len(OPS)
    gate, x, y = (draw(count, *shape, seed=seed) for seed in range(3))
    bias = draw(count, channels, seed=3)
    for number in (1, count):  # kernels that all share, or their own
        kernels, others = (
            tuple(draw(number, size, size, channels, channels, seed=seed + size) for size in (1, 3)) for seed in (4, 9)
        )
        first, second = fused.Term(x, kernels), fused.Term(y, others)
        call = partial(fused.map_images, OPS, gate, kinds=KINDS, transposed=transposed, precision="float32")
        one, two = call(terms=(first,), bias=None), call(terms=(first, second), bias=bias)
        for row, op in enumerate(OPS):
            own, its = ([kernel[row % number] for kernel in group] for group in (kernels, others))
            expected = plain(op, gate[row], x[row], own, transposed)
            np.testing.assert_allclose(one[row], expected, rtol=1e-5, atol=1e-5)
            if isinstance(KINDS[op], int):
                expected = expected + plain(op, gate[row], y[row], its, transposed)
            np.testing.assert_allclose(two[row], np.asarray(expected) + np.asarray(bias)[row], rtol=1e-5, atol=1e-5)


def test_nan_stays_nan_behind_a_relu():
    x = jnp.full((len(OPS), 1, 4, 4, 3), jnp.nan)
    kernels = (draw(1, 1, 3, 3), draw(3, 3, 3, 3))
    axes = (0, 0, 0, None, None)
    for is_fused in (False, True):
        edge = partial(mixed, dispatch=Dispatch(KINDS, None, is_fused))
        out = jax.vmap(lambda op, gate, x, *k: edge(op, gate, x, k), axes)(jnp.asarray(OPS), x, x, *kernels)  # noqa: B023
        assert [bool(jnp.isnan(one).all()) for one in out] == [op != 0 for op in OPS]


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_kernel_gradients_are_those_of_the_members(shape, size, monkeypatch):
    monkeypatch.setattr(fused, "MOST_ACCUMULATED", 3 * 32 * 32)  # a row of taps at a time
    monkeypatch.setattr(fused, "TILES_OF_SPLIT", 1)
    gate, x, g = (draw(3, *shape, seed=seed) for seed in range(3))
    found = fused.kernel_gradients(jnp.array([2, 0, 3]), gate, x, g, size=size, precision="float32")
    for row, member in enumerate((2, 0)):  # 3 is none of them
        expected = conv_kernel(jnp.where(gate[member] > 0, x[member], 0), g[member], size)
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [*SHAPES.values(), (2, 20, 20, 20)])
def test_sum_images_sums_pixels_of_the_chosen(shape):
    u, v = (draw(2, *shape, seed=seed) for seed in range(2))
    pivot = draw(2, shape[-1], seed=2)
    sums = fused.sum_images(jnp.array([True, False]), u, pivot, v)
    u, v, pivot = map(np.asarray, (u, v, pivot))
    np.testing.assert_allclose(sums[0, :, 0], v[0].sum((1, 2)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sums[0, :, 1], ((u[0] - pivot[0]) * v[0]).sum((1, 2)), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(sums[1], 0)


def test_bfloat16_rounds_the_operands_of_products():
    gate, kernel = jnp.ones((1, 1, 4, 4, 16)), draw(1, 1, 1, 16, 16)
    x = draw(1, 1, 4, 4, 16, seed=1)
    (out,) = fused.map_images(
        jnp.array([0]), gate, (fused.Term(x, (kernel,)),), None, kinds=(1,), transposed=False, precision="bfloat16"
    )
    rounded = [np.asarray(one.astype(jnp.bfloat16), np.float64) for one in (x[0], kernel[0, 0, 0])]
    np.testing.assert_allclose(out, rounded[0] @ rounded[1], rtol=1e-5, atol=1e-6)


def edge(op, x, k1, k3, bias, *, fused_form):
    """An edge as the cell has it: op, then normalisation where it convolves."""
    dispatch = Dispatch(KINDS, None, fused_form)
    out = mixed(op, x, x, (k1, k3), dispatch, bias)
    return standardize((op == 2) | (op == 3), out, 1e-5, fused_form)[0]


def derivatives(fused_form, op, *operands):
    """Value, gradient, and the second derivative along the operands as the curvature takes it."""

    def total(*operands):
        return jnp.sum(jnp.tanh(edge(op, *operands, fused_form=fused_form)) ** 3)

    def along(*operands):
        return jax.jvp(total, operands, tuple(0.1 * jnp.cos(leaf) for leaf in operands))[1]

    value, gradient = jax.value_and_grad(total, argnums=(0, 1, 2, 3))(*operands)
    return value, gradient, jax.jvp(along, operands, tuple(jnp.sin(leaf) for leaf in operands))[1]


@pytest.mark.parametrize("wide", [pytest.param(False), pytest.param(True, marks=pytest.mark.slow)])
def test_an_edge_has_the_derivatives_of_the_grouped_form(wide):
    with jax.enable_x64(wide):
        operands = (draw(len(OPS), 2, 4, 4, 3), draw(1, 1, 3, 3, seed=1), draw(3, 3, 3, 3, seed=2), draw(3, seed=3))
        operands = [operand.astype(jnp.float64 if wide else jnp.float32) for operand in operands]
        axes, tolerance = (0, 0, None, None, None), 1e-9 if wide else 2e-4
        ours, grouped = (
            jax.jit(jax.vmap(partial(derivatives, form), axes))(jnp.asarray(OPS), *operands) for form in (True, False)
        )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), ours, grouped)
