"""The heads of TransNAS-Bench-101 macro, whose first layer exists for every number of channels of the features."""

from functools import partial
from itertools import product
from math import prod

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxnas.networks import heads
from jaxnas.networks.kernels.switch import add_chosen
from jaxnas.networks.layers import (
    BatchNorm,
    Exponent,
    RunMode,
    WeightLayer,
    apply_layer,
    batch_norm_layer,
    record_statistics,
    weight_layer,
)
from jaxnas.networks.skeleton import Frame, Layers, Norms, Packed, pack, unpack
from jaxnas.spaces.transnas101 import NUM_DOUBLINGS, NUM_STRIDES

LAST_FORMS = tuple(product(NUM_DOUBLINGS, NUM_STRIDES))  # widths and strides of whole skeletons


class SkeletonHead(heads.DecoderModule):
    """A head as `heads.Head`, for features in a buffer.

    Attributes:
        frame: Shapes of features.
        reverse: See `SearchNetwork.reverse`.
    """

    frame: Frame
    reverse: bool

    @nn.compact
    def __call__(self, state: Packed, width: Int[Array, ""], strides: Int[Array, ""]) -> Float[Array, "N *h K"]:
        """Return the outputs for features after so many doublings (`width`) and halvings (`strides`)."""
        buffer, exponent = state
        number = (width - min(NUM_DOUBLINGS)) * len(NUM_STRIDES) + strides - min(NUM_STRIDES)
        if self.head not in heads.DECODERS:
            classify = partial(_classify, head=self.head, frame=self.frame)
            branches = tuple(partial(classify, form=form) for form in LAST_FORMS)
            shapes = [self.frame.shape(*form) for form in LAST_FORMS]
            windows = [1.0 * len(buffer) * (h + 1) * (w + 1) * c for h, w, c in shapes]
            self.sow("pools", "global", jnp.asarray(windows)[number])
            linear = self._linear_layers(len(buffer), width, exponent)
            return add_chosen(number, branches, None, buffer, linear, reverse=self.reverse)[0]
        mode = RunMode(self.norm, self.train)
        first, norms = self._first_layers(len(buffer), width, exponent)
        size = prod(self.frame.shape(0, min(NUM_STRIDES))[:2]) * self.decoder_channels()[0]
        begin = partial(_decode_first, size=size, head=self.head, frame=self.frame, mode=mode)
        buffer, moved = add_chosen(
            number,
            tuple(partial(begin, form=form) for form in LAST_FORMS),
            None,
            buffer,
            first,
            norms,
            reverse=self.reverse,
        )
        for name, norm in moved.items():
            record_statistics(self, name, norm)
        rest = self.declare_rest(len(buffer), exponent)
        finish = partial(_decode_rest, channels=self.decoder_channels()[0], head=self.head, frame=self.frame, mode=mode)
        out, rest_moved = add_chosen(
            strides - min(NUM_STRIDES),
            tuple(partial(finish, strides=number) for number in NUM_STRIDES),
            None,
            buffer,
            rest,
            reverse=self.reverse,
        )
        for layer, norm in enumerate(rest_moved, start=1):
            record_statistics(self, f"layer{layer}_norm", norm)
        return heads.squash(out, self.head, exponent)

    def _linear_layers(self, batch: int, last_width: Int[Array, ""], exponent: Exponent) -> dict[int, WeightLayer]:
        """Declare a linear layer for every number of doublings, of which that of the features is used."""
        pieces = heads.NUM_PIECES if self.head == "jigsaw" else 1
        layers: dict[int, WeightLayer] = {}
        declare = partial(weight_layer, self, batch=batch // pieces, bias=True, exponent=exponent)
        for width in NUM_DOUBLINGS:
            shape = (pieces * self.frame.channels * 2**width, self.num_outputs)
            layers[width] = declare(f"linear{width}", shape, used=last_width == width)
        return layers

    def _first_layers(self, batch: int, last_width: Int[Array, ""], exponent: Exponent) -> tuple[Layers, Norms]:
        """Declare the first layer of a decoder and its normalisation, for every number of doublings."""
        channels = self.decoder_channels()[0]
        layers: Layers = {}
        norms: Norms = {}
        declare = partial(weight_layer, self, batch=batch, bias=True, normalised=self.norm, exponent=exponent)
        for width in NUM_DOUBLINGS:
            name, used = f"first{width}", last_width == width
            layers[name] = declare(name, (3, 3, self.frame.channels * 2**width, channels), used=used)
            norms[f"{name}_norm"] = batch_norm_layer(self, f"{name}_norm", channels, used=used)
        return layers, norms


def _classify(
    buffer: Float[Array, "N B"], layers: dict[int, WeightLayer], *, form: tuple[int, int], head: str, frame: Frame
) -> tuple[Float[Array, "N K"], None]:
    averages = unpack(buffer, frame.shape(*form)).mean((1, 2))
    return apply_layer(layers[form[0]], heads.side_by_side(averages, head)), None


def _decode_first(
    buffer: Float[Array, "N B"],
    layers: Layers,
    norms: Norms,
    *,
    form: tuple[int, int],
    size: int,
    head: str,
    frame: Frame,
    mode: RunMode,
) -> tuple[Float[Array, "N b"], Norms]:
    name, moved = f"first{form[0]}", dict(norms)
    layer = heads.DecoderLayer(layers[name], norms[f"{name}_norm"])
    x = unpack(buffer, frame.shape(*form))
    out, [moved[f"{name}_norm"]] = heads.decode([layer], x, head, form[1] + 2, norm=mode.norm, train=mode.train)
    return pack(out, size), moved


def _decode_rest(
    buffer: Float[Array, "N b"],
    layers: list[heads.DecoderLayer],
    *,
    strides: int,
    channels: int,
    head: str,
    frame: Frame,
    mode: RunMode,
) -> tuple[Float[Array, "N H W K"], list[BatchNorm]]:
    x = unpack(buffer, (*frame.shape(0, strides)[:2], channels))
    return heads.decode(layers, x, head, strides + 2, norm=mode.norm, train=mode.train, start=1)
