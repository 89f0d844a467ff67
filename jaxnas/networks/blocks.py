"""Modules that networks of several spaces share."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.networks.layers import (
    Exponent,
    FanMode,
    WeightLayer,
    apply_batch_norm,
    apply_layer,
    batch_norm_layer,
    global_average,
    record_statistics,
    weight_layer,
)


class ConvNorm(nn.Module):
    """Convolution (3x3, padding 1, no bias) and affine batch normalisation.

    Attributes:
        channels: O, of the output.
        stride: 1 or 2.
        norm: Whether batch normalisation acts.
        train: Whether it uses the statistics of the minibatch.
        draw: The distribution of the kernel, see `jaxnas.networks.layers.weight_layer`.
    """

    channels: int
    stride: int
    norm: bool
    train: bool
    draw: FanMode = "fan_in"

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N h w O"]:
        """Return the normalised convolution of x."""
        shape = (3, 3, x.shape[-1], self.channels)
        layer = weight_layer(self, "conv", shape, batch=x.shape[0], normalised=self.norm, draw=self.draw)
        norm = batch_norm_layer(self, "norm", self.channels)
        out = apply_layer(layer, x, self.stride)
        if self.norm:
            out, norm = apply_batch_norm(norm, out, train=self.train)
            record_statistics(self, "norm", norm)
        return out


def halve(even: WeightLayer, odd: WeightLayer, x: Float[Array, "N H W C"]) -> Float[Array, "N h w O"]:
    """Convolve every second pixel by one 1x1 kernel and the pixel right below it (0 outside) by another.

    The outputs of `even` and `odd` are concatenated along channels; h = ceil(H / 2).
    """
    shifted = jnp.pad(x[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)))
    return jnp.concatenate([apply_layer(even, x, 2), apply_layer(odd, shifted, 2)], axis=-1)


def classify(
    module: nn.Module, x: Float[Array, "N H W C"], num_classes: int, exponent: Exponent = None
) -> Float[Array, "N K"]:
    """Return the logits of a linear layer `classifier` of `module` on the mean of x over pixels."""
    shape = (x.shape[-1], num_classes)
    layer = weight_layer(module, "classifier", shape, batch=len(x), bias=True, exponent=exponent)
    return apply_layer(layer, global_average(module, x))
