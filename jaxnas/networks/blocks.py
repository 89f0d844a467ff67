"""Modules that networks of several spaces share."""

import flax.linen as nn

from jaxnas.networks.layers import (
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
