"""Depthwise convolution: a separate kernel for every channel, as sums of shifted images.

XLA:CPU runs a convolution with one group per channel 20 to 100 times slower than these sums, which it fuses into one go
over memory. Two bilinear maps, closed under differentiation:

    y  = depthwise(x, w)            y[n,h,w,c]  = sum_{i,j} x[n,h+(i-p)d,w+(j-p)d,c] w[i,j,0,c], p = k // 2
    dw = depthwise_kernel(x, g)     the transpose of y in w; that in x is y with the kernel turned around
"""

from collections.abc import Callable
from functools import partial, wraps

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float


def depthwise(
    images: Float[Array, "N H W C"], kernel: Float[Array, "r k 1 C"], dilation: int = 1
) -> Float[Array, "N H W C"]:
    """Return the depthwise convolution of odd size k, stride 1 and zero padding that keeps H and W.

    It is linear in each argument. A kernel has k rows, or one.
    """
    out: Array = _depthwise_p.bind(images, kernel, dilation=dilation)
    return out


def _windows(
    images: Float[Array, "N H W C"], size: tuple[int, int], dilation: int
) -> tuple[Array, list[tuple[int, int]]]:
    """Return the images within zeros, and the corner of the window of each tap of a kernel."""
    margins = [(dilation * (taps // 2),) * 2 for taps in size]
    padded = jnp.pad(images, ((0, 0), *margins, (0, 0)))
    return padded, [(dilation * i, dilation * j) for i in range(size[0]) for j in range(size[1])]


def _depthwise(images: Array, kernel: Array, *, dilation: int) -> Array:
    _, h, w, c = images.shape
    padded, corners = _windows(images, (kernel.shape[0], kernel.shape[1]), dilation)
    taps = kernel.reshape(-1, c)
    total: Array | None = None
    for number, (top, left) in enumerate(corners):
        term = padded[:, top : top + h, left : left + w] * taps[number][None, None, None]
        total = term if total is None else total + term
    assert total is not None, "a kernel has at least one tap"
    return total


def _depthwise_kernel(images: Array, cotangent: Array, *, size: tuple[int, int], dilation: int) -> Array:
    padded, corners = _windows(images, size, dilation)
    places = jnp.array(corners)

    def step(number: Array, out: Array) -> Array:
        top, left = places[number]
        window = lax.dynamic_slice(padded, (0, top, left, 0), images.shape)
        return out.at[number].set((window * cotangent).sum((0, 1, 2)))

    taps: Array = lax.fori_loop(0, len(corners), step, jnp.zeros((len(corners), images.shape[-1]), images.dtype))
    return taps.reshape(*size, 1, -1)


def _in_precision_of_images(function: Callable[..., Array]) -> Callable[..., Array]:
    """Return the function for lowering, which happens after the caller has left `jax.enable_x64`."""

    @wraps(function)
    def call(images: Array, other: Array, **options: int | tuple[int, int]) -> Array:
        with jax.enable_x64(images.dtype == jnp.float64):
            return function(images, other, **options)

    return call


def _primitive(name: str, function: Callable[..., Array], options: tuple[str, ...]) -> Primitive:
    """Return a primitive that is evaluated, lowered and batched as `function`, with these static arguments."""
    function = _in_precision_of_images(function)
    primitive = Primitive(name)
    primitive.def_impl(jax.jit(function, static_argnames=options))
    primitive.def_abstract_eval(partial(_abstract, function))
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    batching.primitive_batchers[primitive] = partial(_batch, function)
    return primitive


def _abstract(function: Callable[..., Array], *avals: ShapedArray, **options: int | tuple[int, int]) -> ShapedArray:
    shape = jax.eval_shape(partial(function, **options), *avals)
    return ShapedArray(shape.shape, shape.dtype)


def _batch(
    function: Callable[..., Array],
    args: tuple[Array, ...],
    axes: tuple[int | None, ...],
    **options: int | tuple[int, int],
) -> tuple[Array, int]:
    return jax.vmap(partial(function, **options), axes)(*args), 0


_depthwise_p = _primitive("depthwise", _depthwise, ("dilation",))
_depthwise_kernel_p = _primitive("depthwise_kernel", _depthwise_kernel, ("size", "dilation"))


def _turned(kernel: Float[Array, "r k 1 C"]) -> Float[Array, "r k 1 C"]:
    return lax.rev(kernel, (0, 1))


ad.defbilinear(
    _depthwise_p,
    lambda g, images, kernel, dilation: _depthwise_p.bind(g, _turned(kernel), dilation=dilation),
    lambda g, images, kernel, dilation: _depthwise_kernel_p.bind(
        images, g, size=kernel.aval.shape[:2], dilation=dilation
    ),
)
ad.defbilinear(
    _depthwise_kernel_p,
    lambda g, images, cotangent, size, dilation: _depthwise_p.bind(cotangent, _turned(g), dilation=dilation),
    lambda g, images, cotangent, size, dilation: _depthwise_p.bind(images, g, dilation=dilation),
)
