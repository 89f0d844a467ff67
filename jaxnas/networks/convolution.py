"""Stride-1 convolution whose derivatives, of any order and inside any loop, are stride-1 convolutions again.

XLA:CPU has one fast convolution kernel: NHWC images, HWIO kernels, no dilation. The transposed forms that
autodiff writes for a convolution leave it inside `lax.scan` or `lax.switch` and run tens of times slower.
The three bilinear maps below are closed under differentiation, and each is lowered to the fast form:

    y  = conv(x, w)          y[n,h,w,o]  = sum_{i,j,c} x[n,h+i-p,w+j-p,c] w[i,j,c,o]
    dx = conv_input(g, w)    the transpose of y in x: g convolved with the flipped, transposed kernel
    dw = conv_kernel(x, g)   the transpose of y in w: x convolved with g, batch and channels exchanged

On other platforms the same equations are left to the platform's own convolution.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def conv(images: Float[Array, "N H W C"], kernel: Float[Array, "k k C O"]) -> Float[Array, "N H W O"]:
    """Convolution of odd size k, stride 1, zero padding (k - 1) / 2 on every side; linear in each argument."""
    if kernel.shape[0] == 1:  # a matrix product, whose derivatives are matrix products
        return jnp.einsum("nhwc,co->nhwo", images, kernel[0, 0])
    return _conv_p.bind(images, kernel)


def _convolve(images, kernel, padding):
    return lax.conv_general_dilated(images, kernel, (1, 1), [(padding, padding)] * 2, dimension_numbers=_DIMENSIONS)


def _conv(images, kernel):
    return _convolve(images, kernel, kernel.shape[0] // 2)


def _conv_input(cotangent, kernel):
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    return _convolve(cotangent, flipped, kernel.shape[0] // 2)


def _conv_kernel(images, cotangent, *, size):
    as_batch = images.transpose(3, 1, 2, 0)  # [C H W N]
    as_kernel = cotangent.transpose(1, 2, 0, 3)  # [H W N O]
    return _convolve(as_batch, as_kernel, size // 2).transpose(1, 2, 0, 3)  # [k k C O]


def _primitive(name, function):
    primitive = Primitive(name)
    primitive.def_impl(jax.jit(function, static_argnames=("size",) if name == "conv_kernel" else ()))
    primitive.def_abstract_eval(lambda *args, **kw: _abstract(function, *args, **kw))
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    batching.primitive_batchers[primitive] = partial(_batch, function)
    return primitive


def _abstract(function, *avals, **params):
    shape = jax.eval_shape(partial(function, **params), *avals)
    return jax.core.ShapedArray(shape.shape, shape.dtype)


def _batch(function, args, axes, **params):
    return jax.vmap(partial(function, **params), axes)(*args), 0


_conv_p = _primitive("conv", _conv)
_conv_input_p = _primitive("conv_input", _conv_input)
_conv_kernel_p = _primitive("conv_kernel", _conv_kernel)

ad.defbilinear(
    _conv_p,
    lambda g, images, kernel: _conv_input_p.bind(g, kernel),
    lambda g, images, kernel: _conv_kernel_p.bind(images, g, size=kernel.aval.shape[0]),
)
ad.defbilinear(
    _conv_input_p,
    lambda g, cotangent, kernel: _conv_p.bind(g, kernel),
    lambda g, cotangent, kernel: _conv_kernel_p.bind(g, cotangent, size=kernel.aval.shape[0]),
)
ad.defbilinear(
    _conv_kernel_p,
    lambda g, images, cotangent, **_: _conv_input_p.bind(cotangent, g),
    lambda g, images, cotangent, **_: _conv_p.bind(images, g),
)
