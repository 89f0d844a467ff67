"""One op out of several, chosen by number: a `switch` for one architecture, grouped dense work for a batch of them.

Under `vmap`, `lax.switch` computes every branch for every architecture. The maps below are linear in the image and in
the kernels, are closed under differentiation like those of `convolution`, and batch differently: the architectures
that chose an op are gathered, the op runs once on them as one dense batch, and its results are scattered back.

    y        = mixed(op, x, kernels)            by op: 0, x, x * kernel, or the 3x3 average of x
    dx       = mixed_input(op, g, kernels)      the transpose of y in x
    dkernels = mixed_kernels(op, x, g)          the transpose of y in the kernels; 0 for those not chosen

A `Dispatch` holds the kind of each op, and for a batch of architectures how many may choose it: that is the size of its
group, which XLA must know when it compiles. More that chose an op than it admits would get 0.

For one architecture after another a `switch` is best as it is, except for what it keeps for a backward pass:
`add_switch`, `add_switch_backwards`, and `add_chosen` for either.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxnas.networks.kernels.convolution import conv, conv_input, conv_kernel
from jaxnas.networks.kernels.pools import average_pool_3x3, average_pool_3x3_transpose

Kind: TypeAlias = Literal["zero", "identity", "pool"] | int  # an int is the size of the kernel of a convolution
Axes: TypeAlias = tuple[int | None, ...]
Linear: TypeAlias = Array | ad.UndefinedPrimal  # what a transpose is taken in has no value
Rest = TypeVar("Rest", bound=PyTree)
Item = TypeVar("Item")


@runtime_checkable
class ImageMap(Protocol):
    """A map of an image, or its transpose."""

    def __call__(self, kind: Kind, x: Array, /, kernel: Array | None) -> Array:
        """Return the map of that kind, applied to x [N H W C]."""
        ...


class Dispatch(NamedTuple):
    """The kind of each op, and how many architectures of a batch may choose it.

    Attributes:
        kinds: The kind of each op; an int is the size of the kernel of a convolution.
        capacity: How many may choose each op; None: all of them.
    """

    kinds: tuple[Kind, ...]
    capacity: tuple[int, ...] | None = None

    @property
    def convolutions(self) -> "Dispatch":
        """The same with 0 for the ops that have no kernel: what is linear in the kernels."""
        return self._replace(kinds=tuple(kind if isinstance(kind, int) else "zero" for kind in self.kinds))


def mixed(
    op: Int[Array, ""], x: Float[Array, "N H W C"], kernels: tuple[Float[Array, "_ _ C C"], ...], dispatch: Dispatch
) -> Float[Array, "N H W C"]:
    """Return the op-th map of `dispatch` applied to x; one kernel for each convolution among them, in their order."""
    out: Array = _mixed_p.bind(op, x, *kernels, dispatch=dispatch)[0]
    return out


def _forward(kind: Kind, x: Array, kernel: Array | None) -> Array:
    return _image_map(kind, x, kernel, conv, average_pool_3x3)


def _backward(kind: Kind, g: Array, kernel: Array | None) -> Array:
    return _image_map(kind, g, kernel, conv_input, average_pool_3x3_transpose)


def _image_map(
    kind: Kind,
    x: Array,
    kernel: Array | None,
    convolution: Callable[[Array, Array], Array],
    pool: Callable[[Array], Array],
) -> Array:
    if kind == "zero":
        return jnp.zeros_like(x)
    if kind == "identity":
        return x
    if kind == "pool":
        return pool(x)
    assert kernel is not None, "convolutions have one"
    return convolution(x, kernel)


def _mixed(apply: ImageMap, op: Array, x: Array, *kernels: Array, dispatch: Dispatch) -> tuple[Array]:
    """Run the chosen op alone, for one architecture."""
    by_op = zip(dispatch.kinds, _kernel_of(dispatch, kernels), strict=True)
    return (lax.switch(op, [partial(apply, kind, kernel=kernel) for kind, kernel in by_op], x),)


def _mixed_kernels(op: Array, x: Array, g: Array, *, dispatch: Dispatch) -> tuple[Array, ...]:
    """Return the cotangent of the chosen kernel and 0 for the others, for one architecture."""
    shapes = [(kind, kind, x.shape[-1], g.shape[-1]) for kind in dispatch.kinds if isinstance(kind, int)]

    def branch(chosen: int | None, x: Array, g: Array) -> tuple[Array, ...]:
        return tuple(
            conv_kernel(x, g, shape[0]) if number == chosen else jnp.zeros(shape, x.dtype)
            for number, shape in enumerate(shapes)
        )

    numbers = iter(range(len(shapes)))
    chosen = [next(numbers) if isinstance(kind, int) else None for kind in dispatch.kinds]
    cotangents: tuple[Array, ...] = lax.switch(op, [partial(branch, number) for number in chosen], x, g)
    return cotangents


def _kernel_of(dispatch: Dispatch, kernels: Iterable[Item]) -> list[Item | None]:
    """Return for every op its kernel, or None."""
    remaining = iter(kernels)
    return [next(remaining) if isinstance(kind, int) else None for kind in dispatch.kinds]


def _batched_mixed(
    apply: ImageMap, args: Sequence[Array], axes: Axes, *, dispatch: Dispatch
) -> tuple[tuple[Array], tuple[int]]:
    """Run each op on the group of architectures that chose it."""
    (op, x, *kernels), (_, _, *kernel_axes) = _leading(args, axes, always=2), axes
    identity = [number for number, kind in enumerate(dispatch.kinds) if kind == "identity"]
    out = jnp.where(_is_one_of(op, identity, x), x, 0)
    kernel_of = _kernel_of(dispatch, zip(kernels, kernel_axes, strict=True))
    for number, (kind, kernel) in enumerate(zip(dispatch.kinds, kernel_of, strict=True)):
        members = _group(op, number, dispatch)
        if kind in ("zero", "identity") or not len(members):
            continue
        shared, axis = kernel or (None, None)
        if shared is not None and axis is not None:
            result = jax.vmap(partial(apply, kind))(_take(x, members), _take(shared, members))
        else:
            result = jax.vmap(partial(apply, kind, kernel=shared))(_take(x, members))
        out = out.at[members].set(result, mode="drop")
    return (out,), (0,)


def _batched_kernels(
    args: Sequence[Array], axes: Axes, *, dispatch: Dispatch
) -> tuple[tuple[Array, ...], tuple[int, ...]]:
    """Return the cotangents of kernels, each computed for the group of architectures that chose its op."""
    op, x, g = _leading(args, axes, always=3)
    outs = []
    for number, size in enumerate(dispatch.kinds):
        if isinstance(size, int):
            out = jnp.zeros((len(op), size, size, x.shape[-1], g.shape[-1]), x.dtype)
            members = _group(op, number, dispatch)
            if len(members):
                result = jax.vmap(partial(conv_kernel, size=size))(_take(x, members), _take(g, members))
                out = out.at[members].set(result, mode="drop")
            outs.append(out)
    return tuple(outs), (0,) * len(outs)


def _leading(args: Sequence[Array], axes: Axes, *, always: int) -> list[Array]:
    """Return the arguments with the batch axis in front; the first `always` of them get one if they have none."""
    size = next(arg.shape[axis] for arg, axis in zip(args, axes, strict=True) if axis is not None)
    moved = []
    for number, (arg, axis) in enumerate(zip(args, axes, strict=True)):
        if axis is None and number < always:
            arg = jnp.broadcast_to(arg, (size, *jnp.shape(arg)))
        moved.append(arg if axis is None else jnp.moveaxis(arg, axis, 0))
    return moved


def _is_one_of(op: Int[Array, " A"], numbers: list[int], x: Array) -> Bool[Array, "A ..."]:
    """Return which ops are among the numbers, with the axes of x."""
    found: Array = sum((op == number for number in numbers), start=jnp.zeros(len(op), bool))
    return found.reshape(-1, *[1] * (x.ndim - 1))


def _group(op: Int[Array, " A"], number: int, dispatch: Dispatch) -> Int[Array, " G"]:
    """Return the rows that chose op `number`, as many as its capacity, filled up with a row that does not exist."""
    capacity = len(op) if dispatch.capacity is None else min(dispatch.capacity[number], len(op))
    return jnp.flatnonzero(op == number, size=capacity, fill_value=len(op))


def _take(x: Array, rows: Int[Array, " G"]) -> Array:
    """Return these rows of x, 0 for one that does not exist."""
    return x.at[rows].get(mode="fill", fill_value=0)


def _primitive(
    name: str,
    function: Callable[..., tuple[Array, ...]],
    batched: Callable[..., tuple[tuple[Array, ...], tuple[int, ...]]],
) -> Primitive:
    """Return a primitive that is evaluated and lowered as `function` and batched as `batched`."""
    primitive = Primitive(name)
    primitive.multiple_results = True
    primitive.def_impl(jax.jit(function, static_argnames="dispatch"))
    primitive.def_abstract_eval(partial(_abstract, function))
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=True))
    batching.primitive_batchers[primitive] = batched
    return primitive


def _abstract(function: Callable[..., tuple[Array, ...]], *avals: ShapedArray, dispatch: Dispatch) -> list[ShapedArray]:
    shapes = jax.eval_shape(partial(function, dispatch=dispatch), *avals)
    return [ShapedArray(shape.shape, shape.dtype) for shape in shapes]


_mixed_p = _primitive("mixed", partial(_mixed, _forward), partial(_batched_mixed, _forward))
_mixed_input_p = _primitive("mixed_input", partial(_mixed, _backward), partial(_batched_mixed, _backward))
_mixed_kernels_p = _primitive("mixed_kernels", _mixed_kernels, _batched_kernels)


def _jvp_of_images(
    primitive: Primitive, primals: Sequence[Array], tangents: Sequence[Array | ad.Zero], *, dispatch: Dispatch
) -> tuple[list[Array], list[Array]]:
    (op, x, *kernels), (_, x_dot, *kernel_dots) = primals, tangents
    out = primitive.bind(op, x, *kernels, dispatch=dispatch)[0]
    terms: list[Array] = []
    if not isinstance(x_dot, ad.Zero):
        terms += primitive.bind(op, x_dot, *kernels, dispatch=dispatch)
    if not all(isinstance(dot, ad.Zero) for dot in kernel_dots):
        instantiated = map(ad.instantiate_zeros, kernel_dots)
        terms += primitive.bind(op, x, *instantiated, dispatch=dispatch.convolutions)
    return [out], [sum(terms[1:], terms[0])]


def _jvp_of_kernels(
    primals: Sequence[Array], tangents: Sequence[Array | ad.Zero], *, dispatch: Dispatch
) -> tuple[list[Array], list[Array]]:
    (op, x, g), (_, x_dot, g_dot) = primals, tangents
    outs = _mixed_kernels_p.bind(op, x, g, dispatch=dispatch)
    terms: list[list[Array]] = []
    if not isinstance(x_dot, ad.Zero):
        terms.append(_mixed_kernels_p.bind(op, x_dot, g, dispatch=dispatch))
    if not isinstance(g_dot, ad.Zero):
        terms.append(_mixed_kernels_p.bind(op, x, g_dot, dispatch=dispatch))
    return outs, [sum(parts[1:], parts[0]) for parts in zip(*terms, strict=True)]


def _transpose_of_images(
    transposed: Primitive, cotangents: Sequence[Array], op: Array, x: Linear, *kernels: Linear, dispatch: Dispatch
) -> list[Array | None]:
    (g,) = cotangents
    if ad.is_undefined_primal(x):
        return [None, *transposed.bind(op, g, *kernels, dispatch=dispatch), *[None] * len(kernels)]
    pair = (x, g) if transposed is _mixed_input_p else (g, x)
    return [None, None, *_mixed_kernels_p.bind(op, *pair, dispatch=dispatch)]


def _transpose_of_kernels(
    cotangents: Sequence[Array | ad.Zero], op: Array, x: Linear, g: Linear, *, dispatch: Dispatch
) -> list[Array | None]:
    kernels = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
    if ad.is_undefined_primal(x):
        return [None, *_mixed_input_p.bind(op, g, *kernels, dispatch=dispatch.convolutions), None]
    return [None, None, *_mixed_p.bind(op, x, *kernels, dispatch=dispatch.convolutions)]


ad.primitive_jvps[_mixed_p] = partial(_jvp_of_images, _mixed_p)
ad.primitive_jvps[_mixed_input_p] = partial(_jvp_of_images, _mixed_input_p)
ad.primitive_jvps[_mixed_kernels_p] = _jvp_of_kernels
ad.primitive_transposes[_mixed_p] = partial(_transpose_of_images, _mixed_input_p)
ad.primitive_transposes[_mixed_input_p] = partial(_transpose_of_images, _mixed_p)
ad.primitive_transposes[_mixed_kernels_p] = _transpose_of_kernels


Branch: TypeAlias = Callable[..., tuple[Array, Rest]]  # of the operands, to y and the rest


def add_switch(
    op: Int[Array, ""], branches: tuple[Branch[Rest], ...], total: Array | None, *operands: PyTree
) -> tuple[Array, Rest]:
    """Return (total + y, the rest) for (y, the rest) of the chosen branch, in one pass over memory."""
    result: tuple[Array, Rest] = lax.switch(op, [partial(_add, branch) for branch in branches], total, *operands)
    return result


def _add(branch: Branch[Rest], total: Array | None, *operands: PyTree) -> tuple[Array, Rest]:
    out, rest = branch(*operands)
    return (out if total is None else total + out), rest


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def add_switch_backwards(
    op: Int[Array, ""], branches: tuple[Branch[PyTree], ...], total: Array | None, *operands: PyTree
) -> tuple[Array, PyTree]:
    """Do as `add_switch` does, with a reverse derivative alone.

    Backwards, the chosen branch is computed again from its operands. A `switch` itself keeps what any branch needs for
    the way back, and fills with zeros what the chosen one does not.
    """
    return add_switch(op, branches, total, *operands)


_Kept: TypeAlias = tuple[Array, tuple[PyTree, ...], tuple[()] | None]  # op, operands, () if there is a total


def _keep_operands(
    op: Array, branches: tuple[Branch[PyTree], ...], total: Array | None, *operands: PyTree
) -> tuple[tuple[Array, PyTree], _Kept]:
    return add_switch(op, branches, total, *operands), (op, operands, None if total is None else ())


def _pull_back(
    branches: tuple[Branch[PyTree], ...], kept: _Kept, cotangents: tuple[Array, PyTree]
) -> tuple[PyTree, ...]:
    op, operands, has_total = kept

    def pullback(branch: Branch[PyTree]) -> Callable[[PyTree, PyTree], tuple[PyTree, ...]]:
        return lambda operands, cotangents: jax.vjp(branch, *operands)[1](cotangents)

    of_total = None if has_total is None else cotangents[0]
    return None, of_total, *lax.switch(op, [pullback(branch) for branch in branches], operands, cotangents)


add_switch_backwards.defvjp(_keep_operands, _pull_back)


def add_chosen(
    op: Int[Array, ""], branches: tuple[Branch[Rest], ...], total: Array | None, *operands: PyTree, reverse: bool
) -> tuple[Array, Rest]:
    """Return `add_switch_backwards` of the arguments where only `reverse` derivatives are taken, else `add_switch`."""
    if reverse:
        result: tuple[Array, Rest] = add_switch_backwards(op, branches, total, *operands)
        return result
    return add_switch(op, branches, total, *operands)
