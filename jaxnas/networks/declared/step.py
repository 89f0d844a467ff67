"""What an op of a declared network is: its label, its layers, and a pure function of features, which `Choose` picks."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import flax.linen as nn
from jaxtyping import Array, Float

from jaxnas.errors import InputError
from jaxnas.networks.activations import ActivationName
from jaxnas.networks.declared.choices import Choice, Decisions, Width
from jaxnas.networks.declared.layer import Applied, Layer, Live, OpMode, Tensors
from jaxnas.networks.layers import Exponent
from jaxnas.networks.network import KernelKind


class Site(NamedTuple):
    """The place of an op in one call.

    Attributes:
        module: The module that owns the tensors.
        x: The features that come in, [N H W C].
        live: The number of their channels that are not 0; None for all.
        norm: Whether batch normalisation acts.
        exponent: Exponent of the features, see `jaxnas.networks.units`.
        decisions: Those that no earlier op has taken.
    """

    module: nn.Module
    x: Float[Array, "N H W C"]
    live: Live
    norm: bool
    exponent: Exponent
    decisions: Decisions[Array]


class KernelName(NamedTuple):
    """The name of a kernel that a block may have.

    Attributes:
        path: The name.
        groups: Groups of its input channels; None: each channel is one.
        kind: See `SearchNetwork.kernel_kinds`; None for a usual layer.
    """

    path: str
    groups: int | None = 1
    kind: KernelKind | None = None


class Block:
    """The contract of every part of a declared network: what can be read from it before any call.

    Attributes:
        is_homogeneous: See `jaxnas.networks.network.SearchNetwork.is_homogeneous`.
    """

    is_homogeneous: ClassVar[bool] = True

    @property
    def width(self) -> Width:
        """Channels of the output; None where the block has as many as come in, or its parts decide."""
        return None

    @property
    def stride(self) -> int:
        """The largest stride of its convolutions; above 1, the block makes images smaller."""
        return 1

    @property
    def depth(self) -> int:
        """The number of blocks among which training spreads the rate of dropped paths, see `DropPath`; mostly 0."""
        return 0

    def choices(self) -> Iterator[Choice]:
        """Yield the decisions of the block, in the order in which it takes them."""
        yield from ()

    def kernels(self, name: str) -> Iterator[KernelName]:
        """Yield the kernels that a block called `name` may have, in the order in which features meet them."""
        yield from ()

    def parts(self) -> Iterator["Block"]:
        """Yield the blocks inside the block."""
        yield from ()

    def sides(self, name: str, shapes: dict[str, tuple[int, ...]]) -> tuple[int, int] | None:
        """Return the only height and width that fit params of these shapes, of a block called `name`; None if any."""
        return None


class Step(Block, ABC):
    """One op, or a choice among several."""

    @abstractmethod
    def options(self) -> tuple["Op", ...]:
        """Return the ops."""

    def tensor_names(self, name: str) -> list[str]:
        """Return the name of the tensors of each op, in a step called `name`."""
        ops = self.options()
        return [name if len(ops) == 1 else f"{name}_{number}_{op.label}" for number, op in enumerate(ops, start=1)]

    def kernels(self, name: str) -> Iterator[KernelName]:
        """See `Block.kernels`; the first is that of the layer that changes the width for ops that cannot."""
        yield KernelName(resize_name(name))
        for path, op in zip(self.tensor_names(name), self.options(), strict=True):
            yield from op.own_kernels(path)


def resize_name(name: str) -> str:
    """Return the name of the layer that changes the width in front of a step called `name`."""
    return f"{name}_in"


class Op(Step):
    """A map of features.

    Attributes:
        resizes: Whether the op can change the number of channels.
        always_leads: Whether it does so where images come in.
    """

    resizes: ClassVar[bool] = False
    always_leads: ClassVar[bool] = False

    def options(self) -> tuple["Op", ...]:
        """Return the op itself."""
        return (self,)

    @property
    @abstractmethod
    def label(self) -> str:
        """The name of the op in the text of an architecture, which a `Choose` needs once."""

    @property
    def leading(self) -> ActivationName | None:
        """The activation with which the op begins; None for none."""
        return None

    @property
    def ends_images(self) -> bool:
        """Whether the output of the op is no longer an image without any activation in front."""
        return self.leading is not None

    def own_kernels(self, name: str) -> Iterator[KernelName]:
        """Yield the kernels of the op called `name`."""
        yield from ()

    def pooled(self, height: int, width: int) -> float:
        """Return how many numbers the windows of a pooling have for each image and channel; 0 for other ops."""
        return 0.0

    def declare(self, site: Site, name: str, width: int, live: Live) -> tuple[Layer, ...]:
        """Declare the layers of an op called `name`, for an output of `width` channels of which `live` are not 0.

        Raises:
            InputError: The op does not fit the features, or cannot change their width.
        """
        if width != site.x.shape[-1]:
            raise InputError(
                f"{self.label} cannot change {site.x.shape[-1]} channels to {width}: choose among equal ones"
            )
        return ()

    @abstractmethod
    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N H W C"], mode: OpMode) -> Applied:
        """Return the output for the tensors of the declared layers."""


@dataclass(frozen=True)
class Choose(Step):
    """One of several ops, whose outputs have equal shapes: a decision.

    Attributes:
        ops: The ops.
        name: Ties decisions: all `Choose` of one name, with ops of the same labels, are one decision.

    Raises:
        InputError: No ops, one with a choice of its own, or two that the text of an architecture cannot distinguish.
    """

    ops: tuple[Op, ...]
    name: str | None = None

    def __init__(self, *ops: Op, name: str | None = None):
        """Choose among `ops`."""
        if not ops or any(not isinstance(op, Op) or list(op.choices()) for op in ops):
            raise InputError("Choose takes ops such as Conv(8) and Skip(), of fixed width and without choices")
        labels: dict[str, Op] = {}
        for op in ops:
            if op.label in labels:
                raise InputError(
                    f"{op.label!r} names two ops of Choose, {labels[op.label]} and {op}: ops must differ in more than "
                    "the width, which Conv(choice(8, 16)) chooses"
                )
            labels[op.label] = op
        object.__setattr__(self, "ops", ops)
        object.__setattr__(self, "name", name)

    def options(self) -> tuple[Op, ...]:
        """Return the ops to choose from."""
        return self.ops

    @property
    def width(self) -> Width:
        """The width of the first op that can change it, None without one."""
        return next((op.width for op in self.ops if op.resizes), None)

    @property
    def stride(self) -> int:
        """The largest stride of the ops."""
        return max(op.stride for op in self.ops)

    @property
    def depth(self) -> int:
        """See `Block.depth`."""
        return max(op.depth for op in self.ops)

    def choices(self) -> Iterator[Choice]:
        """See `Block.choices`."""
        yield Choice(tuple(op.label for op in self.ops), self.name)

    def parts(self) -> Iterator[Block]:
        """See `Block.parts`."""
        yield from self.ops
