"""Depthwise convolution against lax.conv_general_dilated, and every way to differentiate and batch it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from networks.kernels.checks import (
    check_batches,
    check_finite_differences,
    check_first_derivatives,
    check_second_derivatives,
    draws,
)

from jaxnas.networks.kernels.depthwise import depthwise

CASES = {  # images [N H W C], kernel size, dilation
    "3x3": ((2, 5, 7, 3), 3, 1),
    "5x5": ((2, 6, 4, 2), 5, 1),
    "dilated": ((2, 6, 7, 2), 3, 2),
    "dilated beyond the image": ((1, 3, 3, 2), 5, 2),
    "one pixel": ((1, 1, 1, 4), 3, 1),
}


def operands(shape, size, dtype=np.float64):
    return draws(shape, (size, size, 1, shape[-1]), dtype=dtype)


def reference(images, kernel, dilation):
    padding = [(dilation * (taps // 2),) * 2 for taps in kernel.shape[:2]]
    return lax.conv_general_dilated(
        images,
        kernel,
        (1, 1),
        padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=images.shape[-1],
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_equals_lax_with_its_first_derivatives(case, dtype):
    shape, size, dilation = CASES[case]
    forms = (partial(form, dilation=dilation) for form in (depthwise, reference))
    check_first_derivatives(*forms, operands(shape, size, dtype))


def test_a_kernel_of_one_row_equals_lax_with_derivatives():
    forms = [partial(form, dilation=2) for form in (depthwise, reference)]
    check_first_derivatives(*forms, draws((2, 3, 7, 2), (1, 3, 1, 2), dtype=np.float64))
    check_second_derivatives(*forms, draws((2, 3, 7, 2), (1, 3, 1, 2), dtype=np.float64))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_gradients_to_second_order_in_both_modes(case):
    shape, size, dilation = CASES[case]
    check_finite_differences(partial(depthwise, dilation=dilation), operands(shape, size))


def test_forward_derivative_of_a_pullback_equals_that_of_lax():
    forms = (partial(form, dilation=2) for form in (depthwise, reference))
    check_second_derivatives(*forms, operands((2, 6, 7, 2), 3))


@pytest.mark.parametrize("axes", [(0, 0), (0, None)])
def test_batches_like_a_loop_with_a_common_kernel_and_one_for_each(axes):
    check_batches(depthwise, operands((2, 4, 5, 2), 3), axes)


def test_float64_that_is_compiled_outside_its_context():
    """Lowering happens after the caller has left `jax.enable_x64`."""
    args = operands((2, 4, 4, 3), 3)
    with jax.enable_x64(True):
        lowered = jax.jit(jax.grad(lambda x, w: depthwise(x, w).sum(), 1)).trace(*map(jnp.asarray, args))
    gradient = lowered.lower().compile()
    with jax.enable_x64(True):
        assert gradient(*map(jnp.asarray, args)).dtype == np.float64
