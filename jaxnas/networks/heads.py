"""What turns the features of an encoder into outputs: one head for each kind of task of TransNAS-Bench-101.

"classification": global average, linear layer. "jigsaw": the global averages of the nine pieces of a puzzle side by
side, linear layer. "segmentation" and "image": convolutions with batch normalisation and leaky ReLU, of which the last
few that may double height and width do so, as often as the encoder halved them; then a convolution to the outputs, for
"image" with tanh.

Source: Duan et al. 2021 (arXiv:2105.11871). We differ in one thing: transposed convolutions are drawn as wide as the
others, U(-b, b) with b = 1/sqrt(9 C), where PyTorch counts their output channels.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.networks.layers import (
    BatchNorm,
    WeightLayer,
    apply_batch_norm,
    apply_layer,
    apply_layer_upwards,
    batch_norm_layer,
    global_average,
    in_units,
    record_statistics,
    weight_layer,
)

NUM_PIECES = 9  # of a jigsaw puzzle
_FLAT = 60  # tanh is long before 2^60
SLOPE = 0.2  # of the decoders' leaky ReLU on negative values


class DecoderForm(NamedTuple):
    """The convolutions of a decoder."""

    widths: tuple[float, ...]  # output channels of each, in units of the encoder's base channels
    places: tuple[int, ...]  # those that may double height and width: the last of them do
    squashed: bool  # tanh at the end


DECODERS = {
    "segmentation": DecoderForm((16, 8, 4, 2, 1, 0.5, 0.5), (1, 2, 3, 4, 5, 6), False),
    "image": DecoderForm((16, 16, 8, 8, 4, 2, 1, 1, 0.5, 0.5, 0.25, 0.5, 0.25), (2, 4, 6, 8, 10, 12), True),
}
HEADS = ("classification", "jigsaw", *DECODERS)


class DecoderLayer(NamedTuple):
    """One convolution and its normalisation; the last of a decoder has none."""

    weight: WeightLayer
    norm: BatchNorm | None


class Head(nn.Module):
    """Features [N h w C] to logits [N K], for a puzzle's pieces [9N h w C]; or to logits or an image [N H W K]."""

    head: str  # a name in `HEADS`
    num_outputs: int  # K
    channels: int  # the encoder's base channels
    num_doublings: int  # log2 of H / h
    norm: bool
    train: bool

    @nn.compact
    def __call__(self, x, exponent):
        if self.head not in DECODERS:
            x = side_by_side(global_average(self, x), self.head)
            shape = (x.shape[-1], self.num_outputs)
            return apply_layer(weight_layer(self, "linear", shape, batch=len(x), bias=True, exponent=exponent), x)
        first = declare_decoder_layer(self, "layer0", x.shape[-1], decoder_channels(self)[0], len(x), exponent)
        layers = [first, *declare_rest(self, len(x), exponent)]
        out, moved = decode(layers, x, self.head, self.num_doublings, norm=self.norm, train=self.train)
        for number, norm in enumerate(moved):
            record_statistics(self, f"layer{number}_norm", norm)
        return squash(out, self.head, exponent)


def side_by_side(x: Float[Array, "B C"], head: str) -> Float[Array, "N D"]:
    """The averages of images, or of the pieces of each puzzle, next to each other."""
    return x.reshape(-1, NUM_PIECES * x.shape[-1]) if head == "jigsaw" else x


def decoder_channels(module) -> list[int]:
    """Output channels of the decoder's layers; `module` has the fields of `Head`."""
    return [int(width * module.channels) for width in DECODERS[module.head].widths]


def declare_rest(module, batch: int, exponent) -> list[DecoderLayer]:
    """All layers of a decoder but the first."""
    channels = [*decoder_channels(module), module.num_outputs]
    return [
        declare_decoder_layer(module, f"layer{number}", channels[number - 1], channels[number], batch, exponent, number)
        for number in range(1, len(channels))
    ]


def declare_decoder_layer(module, name, in_channels, channels, batch, exponent, number=0) -> DecoderLayer:
    """A 3x3 convolution with bias; but for the last with batch normalisation."""
    is_last = number == len(DECODERS[module.head].widths)
    declare = dict(batch=batch, bias=True, normalised=module.norm and not is_last, exponent=exponent)
    weight = weight_layer(module, name, (3, 3, in_channels, channels), **declare)
    return DecoderLayer(weight, None if is_last else batch_norm_layer(module, f"{name}_norm", channels))


def decode(layers: list[DecoderLayer], x, head: str, num_doublings: int, *, norm: bool, train: bool, start: int = 0):
    """The decoder from its layer `start` on, and the normalisations with their running statistics moved on."""
    moved: list[BatchNorm] = []
    upwards = DECODERS[head].places[-num_doublings:]
    for number, (weight, stats) in enumerate(layers, start=start):
        x = apply_layer_upwards(weight, x) if number in upwards else apply_layer(weight, x)
        if stats is None:
            return x, moved
        if norm:
            x, stats = apply_batch_norm(stats, x, train=train)
        moved.append(stats)
        x = nn.leaky_relu(x, SLOPE)
    return x, moved


def squash(x: Float[Array, "N H W K"], head: str, exponent: Any) -> Float[Array, "N H W K"]:
    """What a decoder puts behind its last layer; `exponent` of x and of the result, see `layers.rescaled`."""
    if not DECODERS[head].squashed:
        return x
    lift = None if exponent is None else -jnp.minimum(exponent, _FLAT)
    return in_units(jnp.tanh(in_units(x, lift)), exponent)
