"""The state that passes through the blocks of a declared network in one call."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int8

from jaxnas.errors import InputError
from jaxnas.networks.declared.ops import (
    Block,
    Choice,
    Choose,
    Op,
    OpMode,
    Pool,
    Site,
    Step,
    Tensors,
    Width,
    Zero,
    resize_name,
)
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

Live: TypeAlias = Int[Array, ""] | None  # the number of channels that are not 0; None: all
Pick: TypeAlias = Int[Array, ""] | int  # the number of the chosen op


class Composite(Block, ABC):
    """A block of blocks: it is called with the state, which it changes."""

    @abstractmethod
    def __call__(self, flow: "BlockFlow", name: str) -> None:
        """Compute the block, whose tensors have names that begin with `name`."""


Part: TypeAlias = Step | Composite


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
    ):
        """Start with images and all decisions of an architecture."""
        self.module, self.x, self.norm, self.train = module, images, norm, train
        self.live: Live = None
        self.active: Mask = True
        self.fresh = True
        self.exponent: Exponent = start_exponent(keeps_range)
        self.decisions: Iterator[Array] = iter(arch)
        self._sows = module.is_mutable_collection("multipliers")

    def run(self, blocks: tuple[Part, ...], name: str) -> None:
        """Compute the parts of the block called `name`, one after another."""
        for number, block in enumerate(blocks, start=1):
            part = part_name(name, number)
            if isinstance(block, Step):
                self.step(block, part, *self.take_width(block.width))
            else:
                block(self, part)
            if not name:
                self.x = end_of_block(self.module, part, self.x)
            self.x, self.exponent = rescaled(self.x, self.exponent)

    def in_present_units(self, x: Float[Array, "N H W C"], exponent: Exponent) -> Float[Array, "N H W C"]:
        """Return features of an earlier `exponent` in the units of the present one."""
        return x if exponent is None or self.exponent is None else in_units(x, self.exponent - exponent)

    def take(self, choice: Choice) -> Int[Array, ""]:
        """Return the option that the next decision chooses."""
        return jnp.asarray(choice.options)[next(self.decisions)]

    def take_width(self, width: Width) -> tuple[int, Live]:
        """Return the most channels, and how many of them are live."""
        if isinstance(width, Choice):
            return max(width.options), self.take(width)
        return (self.x.shape[-1], self.live) if width is None else (width, None)

    def step(self, step: Step, name: str, width: int, live: Live) -> None:
        """Compute one op, or the chosen one; the tensors of all exist."""
        ops = step.options()
        pick: Pick = next(self.decisions).astype(jnp.int32) if isinstance(step, Choose) else 0
        changes = width != self.x.shape[-1] or live is not self.live
        if changes and not all(op.has_kernel for op in ops):
            nothing = jnp.array([isinstance(op, Zero) for op in ops])[pick]
            self.x, self.live = self.plain(resize_name(name), width, live, self.active & ~nothing), live
        mode, site = OpMode(not self.fresh, self.norm, self.train), Site(self.module, self.x, self.norm, self.exponent)
        names = step.tensor_names(name)
        tensors = [op.declare(site, path, width) for path, op in zip(names, ops, strict=True)]
        for number, path in enumerate(names):
            self._sow_multipliers(path, tensors[number], live, self.active & (pick == number))
        with_kernel = [op.has_kernel for op in ops]
        if not self.fresh and any(with_kernel):
            self.sow_relu(name, jnp.array(with_kernel)[pick])
        pools = jnp.array([isinstance(op, Pool) for op in ops])[pick] & self.active
        channels = self.x.shape[-1] if self.live is None else self.live
        self.module.sow("pools", name, 9.0 * self.x[..., 0].size * channels * pools)
        self.x, norms = apply_chosen(ops, pick, self.x, tensors, mode)
        for path, norm in zip(names, norms, strict=True):
            if norm is not None:
                record_statistics(self.module, f"{path}_norm", norm)
        self.live, self.fresh = live, self.fresh and not any(with_kernel)

    def plain(self, name: str, width: int, live: Live, used: Mask) -> Float[Array, "N H W O"]:
        """Return the features after a 1x1 layer to `width` channels, without ReLU, bias and normalisation."""
        layer = weight_layer(self.module, name, (1, 1, self.x.shape[-1], width), batch=len(self.x))
        self._sow_multipliers(name, Tensors(layer, None), live, used)
        return apply_layer(layer, self.x)

    def classify(self, name: str, num_classes: int) -> WeightLayer:
        """Declare the linear layer from the features to logits."""
        shape = (self.x.shape[-1], num_classes)
        layer = weight_layer(self.module, name, shape, batch=len(self.x), bias=True, exponent=self.exponent)
        self._sow_multipliers(name, Tensors(layer, None), None, True)
        return layer

    def sow_relu(self, name: str, used: Bool[Array, ""]) -> None:
        """Sow the features as the input of a ReLU, where `used` holds and the channels are live."""
        used = used & self.active
        whole = used if self.live is None else used & live_channels(self.x.shape[-1], self.live)
        self.module.sow("relus", name, (self.x, whole))

    def _sow_multipliers(self, name: str, tensors: Tensors, live: Live, used: Mask) -> None:
        """Sow the factors of the params of a layer: 0 where they do not count, else for the width that feeds them."""
        layer, norm = tensors
        if not self._sows or layer is None:
            return
        num_inputs, num_outputs = layer.kernel.shape[-2:]
        inputs, outputs = live_channels(num_inputs, self.live), live_channels(num_outputs, live) & used
        factor = jnp.sqrt(num_inputs / inputs.sum())
        whole = jnp.broadcast_to(factor * (inputs[:, None] & outputs[None, :]), layer.kernel.shape)
        self.module.sow("multipliers", name, whole)
        if layer.bias is not None:
            self.module.sow("multipliers", f"{name}_bias", factor * outputs)
        if norm is not None:
            for part in ("gamma", "beta"):
                self.module.sow("multipliers", f"{name}_norm_{part}", 1.0 * outputs)


def live_channels(channels: int, live: Live) -> Bool[Array, " C"]:
    """Return which of so many channels are among the first `live`, all of them if that is None."""
    return jnp.arange(channels) < (channels if live is None else live)


Outcome: TypeAlias = tuple[Float[Array, "N h w O"], list[BatchNorm | None]]


def apply_chosen(
    ops: tuple[Op, ...], pick: Pick, x: Float[Array, "N H W C"], tensors: list[Tensors], mode: OpMode
) -> Outcome:
    """Return the output of the picked op, and the normalisations of all, where that of the picked one is new.

    Raises:
        InputError: The ops have outputs of different shapes.
    """

    def branch(number: int) -> Callable[[Array, list[Tensors]], Outcome]:
        def run(x: Array, tensors: list[Tensors]) -> Outcome:
            out, norm = ops[number].apply(tensors[number], x, mode)
            return out, [norm if other == number else tensors[other].norm for other in range(len(ops))]

        return run

    if len(ops) == 1:
        return branch(0)(x, tensors)
    shapes = [jax.eval_shape(branch(number), x, tensors)[0].shape for number in range(len(ops))]
    if len(set(shapes)) > 1:
        raise InputError(f"Choose among ops of shapes {', '.join(map(str, shapes))}: give equal widths and strides")
    chosen: Outcome = jax.lax.switch(pick, [branch(number) for number in range(len(ops))], x, tensors)
    return chosen
