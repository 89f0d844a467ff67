"""What ops of declared networks make of layers: their tensors, what they compute with, and what they return."""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxnas.networks.activations import ActivationName, activate
from jaxnas.networks.drop_path import DropPath
from jaxnas.networks.layers import BatchNorm, Exponent, WeightLayer, apply_batch_norm, in_units
from jaxnas.networks.taps import Mask

Live: TypeAlias = Int[Array, ""] | None  # the number of channels that are not 0; None: all


class OpMode(NamedTuple):
    """The settings of a call that ops read.

    Attributes:
        leads: Whether ops begin with their activation; not where images come in.
        norm: Whether batch normalisation acts.
        train: Whether it uses the statistics of the minibatch.
        keeps_width: Whether as many channels come in as go out, whatever the architecture.
        exponent: Exponent of the features, see `jaxnas.networks.units`; None if the network does not keep its range.
        drop_path: Drops paths; None for no dropping.
    """

    leads: bool
    norm: bool
    train: bool
    keeps_width: bool
    exponent: Exponent
    drop_path: DropPath | None = None

    @property
    def keeps_range(self) -> bool:
        """See `SearchNetwork.keeps_range`."""
        return self.exponent is not None

    def dropped(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
        """Return x, the path past which the input is added, with some images dropped."""
        return x if self.drop_path is None else self.drop_path(x)

    def true(self, x: Float[Array, "*S"]) -> Float[Array, "*S"]:
        """Return features as they are, from those in the units of the exponent."""
        return x if self.exponent is None else in_units(x, -self.exponent)

    def in_units(self, x: Float[Array, "*S"]) -> Float[Array, "*S"]:
        """Return features in the units of the exponent, from those as they are."""
        return in_units(x, self.exponent)

    def lead(self, name: ActivationName | None, x: Float[Array, "*S"]) -> Float[Array, "*S"]:
        """Return x after the activation with which an op begins."""
        return self.activate(name, x) if self.leads else x

    def activate(self, name: ActivationName | None, x: Float[Array, "*S"]) -> Float[Array, "*S"]:
        """Return x after an activation; None is the identity."""
        return activate(name, x, keeps_range=self.keeps_range)

    def normalise(
        self, norm: BatchNorm | None, x: Float[Array, "N H W C"]
    ) -> tuple[Float[Array, "N H W C"], BatchNorm | None]:
        """Return x after its normalisation, if it has one, and that with its new running statistics."""
        return (x, norm) if norm is None or not self.norm else apply_batch_norm(norm, x, train=self.train)


class Tensors(NamedTuple):
    """The tensors of a layer; None for none.

    Attributes:
        weights: Kernel, bias and taps.
        norm: The batch normalisation behind it.
        pick: The place of its kernel's size among several, or 1 where `Match` is the identity.
        vectors: Further params, such as the gamma and beta of a layer normalisation.
        live: How many channels, or heads, the architecture has; None for all.
        places: The tap of a layer normalisation.
    """

    weights: WeightLayer | None
    norm: BatchNorm | None = None
    pick: Int[Array, ""] | None = None
    vectors: tuple[Array, ...] = ()
    live: Live = None
    places: Array | None = None

    @property
    def layer(self) -> WeightLayer:
        """Kernel, bias and taps of a layer that has them."""
        assert self.weights is not None, "ops read the kernel of layers that they declared with one"
        return self.weights


class Layer(NamedTuple):
    """A layer that an op has declared.

    Attributes:
        name: The name of its kernel.
        tensors: Its tensors.
        inputs: The number of channels that feed it and are not 0; None for all.
        outputs: The number of its outputs that the architecture has; None for all.
        size: Rows and columns of its kernel that the architecture has, the first; None for all.
        activation: The kind of activation behind it, inside the op; None for none.
        pooled: The numbers in the windows of a pooling in front of it, or the products of features in an attention;
            None for neither.
        vectors: The names of its further params; they have the outputs if their last axis has as many, else all.
        rescales: Whether the params depend on the number of channels that feed it, as those of most layers are drawn.
    """

    name: str
    tensors: Tensors
    inputs: Live = None
    outputs: Live = None
    size: Int[Array, ""] | None = None
    activation: str | None = None
    pooled: Float[Array, ""] | float | None = None
    vectors: tuple[str, ...] = ()
    rescales: bool = True


class Applied(NamedTuple):
    """The result of an op.

    Attributes:
        out: The features.
        norms: The normalisation of each declared layer, with its new running statistics; None without one.
        inner: The input of the activation behind each declared layer that has one.
    """

    out: Float[Array, "N h w O"]
    norms: tuple[BatchNorm | None, ...] = ()
    inner: tuple[Float[Array, "N h w c"], ...] = ()


def live_channels(channels: int, live: Live) -> Bool[Array, " C"]:
    """Return which of so many channels are among the first `live`, all of them if that is None."""
    return jnp.arange(channels) < (channels if live is None else live)


def corner_multiplier(largest: int, size: Int[Array, ""]) -> Float[Array, "k k 1 1"]:
    """Return the factor of a kernel [k k 1 C] whose first rows and columns alone are used."""
    inside = jnp.arange(largest) < size
    return (largest / size * (inside[:, None] & inside[None, :]))[:, :, None, None]


def multipliers_of(declared: Layer, used: Mask) -> Iterator[tuple[str, Float[Array, "..."]]]:
    """Yield the factors of the params of a layer: 0 where they do not count, else for the inputs that feed it."""
    name, layer, norm = declared.name, declared.tensors.weights, declared.tensors.norm
    for path, vector in zip(declared.vectors, declared.tensors.vectors, strict=True):
        fits = layer is None or vector.shape[-1] == layer.kernel.shape[-1]
        kept = live_channels(vector.shape[-1], declared.outputs if fits else None) & used
        yield path, jnp.broadcast_to(1.0 * kept, vector.shape)
    if layer is None:
        return
    num_inputs, num_outputs = layer.kernel.shape[-2:]
    inputs = live_channels(num_inputs, declared.inputs)
    outputs = live_channels(num_outputs, declared.outputs) & used
    factor = jnp.sqrt(num_inputs / inputs.sum()) if declared.rescales else 1.0
    whole = jnp.broadcast_to(factor * (inputs[:, None] & outputs[None, :]), layer.kernel.shape)
    if declared.size is not None:
        whole = whole * corner_multiplier(layer.kernel.shape[0], declared.size)
    yield name, whole
    if layer.bias is not None:
        yield f"{name}_bias", factor * outputs
    if norm is not None:
        for part in ("gamma", "beta"):
            yield f"{name}_norm_{part}", 1.0 * outputs
