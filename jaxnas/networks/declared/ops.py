"""Ops of declared networks, and the choices among them and among numbers.

An op has a label, which the text of an architecture shows, declares its tensors from the features that come in, and is
applied to them as a pure function, so that a `switch` can choose.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.errors import InputError
from jaxnas.networks.kernels.pools import average_pool_3x3, max_pool_3x3
from jaxnas.networks.layers import (
    BatchNorm,
    Exponent,
    WeightLayer,
    apply_batch_norm,
    apply_layer,
    batch_norm_layer,
    weight_layer,
)


@dataclass(frozen=True)
class Choice:
    """A decision among numbers: of channels, or of repetitions."""

    options: tuple[int, ...]


Width: TypeAlias = int | Choice | None  # channels; None: as many as come in
Decision: TypeAlias = tuple[int | str, ...]  # the options


def choice(*options: int) -> Choice:
    """Return a decision among these numbers.

    Raises:
        InputError: No options, or one that is not a whole number from 0 on.
    """
    if not options or any(not isinstance(option, int) or option < 0 for option in options):
        raise InputError(f"choice{options}: give whole numbers from 0 on; ops are chosen with Choose(...)")
    return Choice(options)


def check_width(width: Width) -> None:
    """Raise an InputError for a width that may be 0."""
    options = width.options if isinstance(width, Choice) else (width,)
    if any(option is not None and (not isinstance(option, int) or option < 1) for option in options):
        raise InputError(f"width {width}: give whole numbers from 1 on")


def width_choices(width: Width) -> Iterator[Decision]:
    """Yield the decision that a width is, if it is one."""
    if isinstance(width, Choice):
        yield width.options


class Site(NamedTuple):
    """The place of an op in one call.

    Attributes:
        module: The module that owns the tensors.
        x: The features that come in, [N H W C].
        norm: Whether batch normalisation acts.
        exponent: Exponent of the features, see `jaxnas.networks.units`.
    """

    module: nn.Module
    x: Float[Array, "N H W C"]
    norm: bool
    exponent: Exponent


class OpMode(NamedTuple):
    """The settings of a call that ops read.

    Attributes:
        relu: Whether ops with a kernel begin with a ReLU.
        norm: Whether batch normalisation acts.
        train: Whether it uses the statistics of the minibatch.
    """

    relu: bool
    norm: bool
    train: bool


class Tensors(NamedTuple):
    """The layer and the normalisation that an op has declared, None where it has none."""

    layer: WeightLayer | None
    norm: BatchNorm | None


class Block:
    """The contract of every part of a declared network: what can be read from it before any call."""

    @property
    def width(self) -> Width:
        """Channels of the output; None where the block has as many as come in, or its parts decide."""
        return None

    @property
    def stride(self) -> int:
        """The largest stride of its convolutions; above 1, the block makes images smaller."""
        return 1

    def choices(self) -> Iterator[Decision]:
        """Yield the decisions of the block, in the order in which it takes them."""
        yield from ()

    def kernels(self, name: str) -> Iterator[str]:
        """Yield the names that kernels of a block called `name` may have, in the order in which features meet them."""
        yield from ()


class Step(Block, ABC):
    """One op, or a choice among several."""

    @abstractmethod
    def options(self) -> tuple["Op", ...]:
        """Return the ops."""

    def tensor_names(self, name: str) -> list[str]:
        """Return the name of the tensors of each op, in a step called `name`."""
        ops = self.options()
        return [name if len(ops) == 1 else f"{name}_{number}_{op.label}" for number, op in enumerate(ops, start=1)]

    def kernels(self, name: str) -> Iterator[str]:
        """See `Block.kernels`; the first is that of the layer that changes the width for ops without a kernel."""
        yield resize_name(name)
        yield from (path for path, op in zip(self.tensor_names(name), self.options(), strict=True) if op.has_kernel)


def resize_name(name: str) -> str:
    """Return the name of the layer that changes the width in front of a step called `name`."""
    return f"{name}_in"


class Op(Step):
    """A map of features.

    Attributes:
        has_kernel: Whether the op begins with a ReLU and has a kernel, so that it can change the width.
    """

    has_kernel: ClassVar[bool] = False

    def options(self) -> tuple["Op", ...]:
        """Return the op itself."""
        return (self,)

    @property
    @abstractmethod
    def label(self) -> str:
        """The name of the op in the text of an architecture."""

    def declare(self, site: Site, name: str, width: int) -> Tensors:
        """Declare the tensors called `name` for an output of `width` channels.

        Raises:
            InputError: The op does not fit the features, or cannot change their width.
        """
        if width != site.x.shape[-1]:
            raise InputError(
                f"{self.label} cannot change {site.x.shape[-1]} channels to {width}: choose among equal ones"
            )
        return Tensors(None, None)

    @abstractmethod
    def apply(
        self, tensors: Tensors, x: Float[Array, "N H W C"], mode: OpMode
    ) -> tuple[Float[Array, "N h w O"], BatchNorm | None]:
        """Return the output, and the normalisation with its new running statistics."""


@dataclass(frozen=True)
class Skip(Op):
    """The identity."""

    label = "skip"

    def apply(
        self, tensors: Tensors, x: Float[Array, "N H W C"], mode: OpMode
    ) -> tuple[Float[Array, "N H W C"], BatchNorm | None]:
        """Return x."""
        return x, None


@dataclass(frozen=True)
class Zero(Op):
    """An op that gives zeros."""

    label = "zero"

    def apply(
        self, tensors: Tensors, x: Float[Array, "N H W C"], mode: OpMode
    ) -> tuple[Float[Array, "N H W C"], BatchNorm | None]:
        """Return zeros of the shape of x."""
        return jnp.zeros_like(x), None


@dataclass(frozen=True)
class Pool(Op):
    """Average or maximum of the 3x3 neighbourhood, stride 1."""

    kind: Literal["avg", "max"] = "avg"

    @property
    def label(self) -> str:
        """The name of the op: "avgpool" or "maxpool"."""
        return f"{self.kind}pool"

    def apply(
        self, tensors: Tensors, x: Float[Array, "N H W C"], mode: OpMode
    ) -> tuple[Float[Array, "N H W C"], BatchNorm | None]:
        """Return the pooled features."""
        return (average_pool_3x3 if self.kind == "avg" else max_pool_3x3)(x), None


@dataclass(frozen=True)
class Conv(Op):
    """ReLU, convolution to `width` channels, normalisation; without the ReLU where images come in.

    Attributes:
        size: k, odd.
        stride: 1 or 2.
    """

    has_kernel = True

    width: Width = None
    size: int = 3
    stride: int = 1

    def __post_init__(self) -> None:
        """Check the fields."""
        check_width(self.width)
        if self.size < 1 or self.size % 2 == 0 or self.stride not in (1, 2):
            raise InputError(f"Conv of size {self.size} and stride {self.stride}: give an odd size, and stride 1 or 2")

    @property
    def label(self) -> str:
        """The name of the op with its size: "conv3"."""
        return f"conv{self.size}"

    def choices(self) -> Iterator[Decision]:
        """See `Block.choices`."""
        return width_choices(self.width)

    def declare(self, site: Site, name: str, width: int) -> Tensors:
        """Declare a kernel [k k C width] and its normalisation."""
        shape = (self.size, self.size, site.x.shape[-1], width)
        layer = weight_layer(site.module, name, shape, batch=len(site.x), normalised=site.norm)
        return Tensors(layer, batch_norm_layer(site.module, f"{name}_norm", width))

    def apply(
        self, tensors: Tensors, x: Float[Array, "N H W C"], mode: OpMode
    ) -> tuple[Float[Array, "N h w O"], BatchNorm | None]:
        """Return the normalised convolution of x."""
        layer, norm = tensors
        assert layer is not None, "`declare` gives it"
        assert norm is not None, "`declare` gives it"
        out = apply_layer(layer, nn.relu(x) if mode.relu else x, self.stride)
        return apply_batch_norm(norm, out, train=mode.train) if mode.norm else (out, norm)


@dataclass(frozen=True)
class Dense(Op):
    """ReLU, linear layer with a bias to `width` channels, on features [N 1 1 C].

    The ReLU is left out where the features come in.
    """

    has_kernel = True
    label = "dense"

    width: Width = None

    def __post_init__(self) -> None:
        """Check the width."""
        check_width(self.width)

    def choices(self) -> Iterator[Decision]:
        """See `Block.choices`."""
        return width_choices(self.width)

    def declare(self, site: Site, name: str, width: int) -> Tensors:
        """Declare a kernel [C width] and a bias.

        Raises:
            InputError: The features have more than one pixel.
        """
        if site.x.shape[1:3] != (1, 1):
            raise InputError(f"Dense takes features, not {site.x.shape[1]} x {site.x.shape[2]} pixels: use Conv")
        shape = (site.x.shape[-1], width)
        layer = weight_layer(site.module, name, shape, batch=len(site.x), bias=True, exponent=site.exponent)
        return Tensors(layer, None)

    def apply(
        self, tensors: Tensors, x: Float[Array, "N 1 1 C"], mode: OpMode
    ) -> tuple[Float[Array, "N 1 1 O"], BatchNorm | None]:
        """Return the linear layer of x."""
        assert tensors.layer is not None, "`declare` gives it"
        features = x[:, 0, 0]
        return apply_layer(tensors.layer, nn.relu(features) if mode.relu else features)[:, None, None], None


@dataclass(frozen=True)
class Choose(Step):
    """One of several ops, whose outputs have equal shapes: a decision.

    Raises:
        InputError: No ops, or one whose width is a choice.
    """

    ops: tuple[Op, ...]

    def __init__(self, *ops: Op):
        """Choose among `ops`."""
        if not ops or any(not isinstance(op, Op) or list(op.choices()) for op in ops):
            raise InputError("Choose takes Skip, Zero, Pool, Conv and Dense, of fixed width")
        object.__setattr__(self, "ops", ops)

    def options(self) -> tuple[Op, ...]:
        """Return the ops to choose from."""
        return self.ops

    @property
    def width(self) -> Width:
        """The width of the first op with a kernel, None without one."""
        return next((op.width for op in self.ops if op.has_kernel), None)

    @property
    def stride(self) -> int:
        """The largest stride of the ops."""
        return max(op.stride for op in self.ops)

    def choices(self) -> Iterator[Decision]:
        """See `Block.choices`."""
        yield tuple(op.label for op in self.ops)
