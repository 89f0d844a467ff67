"""Proxies of the size of a network: its layers, parameters, operations, and the norm of its kernels; no data."""

import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from jaxnas.networks.params import num_params
from jaxnas.proxies.passes import layer_axes, spread, sum_over_kernels
from jaxnas.proxies.quantities import Quantities

_MILLION = 1e6


def params(q: Quantities) -> Float[Array, ""]:
    """Return the number of parameters that the architecture uses, in millions: kernels, biases, gammas and betas.

    > 0, higher is better. Dead edges have no parameters, as the engine scores architectures without them.
    Source: Ning et al. 2021 (arXiv:2008.03064) as a proxy.
    """
    return num_params(q.network, q.params, q.arch, q.batch.images[:1]) / jnp.asarray(_MILLION, q.batch.images.dtype)


def num_layers(q: Quantities) -> Float[Array, ""]:
    """Return the number of convolutions and linear layers that the architecture uses; >= 1, higher is better.

    Source: Tybl & Neumann 2025 (arXiv:2502.04975), among others.
    """
    dtype = q.batch.images.dtype
    return sum((_layers_in_use(q, path).sum() for path in q.kernels), jnp.zeros((), dtype)).astype(dtype)


def l2_norm(q: Quantities) -> Float[Array, ""]:
    """Return the sum of the L2 norms of the kernels of the layers that the architecture uses; > 0, higher is better.

    Source: Abdelfattah et al. 2021 (arXiv:2101.08134).
    """

    def norms(w: Array, used: Array) -> Array:
        return jnp.where(used, jnp.sqrt(jnp.square(w).sum(layer_axes(w))), 0)

    return sum_over_kernels(norms, q.kernels, {path: _layers_in_use(q, path) for path in q.kernels})


def _layers_in_use(q: Quantities, path: str) -> Array:
    """Return which of the layers that a tensor stacks have an element that is used."""
    used, w = q.in_use[path], q.kernels[path]
    axes = tuple(range(w.ndim - len(layer_axes(w)), used.ndim))
    return used.any(axes)


def flops(q: Quantities) -> Float[Array, ""]:
    """Return the operations for one image in millions: multiply-adds of convolutions and linear layers, and others.

    A bias of a convolution counts 1 for each pixel, batch normalisation 2 for each number (1 without gamma and beta), a
    ReLU 1, and pooling the number of pixels of its window for each output, where the window of a global average counts
    as one pixel larger in each direction. Sums, skips and the biases of linear layers do not count. > 0, higher is
    better. All of this follows the public code of NAS-Bench-Suite-Zero (Krishnakumar et al. 2022, arXiv:2210.03230).
    Source: Ning et al. 2021 (arXiv:2008.03064) as a proxy.
    """
    params = flatten_dict(q.params, sep="/")
    used = flatten_dict(q.network.in_use(q.params, q.arch, q.batch.images[:1]), sep="/")

    def count(path: str, places: Array) -> Array:
        """Return the elements in use times the pixels where each applies; `places` has the axes that stack tensors."""
        mask = spread(used[path], params[path])
        return jnp.sum(places * mask.sum(tuple(range(places.ndim, mask.ndim))))

    total = (q.pooled + q.rectified).astype(q.batch.images.dtype)
    for path, places in q.places.items():
        is_linear = path in q.kernels and len(layer_axes(q.kernels[path])) == 2
        for tensor in (path, f"{path}_gamma", f"{path}_beta", *([] if is_linear else [f"{path}_bias"])):
            total += count(tensor, places) if tensor in params else 0
        if path not in params and f"{path}_gamma" not in params:  # a normalisation without parameters
            total += jnp.sum(places * _num_channels(q, path))
    return total / _MILLION


def _num_channels(q: Quantities, path: str) -> int:
    """Return the number of channels of a normalisation that has no parameters."""
    statistics = flatten_dict(q.shapes["batch_stats"], sep="/")
    return int(statistics[f"{path}_mean"].shape[-1])
