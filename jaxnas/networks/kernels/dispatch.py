"""One op out of several, chosen by number: a `switch` for one architecture, grouped dense work for a batch of them.

Under `vmap`, `lax.switch` computes every branch for every architecture. The maps below are linear in the image and in
the kernels, are closed under differentiation like those of `convolution`, and batch differently: the architectures
that chose an op are gathered, the op runs once on them as one dense batch, and its results are scattered back.

    y        = mixed(op, gate, x, kernels)         by op: 0, x, rectified x * kernel, or the 3x3 average of x
    dx       = mixed_input(op, gate, g, kernels)   the transpose of y in x
    dkernels = mixed_kernels(op, gate, x, g)       the transpose of y in the kernels; 0 for those not chosen

Rectified x is 0 where the gate is at most 0, and x elsewhere: ReLU(x) if the gate is x itself.

A `Dispatch` holds the kind of each op, and for a batch of architectures how many may choose it: that is the size of its
group, which XLA must know when it compiles. More that chose an op than it admits would get 0. With `fused`, kernels of
their own read the op of each architecture in place of groups (`jaxnas.networks.kernels.fused`).

One architecture after another is better served by a `switch`, see `jaxnas.networks.kernels.switch`.
"""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import ParamSpec, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, Int

from jaxnas.networks.kernels import grouped
from jaxnas.networks.kernels.batches import Axes, leading
from jaxnas.networks.kernels.convolution import conv_kernel, product_precision
from jaxnas.networks.kernels.ops import (
    Dispatch,
    ImageMap,
    Kind,
    apply_op,
    apply_transpose,
    kernel_of,
    rectified,
    split_operands,
)

__all__ = ["Dispatch", "Kind", "mixed"]

P = ParamSpec("P")
R = TypeVar("R")
Linear: TypeAlias = Array | ad.UndefinedPrimal  # what a transpose is taken in has no value


def mixed(
    op: Int[Array, ""],
    gate: Float[Array, "N H W C"],
    x: Float[Array, "N H W C"],
    kernels: tuple[Float[Array, "_ _ C C"], ...],
    dispatch: Dispatch,
    bias: Float[Array, " C"] | None = None,
) -> Float[Array, "N H W C"]:
    """Return the op-th map of `dispatch` applied to x, plus the bias.

    Args:
        op: The number of the op.
        gate: Convolutions see 0 where it is at most 0, and x elsewhere; it has no derivative.
        x: The images.
        kernels: One for each convolution among the ops, in their order.
        dispatch: The ops.
        bias: Added whatever the op; None for 0.
    """
    offsets = () if bias is None else (bias,)
    dispatch = dispatch._replace(precision=product_precision())
    out: Array = _mixed_p.bind(op, lax.stop_gradient(gate), x, *kernels, *offsets, dispatch=dispatch)[0]
    return out


def _mixed(apply: ImageMap, op: Array, gate: Array, x: Array, *kernels: Array, dispatch: Dispatch) -> tuple[Array]:
    """Run the chosen op alone, for one architecture."""
    matrices, offsets = split_operands(dispatch, kernels)
    by_op = zip(dispatch.kinds, kernel_of(dispatch, matrices), strict=True)
    out = lax.switch(op, [partial(apply, kind, kernel=kernel) for kind, kernel in by_op], gate, x)
    return (sum((bias[None, None, None] for bias in offsets), start=out),)


def _mixed_kernels(op: Array, gate: Array, x: Array, g: Array, *, dispatch: Dispatch) -> tuple[Array, ...]:
    """Return the cotangent of the chosen kernel and 0 for the others, for one architecture."""
    shapes = [(kind, kind, x.shape[-1], g.shape[-1]) for kind in dispatch.kinds if isinstance(kind, int)]

    def branch(chosen: int | None, gate: Array, x: Array, g: Array) -> tuple[Array, ...]:
        return tuple(
            conv_kernel(rectified(shape[0], gate, x), g, shape[0]) if number == chosen else jnp.zeros(shape, x.dtype)
            for number, shape in enumerate(shapes)
        )

    numbers = iter(range(len(shapes)))
    chosen = [next(numbers) if isinstance(kind, int) else None for kind in dispatch.kinds]
    cotangents: tuple[Array, ...] = lax.switch(op, [partial(branch, number) for number in chosen], gate, x, g)
    return cotangents


