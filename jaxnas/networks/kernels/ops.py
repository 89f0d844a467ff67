"""The ops of an edge that `dispatch` chooses among: linear maps of an image, and their transposes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array

from jaxnas.networks.kernels.convolution import conv, conv_input
from jaxnas.networks.kernels.pools import average_pool_3x3, average_pool_3x3_transpose

Kind: TypeAlias = Literal["zero", "identity", "pool"] | int  # an int is the size of the kernel of a convolution
Item = TypeVar("Item")


@runtime_checkable
class ImageMap(Protocol):
    """A map of an image, or its transpose."""

    def __call__(self, kind: Kind, gate: Array, x: Array, /, kernel: Array | None) -> Array:
        """Return the map of that kind, applied to x [N H W C]."""
        ...


class Dispatch(NamedTuple):
    """The kind of each op, and how many architectures of a batch may choose it.

    Attributes:
        kinds: The kind of each op; an int is the size of the kernel of a convolution.
        capacity: How many may choose each op; None: all of them.
        fused: Whether a batch has kernels of its own.
        precision: Of products, which `mixed` sets to that of its caller.
    """

    kinds: tuple[Kind, ...]
    capacity: tuple[int, ...] | None = None
    fused: bool = False
    precision: str | None = None

    @property
    def convolutions(self) -> "Dispatch":
        """The same with 0 for the ops that have no kernel: what is linear in the kernels."""
        return self._replace(kinds=tuple(kind if isinstance(kind, int) else "zero" for kind in self.kinds))


def rectified(kind: Kind, gate: Array, x: Array) -> Array:
    """Return x as the op sees it; NaN where the gate is NaN, as it is in a ReLU."""
    return jnp.where(gate <= 0, 0, x) if isinstance(kind, int) else x


def apply_op(kind: Kind, gate: Array, x: Array, kernel: Array | None) -> Array:
    """Return the op of that kind, applied to x; a convolution sees 0 where the gate is at most 0."""
    return _image_map(kind, rectified(kind, gate, x), kernel, conv, average_pool_3x3)


def apply_transpose(kind: Kind, gate: Array, g: Array, kernel: Array | None) -> Array:
    """Return the transpose of `apply_op` in x, applied to g."""
    return rectified(kind, gate, _image_map(kind, g, kernel, conv_input, average_pool_3x3_transpose))


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


def split_operands(dispatch: Dispatch, operands: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item]]:
    """Return the kernels among the last operands, and the bias, if there is one."""
    number = sum(isinstance(kind, int) for kind in dispatch.kinds)
    return operands[:number], operands[number:]


def kernel_of(dispatch: Dispatch, kernels: Iterable[Item]) -> list[Item | None]:
    """Return for every op its kernel, or None."""
    remaining = iter(kernels)
    return [next(remaining) if isinstance(kind, int) else None for kind in dispatch.kinds]
