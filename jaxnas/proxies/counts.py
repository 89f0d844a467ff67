"""Proxies that count: parameters and operations, which depend on no weight and no image's content."""

import math

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from jaxnas.networks.layers import num_params
from jaxnas.proxies.quantities import Quantities

_MILLION = 1e6


def params(q: Quantities) -> Float[Array, ""]:
    """Number of parameters that the architecture uses, in millions; weights, biases, and gammas and betas.

    > 0, higher is better. Dead edges have none: the engine scores architectures without them.
    Source: Ning et al. 2021 (arXiv:2008.03064) as a proxy.
    """
    return num_params(q.network, q.params, q.arch) / jnp.asarray(_MILLION, q.batch.images.dtype)


def flops(q: Quantities) -> Float[Array, ""]:
    """Operations for one image, in millions: multiply-adds of convolutions and linear layers, biases, and the rest.

    The rest: of batch normalisation 2 for each number (1 without gamma and beta), of a ReLU 1, of pooling as many as
    its window has pixels for each output; sums and the average before the classifier are not counted. > 0, higher is
    better. Source: Ning et al. 2021 (arXiv:2008.03064) as a proxy; what counts, as in NAS-Bench-Suite-Zero
    (Krishnakumar et al. 2022, arXiv:2210.03230).
    """
    own, used = flatten_dict(q.params, sep="/"), flatten_dict(q.network.in_use(q.params, q.arch), sep="/")

    def of_tensor(path, places):
        """Elements of every tensor, summed over those in use; `places` has the axes that stack tensors."""
        mask = jnp.broadcast_to(
            used[path].reshape(used[path].shape + (1,) * (own[path].ndim - used[path].ndim)), own[path].shape
        )
        return jnp.sum(places * mask.sum(tuple(range(places.ndim, mask.ndim))))

    total = q.pooled.astype(q.batch.images.dtype)
    for path, places in q.places.items():
        for tensor in (path, f"{path}_bias", f"{path}_gamma", f"{path}_beta"):
            total += of_tensor(tensor, places) if tensor in own else 0
        if path not in own and f"{path}_gamma" not in own:  # a normalisation without parameters
            total += jnp.sum(places * _channels(q, path))
    for x, channels in q.relus:
        size = math.prod(x.shape[-3:-1]) * x.shape[-4] // len(q.batch.images)
        total += jnp.sum(size * jnp.broadcast_to(channels, (*channels.shape[:-1], x.shape[-1])))
    return total / _MILLION


def _channels(q, path):
    """Of a normalisation that has no parameters."""
    images = jax.ShapeDtypeStruct(q.batch.images.shape, q.batch.images.dtype)
    variables = jax.eval_shape(lambda x: q.network.init(jax.random.key(0), x, q.arch), images)
    return flatten_dict(variables["batch_stats"], sep="/")[f"{path}_mean"].shape[-1]
