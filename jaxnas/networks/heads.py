"""The heads that turn the features of an encoder into outputs: one for each kind of task of TransNAS-Bench-101.

"classification": global average, linear layer. "jigsaw": the global averages of the nine pieces of a puzzle side by
side, linear layer. "segmentation" and "image": convolutions with batch normalisation and leaky ReLU, of which the last
few that may double height and width do so, as often as the encoder halved them; then a convolution to the outputs, for
"image" with tanh.

Source: Duan et al. 2021 (arXiv:2105.11871). One thing differs: transposed convolutions are drawn as wide as the others,
U(-b, b) with b = 1/sqrt(9 C), where PyTorch counts their output channels.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.networks.layers import (
    BatchNorm,
    Exponent,
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
    """The convolutions of a decoder.

    Attributes:
        widths: Output channels of each, in units of the base channels of the encoder.
        places: The convolutions that may double height and width: the last of them do.
        squashed: Whether tanh follows.
    """

    widths: tuple[float, ...]
    places: tuple[int, ...]
    squashed: bool


DECODERS = {
    "segmentation": DecoderForm((16, 8, 4, 2, 1, 0.5, 0.5), (1, 2, 3, 4, 5, 6), False),
    "image": DecoderForm((16, 16, 8, 8, 4, 2, 1, 1, 0.5, 0.5, 0.25, 0.5, 0.25), (2, 4, 6, 8, 10, 12), True),
}
HEADS = ("classification", "jigsaw", *DECODERS)


class DecoderLayer(NamedTuple):
    """One convolution and its normalisation; the last of a decoder has none."""

    weight: WeightLayer
    norm: BatchNorm | None


class DecoderModule(nn.Module):
    """A module that declares the layers of a decoder.

    Attributes:
        head: A name in `HEADS`.
        num_outputs: K.
        channels: Base channels of the encoder.
        norm: Whether batch normalisation acts.
        train: Whether it uses the statistics of the minibatch.
    """

    head: str
    num_outputs: int
    channels: int
    norm: bool
    train: bool

    def decoder_channels(self) -> list[int]:
        """Return the output channels of the normalised layers."""
        return [int(width * self.channels) for width in DECODERS[self.head].widths]

    def declare_layer(
        self, name: str, in_channels: int, channels: int, batch: int, exponent: Exponent, *, is_last: bool = False
    ) -> DecoderLayer:
        """Declare a 3x3 convolution with bias, and its batch normalisation unless it is the last."""
        shape, normalised = (3, 3, in_channels, channels), self.norm and not is_last
        weight = weight_layer(self, name, shape, batch=batch, bias=True, normalised=normalised, exponent=exponent)
        return DecoderLayer(weight, None if is_last else batch_norm_layer(self, f"{name}_norm", channels))

    def declare_rest(self, batch: int, exponent: Exponent) -> list[DecoderLayer]:
        """Declare all layers except the first."""
        channels = [*self.decoder_channels(), self.num_outputs]
        last = len(channels) - 1
        return [
            self.declare_layer(
                f"layer{number}", channels[number - 1], channels[number], batch, exponent, is_last=number == last
            )
            for number in range(1, len(channels))
        ]


class Head(DecoderModule):
    """Features [N h w C] to logits [N K], for the pieces of a puzzle [9N h w C]; or to logits or an image [N H W K].

    Attributes:
        num_doublings: log2 of H / h.
    """

    num_doublings: int

    @nn.compact
    def __call__(self, x: Float[Array, "B h w C"], exponent: Exponent) -> Float[Array, "N *H K"]:
        """Return the outputs in the units of the features, whose `exponent` is given."""
        if self.head not in DECODERS:
            averages = side_by_side(global_average(self, x), self.head)
            shape = (averages.shape[-1], self.num_outputs)
            layer = weight_layer(self, "linear", shape, batch=len(averages), bias=True, exponent=exponent)
            return apply_layer(layer, averages)
        first = self.declare_layer("layer0", x.shape[-1], self.decoder_channels()[0], len(x), exponent)
        layers = [first, *self.declare_rest(len(x), exponent)]
        out, moved = decode(layers, x, self.head, self.num_doublings, norm=self.norm, train=self.train)
        for number, norm in enumerate(moved):
            record_statistics(self, f"layer{number}_norm", norm)
        return squash(out, self.head, exponent)


def side_by_side(x: Float[Array, "B C"], head: str) -> Float[Array, "N D"]:
    """Return the averages of images, or those of the pieces of each puzzle concatenated."""
    return x.reshape(-1, NUM_PIECES * x.shape[-1]) if head == "jigsaw" else x


def decode(
    layers: list[DecoderLayer],
    x: Float[Array, "N h w C"],
    head: str,
    num_doublings: int,
    *,
    norm: bool,
    train: bool,
    start: int = 0,
) -> tuple[Float[Array, "N H W O"], list[BatchNorm]]:
    """Return the output of the decoder from its layer `start` on, and the normalisations with new running statistics.

    Args:
        layers: The layers from `start` on.
        x: The features that enter them.
        head: A name in `DECODERS`.
        num_doublings: The number of layers of the whole decoder that double height and width.
        norm: Whether batch normalisation acts.
        train: Whether it uses the statistics of the minibatch.
        start: The number of the first of `layers` in the decoder.
    """
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


def squash(x: Float[Array, "N H W K"], head: str, exponent: Exponent) -> Float[Array, "N H W K"]:
    """Return the tanh of x where the decoder ends in one, else x.

    `exponent` is that of x and of the result, see `jaxnas.networks.units`.
    """
    if not DECODERS[head].squashed:
        return x
    lift = None if exponent is None else -jnp.minimum(exponent, _FLAT)
    return in_units(jnp.tanh(in_units(x, lift)), exponent)
