"""Convolutions and linear layers with the taps that proxies read, and all else that a network is built from.

The kernel of such a layer is what proxies see; biases and the parameters of normalisation are not. The parts of a
network that are defined elsewhere can be imported from here too: taps (`jaxnas.networks.taps`), batch normalisation
(`jaxnas.networks.batch_norm`) and units (`jaxnas.networks.units`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxnas.data.batch import AnyArray
from jaxnas.networks.batch_norm import (
    BATCH_NORM_EPSILON,
    BATCH_NORM_MOMENTUM,
    BatchNorm,
    apply_batch_norm,
    batch_norm_layer,
    record_statistics,
)
from jaxnas.networks.kernels.convolution import conv_grouped, conv_upwards
from jaxnas.networks.kernels.depthwise import depthwise
from jaxnas.networks.taps import (
    OF_LAYERS,
    Mask,
    counted,
    declare_tap,
    declare_use,
    end_of_block,
    find_variable,
    gated,
    per_channel,
)
from jaxnas.networks.units import Exponent, in_units, rescaled, start_exponent

__all__ = [
    "BATCH_NORM_EPSILON",
    "BATCH_NORM_MOMENTUM",
    "OF_LAYERS",
    "BatchNorm",
    "Exponent",
    "FanMode",
    "RunMode",
    "WeightLayer",
    "apply_batch_norm",
    "apply_depthwise",
    "apply_depthwise_of_size",
    "apply_layer",
    "apply_layer_upwards",
    "apply_taps",
    "batch_norm_layer",
    "end_of_block",
    "global_average",
    "in_units",
    "record_statistics",
    "rescaled",
    "start_exponent",
    "weight_layer",
]

FanMode: TypeAlias = Literal["fan_in", "fan_out", "lecun", "small"]
SMALL_DEVIATION = 0.02


@dataclass(frozen=True)
class RunMode:
    """The settings of one call that all layers share.

    Attributes:
        norm: Whether batch normalisation acts.
        train: Whether it uses the statistics of the minibatch.
        reverse: See `SearchNetwork.reverse`.
    """

    norm: bool
    train: bool
    reverse: bool = False


class WeightLayer(NamedTuple):
    """Kernel, optional bias and taps of one convolution or linear layer; leading axes stack several layers.

    Attributes:
        kernel: [..., k, k, C, O] or [..., C, O].
        bias: [..., O], or None.
        scale: The tap [...], or None.
        gate: The tap [..., N, O], or None.
        places: The tap [...], or None.
    """

    kernel: Array
    bias: Array | None
    scale: Array | None
    gate: Array | None
    places: Array | None = None


def weight_layer(
    module: nn.Module,
    name: str,
    shape: tuple[int, ...],
    *,
    batch: int,
    stack: tuple[int, ...] = (),
    bias: bool = False,
    normalised: bool = False,
    draw: FanMode = "fan_in",
    exponent: Exponent = None,
    used: Mask = True,
) -> WeightLayer:
    """Declare in `module` one layer of kernel `shape`, or a stack of them, and its distribution at initialisation.

    Args:
        module: The flax module that owns the parameters.
        name: The parameters are called `{name}` and `{name}_bias`.
        shape: Shape of one kernel, (k, k, C, O) or (C, O).
        batch: N, the number of images.
        stack: Axes in front that stack several layers.
        bias: Whether a bias exists.
        normalised: Whether batch normalisation with the statistics of the minibatch follows.
        draw: "fan_in": U(-b, b) with b = 1/sqrt(k k C), which is what PyTorch draws for kernels and biases by default;
            "fan_out": N(0, 2 / (k k O)), as He et al. 2015 (arXiv:1502.01852) draw convolutions; "lecun": N(0, 1 / (k k
            C)) truncated at two standard deviations, which is what TensorFlow's `variance_scaling_initializer` draws;
            "small": N(0, 0.02^2) and biases 0, as vision transformers draw their layers.
        exponent: Exponent of the input, see `rescaled`; the bias comes in the same units.
        used: Whether the architecture uses the layer, or a mask with the shape of `stack`.
    """
    bound: float = math.prod(shape[:-1]) ** -0.5
    deviation: float = SMALL_DEVIATION if draw == "small" else (2 / (math.prod(shape[:-2]) * shape[-1])) ** 0.5
    scales = "normalised_scales" if normalised else "scales"

    def uniform(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
        return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

    def normal(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
        return deviation * jax.random.normal(key, shape)

    def lecun(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
        of_stack = tuple(range(len(stack)))
        return nn.initializers.lecun_normal(batch_axis=of_stack)(key, shape)

    draws = {"fan_in": uniform, "fan_out": normal, "lecun": lecun, "small": normal}
    for collection, axes in ((scales, stack), ("gates", (*stack, batch, shape[-1])), ("places", stack)):
        declare_tap(module, collection, name, axes)
    declare_use(module, (name, f"{name}_bias") if bias else (name,), used)
    kernel = jnp.asarray(module.param(name, draws[draw], (*stack, *shape)))
    draw_bias = nn.initializers.zeros if draw == "small" else uniform
    of_outputs = jnp.asarray(module.param(f"{name}_bias", draw_bias, (*stack, shape[-1]))) if bias else None
    return WeightLayer(
        kernel,
        None if of_outputs is None else in_units(of_outputs, exponent),
        find_variable(module, scales, name),
        find_variable(module, "gates", name),
        find_variable(module, "places", name),
    )


def apply_layer(
    layer: WeightLayer, x: Float[AnyArray, "N *P C"], stride: int = 1, groups: int = 1
) -> Float[Array, "N *p O"]:
    """Return gate * (scale * (x * kernel) + bias).

    The product is a same-padded convolution for x [N H W C], of so many groups of channels, a matrix product for
    x [N C].
    """
    x = jnp.asarray(x)
    if x.ndim != 4:
        return apply_taps(layer, x @ layer.kernel)
    return apply_taps(layer, conv_grouped(x, layer.kernel, stride, groups))


def apply_layer_upwards(layer: WeightLayer, x: Float[Array, "N h w C"]) -> Float[Array, "N H W O"]:
    """Apply a layer as `apply_layer` does, with the transposed convolution that doubles height and width."""
    return apply_taps(layer, conv_upwards(x, layer.kernel))


def apply_depthwise(
    layer: WeightLayer, x: Float[Array, "N H W C"], stride: int, dilation: int
) -> Float[Array, "N h w C"]:
    """Apply a layer as `apply_layer` does, with a depthwise convolution of kernel [k k 1 C]."""
    return apply_taps(layer, depthwise(x, layer.kernel, dilation)[:, ::stride, ::stride])


def apply_depthwise_of_size(
    layer: WeightLayer, x: Float[Array, "N H W C"], stride: int, sizes: tuple[int, ...], pick: Int[Array, ""]
) -> Float[Array, "N h w C"]:
    """Apply a depthwise layer whose kernel is the first k rows and columns of its tensor, k picked of `sizes`."""

    def branch(size: int) -> Callable[[Array, Array], Array]:
        return lambda x, kernel: depthwise(x, kernel[:size, :size])[:, ::stride, ::stride]

    out: Array = jax.lax.switch(pick, [branch(size) for size in sizes], x, layer.kernel)
    return apply_taps(layer, out)


def apply_taps(layer: WeightLayer, out: Float[Array, "N *P O"]) -> Float[Array, "N *P O"]:
    """Return gate * (scale * out + bias), for `out` the product of input and kernel."""
    if layer.places is not None:
        out = counted(out, layer.places)
    if layer.scale is not None:
        out = layer.scale * out
    if layer.bias is not None:
        out = out + per_channel(layer.bias, out)
    if layer.gate is not None:
        out = gated(out, layer.gate[:, None, None, :] if out.ndim == 4 else layer.gate)
    return out


def global_average(module: nn.Module, x: Float[Array, "N H W C"], live: Array | None = None) -> Float[Array, "N C"]:
    """Return the mean over pixels, and sow (H + 1)(W + 1) pixels as the window, as NAS-Bench-Suite-Zero counts.

    Source: Krishnakumar et al. 2022 (arXiv:2210.03230).

    Args:
        module: The flax module that calls.
        x: Features.
        live: The number of channels that carry values; None for all.
    """
    batch, height, width, channels = x.shape
    module.sow("pools", "global", 1.0 * batch * (height + 1) * (width + 1) * (channels if live is None else live))
    return x.mean((1, 2))
