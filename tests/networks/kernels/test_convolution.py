"""The convolution primitives against lax.conv_general_dilated, and every way to differentiate and batch them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from jaxnas.networks.kernels.convolution import conv, conv_upwards

SHAPES = {  # images [N H W C], kernel size, output channels, stride
    "odd sides": ((2, 5, 7, 3), 3, 4, 1),
    "one pixel": ((1, 1, 1, 2), 3, 3, 1),
    "one channel": ((3, 4, 2, 1), 3, 1, 1),
    "1x1": ((2, 3, 5, 4), 1, 2, 1),
    "5x5": ((2, 4, 6, 2), 5, 3, 1),
    "stride 2": ((2, 6, 4, 3), 3, 5, 2),
    "stride 2, odd sides": ((2, 5, 7, 3), 3, 4, 2),
    "stride 2, 1x1": ((2, 4, 6, 3), 1, 2, 2),
}
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-13}


def operands(shape, size, channels, stride=1, dtype=np.float64):
    rng = np.random.default_rng(0)
    images, kernel = rng.normal(size=shape), rng.normal(size=(size, size, shape[-1], channels))
    return images.astype(dtype), kernel.astype(dtype)


def reference(images, kernel, stride=1):
    padding = [(kernel.shape[0] // 2,) * 2] * 2
    return lax.conv_general_dilated(images, kernel, (stride,) * 2, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", SHAPES)
def test_equals_lax_with_its_first_derivatives(case, dtype):
    with jax.enable_x64(dtype == np.float64):
        args, stride = operands(*SHAPES[case], dtype), SHAPES[case][-1]
        out, pullback = jax.vjp(partial(conv, stride=stride), *args)
        expected, expected_pullback = jax.vjp(partial(reference, stride=stride), *args)
        assert out.dtype == dtype
        cotangent = np.random.default_rng(1).normal(size=out.shape).astype(dtype)
        for ours, theirs in zip((out, *pullback(cotangent)), (expected, *expected_pullback(cotangent)), strict=True):
            assert ours.dtype == dtype
            np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("case", SHAPES)
def test_gradients_to_second_order_in_both_modes(case):
    with jax.enable_x64(True):
        function = partial(conv, stride=SHAPES[case][-1])
        check_grads(function, operands(*SHAPES[case]), order=2, modes=("fwd", "rev"), rtol=1e-6)


def test_forward_derivative_of_a_pullback_equals_that_of_lax():
    """All three primitives, each differentiated forward."""

    def pulled(function):
        def program(images, kernel, cotangent):
            return jax.vjp(function, images, kernel)[1](cotangent)

        return program

    with jax.enable_x64(True):
        images, kernel = operands(*SHAPES["odd sides"])
        rng = np.random.default_rng(2)
        point = (images, kernel, rng.normal(size=(*images.shape[:3], kernel.shape[-1])))
        tangent = tuple(rng.normal(size=leaf.shape) for leaf in point)
        ours, theirs = (jax.jvp(pulled(function), point, tangent) for function in (conv, reference))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), ours, theirs)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (3, 2)])
@pytest.mark.parametrize("size", [1, 3])
def test_vmap_over_each_argument_equals_a_loop_with_gradients(axes, size):
    with jax.enable_x64(True):
        images, kernel = operands((2, 4, 4, 3), size, 2)
        rng = np.random.default_rng(3)
        stacked = [
            operand if axis is None else rng.normal(size=np.insert(operand.shape, axis, 3))
            for operand, axis in zip((images, kernel), axes, strict=True)
        ]

        def sum_of_squares(images, kernel):
            return jnp.square(conv(images, kernel)).sum()

        function = jax.value_and_grad(sum_of_squares, argnums=(0, 1))
        batched = jax.vmap(function, axes)(*stacked)
        for index in range(3):
            args = [x if axis is None else np.take(x, index, axis) for x, axis in zip(stacked, axes, strict=True)]
            jax.tree.map(
                lambda a, b, index=index: np.testing.assert_allclose(a[index], b, rtol=1e-12, atol=1e-12),
                batched,
                function(*args),
            )


def test_inside_scan_and_switch_equals_a_loop():
    with jax.enable_x64(True):
        images, _ = operands((2, 4, 4, 3), 3, 3)
        kernels = np.random.default_rng(4).normal(size=(4, 3, 3, 3, 3))
        ops = np.array([1, 0, 1, 2])
        branches = [lambda x, k: x, lambda x, k: conv(jnp.tanh(x), k), lambda x, k: conv(x, k[1:2, 1:2])]

        def scanned(kernels):
            def step(x, layer):
                return lax.switch(layer[0], branches, x, layer[1]), None

            return jnp.square(lax.scan(step, images, (ops, kernels))[0]).sum()

        def looped(kernels):
            x = images
            for op, kernel in zip(ops, kernels, strict=True):
                x = branches[op](x, kernel)
            return jnp.square(x).sum()

        tangent = np.random.default_rng(5).normal(size=kernels.shape)
        ours, theirs = (
            jax.jit(lambda k, f=f: jax.jvp(jax.grad(f), (k,), (tangent,)))(kernels) for f in (scanned, looped)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), ours, theirs)


def test_every_derivative_is_a_stride_1_convolution_without_dilation():
    """The reason for the primitives: XLA:CPU has no other fast kernel."""
    images, kernel = operands(*SHAPES["stride 2"], np.float32)
    gradient = jax.grad(lambda images, kernel: jnp.square(conv(images, kernel, 2)).sum(), argnums=(0, 1))
    program = jax.jit(lambda x, k: jax.jvp(gradient, (x, k), (x, k))).lower(images, kernel).as_text()
    layouts = {
        line.split("dim_numbers = ")[1].split(", window")[0] for line in program.splitlines() if "window" in line
    }
    assert layouts == {"[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"}
    windows = [line.split("window = {")[1].split("}")[0] for line in program.splitlines() if "window = {" in line]
    assert len(windows) >= 3
    assert all("dilate = [2" not in window and "stride = [2" not in window for window in windows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 1, 2)])
def test_upwards_equals_the_transposed_convolution(shape, dtype):
    """As lax has it, on images with a zero between any two pixels, with its first derivatives."""

    def transposed(images, kernel):
        flipped = kernel[::-1, ::-1]
        return lax.conv_general_dilated(
            images, flipped, (1, 1), [(1, 2)] * 2, lhs_dilation=(2, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    with jax.enable_x64(dtype == np.float64):
        args = operands(shape, 3, 6, dtype=dtype)
        out, pullback = jax.vjp(conv_upwards, *args)
        expected, expected_pullback = jax.vjp(transposed, *args)
        assert out.shape == (shape[0], 2 * shape[1], 2 * shape[2], 6)
        cotangent = np.random.default_rng(1).normal(size=out.shape).astype(dtype)
        for ours, theirs in zip((out, *pullback(cotangent)), (expected, *expected_pullback(cotangent)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


def test_upwards_gradients_to_second_order():
    with jax.enable_x64(True):
        check_grads(conv_upwards, operands((2, 3, 2, 2), 3, 3), order=2, modes=("fwd", "rev"), rtol=1e-6)
