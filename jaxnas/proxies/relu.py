"""Proxies of the pattern of ReLUs: which inputs are above 0 for which image."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.proxies.quantities import Quantities


def nwot(q: Quantities) -> Float[Array, ""]:
    """log |det K|, K_ij the number of ReLUs that are both on or both off for images i and j.

    At most log det of a diagonal matrix, N log(ReLUs), where no two images have a pattern in common; higher is better;
    -inf where two images have equal patterns. Batch normalisation uses the minibatch; leaky ReLUs do not count.
    Source: Mellor et al. 2021 (arXiv:2006.04647), on all ReLUs as in NAS-Bench-Suite-Zero (arXiv:2210.03230).
    """
    n = len(q.batch.images)
    of_each = [_agreements(x, used, n) for x, used in q.relus]  # in the caller's precision
    with jax.enable_x64(True):
        kernel = sum((agreements.astype(jnp.float64) for agreements in of_each), jnp.zeros((n, n), jnp.float64))
        return jnp.linalg.slogdet(kernel)[1]


def _agreements(x, used, n):
    """[N N]: (U + s s') / 2 for signs s = -1, 1 of the U ReLUs that there are; exact in float32 up to 2^24 of them."""
    channels = used.reshape(*used.shape[:-1], 1, 1, 1, used.shape[-1])
    signs = jnp.where(channels, jnp.where(x > 0, 1.0, -1.0), 0.0).astype(jnp.float32)
    signs = jnp.moveaxis(signs, -4, 0).reshape(n, -1)
    return (jnp.abs(signs[0]).sum() + signs @ signs.T) / 2
