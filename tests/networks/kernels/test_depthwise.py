"""Depthwise convolution against lax.conv_general_dilated, and every way to differentiate and batch it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads

from jaxnas.networks.kernels.depthwise import depthwise

CASES = {  # images [N H W C], kernel size, dilation
    "3x3": ((2, 5, 7, 3), 3, 1),
    "5x5": ((2, 6, 4, 2), 5, 1),
    "dilated": ((2, 6, 7, 2), 3, 2),
    "dilated beyond the image": ((1, 3, 3, 2), 5, 2),
    "one pixel": ((1, 1, 1, 4), 3, 1),
}
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


def operands(shape, size, dtype=np.float64):
    rng = np.random.default_rng(0)
    return rng.normal(size=shape).astype(dtype), rng.normal(size=(size, size, 1, shape[-1])).astype(dtype)


def reference(images, kernel, dilation):
    padding = [(dilation * (kernel.shape[0] // 2),) * 2] * 2
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
    with jax.enable_x64(dtype == np.float64):
        args = operands(shape, size, dtype)
        out, pullback = jax.vjp(partial(depthwise, dilation=dilation), *args)
        expected, expected_pullback = jax.vjp(partial(reference, dilation=dilation), *args)
        cotangent = np.random.default_rng(1).normal(size=out.shape).astype(dtype)
        for ours, theirs in zip((out, *pullback(cotangent)), (expected, *expected_pullback(cotangent)), strict=True):
            assert ours.dtype == dtype
            np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("case", CASES)
def test_gradients_to_second_order_in_both_modes(case):
    shape, size, dilation = CASES[case]
    with jax.enable_x64(True):
        function = partial(depthwise, dilation=dilation)
        check_grads(function, operands(shape, size), order=2, modes=("fwd", "rev"), rtol=1e-6)


def test_batches_like_a_loop_with_a_common_kernel_and_one_for_each():
    rng = np.random.default_rng(0)
    images, kernels = rng.normal(size=(3, 2, 4, 5, 2)), rng.normal(size=(3, 3, 3, 1, 2))
    with jax.enable_x64(True):
        loss = lambda x, w: jnp.sum(jnp.square(depthwise(x, w)))  # noqa: E731
        gradient = jax.grad(loss, (0, 1))
        for axes, kernel in (((0, 0), kernels), ((0, None), kernels[0])):
            together = jax.jit(jax.vmap(gradient, axes))(images, kernel)
            for row in range(3):
                alone = gradient(images[row], kernel if axes[1] is None else kernel[row])
                for ours, theirs in zip(together, alone, strict=True):
                    np.testing.assert_allclose(ours[row], theirs, rtol=1e-12, atol=1e-12)


def test_float64_that_is_compiled_outside_its_context():
    """Lowering happens after the caller has left `jax.enable_x64`."""
    args = operands((2, 4, 4, 3), 3)
    with jax.enable_x64(True):
        lowered = jax.jit(jax.grad(lambda x, w: depthwise(x, w).sum(), 1)).trace(*map(jnp.asarray, args))
    gradient = lowered.lower().compile()
    with jax.enable_x64(True):
        assert gradient(*map(jnp.asarray, args)).dtype == np.float64
