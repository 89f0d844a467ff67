"""Proxies of the size of a network: its layers, parameters, operations, and the norm of its weights. No data."""

import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from jaxnas.networks.params import num_params
from jaxnas.proxies.passes import layer_axes, spread, sum_over_weights
from jaxnas.proxies.quantities import Quantities

_MILLION = 1e6


def params(q: Quantities) -> Float[Array, ""]:
    """Number of parameters that the architecture uses, in millions; weights, biases, and gammas and betas.

    > 0, higher is better. Dead edges have none: the engine scores architectures without them.
    Source: Ning et al. 2021 (arXiv:2008.03064) as a proxy.
    """
    return num_params(q.network, q.params, q.arch, q.batch.images[:1]) / jnp.asarray(_MILLION, q.batch.images.dtype)


def num_layers(q: Quantities) -> Float[Array, ""]:
    """Number of convolutions and linear layers that the architecture uses; >= 1, higher is better.

    Source: Tybl & Neumann 2025 (arXiv:2502.04975), among others.
    """
    dtype = q.batch.images.dtype
    return sum((_of_layers(q, path).sum() for path in q.weights), jnp.zeros((), dtype)).astype(dtype)


def l2_norm(q: Quantities) -> Float[Array, ""]:
    """Sum over the layers that the architecture uses of the L2 norm of their weights; > 0, higher is better.

    Source: Abdelfattah et al. 2021 (arXiv:2101.08134).
    """

    def of_layer(w, used):
        return jnp.where(used, jnp.sqrt(jnp.square(w).sum(layer_axes(w))), 0)

    return sum_over_weights(of_layer, q.weights, {path: _of_layers(q, path) for path in q.weights})


def _of_layers(q, path):
    """Which of the layers that a tensor stacks are used: those with an element that is."""
    used, w = q.in_use[path], q.weights[path]
    axes = tuple(range(w.ndim - len(layer_axes(w)), used.ndim))
    return used.any(axes)


def flops(q: Quantities) -> Float[Array, ""]:
    """Operations for one image, in millions: multiply-adds of convolutions and linear layers, biases, and the rest.

    The rest: of batch normalisation 2 for each number (1 without gamma and beta), of a ReLU 1, of pooling as many as
    its window has pixels for each output, where the window of a global average counts as a pixel larger each way;
    sums, skips and the biases of linear layers are not counted. > 0, higher is better. What counts, and that larger
    window, as in the public code of NAS-Bench-Suite-Zero (Krishnakumar et al. 2022, arXiv:2210.03230).
    Source: Ning et al. 2021 (arXiv:2008.03064) as a proxy.
    """
    own = flatten_dict(q.params, sep="/")
    used = flatten_dict(q.network.in_use(q.params, q.arch, q.batch.images[:1]), sep="/")

    def of_tensor(path, places):
        """Elements of every tensor, summed over those in use; `places` has the axes that stack tensors."""
        mask = spread(used[path], own[path])
        return jnp.sum(places * mask.sum(tuple(range(places.ndim, mask.ndim))))

    total = (q.pooled + q.rectified).astype(q.batch.images.dtype)
    for path, places in q.places.items():
        is_linear = path in q.weights and len(layer_axes(q.weights[path])) == 2
        for tensor in (path, f"{path}_gamma", f"{path}_beta", *([] if is_linear else [f"{path}_bias"])):
            total += of_tensor(tensor, places) if tensor in own else 0
        if path not in own and f"{path}_gamma" not in own:  # a normalisation without parameters
            total += jnp.sum(places * _channels(q, path))
    return total / _MILLION


def _channels(q, path):
    """Of a normalisation that has no parameters."""
    return flatten_dict(q.shapes["batch_stats"], sep="/")[f"{path}_mean"].shape[-1]
