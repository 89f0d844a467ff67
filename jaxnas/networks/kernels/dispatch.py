"""One op out of several, chosen by number: a `switch` for one architecture, grouped dense work for a batch of them.

Under `vmap`, `lax.switch` computes every branch for every architecture. The maps below are linear in the image and in
the kernels, are closed under differentiation like those of `convolution`, and batch otherwise: the architectures that
chose an op are gathered, the op runs once on them as one dense batch, and its results are scattered back.

    y        = mixed(op, x, kernels)            by op: 0, x, x * kernel, or the 3x3 average of x
    dx       = mixed_input(op, g, kernels)      the transpose of y in x
    dkernels = mixed_kernels(op, x, g)          the transpose of y in the kernels; 0 for those not chosen

A `Dispatch` says which kind each op is, and for a batch of architectures how many may choose it: that is its group's
size, which XLA must know when it compiles. More that chose an op than it admits would get 0.

For one architecture after another a `switch` is best as it is, but for what it keeps for a backward pass: `add_switch`
and `add_switch_backwards`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float, Int

from jaxnas.networks.kernels.convolution import conv, conv_input, conv_kernel
from jaxnas.networks.kernels.pools import average_pool_3x3, average_pool_3x3_transpose

Kind = Literal["zero", "identity", "pool"] | int  # an int is the size of a convolution's kernel


class Dispatch(NamedTuple):
    """What each op does, and how many architectures of a batch may choose it (None: all of them)."""

    kinds: tuple[Kind, ...]
    capacity: tuple[int, ...] | None = None

    @property
    def convolutions(self) -> "Dispatch":
        """The same with 0 for the ops that have no kernel: what is linear in the kernels."""
        return self._replace(kinds=tuple(kind if isinstance(kind, int) else "zero" for kind in self.kinds))


def mixed(
    op: Int[Array, ""], x: Float[Array, "N H W C"], kernels: tuple[Float[Array, "k k C C"], ...], dispatch: Dispatch
) -> Float[Array, "N H W C"]:
    """The op-th map of `dispatch` applied to x; one kernel for each convolution among them, in their order."""
    return _mixed_p.bind(op, x, *kernels, dispatch=dispatch)[0]


def _forward(kind, x, kernel):
    return _image_map(kind, x, kernel, conv, average_pool_3x3)


def _backward(kind, g, kernel):
    return _image_map(kind, g, kernel, conv_input, average_pool_3x3_transpose)


def _image_map(kind, x, kernel, convolution, pool):
    if kind == "zero":
        return jnp.zeros_like(x)
    if kind == "identity":
        return x
    return pool(x) if kind == "pool" else convolution(x, kernel)


def _mixed(apply, op, x, *kernels, dispatch):
    """Of one architecture: only the chosen op runs."""
    kernel_of = _kernel_of(dispatch, kernels)
    return (
        lax.switch(op, [partial(apply, kind, kernel=k) for kind, k in zip(dispatch.kinds, kernel_of, strict=True)], x),
    )


def _mixed_kernels(op, x, g, *, dispatch):
    """Of one architecture: the cotangent of the chosen kernel, 0 for the others."""
    shapes = [(size, size, x.shape[-1], g.shape[-1]) for size in _sizes(dispatch)]

    def branch(chosen, x, g):
        of_each = range(len(shapes))
        return tuple(conv_kernel(x, g, shapes[i][0]) if i == chosen else jnp.zeros(shapes[i], x.dtype) for i in of_each)

    numbers = iter(range(len(shapes)))
    chosen = [next(numbers) if isinstance(kind, int) else None for kind in dispatch.kinds]
    return lax.switch(op, [partial(branch, number) for number in chosen], x, g)


def _sizes(dispatch):
    return [kind for kind in dispatch.kinds if isinstance(kind, int)]


def _kernel_of(dispatch, kernels):
    """For every op its kernel, or None."""
    kernels = iter(kernels)
    return [next(kernels) if isinstance(kind, int) else None for kind in dispatch.kinds]


def _batched_mixed(apply, args, axes, *, dispatch):
    """Of a batch: each op on the group that chose it."""
    (op, x, *kernels), (_, _, *kernel_axes) = _leading(args, axes, always=2), axes
    identity = [number for number, kind in enumerate(dispatch.kinds) if kind == "identity"]
    out = jnp.where(_is_one_of(op, identity, x), x, 0)
    kernel_of = _kernel_of(dispatch, zip(kernels, kernel_axes, strict=True))
    for number, (kind, kernel) in enumerate(zip(dispatch.kinds, kernel_of, strict=True)):
        members = _group(op, number, dispatch)
        if kind in ("zero", "identity") or not len(members):
            continue
        kernel, axis = kernel or (None, None)
        if axis is not None:
            result = jax.vmap(partial(apply, kind))(_take(x, members), _take(kernel, members))
        else:
            result = jax.vmap(lambda x, kind=kind, kernel=kernel: apply(kind, x, kernel))(_take(x, members))
        out = out.at[members].set(result, mode="drop")
    return (out,), (0,)


def _batched_kernels(args, axes, *, dispatch):
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


def _leading(args, axes, *, always):
    """The batch axis in front; the first `always` arguments get one if they have none."""
    size = next(arg.shape[axis] for arg, axis in zip(args, axes, strict=True) if axis is not None)
    moved = []
    for number, (arg, axis) in enumerate(zip(args, axes, strict=True)):
        if axis is None and number < always:
            arg = jnp.broadcast_to(arg, (size, *jnp.shape(arg)))
        moved.append(arg if axis is None else jnp.moveaxis(arg, axis, 0))
    return moved


def _is_one_of(op, numbers, x):
    found = sum((op == number for number in numbers), start=jnp.zeros(len(op), bool))
    return found.reshape(-1, *[1] * (x.ndim - 1))


def _group(op, number, dispatch):
    """Rows that chose op `number`, as many as its capacity; places left over hold a row that does not exist."""
    capacity = len(op) if dispatch.capacity is None else min(dispatch.capacity[number], len(op))
    return jnp.flatnonzero(op == number, size=capacity, fill_value=len(op))


def _take(x, rows):
    return x.at[rows].get(mode="fill", fill_value=0)


def _primitive(name: str, function: Callable, batched: Callable) -> Primitive:
    primitive = Primitive(name)
    primitive.multiple_results = True
    primitive.def_impl(jax.jit(function, static_argnames="dispatch"))
    primitive.def_abstract_eval(partial(_abstract, function))
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=True))
    batching.primitive_batchers[primitive] = batched
    return primitive


def _abstract(function, *avals, dispatch):
    shapes = jax.eval_shape(partial(function, dispatch=dispatch), *avals)
    return [jax.core.ShapedArray(shape.shape, shape.dtype) for shape in shapes]


_mixed_p = _primitive("mixed", partial(_mixed, _forward), partial(_batched_mixed, _forward))
_mixed_input_p = _primitive("mixed_input", partial(_mixed, _backward), partial(_batched_mixed, _backward))
_mixed_kernels_p = _primitive("mixed_kernels", _mixed_kernels, _batched_kernels)


def _jvp_of_images(primitive, primals, tangents, *, dispatch):
    (op, x, *kernels), (_, x_dot, *kernel_dots) = primals, tangents
    out = primitive.bind(op, x, *kernels, dispatch=dispatch)[0]
    terms = []
    if not isinstance(x_dot, ad.Zero):
        terms += primitive.bind(op, x_dot, *kernels, dispatch=dispatch)
    if not all(isinstance(dot, ad.Zero) for dot in kernel_dots):
        kernel_dots = map(ad.instantiate_zeros, kernel_dots)
        terms += primitive.bind(op, x, *kernel_dots, dispatch=dispatch.convolutions)
    return [out], [sum(terms[1:], terms[0])]


def _jvp_of_kernels(primals, tangents, *, dispatch):
    (op, x, g), (_, x_dot, g_dot) = primals, tangents
    outs = _mixed_kernels_p.bind(op, x, g, dispatch=dispatch)
    terms = []
    if not isinstance(x_dot, ad.Zero):
        terms.append(_mixed_kernels_p.bind(op, x_dot, g, dispatch=dispatch))
    if not isinstance(g_dot, ad.Zero):
        terms.append(_mixed_kernels_p.bind(op, x, g_dot, dispatch=dispatch))
    return outs, [sum(of_kernel[1:], of_kernel[0]) for of_kernel in zip(*terms, strict=True)]


def _transpose_of_images(transposed, cotangents, op, x, *kernels, dispatch):
    (g,) = cotangents
    if ad.is_undefined_primal(x):
        return [None, *transposed.bind(op, g, *kernels, dispatch=dispatch), *[None] * len(kernels)]
    pair = (x, g) if transposed is _mixed_input_p else (g, x)
    return [None, None, *_mixed_kernels_p.bind(op, *pair, dispatch=dispatch)]


def _transpose_of_kernels(cotangents, op, x, g, *, dispatch):
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


def add_switch(op: Int[Array, ""], branches: tuple[Callable, ...], total: Array | None, *operands: Any) -> Any:
    """(total + y, the rest) for the chosen branch's (y, the rest): the sum and the branch in one go over memory."""
    return lax.switch(op, [partial(_add, branch) for branch in branches], total, *operands)


def _add(branch, total, *operands):
    out, rest = branch(*operands)
    return (out if total is None else total + out), rest


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def add_switch_backwards(op, branches, total, *operands):
    """`add_switch` with a reverse derivative alone: backwards, the chosen branch is computed again from its operands.

    A `switch` itself keeps what any branch needs for the way back, and fills with zeros what the chosen one does not.
    """
    return add_switch(op, branches, total, *operands)


def _keep_operands(op, branches, total, *operands):
    return add_switch(op, branches, total, *operands), (op, operands, None if total is None else ())


def _pull_back(branches, kept, cotangents):
    op, operands, has_total = kept

    def pullback(branch):
        return lambda operands, cotangents: jax.vjp(branch, *operands)[1](cotangents)

    of_total = None if has_total is None else cotangents[0]
    return None, of_total, *lax.switch(op, [pullback(branch) for branch in branches], operands, cotangents)


add_switch_backwards.defvjp(_keep_operands, _pull_back)
