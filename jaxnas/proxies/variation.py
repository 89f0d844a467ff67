"""Proxies of the variation of gradients between parts of the minibatch."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.proxies.passes import layer_axes, sum_over_kernels
from jaxnas.proxies.quantities import Quantities


def zico(q: Quantities) -> Float[Array, ""]:
    """Return the sum over layers of log(sum over kernel entries of mean |g| / std g).

    The mean and the deviation are over the gradients of the two halves of the minibatch. Entries whose gradients are
    equal in both do not count, nor do layers of such entries alone. Of either sign, higher is better; 0 for a network
    without a gradient.
    Source: Li et al. 2023 (arXiv:2301.11300), whose code adds the second gradient to the first; here the paper's form.
    """

    def log_ratio(g: Array) -> Array:
        one, other = g
        mean, deviation = (jnp.abs(one) + jnp.abs(other)) / 2, jnp.abs(one - other) / 2
        ratio = jnp.where(deviation > 0, mean / jnp.where(deviation > 0, deviation, 1), 0)
        total = ratio.sum(layer_axes(one))
        return jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1)), 0)

    return sum_over_kernels(log_ratio, q.half_gradients)


def grad_sign(q: Quantities) -> Float[Array, ""]:
    """Return the sum over kernel entries of |sum_i sign(g_i)|, g_i the loss gradient of image i.

    The sum over i is that of the first 16 images. 0 to 16 times the number of entries, higher is better; rounding
    decides the signs of gradients that are 0 in theory, as where a normalised channel is above 0 at every pixel of an
    image.
    Source: Zhang & Jia 2022 (arXiv:2110.08616), with 128 images; some copies take the mean over entries.
    """
    return sum_over_kernels(lambda g: jnp.abs(jnp.sign(g).sum(0)), q.image_gradients)
