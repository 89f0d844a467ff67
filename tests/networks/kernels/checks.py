"""Checks that the tests of all kernels share: a kernel against a plain reference, and `vmap` against a loop."""

from functools import partial

import jax
import numpy as np
from jax.test_util import check_grads

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-13}


def draws(*shapes, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=shape).astype(dtype) for shape in shapes)


def check_equal(ours, theirs, rtol=1e-12, atol=1e-12):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), ours, theirs)


def check_first_derivatives(function, reference, args):
    """Values and pullbacks of both are equal, in the type of the arguments."""
    dtype = args[0].dtype.type
    with jax.enable_x64(dtype == np.float64):
        cotangent = draws(jax.eval_shape(reference, *args).shape, dtype=dtype, seed=1)[0]
        ours, theirs = (jax.jit(partial(_with_pullback, form))(cotangent, *args) for form in (function, reference))
        assert {leaf.dtype for leaf in ours} == {np.dtype(dtype)}
        check_equal(ours, theirs, TOLERANCE[dtype], 10 * TOLERANCE[dtype])


def _with_pullback(function, cotangent, *args):
    out, pullback = jax.vjp(function, *args)
    return out, *pullback(cotangent)


def check_second_derivatives(function, reference, args):
    """Every pullback, differentiated forward along all arguments, equals that of the reference."""
    with jax.enable_x64(True):
        cotangent = draws(jax.eval_shape(reference, *args).shape, seed=2)[0]
        point = cotangent, *args
        tangent = draws(*(leaf.shape for leaf in point), seed=3)
        programs = (partial(jax.jvp, partial(_with_pullback, form)) for form in (function, reference))
        check_equal(*(jax.jit(program)(point, tangent) for program in programs))


def check_finite_differences(function, args):
    """Both modes, to second order."""
    with jax.enable_x64(True):
        check_grads(jax.jit(function), args, order=2, modes=("fwd", "rev"), rtol=1e-6)


def check_batches(function, args, axes):
    """`vmap` of value and gradient over each argument with an axis equals a loop; the others are common to all."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(4)
        stacked = [
            arg if axis is None else rng.normal(size=np.insert(arg.shape, axis, 3))
            for arg, axis in zip(args, axes, strict=True)
        ]

        def sum_of_squares(*args):
            return jax.numpy.square(function(*args)).sum()

        gradient = jax.value_and_grad(sum_of_squares, argnums=tuple(range(len(args))))
        batched = jax.jit(jax.vmap(gradient, axes))(*stacked)
        for row in range(3):
            alone = [x if axis is None else np.take(x, row, axis) for x, axis in zip(stacked, axes, strict=True)]
            check_equal(jax.tree.map(lambda leaf, row=row: leaf[row], batched), jax.jit(gradient)(*alone))