def _batched_mixed(
    apply: ImageMap, args: Sequence[Array], axes: Axes, *, dispatch: Dispatch
) -> tuple[tuple[Array], tuple[int]]:
    """Run each op on the architectures that chose it."""
    (op, gate, x, *operands), (_, _, _, *operand_axes) = leading(args, axes, always=3), axes
    pairs = zip(operands, operand_axes, strict=True)
    with_axis = [operand[None] if axis is None else operand for operand, axis in pairs]
    kernels, offsets = split_operands(dispatch, with_axis)
    if dispatch.fused:
        return (_fused_mixed(apply, op, gate, [(x, kernels)], offsets, dispatch),), (0,)
    out = grouped.map_images(apply, op, gate, x, kernels, dispatch)
    return (sum((bias[:, None, None, None] for bias in offsets), start=out),), (0,)


def _fused_mixed(
    apply: ImageMap,
    op: Array,
    gate: Array,
    terms: Sequence[tuple[Array, Sequence[Array]]],
    offsets: Sequence[Array],
    dispatch: Dispatch,
) -> Array:
    """Return the maps of all architectures, of one term or two, by a kernel of their own."""
    from jaxnas.networks.kernels import fused

    out: Array = fused.map_images(
        op,
        gate,
        tuple(fused.Term(x, tuple(kernels)) for x, kernels in terms),
        jnp.broadcast_to(offsets[0], (len(op), gate.shape[-1])) if offsets else None,
        kinds=dispatch.kinds,
        transposed=apply is apply_transpose,
        precision=dispatch.precision,
    )
    return out


def _pair(op: Array, gate: Array, x: Array, y: Array, *kernels: Array, dispatch: Dispatch) -> tuple[Array]:
    """Return the maps of x by half of the kernels, plus those of y that are linear in the other half."""
    half = len(kernels) // 2
    first = _mixed_p.bind(op, gate, x, *kernels[:half], dispatch=dispatch)[0]
    return (first + _mixed_p.bind(op, gate, y, *kernels[half:], dispatch=dispatch.convolutions)[0],)


def _batched_pair(args: Sequence[Array], axes: Axes, *, dispatch: Dispatch) -> tuple[tuple[Array], tuple[int]]:
    """Compute both terms in one pass over memory, if they have a kernel of their own."""
    if not dispatch.fused:
        return jax.vmap(partial(_pair, dispatch=dispatch), axes)(*args), (0,)
    (op, gate, x, y, *kernels), half = leading(args, axes, always=4), len(args) // 2 - 2
    kernels = [kernel[None] if axis is None else kernel for kernel, axis in zip(kernels, axes[4:], strict=True)]
    terms = ((x, kernels[:half]), (y, kernels[half:]))
    return (_fused_mixed(apply_op, op, gate, terms, (), dispatch),), (0,)


def _batched_kernels(
    args: Sequence[Array], axes: Axes, *, dispatch: Dispatch
) -> tuple[tuple[Array, ...], tuple[int, ...]]:
    """Return the cotangents of kernels, each computed for the group of architectures that chose its op."""
    op, gate, x, g = leading(args, axes, always=4)
    outs = []
    for number, size in enumerate(dispatch.kinds):
        if isinstance(size, int):
            members = grouped.group(op, number, dispatch)
            if len(members):
                gradients = _gradients(members, gate, x, g, size, dispatch)
                outs.append(grouped.from_group(op, number, gradients))
            else:
                outs.append(jnp.zeros((len(op), size, size, x.shape[-1], g.shape[-1]), x.dtype))
    return tuple(outs), (0,) * len(outs)


