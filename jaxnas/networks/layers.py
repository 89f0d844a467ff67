"""Layers that every network is built from, and the taps that proxies read.

A *weight* is the kernel of a convolution or linear layer declared by `weight_layer`; biases and the parameters of
normalisation are not weights. Such a layer computes gate * (scale * (x * kernel) + bias), where the taps are absent
(that is, 1) unless a proxy passes their collection to `network.apply`:

* `scales`, one scalar per layer: d/dscale is the directional derivative along the layer's own kernel. Of the layers
  whose output a normalisation makes independent of it, up to its epsilon, the collection is `normalised_scales`.
* `gates`, one factor per image and output channel [N O], always 1: dL/dgate = sum over pixels of a dL/da, a the
  layer's output.
* `places`, one scalar per layer: its reverse derivative, whatever the loss, is the number of images and pixels at which
  the layer is computed, 0 where the architecture does not. Normalisations have it too.

They have the tree structure of the weights. One more has that of the blocks, see `end_of_block`:

* `probes`, one number for each of a block's outputs [N H W C]: a block receives it as the cotangent of its output, and
  the tap's own reverse derivative is what the next block pulls back to there.

Other collections are written when they are mutable: `relus` holds (input, used) of every ReLU, where `used` has the
axes that stack inputs, or those and channels; `pools` how many numbers the windows of pooling see; `blocks` the outputs
of the blocks, in their order; `features` the activations before the global average; `used` which layers the
architecture uses, see `SearchNetwork.in_use`; `exponent` the last exponent of a network that keeps its range, see
`rescaled`. `batch_stats` holds running means and variances, updated when mutable and read when `train=False`.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.networks.kernels.convolution import conv, conv_upwards
from jaxnas.networks.kernels.depthwise import depthwise

Draw = Literal["fan_in", "fan_out"]

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.1
_LARGEST_STEP = 100  # of an exponent: powers of 2 that float32 has, and their inverses
OF_LAYERS = (
    "params",
    "batch_stats",
    "scales",
    "normalised_scales",
    "gates",
    "places",
    "probes",
    "relus",
    "pools",
    "blocks",
    "used",
)  # collections that a scan stacks


@dataclass(frozen=True)
class RunMode:
    """How the layers of a network compute in one call.

    Attributes:
      norm: whether batch normalisation acts.
      train: whether it uses the statistics of the minibatch.
      reverse: see `SearchNetwork.reverse`.
    """

    norm: bool
    train: bool
    reverse: bool = False


class WeightLayer(NamedTuple):
    """Kernel, optional bias, and the taps of one convolution or linear layer; leading axes stack several layers."""

    kernel: Array  # [..., k, k, C, O] or [..., C, O]
    bias: Array | None  # [..., O]
    scale: Array | None  # [...]
    gate: Array | None  # [..., N, O]
    places: Array | None = None  # [...]


class BatchNorm(NamedTuple):
    """Affine parameters (or None) and running statistics of one normalisation, all [..., C]."""

    gamma: Any
    beta: Any
    mean: Any
    variance: Any
    places: Any = None  # the tap [...], or None


def weight_layer(
    module: nn.Module,
    name: str,
    shape,
    *,
    batch: int,
    stack=(),
    bias=False,
    normalised=False,
    draw: Draw = "fan_in",
    exponent=None,
    used: Any = True,
) -> WeightLayer:
    """Declare in `module` one layer of kernel `shape`, or a stack of them, and how it is drawn.

    `draw`: "fan_in", U(-b, b) with b = 1/sqrt(k k C), which is what PyTorch draws for kernels and biases by default;
    "fan_out", N(0, 2 / (k k O)), He's for convolutions, as some spaces have it.
    `normalised`: batch normalisation with the statistics of the minibatch follows. `exponent`: of the layer's input,
    see `rescaled`; the bias comes in the same units. `used`: whether the architecture uses
    the layer, or a mask with the shape of `stack`.
    """
    bound = math.prod(shape[:-1]) ** -0.5
    deviation = (2 / (math.prod(shape[:-2]) * shape[-1])) ** 0.5
    scales = "normalised_scales" if normalised else "scales"

    def uniform(key, shape):
        return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

    def normal(key, shape):
        return deviation * jax.random.normal(key, shape)

    if module.is_initializing():  # so that `init` also yields the taps, with the shapes that this batch needs
        module.variable(scales, name, nn.initializers.ones, None, stack)
        module.variable("gates", name, nn.initializers.ones, None, (*stack, batch, shape[-1]))
        module.variable("places", name, nn.initializers.ones, None, stack)
    _declare_used(module, (name, f"{name}_bias") if bias else (name,), used)
    return WeightLayer(
        module.param(name, uniform if draw == "fan_in" else normal, (*stack, *shape)),
        in_units(module.param(f"{name}_bias", uniform, (*stack, shape[-1])), exponent) if bias else None,
        _optional(module, scales, name),
        _optional(module, "gates", name),
        _optional(module, "places", name),
    )


def _declare_used(module, names, used):
    """Sow the mask of each parameter in `names`, see `SearchNetwork.in_use`."""
    if module.is_mutable_collection("used") and not module.is_initializing():
        for name in names:
            module.sow("used", name, jnp.asarray(used))


def _optional(module, collection, name):
    return module.get_variable(collection, name) if module.has_variable(collection, name) else None


def apply_layer(layer: WeightLayer, x: Array, stride: int = 1) -> Array:
    """gate * (scale * (x * kernel) + bias): a same-padded convolution for x [N H W C], a matrix product for [N C]."""
    return apply_taps(layer, conv(x, layer.kernel, stride) if x.ndim == 4 else x @ layer.kernel)


def apply_layer_upwards(layer: WeightLayer, x: Float[Array, "N h w C"]) -> Float[Array, "N H W O"]:
    """`apply_layer` with the transposed convolution that doubles height and width."""
    return apply_taps(layer, conv_upwards(x, layer.kernel))


def apply_depthwise(
    layer: WeightLayer, x: Float[Array, "N H W C"], stride: int, dilation: int
) -> Float[Array, "N h w C"]:
    """`apply_layer` with a depthwise convolution, kernel [k k 1 C]."""
    return apply_taps(layer, depthwise(x, layer.kernel, dilation)[:, ::stride, ::stride])


def apply_taps(layer: WeightLayer, out: Array) -> Array:
    """gate * (scale * out + bias), for `out` the product of input and kernel."""
    if layer.places is not None:
        out = _counted(out, layer.places)
    if layer.scale is not None:
        out = layer.scale * out
    if layer.bias is not None:
        out = out + _per_channel(layer.bias, out)
    if layer.gate is not None:
        out = _gated(out, layer.gate[:, None, None, :] if out.ndim == 4 else layer.gate)
    return out


@jax.custom_jvp
def _gated(out, ones):
    """out * ones without the product: a gate is there for the derivative along it."""
    return out


@_gated.defjvp
def _gated_jvp(primals, tangents):
    (out, ones), (dout, dones) = primals, tangents
    return out, _gated(dout, ones) + dones * out


@jax.custom_vjp
def _counted(out, places):
    """out; backwards, `places` gets the number of places that out has."""
    return out


_counted.defvjp(lambda out, places: (out, places), lambda places, g: (g, jnp.full_like(places, g.size // g.shape[-1])))


def end_of_block(module: nn.Module, name: str, x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
    """x, declared in `module` as the output of a block: a stem, a cell, a residual block."""
    module.sow("blocks", name, x)
    if module.is_initializing():
        module.variable("probes", name, nn.initializers.ones, None, x.shape)
    probe = _optional(module, "probes", name)
    return x if probe is None else _probed(x, probe)


@jax.custom_vjp
def _probed(x, probe):
    return x


_probed.defvjp(lambda x, probe: (x, probe), lambda probe, g: (probe, g))


def rescaled(x: Any, exponent: Any) -> tuple[Any, Any]:
    """Activations divided by the power of 2 that brings the largest to 1 to 2, and the sum of such exponents so far.

    What a network without normalisation computes outgrows float32 (1e61 for synflow on NAS-Bench-201) while all its
    layers are homogeneous in activations and biases: `exponent` says by which power of 2 both are divided. None: they
    are as they are, and so is the result. Several activations, as a tuple, have one exponent.
    """
    if exponent is None:
        return x, None
    sizes = [jnp.abs(jax.lax.stop_gradient(leaf)).max() for leaf in jax.tree.leaves(x)]
    largest = jnp.max(jnp.stack(sizes))
    step = jnp.where(largest > 0, jnp.frexp(largest)[1] - 1, 0)
    step = jnp.clip(step, -_LARGEST_STEP, _LARGEST_STEP).astype(jnp.int32)
    return in_units(x, step), exponent + step


def in_units(x: Any, exponent: Any) -> Any:
    """x / 2^exponent, x itself if that is None; 0 where it is too small for its type."""
    if exponent is None:
        return x
    half = -exponent // 2  # as 2^-exponent itself may not be a number of the type
    one, other = half, -exponent - half

    def power(n, dtype):
        return jnp.ldexp(jnp.ones((), dtype), n)

    return jax.tree.map(lambda leaf: leaf * power(one, leaf.dtype) * power(other, leaf.dtype), x)


def start_exponent(keeps_range: bool) -> Any:
    """Of activations as they are: 0, or None in a network that does not keep its range."""
    return jnp.int32(0) if keeps_range else None


def _per_channel(vector, x):
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)


def batch_norm_layer(
    module: nn.Module, name: str, channels: int, *, stack=(), affine=True, used: Any = True
) -> BatchNorm:
    """Declare in `module` one batch normalisation, or a stack of them; gamma starts at 1 and beta at 0.

    `used`: see `weight_layer`.
    """
    shape = (*stack, channels)
    if module.is_initializing():
        module.variable("batch_stats", f"{name}_mean", nn.initializers.zeros, None, shape)
        module.variable("batch_stats", f"{name}_variance", nn.initializers.ones, None, shape)
        module.variable("places", name, nn.initializers.ones, None, stack)
    if affine:
        _declare_used(module, (f"{name}_gamma", f"{name}_beta"), used)
    return BatchNorm(
        module.param(f"{name}_gamma", nn.initializers.ones, shape) if affine else None,
        module.param(f"{name}_beta", nn.initializers.zeros, shape) if affine else None,
        _optional(module, "batch_stats", f"{name}_mean"),
        _optional(module, "batch_stats", f"{name}_variance"),
        _optional(module, "places", name),
    )


def apply_batch_norm(norm: BatchNorm, x: Float[Array, "N H W C"], *, train: bool) -> tuple[Array, BatchNorm]:
    """gamma (x - mean) / sqrt(variance + 1e-5) + beta, and the layer with its running statistics moved on.

    If `train`, mean and (biased) variance are those of x over images and pixels, and the running ones move a tenth of
    the way to them (to the unbiased variance, as in PyTorch); if not, the running ones are used and kept.
    """
    mean, variance = norm.mean, norm.variance
    if norm.places is not None:
        x = _counted(x, norm.places)
    if train:
        out, mean, variance = _standardize(x)
        if norm.mean is not None:
            unbiased = variance / (1 - x.shape[-1] / x.size)
            moved = jax.tree.map(_move, (norm.mean, norm.variance), (mean, unbiased))
            norm = norm._replace(mean=moved[0], variance=moved[1])
    else:
        out = (x - _per_channel(mean, x)) * _per_channel(jax.lax.rsqrt(variance + BATCH_NORM_EPSILON), x)
    if norm.gamma is not None:
        out = out * _per_channel(norm.gamma, x)
    if norm.beta is not None:
        out = out + _per_channel(norm.beta, x)
    return out, norm


@jax.custom_jvp
def _standardize(x):
    """(x - mean) / sqrt(variance + 1e-5) per channel, and the two."""
    mean = x.mean((0, 1, 2))
    variance = jnp.square(x - _per_channel(mean, x)).mean((0, 1, 2))
    return (x - _per_channel(mean, x)) * _per_channel(jax.lax.rsqrt(variance + BATCH_NORM_EPSILON), x), mean, variance


@_standardize.defjvp
def _standardize_jvp(primals, tangents):
    """For y = (x - mean) f the derivative along x' is f (x' - mean(x') - y mean(y x')).

    Both means are taken in one go over memory, where autodiff would wait for the first; and the map is its own
    transpose, so reverse mode costs the same.
    """
    (x,), (dx,) = primals, tangents
    out, mean, variance = _standardize(x)
    factor = jax.lax.rsqrt(variance + BATCH_NORM_EPSILON)
    dmean, along = dx.mean((0, 1, 2)), (out * dx).mean((0, 1, 2))
    dout = _per_channel(factor, x) * (dx - _per_channel(dmean, x) - out * _per_channel(along, x))
    return (out, mean, variance), (dout, dmean, 2 * along / factor)


def _move(running, new):
    return (1 - BATCH_NORM_MOMENTUM) * running + BATCH_NORM_MOMENTUM * new


def record_statistics(module: nn.Module, name: str, norm: BatchNorm) -> None:
    """Keep the running statistics of `norm` in the collection `batch_stats`, if it is mutable."""
    if module.is_mutable_collection("batch_stats") and not module.is_initializing():
        module.put_variable("batch_stats", f"{name}_mean", norm.mean)
        module.put_variable("batch_stats", f"{name}_variance", norm.variance)


def global_average(module: nn.Module, x: Float[Array, "N H W C"], live: Any = None) -> Float[Array, "N C"]:
    """Mean over pixels. Its window counts as (H + 1)(W + 1) pixels, as NAS-Bench-Suite-Zero has it.

    `live`: how many of the channels there are; None: all.
    """
    batch, height, width, channels = x.shape
    module.sow("pools", "global", 1.0 * batch * (height + 1) * (width + 1) * (channels if live is None else live))
    return x.mean((1, 2))
