"""Proxies of synaptic flow: the network made positive, one image of ones."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.proxies.quantities import Quantities, backwards, replace_weights, sum_over_weights


def synflow(q: Quantities) -> Float[Array, ""]:
    """Sum over weights of |w dR/dw|, R the sum of logits for an image of ones, every parameter replaced by |.|.

    >= 0, higher is better; reaches 1e46 at full size, so it is float64 in any process. Batch normalisation acts only
    inside the residual blocks between stages, as in the public code of Abdelfattah et al. 2021. No data. Biases of
    dead convolutions count: canonicalise such architectures. 0 behind a tanh, which is flat where so much arrives.
    Source: Tanaka et al. 2020 (arXiv:2006.05467).
    """
    kernels = q.weights  # read in the caller's precision
    with jax.enable_x64(True):
        network = backwards(q.network).clone(norm="reduction")
        params = jax.tree.map(lambda p: jnp.abs(p.astype(jnp.float64)), q.params)
        image = jnp.ones((1, *q.batch.images.shape[1:]), jnp.float64)
        weights = {path: jnp.abs(w.astype(jnp.float64)) for path, w in kernels.items()}

        def total(weights):
            logits = network.apply({"params": replace_weights(params, weights)}, image, q.arch)
            return jnp.sum(jnp.asarray(logits))

        return sum_over_weights(lambda w, g: jnp.abs(w * g), weights, jax.grad(total)(weights))
