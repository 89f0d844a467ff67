"""Depthwise convolution: a kernel of its own for every channel, as sums of shifted images.

XLA:CPU runs a convolution with one group per channel 20 to 100 times slower than these sums, which it fuses into one go
over memory. Two bilinear maps, closed under differentiation:

    y  = depthwise(x, w)            y[n,h,w,c]  = sum_{i,j} x[n,h+(i-p)d,w+(j-p)d,c] w[i,j,0,c], p = k // 2
    dw = depthwise_kernel(x, g)     the transpose of y in w; that in x is y with the kernel turned around
"""

from functools import partial, wraps

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float


def depthwise(
    images: Float[Array, "N H W C"], kernel: Float[Array, "k k 1 C"], dilation: int = 1
) -> Float[Array, "N H W C"]:
    """Depthwise convolution of odd size k, stride 1, zero padding: H and W stay; linear in each argument."""
    return _depthwise_p.bind(images, kernel, dilation=dilation)


def _windows(images, size, dilation):
    """The images within zeros, and where each tap of a kernel looks."""
    margin = dilation * (size // 2)
    padded = jnp.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    return padded, [(dilation * i, dilation * j) for i in range(size) for j in range(size)]


def _depthwise(images, kernel, *, dilation):
    _, h, w, c = images.shape
    padded, corners = _windows(images, kernel.shape[0], dilation)
    taps = kernel.reshape(-1, c)
    total = None
    for number, (top, left) in enumerate(corners):
        term = padded[:, top : top + h, left : left + w] * taps[number][None, None, None]
        total = term if total is None else total + term
    return total


def _depthwise_kernel(images, cotangent, *, size, dilation):
    padded, corners = _windows(images, size, dilation)
    places = jnp.array(corners)

    def step(number, out):
        top, left = places[number]
        window = lax.dynamic_slice(padded, (0, top, left, 0), images.shape)
        return out.at[number].set((window * cotangent).sum((0, 1, 2)))

    taps = lax.fori_loop(0, len(corners), step, jnp.zeros((len(corners), images.shape[-1]), images.dtype))
    return taps.reshape(size, size, 1, -1)


def _in_own_precision(function):
    """A primitive is lowered after its caller has left `jax.enable_x64`."""

    @wraps(function)
    def call(images, other, **how):
        with jax.enable_x64(images.dtype == jnp.float64):
            return function(images, other, **how)

    return call


def _primitive(name, function, options):
    function = _in_own_precision(function)
    primitive = Primitive(name)
    primitive.def_impl(jax.jit(function, static_argnames=options))
    primitive.def_abstract_eval(lambda *avals, **how: _abstract(function, *avals, **how))
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    batching.primitive_batchers[primitive] = partial(_batch, function)
    return primitive


def _abstract(function, *avals, **how):
    shape = jax.eval_shape(partial(function, **how), *avals)
    return jax.core.ShapedArray(shape.shape, shape.dtype)


def _batch(function, args, axes, **how):
    return jax.vmap(partial(function, **how), axes)(*args), 0


_depthwise_p = _primitive("depthwise", _depthwise, ("dilation",))
_depthwise_kernel_p = _primitive("depthwise_kernel", _depthwise_kernel, ("size", "dilation"))


def _turned(kernel):
    return lax.rev(kernel, (0, 1))


ad.defbilinear(
    _depthwise_p,
    lambda g, images, kernel, dilation: _depthwise_p.bind(g, _turned(kernel), dilation=dilation),
    lambda g, images, kernel, dilation: _depthwise_kernel_p.bind(
        images, g, size=kernel.aval.shape[0], dilation=dilation
    ),
)
ad.defbilinear(
    _depthwise_kernel_p,
    lambda g, images, cotangent, size, dilation: _depthwise_p.bind(cotangent, _turned(g), dilation=dilation),
    lambda g, images, cotangent, size, dilation: _depthwise_p.bind(images, g, dilation=dilation),
)
