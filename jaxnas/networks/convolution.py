"""Convolution whose derivatives, of any order and inside any loop, are stride-1 convolutions again.

XLA:CPU has one fast convolution kernel: NHWC images, HWIO kernels, no dilation. The transposed forms that
autodiff writes for a convolution leave it inside `lax.scan` or `lax.switch` and run tens of times slower.
The three bilinear maps below are closed under differentiation, and each is lowered to the fast form:

    y  = conv(x, w)          y[n,h,w,o]  = sum_{i,j,c} x[n,h+i-p,w+j-p,c] w[i,j,c,o], p = k // 2
    dx = conv_input(g, w)    the transpose of y in x: g convolved with the flipped, transposed kernel
    dw = conv_kernel(x, g)   the transpose of y in w: x convolved with g, batch and channels exchanged

Stride 2 is stride 1 on the image whose 2x2 blocks have become channels, with the kernel arranged alike.
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


def conv(images: Float[Array, "N H W C"], kernel: Float[Array, "k k C O"], stride: int = 1) -> Float[Array, "N h w O"]:
    """Convolution of odd size k, stride 1 or 2, zero padding (k - 1) / 2 on every side; linear in each argument."""
    if kernel.shape[0] == 1:  # a matrix product, whose derivatives are matrix products
        return jnp.einsum("nhwc,co->nhwo", images[:, ::stride, ::stride], kernel[0, 0])
    if stride == 2 and kernel.shape[0] == 3 and images.shape[1] % 2 == images.shape[2] % 2 == 0:
        return _conv_p.bind(_blocks_as_channels(images), _kernel_on_blocks(kernel))
    return _conv_p.bind(images, kernel)[:, ::stride, ::stride]


def _blocks_as_channels(images):
    n, h, w, c = images.shape
    blocks = images.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, h // 2, w // 2, 4 * c)


def _kernel_on_blocks(kernel):
    """[3 3 C O] to [2 2 4C O]: an output pixel sees its own block and the last rows and columns of those before."""
    padded = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    c, o = kernel.shape[2:]
    return padded.reshape(2, 2, 2, 2, c, o).transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * c, o)


def _convolve(images, kernel, before, after):
    padding = [(before, after)] * 2
    return lax.conv_general_dilated(images, kernel, (1, 1), padding, dimension_numbers=_DIMENSIONS)


def _conv(images, kernel):
    before = kernel.shape[0] // 2
    return _convolve(images, kernel, before, kernel.shape[0] - 1 - before)


def _conv_input(cotangent, kernel):
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    after = kernel.shape[0] // 2
    return _convolve(cotangent, flipped, kernel.shape[0] - 1 - after, after)


def _conv_kernel(images, cotangent, *, size):
    as_batch = images.transpose(3, 1, 2, 0)  # [C H W N]
    as_kernel = cotangent.transpose(1, 2, 0, 3)  # [H W N O]
    before = size // 2
    return _convolve(as_batch, as_kernel, before, size - 1 - before).transpose(1, 2, 0, 3)  # [k k C O]


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