def _gradients(members: Array, gate: Array, x: Array, g: Array, size: int, dispatch: Dispatch) -> Array:
    """Return the cotangents of the kernels of these architectures."""
    if not dispatch.fused:
        return grouped.kernel_gradients(members, gate, x, g, size)
    from jaxnas.networks.kernels import fused

    gradients: Array = fused.kernel_gradients(members, gate, x, g, size=size, precision=dispatch.precision)
    return gradients


def _primitive(
    name: str,
    function: Callable[..., tuple[Array, ...]],
    batched: Callable[..., tuple[tuple[Array, ...], tuple[int, ...]]],
) -> Primitive:
    """Return a primitive that is evaluated and lowered as `function` and batched as `batched`."""
    function, batched = _in_precision_of_dispatch(function), _in_precision_of_dispatch(batched)
    primitive = Primitive(name)
    primitive.multiple_results = True
    primitive.def_impl(jax.jit(function, static_argnames="dispatch"))
    primitive.def_abstract_eval(partial(_abstract, function))
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=True))
    batching.primitive_batchers[primitive] = batched
    return primitive


def _in_precision_of_dispatch(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function for batching and lowering, which may happen after the caller has left its precision."""

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        dispatch = options["dispatch"]
        assert isinstance(dispatch, Dispatch)
        with jax.default_matmul_precision(dispatch.precision):
            return function(*args, **options)

    return call


def _abstract(function: Callable[..., tuple[Array, ...]], *avals: ShapedArray, dispatch: Dispatch) -> list[ShapedArray]:
    shapes = jax.eval_shape(partial(function, dispatch=dispatch), *avals)
    return [ShapedArray(shape.shape, shape.dtype) for shape in shapes]


_mixed_p = _primitive("mixed", partial(_mixed, apply_op), partial(_batched_mixed, apply_op))
_mixed_input_p = _primitive("mixed_input", partial(_mixed, apply_transpose), partial(_batched_mixed, apply_transpose))
_mixed_kernels_p = _primitive("mixed_kernels", _mixed_kernels, _batched_kernels)
_mixed_pair_p = _primitive("mixed_pair", _pair, _batched_pair)


def _jvp_of_images(
    primitive: Primitive, primals: Sequence[Array], tangents: Sequence[Array | ad.Zero], *, dispatch: Dispatch
) -> tuple[list[Array], list[Array]]:
    (op, gate, x, *operands), (_, _, x_dot, *dots) = primals, tangents
    out = primitive.bind(op, gate, x, *operands, dispatch=dispatch)[0]
    (kernels, _), (kernel_dots, bias_dots) = (split_operands(dispatch, parts) for parts in (operands, dots))
    terms: list[Array] = []
    moves_x = not isinstance(x_dot, ad.Zero)
    moves_kernels = not all(isinstance(dot, ad.Zero) for dot in kernel_dots)
    instantiated = list(map(ad.instantiate_zeros, kernel_dots))
    if moves_x and moves_kernels and primitive is _mixed_p:
        terms += _mixed_pair_p.bind(op, gate, x_dot, x, *kernels, *instantiated, dispatch=dispatch)
    else:
        if moves_x:
            terms += primitive.bind(op, gate, x_dot, *kernels, dispatch=dispatch)
        if moves_kernels:
            terms += primitive.bind(op, gate, x, *instantiated, dispatch=dispatch.convolutions)
    biases = [dot[None, None, None] for dot in bias_dots if not isinstance(dot, ad.Zero)]
    terms += [jnp.broadcast_to(dot, out.shape) for dot in biases]
    return [out], [sum(terms[1:], terms[0])]


def _jvp_of_kernels(
    primals: Sequence[Array], tangents: Sequence[Array | ad.Zero], *, dispatch: Dispatch
) -> tuple[list[Array], list[Array]]:
    (op, gate, x, g), (_, _, x_dot, g_dot) = primals, tangents
    outs = _mixed_kernels_p.bind(op, gate, x, g, dispatch=dispatch)
    terms: list[list[Array]] = []
    if not isinstance(x_dot, ad.Zero):
        terms.append(_mixed_kernels_p.bind(op, gate, x_dot, g, dispatch=dispatch))
    if not isinstance(g_dot, ad.Zero):
        terms.append(_mixed_kernels_p.bind(op, gate, x, g_dot, dispatch=dispatch))
    return outs, [sum(parts[1:], parts[0]) for parts in zip(*terms, strict=True)]


def _transpose_of_images(
    transposed: Primitive,
    cotangents: Sequence[Array],
    op: Array,
    gate: Array,
    x: Linear,
    *kernels: Linear,
    dispatch: Dispatch,
) -> list[Array | None]:
    (g,) = cotangents
    if ad.is_undefined_primal(x):
        return [None, None, *transposed.bind(op, gate, g, *kernels, dispatch=dispatch), *[None] * len(kernels)]
    pair = (x, g) if transposed is _mixed_input_p else (g, x)
    return [None, None, None, *_mixed_kernels_p.bind(op, gate, *pair, dispatch=dispatch)]


def _transpose_of_kernels(
    cotangents: Sequence[Array | ad.Zero], op: Array, gate: Array, x: Linear, g: Linear, *, dispatch: Dispatch
) -> list[Array | None]:
    kernels = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
    if ad.is_undefined_primal(x):
        return [None, None, *_mixed_input_p.bind(op, gate, g, *kernels, dispatch=dispatch.convolutions), None]
    return [None, None, None, *_mixed_p.bind(op, gate, x, *kernels, dispatch=dispatch.convolutions)]


def _jvp_of_pair(
    primals: Sequence[Array], tangents: Sequence[Array | ad.Zero], *, dispatch: Dispatch
) -> tuple[tuple[Array], tuple[Array]]:
    op, gate, *operands = primals
    dots = [ad.instantiate_zeros(dot) for dot in tangents[2:]]
    return jax.jvp(partial(_pair, op, gate, dispatch=dispatch), operands, dots)


def _transpose_of_pair(
    cotangents: Sequence[Array], op: Array, gate: Array, x: Linear, y: Linear, *kernels: Linear, dispatch: Dispatch
) -> list[Array | None]:
    (g,), half = cotangents, len(kernels) // 2
    images: list[Array | None] = []
    of_kernels: list[Array | None] = []
    of_terms = ((x, kernels[:half], dispatch), (y, kernels[half:], dispatch.convolutions))
    for image, its_kernels, its_dispatch in of_terms:
        is_linear = ad.is_undefined_primal(image)
        images += _mixed_input_p.bind(op, gate, g, *its_kernels, dispatch=its_dispatch) if is_linear else [None]
        has_linear = any(map(ad.is_undefined_primal, its_kernels))
        of_kernels += _mixed_kernels_p.bind(op, gate, image, g, dispatch=dispatch) if has_linear else [None] * half
    return [None, None, *images, *of_kernels]


ad.primitive_jvps[_mixed_pair_p] = _jvp_of_pair
ad.primitive_transposes[_mixed_pair_p] = _transpose_of_pair
ad.primitive_jvps[_mixed_p] = partial(_jvp_of_images, _mixed_p)
ad.primitive_jvps[_mixed_input_p] = partial(_jvp_of_images, _mixed_input_p)
ad.primitive_jvps[_mixed_kernels_p] = _jvp_of_kernels
ad.primitive_transposes[_mixed_p] = partial(_transpose_of_images, _mixed_input_p)
ad.primitive_transposes[_mixed_input_p] = partial(_transpose_of_images, _mixed_p)
ad.primitive_transposes[_mixed_kernels_p] = _transpose_of_kernels
