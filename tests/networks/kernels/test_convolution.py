"""The convolution primitives against lax.conv_general_dilated, and every way to differentiate and batch them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from networks.kernels.checks import (
    check_batches,
    check_equal,
    check_finite_differences,
    check_first_derivatives,
    check_second_derivatives,
    draws,
)

from jaxnas.networks.kernels.convolution import conv, conv_grouped, conv_upwards

SHAPES = {  # images [N H W C], kernel size, output channels, stride
    "odd sides": ((2, 5, 7, 3), 3, 4, 1),
    "one pixel": ((1, 1, 1, 2), 3, 3, 1),
    "one channel": ((3, 4, 2, 1), 3, 1, 1),
    "1x1": ((2, 3, 5, 4), 1, 2, 1),
    "5x5": ((2, 4, 6, 2), 5, 3, 1),
    "fewer pixels than the kernel": ((3, 2, 2, 4), 3, 20, 1),
    "fewer pixels than two windows": ((2, 5, 2, 3), 3, 4, 1),
    "stride 2": ((2, 6, 4, 3), 3, 5, 2),
    "stride 2, odd sides": ((2, 5, 7, 3), 3, 4, 2),
    "stride 2, 1x1": ((2, 4, 6, 3), 1, 2, 2),
}


def operands(shape, size, channels, stride=1, dtype=np.float64):
    return draws(shape, (size, size, shape[-1], channels), dtype=dtype)


def reference(images, kernel, stride=1, groups=1):
    padding = [(kernel.shape[0] // 2,) * 2] * 2
    dimensions = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        images, kernel, (stride,) * 2, padding, dimension_numbers=dimensions, feature_group_count=groups
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", SHAPES)
def test_equals_lax_with_its_first_derivatives(case, dtype):
    forms = (partial(form, stride=SHAPES[case][-1]) for form in (conv, reference))
    check_first_derivatives(*forms, operands(*SHAPES[case], dtype))


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (1, 2), (3, 2)])
def test_kernels_of_one_row_equal_lax_with_derivatives(groups, stride):
    operands = draws((2, 3, 7, 6), (1, 5, 6 // groups, 12))

    def lax_form(images, kernel):
        pads = [(0, 0), (2, 2)]
        dimensions = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            images, kernel, (stride,) * 2, pads, dimension_numbers=dimensions, feature_group_count=groups
        )

    check_first_derivatives(partial(conv_grouped, stride=stride, groups=groups), lax_form, operands)
    if stride == 2:
        check_second_derivatives(partial(conv_grouped, stride=stride, groups=groups), lax_form, operands)


@pytest.mark.parametrize(("groups", "stride"), [(2, 1), (3, 2)])
def test_groups_are_convolved_apart(groups, stride):
    forms = (partial(form, stride=stride, groups=groups) for form in (conv_grouped, reference))
    check_first_derivatives(*forms, draws((2, 5, 4, 6), (3, 3, 6 // groups, 12)))


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (case != "odd sides")) for case in SHAPES]
)
def test_gradients_to_second_order_in_both_modes(case):
    check_finite_differences(partial(conv, stride=SHAPES[case][-1]), operands(*SHAPES[case]))


def test_forward_derivative_of_a_pullback_equals_that_of_lax():
    """All three primitives, each differentiated forward."""
    check_second_derivatives(conv, reference, operands(*SHAPES["odd sides"]))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (3, 2)])
@pytest.mark.parametrize("size", [1, 3])
def test_vmap_over_each_argument_equals_a_loop_with_gradients(axes, size):
    check_batches(conv, operands((2, 4, 4, 3), size, 2), axes)


def test_inside_scan_and_switch_equals_a_loop():
    with jax.enable_x64(True):
        images = jnp.asarray(operands((2, 4, 4, 3), 3, 3)[0])
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
        check_equal(ours, theirs, 1e-10, 0)


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


@pytest.mark.parametrize(("shape", "convolves"), [((2, 2, 2, 3), False), ((2, 5, 2, 3), False), ((2, 4, 4, 3), True)])
def test_small_images_leave_no_operands_for_xla_to_exchange(shape, convolves):
    """XLA:CPU exchanges images and kernel where the kernel is larger: five times slower for 64 images of 2x2 pixels."""
    x, w = operands(shape, 3, 4, dtype=np.float32)
    text = jax.jit(jax.value_and_grad(lambda x, w: conv(x, w).sum())).lower(x, w).compile().as_text()
    assert ("convolution(" in text) == convolves
    assert "rhs_reversal" not in text


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 1, 2)])
def test_upwards_equals_the_transposed_convolution(shape, dtype):
    """As lax has it, on images with a zero between any two pixels, with its first derivatives."""

    def transposed(images, kernel):
        flipped = kernel[::-1, ::-1]
        return lax.conv_general_dilated(
            images, flipped, (1, 1), [(1, 2)] * 2, lhs_dilation=(2, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    args = operands(shape, 3, 6, dtype=dtype)
    assert jax.eval_shape(conv_upwards, *args).shape == (shape[0], 2 * shape[1], 2 * shape[2], 6)
    check_first_derivatives(conv_upwards, transposed, args)


@pytest.mark.slow
def test_upwards_gradients_to_second_order():
    check_finite_differences(conv_upwards, operands((2, 3, 2, 2), 3, 3))
