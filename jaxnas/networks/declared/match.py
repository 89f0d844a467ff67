"""The op that is the identity in architectures where it can be."""

from collections.abc import Iterator
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.networks.declared.layer import Applied, Layer, Live, OpMode, Tensors
from jaxnas.networks.declared.step import KernelName, Op, Site
from jaxnas.networks.layers import apply_layer, batch_norm_layer, weight_layer


@dataclass(frozen=True)
class Match(Op):
    """The identity where as many channels come in as go out, else a 1x1 convolution and normalisation without ReLU.

    The skip of NAS-Bench-201 between nodes of one image size.
    """

    label = "match"
    resizes = True

    def own_kernels(self, name: str) -> Iterator[KernelName]:
        """See `Op.own_kernels`."""
        yield KernelName(name)

    def declare(self, site: Site, name: str, width: int, live: Live) -> tuple[Layer, ...]:
        """Declare a kernel [1 1 C width] and its normalisation, which an architecture that needs none does not have."""
        channels = site.x.shape[-1]
        if channels == width and live is site.live:
            return ()
        leaving = jnp.asarray(width if live is None else live)
        is_same = leaving == (channels if site.live is None else site.live)
        layer = weight_layer(site.module, name, (1, 1, channels, width), batch=len(site.x), normalised=site.norm)
        tensors = Tensors(layer, batch_norm_layer(site.module, f"{name}_norm", width), is_same.astype(int))
        return (Layer(name, tensors, site.live, jnp.where(is_same, 0, leaving)),)

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N H W C"], mode: OpMode) -> Applied:
        """Return x, or the normalised layer of x."""
        if not tensors:
            return Applied(x)
        (of,) = tensors
        out, norm = mode.normalise(of.norm, apply_layer(of.layer, x))
        missing = max(out.shape[-1] - x.shape[-1], 0)
        same = jnp.pad(x, ((0, 0),) * 3 + ((0, missing),))[..., : out.shape[-1]]
        return Applied(jnp.where(of.pick == 1, same, out), (norm,))
