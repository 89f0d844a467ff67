"""Modules that networks of several spaces share."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.networks.layers import (
    WeightLayer,
    apply_batch_norm,
    apply_layer,
    batch_norm_layer,
    record_statistics,
    weight_layer,
)


class ConvNorm(nn.Module):
    """Convolution (3x3, pad 1, no bias) and affine batch normalisation; stride 1 or 2."""

    channels: int
    stride: int
    norm: bool
    train: bool
    draw: str = "fan_in"  # see `weight_layer`

    @nn.compact
    def __call__(self, x):
        declare = dict(batch=x.shape[0], normalised=self.norm, draw=self.draw)
        layer = weight_layer(self, "conv", (3, 3, x.shape[-1], self.channels), **declare)
        norm = batch_norm_layer(self, "norm", self.channels)
        out = apply_layer(layer, x, self.stride)
        if self.norm:
            out, norm = apply_batch_norm(norm, out, train=self.train)
            record_statistics(self, "norm", norm)
        return out


def halve(even: WeightLayer, odd: WeightLayer, x: Float[Array, "N H W C"]) -> Float[Array, "N h w O"]:
    """Every second pixel, and what lies right below those (0 outside): a 1x1 convolution each, side by side."""
    shifted = jnp.pad(x[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)))
    return jnp.concatenate([apply_layer(even, x, 2), apply_layer(odd, shifted, 2)], axis=-1)
