"""Proxies of the rank of activations: the number of independent directions of the inputs of activation functions."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.networks.activations import ACTIVATIONS
from jaxnas.proxies.quantities import Quantities
from jaxnas.proxies.spectrum import eigenvalues, singular_values


def meco(q: Quantities) -> Float[Array, ""]:
    """Return the sum over activations of the least eigenvalue of the correlation of channels over pixels of one image.

    The image is the first. Each term is in [0, 1] up to rounding. It is 0 where there are fewer pixels than channels,
    and for constant features, whose correlations count as 0. Higher is better. Uses no labels.
    Source: Jiang et al. 2023 (NeurIPS). Their formula sums over layers, their code over all modules including
    containers. Here a layer is the input of an activation function of any kind, a constant channel counts 0, and
    normalisation uses the minibatch.
    """
    total = jnp.zeros((), q.batch.images.dtype)
    for _, x, used in q.activations:
        features = x[..., 0, :, :, :].reshape(*x.shape[:-4], -1, x.shape[-1])  # [..., pixels C]
        centred = features - features.mean(-2, keepdims=True)
        size = jnp.sqrt(jnp.square(centred).sum(-2, keepdims=True))
        unit = jnp.where(size > 0, centred / jnp.where(size > 0, size, 1), 0)
        one = jnp.expand_dims(jnp.eye(x.shape[-1], dtype=x.dtype), tuple(range(x.ndim - 4)))
        absent = 2 * ~_channels(x, used)[..., None] * one  # more than the least can be
        least = eigenvalues(jnp.einsum("...pc,...pd->...cd", unit, unit) + absent)[..., 0]
        total += jnp.sum(jnp.where(used.any(-1), least, 0))
    return total


def near(q: Quantities) -> Float[Array, ""]:
    """Return the sum over activation functions of any kind of the effective ranks of their inputs and their outputs.

    The effective rank of a matrix is exp(-sum_i p_i log p_i), p its singular values divided by their sum: 1 to C, for
    the C x C matrix of C positions spread evenly over images and pixels; 0 for a matrix of zeros. Higher is better.
    Uses no labels. Source: Husistein et al. 2024 (arXiv:2408.08776), who draw the positions at random.
    """
    total = jnp.zeros((), q.batch.images.dtype)
    for kind, x, used in q.activations:
        rows, live = x.reshape(*x.shape[:-4], -1, x.shape[-1]), _channels(x, used)
        number = jnp.broadcast_to(jnp.arange(x.shape[-1]), live.shape)
        num_live = live.sum(-1, keepdims=True)
        at = number * rows.shape[-2] // jnp.maximum(num_live, 1)  # [..., C], of which the first `num_live` count
        at = jnp.minimum(at, rows.shape[-2] - 1)
        chosen = jnp.take_along_axis(rows, at[..., None], axis=-2)
        square = jnp.where((number < num_live)[..., None] & live[..., None, :], chosen, 0)
        for matrix in (square, ACTIVATIONS[kind](square)):
            total += jnp.sum(jnp.where(used.any(-1), _effective_rank(matrix), 0))
    return total


def _channels(x: Array, used: Array) -> Array:
    """Return which of the channels the architecture has, [..., C]."""
    return jnp.broadcast_to(used, (*used.shape[:-1], x.shape[-1]))


def _effective_rank(matrix: Array) -> Array:
    singular = singular_values(matrix)
    total = singular.sum(-1, keepdims=True)
    shares = singular / jnp.where(total > 0, total, 1)
    entropy = -jnp.sum(jnp.where(shares > 0, shares * jnp.log(jnp.where(shares > 0, shares, 1)), 0), -1)
    return jnp.where(total[..., 0] > 0, jnp.exp(entropy), 0)
