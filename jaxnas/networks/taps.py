"""The taps that proxies read, and the other collections that layers write.

A layer computes gate * (scale * (x * kernel) + bias). The taps are absent, which means 1, unless a proxy passes their
collection to `network.apply`:

* `scales`, one scalar per layer: d/dscale is the directional derivative along the kernel of the layer. Layers whose
  output a normalisation makes independent of the scale, up to its epsilon, have it in `normalised_scales`.
* `gates`, one factor per image and output channel [N O], always 1: dL/dgate = sum over pixels of a dL/da, where a is
  the output of the layer.
* `places`, one scalar per layer: its reverse derivative, whatever the loss, is the number of images and pixels at which
  the layer is computed, 0 where the architecture does not use it. Normalisations have it too.

These have the tree structure of the kernels. One more has that of the blocks, see `end_of_block`:

* `probes`, one number for each output of a block [N H W C]: a block receives it as the cotangent of its output, and the
  reverse derivative of the tap is what the next block pulls back to there.

Other collections are written when they are mutable: `relus` holds (input, used) of every activation function, where
`used` has the axes that stack inputs, or those and channels; the name of one other than a ReLU ends with its kind, such
as "_silu" (`jaxnas.networks.activations`); `pools` how many numbers the windows of pooling see; `blocks` the outputs of
the blocks, in their order; `present` which of them the architecture has, where it may lack some; `features` the
activations before the global average; `used` which layers the architecture uses, see `SearchNetwork.in_use`; `exponent`
the last exponent of a network that keeps its range, see `jaxnas.networks.units`. `batch_stats` holds running means and
variances, updated when mutable and read when `train=False`.
"""

from typing import TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Mask: TypeAlias = Bool[Array, "..."] | bool

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


def declare_tap(module: nn.Module, collection: str, name: str, shape: tuple[int, ...]) -> None:
    """Declare a tap of ones while `module` is initialised, so that `init` yields it in the shape of the minibatch."""
    if module.is_initializing():
        module.variable(collection, name, nn.initializers.ones, None, shape)


def declare_use(module: nn.Module, names: tuple[str, ...], used: Mask) -> None:
    """Sow the mask of each parameter in `names`, a mask over its leading axes; see `SearchNetwork.in_use`."""
    if module.is_mutable_collection("used") and not module.is_initializing():
        for name in names:
            module.sow("used", name, jnp.asarray(used))


def find_variable(module: nn.Module, collection: str, name: str) -> Array | None:
    """Return a variable of `module`, or None where the caller did not pass its collection."""
    return jnp.asarray(module.get_variable(collection, name)) if module.has_variable(collection, name) else None


@jax.custom_jvp
def gated(out: Array, ones: Array) -> Array:
    """Return `out` * `ones` without the product: a gate serves the derivative along it."""
    return out


@gated.defjvp
def _gated_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (out, ones), (dout, dones) = primals, tangents
    return out, gated(dout, ones) + dones * out


@jax.custom_vjp
def counted(out: Array, places: Array) -> Array:
    """Return `out`; the cotangent of `places` is the number of places that `out` has."""
    return out


def _keep_places(out: Array, places: Array) -> tuple[Array, Array]:
    return out, places


def _count_places(places: Array, g: Array) -> tuple[Array, Array]:
    return g, jnp.full_like(places, g.size // g.shape[-1])


counted.defvjp(_keep_places, _count_places)


def end_of_block(
    module: nn.Module, name: str, x: Float[Array, "N H W C"], present: Mask = True
) -> Float[Array, "N H W C"]:
    """Return x, declared in `module` as the output of a block: a stem, a cell, a residual block, a repetition.

    `present` is whether the architecture has the block; x is the output of the block before where it does not.
    """
    sow_block(module, name, x, present)
    declare_tap(module, "probes", name, x.shape)
    probe = find_variable(module, "probes", name)
    return x if probe is None else probed(x, probe)


def sow_block(module: nn.Module, name: str, x: Float[Array, "N H W C"], present: Mask) -> None:
    """Sow the output of a block, and whether the architecture has it, if that is not always so."""
    module.sow("blocks", name, x)
    if present is not True:
        module.sow("present", name, present)


@jax.custom_vjp
def probed(x: Array, probe: Array) -> Array:
    """Return x, whose cotangent becomes that of `probe`, while `probe` becomes that of x."""
    return x


def _keep_probe(x: Array, probe: Array) -> tuple[Array, Array]:
    return x, probe


def _exchange(probe: Array, g: Array) -> tuple[Array, Array]:
    return probe, g


probed.defvjp(_keep_probe, _exchange)


def per_channel(vector: Float[Array, " C"], x: Float[Array, "... C"]) -> Float[Array, "... C"]:
    """Return the vector with axes of length 1 in front, as many as x has."""
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)
