"""What passes through the blocks of a declared network in one call."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnas.errors import InputError
from jaxnas.networks.declared.ops import Choice, Choose, Conv, Dense, Pool, Skip, Tensors, Zero
from jaxnas.networks.layers import (
    apply_layer,
    end_of_block,
    in_units,
    record_statistics,
    rescaled,
    start_exponent,
    weight_layer,
)


class Flow:
    """What passes through the blocks of one call: features, how many channels of them live, the decisions to come."""

    def __init__(self, module, images, arch, norm, train, keeps_range):
        self.module, self.x, self.norm, self.train = module, images, norm, train
        self.live: Any = None  # channels that are not 0; None: all
        self.active: Any = True  # is this repetition one of those chosen?
        self.fresh = True  # images, which no ReLU is for
        self.exponent = start_exponent(keeps_range)  # of the features, see `rescaled`
        self.decisions = iter(arch)
        self.sows = module.is_mutable_collection("multipliers")

    def run(self, blocks, name):
        """One block after another."""
        for number, block in enumerate(blocks):
            own = f"{name}_{number + 1}" if name else f"block{number + 1}"
            if isinstance(block, Skip | Choose):
                width, live = self.width(getattr(block, "width", None))
                self.op(block, own, width, live)
            else:
                block(self, own)
            if not name:
                self.x = end_of_block(self.module, own, self.x)
            self.x, self.exponent = rescaled(self.x, self.exponent)

    def in_present_units(self, x, exponent):
        """Features of an earlier `exponent`."""
        return x if exponent is None else in_units(x, self.exponent - exponent)

    def take(self, value):
        """The chosen option, or what is no choice as it is."""
        return jnp.asarray(value.options)[next(self.decisions)] if isinstance(value, Choice) else value

    def width(self, value):
        """The most channels, and how many of them live."""
        if isinstance(value, Choice):
            return max(value.options), self.take(value)
        return (self.x.shape[-1], self.live) if value is None else (value, None)

    def op(self, op, name, width, live):
        """The features after one op, or one that is chosen; the tensors of all are there."""
        ops = op.ops if isinstance(op, Choose) else (op,)
        pick = next(self.decisions).astype(jnp.int32) if isinstance(op, Choose) else 0
        changes = width != self.x.shape[-1] or live is not self.live
        if changes and not all(isinstance(one, Conv | Dense) for one in ops):
            nothing = jnp.array([isinstance(one, Zero) for one in ops])[pick]
            self.x, self.live = self.plain(f"{name}_in", width, live, self.active & ~nothing), live
        how = dict(relu=not self.fresh, norm=self.norm, train=self.train)
        names = [f"{name}_{number}_{one.label}" if len(ops) > 1 else name for number, one in enumerate(ops, start=1)]
        layers = [one.declare(self, own, width) for own, one in zip(names, ops, strict=True)]
        for number, own in enumerate(names):
            self.say(own, layers[number], live, self.active & (pick == number))
        weighted = [isinstance(one, Conv | Dense) for one in ops]
        if not self.fresh and any(weighted):
            self.sow_relu(name, jnp.array(weighted)[pick])
        pools = jnp.array([isinstance(one, Pool) for one in ops])[pick] & self.active
        channels = self.x.shape[-1] if self.live is None else self.live
        self.module.sow("pools", name, 9.0 * self.x[..., 0].size * channels * pools)
        self.x, norms = apply_chosen(ops, pick, self.x, layers, how)
        for own, norm in zip(names, norms, strict=True):
            if norm is not None:
                record_statistics(self.module, f"{own}_norm", norm)
        self.live, self.fresh = live, self.fresh and not any(weighted)

    def plain(self, name, width, live, used):
        """A 1x1 layer without more, from the features to `width` channels."""
        layer = weight_layer(self.module, name, (1, 1, self.x.shape[-1], width), batch=len(self.x))
        self.say(name, Tensors(layer, None), live, used)
        return apply_layer(layer, self.x)

    def sow_relu(self, name, used):
        used = used & self.active
        self.module.sow(
            "relus", name, (self.x, used if self.live is None else used & lives(self.x.shape[-1], self.live))
        )

    def say(self, name, layers, live, used):
        """By what the tensors of a layer are multiplied: 0 where they do not count, else for the width that feeds."""
        if not self.sows or layers.layer is None:
            return
        kernel = layers.layer.kernel
        inputs, outputs = lives(kernel.shape[-2], self.live), lives(kernel.shape[-1], live) & used
        factor = jnp.sqrt(kernel.shape[-2] / inputs.sum())
        whole = jnp.broadcast_to(factor * (inputs[:, None] & outputs[None, :]), kernel.shape)
        self.module.sow("multipliers", name, whole)
        if layers.layer.bias is not None:
            self.module.sow("multipliers", f"{name}_bias", factor * outputs)
        if layers.norm is not None:
            for part in ("gamma", "beta"):
                self.module.sow("multipliers", f"{name}_norm_{part}", 1.0 * outputs)


def lives(channels, live):
    """Which of so many channels are among the first `live`; all of them if that is None."""
    return jnp.arange(channels) < (channels if live is None else live)


def apply_chosen(ops, pick, x, layers, how):
    """Output of the picked op, and the normalisations of all, of which its own has moved."""

    def branch(number):
        def run(x, layers):
            out, norm = ops[number].apply(layers[number], x, how)
            return out, [norm if other == number else layers[other].norm for other in range(len(ops))]

        return run

    if len(ops) == 1:
        return branch(0)(x, layers)
    shapes = [jax.eval_shape(branch(number), x, layers)[0].shape for number in range(len(ops))]
    if len(set(shapes)) > 1:
        raise InputError(f"Choose among ops of shapes {', '.join(map(str, shapes))}: give equal widths and strides")
    return jax.lax.switch(pick, [branch(number) for number in range(len(ops))], x, layers)
