"""The state that passes through the blocks of a declared network in one call."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import ClassVar, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int8

from jaxnas.errors import InputError
from jaxnas.networks.activations import sow_activation
from jaxnas.networks.declared.choices import Choice, Decisions, Width
from jaxnas.networks.declared.layer import Applied, Layer, Live, OpMode, Tensors, live_channels, multipliers_of
from jaxnas.networks.declared.ops import Zero
from jaxnas.networks.declared.step import Block, Choose, Op, Site, Step, resize_name
from jaxnas.networks.drop_path import DropPath
from jaxnas.networks.layers import (
    BatchNorm,
    Exponent,
    WeightLayer,
    apply_layer,
    end_of_block,
    in_units,
    record_statistics,
    rescaled,
    start_exponent,
    weight_layer,
)
from jaxnas.networks.taps import Mask

Pick: TypeAlias = Int[Array, ""] | int  # the number of the chosen op


class Composite(Block, ABC):
    """A block of blocks: it is called with the state, which it changes."""

    ends_blocks: ClassVar[bool] = False  # whether it calls `BlockFlow.end_block` itself

    @abstractmethod
    def __call__(self, flow: "BlockFlow", name: str) -> None:
        """Compute the block, whose tensors have names that begin with `name`."""


Part: TypeAlias = Step | Composite


def check_parts(owner: str, blocks: Sequence[object]) -> tuple[Part, ...]:
    """Return the blocks of `owner`, which a message names.

    Raises:
        InputError: One is no block, such as a class in place of an instance.
    """
    parts = tuple(block for block in blocks if isinstance(block, Step | Composite))
    if len(parts) < len(blocks):
        other = next(block for block in blocks if not isinstance(block, Step | Composite))
        raise InputError(f"{owner} must have blocks such as Conv(8) and Residual(Conv()), got {other!r:.60}")
    return parts


def part_name(name: str, number: int) -> str:
    """Return the name of a part of the block called `name`, or of a block of the network, whose name is ""."""
    return f"{name}_{number}" if name else f"block{number}"


class BlockFlow:
    """What passes through the blocks in one call.

    Attributes:
        module: The network.
        x: Features [N H W C].
        norm: Whether batch normalisation acts.
        train: Whether it uses the statistics of the minibatch.
        live: The number of channels of x, the first, that are not 0; None for all.
        active: Whether the present repetition is one of those chosen.
        fresh: Whether x are the images, which no ReLU precedes.
        exponent: Exponent of x, see `jaxnas.networks.units`.
        decisions: The decisions that blocks have not taken yet.
        drop_path: Drops paths of the present block; None for no dropping.
        outermost: Whether the present block is one of the network, and not inside another.
    """

    def __init__(
        self,
        module: nn.Module,
        images: Float[Array, "N H W C"],
        arch: Int8[Array, " D"],
        *,
        norm: bool,
        train: bool,
        keeps_range: bool,
        drop_path: DropPath | None = None,
    ):
        """Start with images and all decisions of an architecture."""
        self.module, self.x, self.norm, self.train = module, images, norm, train
        self.live: Live = None
        self.active: Mask = True
        self.fresh = True
        self.exponent: Exponent = start_exponent(keeps_range)
        self.decisions: Decisions[Array] = Decisions(arch)
        self.drop_path = drop_path
        self.outermost = True
        self._sows = module.is_mutable_collection("multipliers")

    def inside(
        self, module: nn.Module, x: Float[Array, "N H W C"], exponent: Exponent, decisions: Decisions[Array]
    ) -> "BlockFlow":
        """Return a state with another owner of tensors, other features of as many channels, and other decisions."""
        other = copy(self)
        other.module, other.x, other.exponent, other.decisions = module, x, exponent, decisions
        return other

    def run(self, blocks: tuple[Part, ...], name: str) -> None:
        """Compute the parts of the block called `name`, one after another."""
        outer, depth, outermost = self.drop_path, 0, self.outermost
        self.outermost = not name
        for number, block in enumerate(blocks, start=1):
            part = part_name(name, number)
            if outer is not None:
                self.drop_path = outer.part(number) if name else outer.moved(depth)
                depth += block.depth
            if isinstance(block, Step):
                self.step(block, part, *self.take_width(block.width))
            else:
                block(self, part)
            if not isinstance(block, Composite) or not block.ends_blocks:
                self.end_block(part)
            self.x, self.exponent = rescaled(self.x, self.exponent)
        self.drop_path, self.outermost = outer, outermost

    def end_block(self, name: str, present: Mask = True) -> None:
        """Declare x as the output of a block of the network, unless the block is inside another; see `end_of_block`."""
        if self.outermost:
            self.x = end_of_block(self.module, name, self.x, present)

    def in_present_units(self, x: Float[Array, "N H W C"], exponent: Exponent) -> Float[Array, "N H W C"]:
        """Return features of an earlier `exponent` in the units of the present one."""
        return x if exponent is None or self.exponent is None else in_units(x, self.exponent - exponent)

    def take(self, choice: Choice) -> Int[Array, ""]:
        """Return the number that the decision of a choice among numbers chooses."""
        return jnp.asarray(choice.numbers)[self.decisions.take(choice.name)]

    def take_width(self, width: Width) -> tuple[int, Live]:
        """Return the most channels, and how many of them are live."""
        if isinstance(width, Choice):
            return max(width.numbers), self.take(width)
        return (self.x.shape[-1], self.live) if width is None else (width, None)

    def step(self, step: Step, name: str, width: int, live: Live) -> None:
        """Compute one op, or the chosen one; the tensors of all exist."""
        ops = step.options()
        pick: Pick = self.decisions.take(step.name).astype(jnp.int32) if isinstance(step, Choose) else 0
        if not self._keeps(width, live) and not all(op.resizes for op in ops):
            nothing = jnp.array([isinstance(op, Zero) for op in ops])[pick]
            self.x, self.live = self.plain(resize_name(name), width, live, self.active & ~nothing), live
        mode = OpMode(not self.fresh, self.norm, self.train, self._keeps(width, live), self.exponent, self.drop_path)
        site = Site(self.module, self.x, self.live, self.norm, self.exponent, self.decisions)
        names = step.tensor_names(name)
        layers = [op.declare(site, path, width, live) for path, op in zip(names, ops, strict=True)]
        self._sow_before(ops, pick, layers, name)
        tensors = [tuple(layer.tensors for layer in of) for of in layers]
        records = self.module.is_mutable_collection("relus")
        applied = apply_chosen(ops, pick, self.x, tensors, mode, records=records)
        self._sow_after(pick, layers, applied)
        self.x, self.live = applied.out, live
        self.fresh = self.fresh and not any(op.ends_images for op in ops)

    def _keeps(self, width: int, live: Live) -> bool:
        """Return whether an output of `width` channels, `live` of them, has those of x whatever the architecture."""
        return width == self.x.shape[-1] and live is self.live

    def _sow_before(self, ops: tuple[Op, ...], pick: Pick, layers: list[tuple[Layer, ...]], name: str) -> None:
        """Sow what a step called `name` sows of its input and its layers."""
        for kind in dict.fromkeys(op.leading for op in ops):
            leads = [op.leading == kind and (op.always_leads or not self.fresh) for op in ops]
            if kind is not None and any(leads):
                self.sow_activation(name, kind, self.x, self.live, jnp.array(leads)[pick])
        channels = self.x.shape[-1] if self.live is None else self.live
        windows = jnp.array([op.pooled(*self.x.shape[1:3]) for op in ops])[pick]
        self.module.sow("pools", name, len(self.x) * windows * channels * self.active)
        for number, of in enumerate(layers):
            used = self.active & (pick == number)
            for layer in of:
                self._sow_multipliers(layer, used)
                if layer.pooled is not None:
                    self.module.sow("pools", layer.name, layer.pooled * used)

    def _sow_after(self, pick: Pick, layers: list[tuple[Layer, ...]], outcome: "Outcome") -> None:
        """Sow the inputs of activations inside ops, and keep the statistics of normalisations."""
        for number, of in enumerate(layers):
            activated = [(layer, layer.activation) for layer in of if layer.activation is not None]
            for (layer, kind), x in zip(activated, outcome.inner[number], strict=False):
                self.sow_activation(layer.name, kind, x, layer.outputs, jnp.asarray(pick == number))
            for layer, norm in zip(of, outcome.norms[number], strict=True):
                if norm is not None:
                    kept = norm if self.active is True else jax.tree.map(self._if_active, norm, layer.tensors.norm)
                    record_statistics(self.module, f"{layer.name}_norm", kept)

    def _if_active(self, new: Array, old: Array) -> Array:
        return jnp.where(self.active, new, old)

    def plain(self, name: str, width: int, live: Live, used: Mask) -> Float[Array, "N H W O"]:
        """Return the features after a 1x1 layer to `width` channels, without ReLU, bias and normalisation."""
        layer = weight_layer(self.module, name, (1, 1, self.x.shape[-1], width), batch=len(self.x))
        self._sow_multipliers(Layer(name, Tensors(layer), self.live, live), used)
        return apply_layer(layer, self.x)

    def classify(self, name: str, num_classes: int) -> WeightLayer:
        """Declare the linear layer from the features to logits."""
        shape = (self.x.shape[-1], num_classes)
        layer = weight_layer(self.module, name, shape, batch=len(self.x), bias=True, exponent=self.exponent)
        self._sow_multipliers(Layer(name, Tensors(layer), self.live), True)
        return layer

    def sow_activation(
        self, name: str, kind: str, x: Float[Array, "N H W C"], live: Live, used: Bool[Array, ""]
    ) -> None:
        """Sow x as the input of an activation, where `used` holds and the channels are live."""
        used = used & self.active
        whole = used if live is None else used & live_channels(x.shape[-1], live)
        sow_activation(self.module, name, kind, x, whole)

    def _sow_multipliers(self, declared: Layer, used: Mask) -> None:
        """Sow the factors of the params of a layer."""
        if not self._sows:
            return
        for path, factors in multipliers_of(declared, used):
            self.module.sow("multipliers", path, factors)


class Outcome(NamedTuple):
    """The result of a step.

    Attributes:
        out: The output of the picked op.
        norms: For each op its normalisations, of which those of the picked one are new.
        inner: For each op the inputs of the activations inside it, 0 in others than the picked one; or none.
    """

    out: Float[Array, "N h w O"]
    norms: list[tuple[BatchNorm | None, ...]]
    inner: list[tuple[Float[Array, "N h w c"], ...]]


def apply_chosen(
    ops: tuple[Op, ...],
    pick: Pick,
    x: Float[Array, "N H W C"],
    tensors: list[tuple[Tensors, ...]],
    mode: OpMode,
    *,
    records: bool,
) -> Outcome:
    """Return the result of the picked op, with the inputs of the activations inside the ops if it `records` them.

    Raises:
        InputError: The ops have outputs of different shapes.
    """

    def apply(number: int, x: Array, tensors: list[tuple[Tensors, ...]]) -> Applied:
        applied = ops[number].apply(tensors[number], x, mode)
        return applied if records else applied._replace(inner=())

    if len(ops) == 1:
        applied = apply(0, x, tensors)
        return Outcome(applied.out, [applied.norms], [applied.inner])
    shapes = [jax.eval_shape(partial(apply, number), x, tensors) for number in range(len(ops))]
    if len({shape.out.shape for shape in shapes}) > 1:
        given = ", ".join(f"{op.label} {shape.out.shape[1:]}" for op, shape in zip(ops, shapes, strict=True))
        raise InputError(
            f"Choose among ops of one shape, got {given}: give equal widths and strides, and no Skip or Pool where "
            "others halve the image"
        )

    def branch(number: int) -> Callable[[Array, list[tuple[Tensors, ...]]], Outcome]:
        def run(x: Array, tensors: list[tuple[Tensors, ...]]) -> Outcome:
            applied = apply(number, x, tensors)
            norms = [tuple(one.norm for one in of) for of in tensors]
            inner = [tuple(jnp.zeros(one.shape, one.dtype) for one in shape.inner) for shape in shapes]
            norms[number], inner[number] = applied.norms, applied.inner
            return Outcome(applied.out, norms, inner)

        return run

    chosen: Outcome = jax.lax.switch(pick, [branch(number) for number in range(len(ops))], x, tensors)
    return chosen
