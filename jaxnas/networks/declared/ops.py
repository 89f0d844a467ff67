"""Ops of declared networks, and the choices among them and among numbers.

An op has a label, which an architecture's text shows, declares its tensors from the features that come in, and is
applied to them as a pure function, so that a `switch` can choose.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxnas.errors import InputError
from jaxnas.networks.kernels.pools import average_pool_3x3, max_pool_3x3
from jaxnas.networks.layers import apply_batch_norm, apply_layer, batch_norm_layer, weight_layer


@dataclass(frozen=True)
class Choice:
    """A decision among numbers: of channels, or of repetitions."""

    options: tuple[int, ...]


def choice(*options: int) -> Choice:
    """A decision among these numbers."""
    if not options or any(not isinstance(option, int) or option < 0 for option in options):
        raise InputError(f"choice{options}: give whole numbers from 0 on; ops are chosen with Choose(...)")
    return Choice(options)


def check_width(width: int | Choice | None) -> None:
    """InputError for a width that may be 0."""
    options = width.options if isinstance(width, Choice) else (width,)
    if any(option is not None and (not isinstance(option, int) or option < 1) for option in options):
        raise InputError(f"width {width}: give whole numbers from 1 on")


def width_choices(width: int | Choice | None) -> Iterator[tuple[int, ...]]:
    """The decision that a width is, if it is one."""
    if isinstance(width, Choice):
        yield width.options


class Tensors(NamedTuple):
    """What one op has declared."""

    layer: Any
    norm: Any


@dataclass(frozen=True)
class Skip:
    """The identity."""

    def choices(self) -> Iterator[tuple]:
        """The decisions of the block, in the order in which it takes them."""
        yield from ()

    @property
    def label(self) -> str:
        """How an architecture's text names the op."""
        return "skip"

    def declare(self, flow, name, width):
        if width != flow.x.shape[-1]:
            raise InputError(
                f"{self.label} cannot change {flow.x.shape[-1]} channels to {width}: choose among equal ones"
            )
        return Tensors(None, None)

    def apply(self, layers, x, how):
        return x, None


@dataclass(frozen=True)
class Zero(Skip):
    """Nothing: zeros."""

    label = "zero"

    def apply(self, layers, x, how):
        return jnp.zeros_like(x), None


@dataclass(frozen=True)
class Pool(Skip):
    """Average or maximum of the 3x3 neighbourhood, stride 1."""

    kind: Literal["avg", "max"] = "avg"

    @property
    def label(self) -> str:
        return f"{self.kind}pool"

    def apply(self, layers, x, how):
        return (average_pool_3x3 if self.kind == "avg" else max_pool_3x3)(x), None


@dataclass(frozen=True)
class Conv(Skip):
    """ReLU, convolution, normalisation; without the ReLU where images come in. `width` None: as many as come in."""

    width: int | Choice | None = None
    size: int = 3
    stride: int = 1

    def __post_init__(self) -> None:
        check_width(self.width)
        if self.size < 1 or self.size % 2 == 0 or self.stride not in (1, 2):
            raise InputError(f"Conv of size {self.size} and stride {self.stride}: give an odd size, and stride 1 or 2")

    @property
    def label(self) -> str:
        return f"conv{self.size}"

    def choices(self):
        return width_choices(self.width)

    def declare(self, flow, name, width):
        declare = dict(batch=len(flow.x), normalised=flow.norm)
        layer = weight_layer(flow.module, name, (self.size, self.size, flow.x.shape[-1], width), **declare)
        return Tensors(layer, batch_norm_layer(flow.module, f"{name}_norm", width))

    def apply(self, layers, x, how):
        out = apply_layer(layers.layer, nn.relu(x) if how["relu"] else x, self.stride)
        return apply_batch_norm(layers.norm, out, train=how["train"]) if how["norm"] else (out, layers.norm)


@dataclass(frozen=True)
class Dense(Skip):
    """ReLU, linear layer with a bias, on features [N 1 1 C]; without the ReLU where the features come in."""

    width: int | Choice | None = None
    label = "dense"

    def __post_init__(self) -> None:
        check_width(self.width)

    def choices(self):
        return width_choices(self.width)

    def declare(self, flow, name, width):
        if flow.x.shape[1:3] != (1, 1):
            raise InputError(f"Dense takes features, not {flow.x.shape[1]} x {flow.x.shape[2]} pixels: use Conv")
        shape = (flow.x.shape[-1], width)
        declare = dict(batch=len(flow.x), bias=True, exponent=flow.exponent)
        return Tensors(weight_layer(flow.module, name, shape, **declare), None)

    def apply(self, layers, x, how):
        features = x[:, 0, 0]
        return apply_layer(layers.layer, nn.relu(features) if how["relu"] else features)[:, None, None], None


Op = Skip | Zero | Pool | Conv | Dense


@dataclass(frozen=True)
class Choose:
    """One of several ops, whose outputs have equal shapes: a decision."""

    ops: tuple[Op, ...]

    def __init__(self, *ops: Op):
        if not ops or any(not isinstance(op, Skip) or list(op.choices()) for op in ops):
            raise InputError("Choose takes Skip, Zero, Pool, Conv and Dense, of fixed width")
        object.__setattr__(self, "ops", ops)

    def choices(self):
        """See `Skip.choices`."""
        yield tuple(op.label for op in self.ops)

    @property
    def width(self) -> int | None:
        """That of its ops."""
        return next((op.width for op in self.ops if isinstance(op, Conv | Dense)), None)  # type: ignore[return-value]
