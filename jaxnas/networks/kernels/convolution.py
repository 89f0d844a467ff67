"""Convolution whose derivatives, of any order and inside any loop, are stride-1 convolutions again.

XLA:CPU has one fast convolution kernel: NHWC images, HWIO kernels, no dilation. The transposed forms that
autodiff writes for a convolution leave it inside `lax.scan` or `lax.switch` and run tens of times slower.
The three bilinear maps below are closed under differentiation, and each is lowered to the fast form:

    y  = conv(x, w)          y[n,h,w,o]  = sum_{i,j,c} x[n,h+i-p,w+j-p,c] w[i,j,c,o], p = k // 2
    dx = conv_input(g, w)    the transpose of y in x: g convolved with the flipped, transposed kernel
    dw = conv_kernel(x, g)   the transpose of y in w: x convolved with g, batch and channels exchanged

Stride 2 is stride 1 on the image whose 2x2 blocks have become channels, with the kernel arranged alike. On CPUs a 3x3
kernel with few outputs computes two neighbouring pixels at once, 1.7 times faster despite a third more products. Images
of fewer pixels than the kernel become a matrix product on patches there: XLA exchanges the two, which is slow. Under
`vmap` images are one larger batch for a common kernel; with a kernel each, a batched matrix product on their patches.

`jax.default_matmul_precision` sets the precision of products. "bfloat16" rounds both operands, on every platform, and
sums in float32; the difference of "tensorfloat32" and "float32" is up to the platform (none on CPUs).
Other platforms compute the same equations by their convolution.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypedDict

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.typing import DTypeLike
from jaxtyping import Array, Float

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
_NARROW = 16  # output channels: so few leave half of the CPU kernel's registers empty


def conv(images: Float[Array, "N H W C"], kernel: Float[Array, "r k C O"], stride: int = 1) -> Float[Array, "N h w O"]:
    """Return the convolution of odd size k, stride 1 or 2 and zero padding (k - 1) / 2 on every side.

    It is linear in each argument; h = ceil(H / stride). A kernel has k rows, or one: then it is a product on the
    windows of a row.
    """
    if kernel.shape[0] == 1 < kernel.shape[1]:
        patches = _patches(images[None], kernel.shape[1], kernel.shape[1] // 2, rows=1)[0, :, ::stride, ::stride]
        return _bind(patches, kernel.reshape(1, 1, -1, kernel.shape[-1]))
    if kernel.shape[0] == 1:
        return _bind(images[:, ::stride, ::stride], kernel)
    if stride == 2 and kernel.shape[0] == 3 and images.shape[1] % 2 == images.shape[2] % 2 == 0:
        return _bind(_blocks_as_channels(images), _kernel_on_blocks(kernel))
    return _bind(images, kernel)[:, ::stride, ::stride]


def conv_grouped(
    images: Float[Array, "N H W C"], kernel: Float[Array, "r k c O"], stride: int = 1, groups: int = 1
) -> Float[Array, "N h w O"]:
    """Return `conv` of each group of channels alone: the O / groups outputs of a group see c = C / groups inputs."""
    if groups == 1:
        return conv(images, kernel, stride)
    apart = (jnp.moveaxis(x.reshape(*x.shape[:-1], groups, -1), -2, 0) for x in (images, kernel))
    out: Array = jax.vmap(partial(conv, stride=stride))(*apart)
    return jnp.moveaxis(out, 0, -2).reshape(*out.shape[1:-1], -1)


def conv_upwards(images: Float[Array, "N h w C"], kernel: Float[Array, "3 3 C O"]) -> Float[Array, "N H W O"]:
    """Return the transposed convolution of stride 2, H = 2 h: y[o] = sum_i x[i] w[o - 2 i + 1] along each axis.

    An output of even place sees one pixel, one of odd place two: a convolution with windows of 2x2 that gives the 2x2
    outputs of a block at once. (PyTorch: ConvTranspose2d with padding 1 and output padding 1.)
    """
    n, h, w, c = images.shape
    tap = jnp.array([[1, 2], [3, 0]])  # of the window's pixel and the output's place; 3: none
    padded = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    on_blocks = padded[tap[:, :, None, None], tap[None, None]]  # [row, place, column, place, C, O]
    on_blocks = on_blocks.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, c, -1)
    images = jnp.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)))
    out = _bind(images, on_blocks)[:, 1:, 1:]
    return out.reshape(n, h, w, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, -1)


def conv_input(cotangent: Float[Array, "N H W O"], kernel: Float[Array, "k k C O"]) -> Float[Array, "N H W C"]:
    """Return the transpose of `conv` of stride 1 in the images, applied to the cotangent."""
    dx: Array = _conv_input_p.bind(cotangent, kernel, precision=product_precision())
    return dx


def conv_kernel(
    images: Float[Array, "N H W C"], cotangent: Float[Array, "N H W O"], size: int
) -> Float[Array, "k k C O"]:
    """Return the transpose of `conv` of stride 1 in the kernel, whose `size` is k, applied to the cotangent."""
    dw: Array = _conv_kernel_p.bind(images, cotangent, size=size, precision=product_precision())
    return dw


def _bind(images: Array, kernel: Array) -> Array:
    out: Array = _conv_p.bind(images, kernel, precision=product_precision())
    return out


def product_precision() -> str | None:
    """Return the precision of products that the caller has set."""
    precision: str | None = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return precision


def _blocks_as_channels(images: Float[Array, "N H W C"]) -> Float[Array, "N h w c"]:
    """Return [N H/2 W/2 4C], where the pixels of a 2x2 block have become the channels of one."""
    n, h, w, c = images.shape
    blocks = images.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, h // 2, w // 2, 4 * c)


def _kernel_on_blocks(kernel: Float[Array, "3 3 C O"]) -> Float[Array, "2 2 c O"]:
    """Return [2 2 4C O]: an output sees the block around it and the last rows and columns of those before."""
    padded = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
    c, o = kernel.shape[2:]
    return padded.reshape(2, 2, 2, 2, c, o).transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * c, o)


class _Options(TypedDict, total=False):
    """Options of a product."""

    precision: str | None
    preferred_element_type: DTypeLike


def _round(precision: str | None, *operands: Array) -> tuple[Sequence[Array], _Options]:
    """Return the operands as the product takes them, and the options of a product that sums in their precision."""
    if precision != "bfloat16" or operands[0].dtype != jnp.float32:
        return operands, {"precision": precision}
    return [operand.astype(jnp.bfloat16) for operand in operands], {"preferred_element_type": jnp.float32}


# Products and sums below are those of `lax`: a primitive is lowered after its caller has left `jax.enable_x64`, where
# those of `jnp` would turn float64 into float32.
def _convolve(images: Array, kernel: Array, before: int, after: int, precision: str | None, on_cpu: bool) -> Array:
    """Return the convolution of stride 1 with so many zeros before and after the pixels along each axis."""
    (images, kernel), options = _round(precision, images, kernel)
    if kernel.shape[0] == before + after + 1 == 1:
        return lax.dot_general(images, kernel[0, 0], dimension_numbers=(((3,), (0,)), ((), ())), **options)
    in_pairs = on_cpu and kernel.shape[0] == 3 and kernel.shape[-1] <= _NARROW and images.shape[2] % 2 == 0
    window, pixels = kernel.shape[0] * (kernel.shape[1] + in_pairs), images.shape[1] * images.shape[2]
    if on_cpu and (images.dtype == jnp.float64 or window > pixels):  # XLA has a fast product, no fast convolution
        patches = _patches(images[None], kernel.shape[0], before)[0]
        return lax.dot_general(patches, kernel.reshape(-1, kernel.shape[-1]), (((3,), (0,)), ((), ())), **options)
    kernels, stride = (_kernel_of_pairs(kernel), 2) if in_pairs else (kernel, 1)
    padding = [(before, after)] * 2
    out = lax.conv_general_dilated(images, kernels, (1, stride), padding, dimension_numbers=_DIMENSIONS, **options)
    return out.reshape(*out.shape[:2], -1, kernel.shape[-1])


def _kernel_of_pairs(kernel: Float[Array, "3 3 C O"]) -> Float[Array, "3 4 C o"]:
    """Return [3 4 C 2O], for the outputs at a pixel and at its right neighbour from one window over both."""
    return jnp.concatenate([jnp.pad(kernel, ((0, 0), side, (0, 0), (0, 0))) for side in ((0, 1), (1, 0))], axis=-1)


def _conv(images: Array, kernel: Array, *, precision: str | None, on_cpu: bool = False) -> Array:
    before = kernel.shape[0] // 2
    return _convolve(images, kernel, before, kernel.shape[0] - 1 - before, precision, on_cpu)


def _conv_input(cotangent: Array, kernel: Array, *, precision: str | None, on_cpu: bool = False) -> Array:
    flipped = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    after = kernel.shape[0] // 2
    return _convolve(cotangent, flipped, kernel.shape[0] - 1 - after, after, precision, on_cpu)


def _conv_kernel(images: Array, cotangent: Array, *, size: int, precision: str | None, on_cpu: bool = False) -> Array:
    if size == 1:  # image by image: faster on CPUs than one product over all pixels
        (images, cotangent), options = _round(precision, images, cotangent)
        products = lax.dot_general(  # [N C O]
            images, cotangent, dimension_numbers=(((1, 2), (1, 2)), ((0,), (0,))), **options
        )
        return lax.reduce_sum(products, (0,))[None, None]
    if on_cpu and images.dtype == jnp.float64:
        patches = _patches(images[None], size, size // 2)[0]
        dw = lax.dot_general(patches, cotangent, (((0, 1, 2), (0, 1, 2)), ((), ())))
        return dw.reshape(size, size, images.shape[-1], cotangent.shape[-1])
    as_batch = images.transpose(3, 1, 2, 0)  # [C H W N]
    as_kernel = cotangent.transpose(1, 2, 0, 3)  # [H W N O]
    before = size // 2
    dw = _convolve(as_batch, as_kernel, before, size - 1 - before, precision, on_cpu=False)  # [C k k O]
    return dw.transpose(1, 2, 0, 3)


def _pairwise(
    images: Float[Array, "K N H W C"], kernel: Float[Array, "K k k C O"], before: int, precision: str | None
) -> Float[Array, "K N H W O"]:
    """Return the convolutions of K minibatches with a kernel each, with `before` zeros above and left."""
    matrices = kernel.reshape(len(kernel), -1, kernel.shape[-1])
    operands, options = _round(precision, _patches(images, kernel.shape[1], before), matrices)
    return jnp.einsum("knhwp,kpo->knhwo", *operands, **options)


def _conv_pairwise(images: Array, kernel: Array, *, precision: str | None) -> Array:
    return _pairwise(images, kernel, kernel.shape[1] // 2, precision)


def _conv_input_pairwise(cotangent: Array, kernel: Array, *, precision: str | None) -> Array:
    flipped = jnp.flip(kernel, (1, 2)).swapaxes(3, 4)
    return _pairwise(cotangent, flipped, kernel.shape[1] - 1 - kernel.shape[1] // 2, precision)


def _conv_kernel_pairwise(images: Array, cotangent: Array, *, size: int, precision: str | None) -> Array:
    operands, options = _round(precision, _patches(images, size, size // 2), cotangent)
    products = jnp.einsum("knhwp,knhwo->kpo", *operands, **options)
    return products.reshape(len(images), size, size, images.shape[-1], cotangent.shape[-1])


def _patches(
    images: Float[Array, "K N H W C"], size: int, before: int, rows: int | None = None
) -> Float[Array, "K N H W rkC"]:
    """Return around every pixel the window that a kernel of `size` rows and columns meets, or of one row."""
    h, w = images.shape[2:4]
    rows, above = (size, before) if rows is None else (rows, rows // 2)
    padded = jnp.pad(images, ((0, 0), (0, 0), (above, rows - 1 - above), (before, size - 1 - before), (0, 0)))
    shifted = [padded[:, :, i : i + h, j : j + w] for i in range(rows) for j in range(size)]
    return jnp.concatenate(shifted, axis=-1)


def _primitive(name: str, function: Callable[..., Array], pairwise: Callable[..., Array]) -> Primitive:
    """Return a primitive that is evaluated and lowered as `function`, and batched as `pairwise` in both operands."""
    primitive = Primitive(name)
    options = ("size", "precision") if name == "conv_kernel" else ("precision",)
    primitive.def_impl(jax.jit(function, static_argnames=options))
    primitive.def_abstract_eval(partial(_abstract, function))
    for platform in (None, "cpu"):
        rule = mlir.lower_fun(partial(function, on_cpu=platform == "cpu"), multiple_results=False)
        mlir.register_lowering(primitive, rule, platform=platform)
    batching.primitive_batchers[primitive] = partial(_batch, primitive, pairwise)
    return primitive


def _abstract(function: Callable[..., Array], *avals: ShapedArray, **options: int | str | None) -> ShapedArray:
    shape = jax.eval_shape(partial(function, **options), *avals)
    return ShapedArray(shape.shape, shape.dtype)


def _batch(
    primitive: Primitive,
    pairwise: Callable[..., Array],
    args: tuple[Array, Array],
    axes: tuple[int | None, int | None],
    **options: int | str | None,
) -> tuple[Array, int]:
    first, second = args
    if axes[1] is None and primitive is not _conv_kernel_p:
        assert axes[0] is not None, "one operand is batched"
        first = jnp.moveaxis(first, axes[0], 0)
        out = primitive.bind(first.reshape(-1, *first.shape[2:]), second, **options)
        return out.reshape(*first.shape[:2], *out.shape[1:]), 0
    size = next(arg.shape[axis] for arg, axis in zip(args, axes, strict=True) if axis is not None)
    operands = [batching.bdim_at_front(arg, axis, size) for arg, axis in zip(args, axes, strict=True)]
    return pairwise(*operands, **options), 0


_conv_p = _primitive("conv", _conv, _conv_pairwise)
_conv_input_p = _primitive("conv_input", _conv_input, _conv_input_pairwise)
_conv_kernel_p = _primitive("conv_kernel", _conv_kernel, _conv_kernel_pairwise)

ad.defbilinear(
    _conv_p,
    lambda g, images, kernel, precision: _conv_input_p.bind(g, kernel, precision=precision),
    lambda g, images, kernel, precision: _conv_kernel_p.bind(images, g, size=kernel.aval.shape[0], precision=precision),
)
ad.defbilinear(
    _conv_input_p,
    lambda g, cotangent, kernel, precision: _conv_p.bind(g, kernel, precision=precision),
    lambda g, cotangent, kernel, precision: _conv_kernel_p.bind(
        g, cotangent, size=kernel.aval.shape[0], precision=precision
    ),
)
ad.defbilinear(
    _conv_kernel_p,
    lambda g, images, cotangent, size, precision: _conv_input_p.bind(cotangent, g, precision=precision),
    lambda g, images, cotangent, size, precision: _conv_p.bind(images, g, precision=precision),
)
