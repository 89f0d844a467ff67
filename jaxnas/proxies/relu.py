"""Proxies of the patterns of ReLUs: the images for which each input is above 0.

A ReLU6 counts as a ReLU, as in the public code of nwot and naswot, which takes all modules with "ReLU" in their names.
Networks with other activation functions have no patterns: an InputError says so. Squeeze-and-excite gates do not count.
`linear_regions` refuses ReLU6 and gates too, with which a network is not linear where patterns are equal.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.proxies.counts import params
from jaxnas.proxies.quantities import Quantities

_BITS = 16  # of a pattern, at most 32


def nwot(q: Quantities) -> Float[Array, ""]:
    """Return log |det K|, K_ij the number of ReLUs that are both on or both off for images i and j.

    At most N log(number of ReLUs), where no two images share a pattern; higher is better. -inf where two images have
    equal patterns. Batch normalisation uses the minibatch; leaky ReLUs do not count.
    Source: Mellor et al. 2021 (arXiv:2006.04647), on all ReLUs as in NAS-Bench-Suite-Zero (arXiv:2210.03230).
    """
    n = len(q.batch.images)
    return _log_det(q, [_agreements(x, used, n) for x, used in q.relus])


def naswot(q: Quantities) -> Float[Array, ""]:
    """Return log |det K|, K_ij the inner product of the inputs of all ReLUs for images i and j.

    This is `nwot` of values in place of patterns. Higher is better. -inf where the inputs are linearly dependent, which
    float32 may miss. Uses no labels. The public code counts a ReLU that works in place, such as the last of
    NAS-Bench-201, by its output; here its input counts.
    Source: the public code of He et al. 2024 (arXiv:2403.07591), for the proxy of Mellor et al. 2021.
    """
    n = len(q.batch.images)
    return _log_det(q, [_products(x, used, n) for x, used in q.relus])


def swap(q: Quantities) -> Float[Array, ""]:
    """Return the number of distinct patterns of ReLUs; a pattern is the set of the first 16 images for which one is on.

    1 to 2^16, at most the number of ReLUs; higher is better. Uses no labels. Normalisation uses the minibatch.
    Source: Peng et al. 2024 (arXiv:2403.04161), "sample-wise activation patterns": there in a network of 3 channels,
    with kernels from N(0, 1).
    """
    place = jnp.uint32(1) << jnp.arange(min(_BITS, len(q.batch.images)), dtype=jnp.uint32)
    patterns: list[Array] = []
    for x, used in reversed(q.relus):  # the last is always used; unused ones get its first pattern
        bits = jnp.moveaxis(x[..., : len(place), :, :, :] > 0, -4, -1)  # [..., H W C n]
        pattern = jnp.dot(bits.astype(jnp.uint32), place)
        channels = used.reshape(*used.shape[:-1], 1, 1, used.shape[-1])
        first = patterns[0][0] if patterns else pattern.reshape(-1)[0]
        patterns.append(jnp.where(channels, pattern, first).reshape(-1))
    together = jnp.sort(jnp.concatenate(patterns))
    return (1 + (together[1:] != together[:-1]).sum()).astype(q.batch.images.dtype)


def regularised_swap(mean: float, width: float) -> Callable[[Quantities], Float[Array, ""]]:
    """Make the proxy swap * exp(-(P - mean)^2 / width), P the number of parameters of the architecture in thousands.

    Args:
      mean: the wanted size, in thousands of parameters.
      width: the square of the tolerated distance from it.

    Source: Peng et al. 2024 (arXiv:2403.04161).
    """

    def proxy(q: Quantities) -> Float[Array, ""]:
        return swap(q) * jnp.exp(-jnp.square(1e3 * params(q) - mean) / width)

    return proxy


def linear_regions(q: Quantities) -> Float[Array, ""]:
    """Return the number of distinct patterns of all ReLUs among 1,000 images: pieces on which the network is linear.

    The images are random 3x3 crops of one channel of those of the minibatch. The network is the thinnest of its kind,
    see `SearchNetwork.thinnest`, with kernels N(0, 2 / fan-in). 1 to 1,000, higher is better. Uses no labels.
    Source: Chen, Gong & Wang 2021 (arXiv:2102.11535), as one term of TE-NAS, there among 3,000 images.
    """
    n = q.thin_relus[0][0].shape[-4]
    agreements = jnp.sum(jnp.stack([_agreements(x, used, n) for x, used in q.thin_relus]), axis=0)
    seen_before = jnp.tril(agreements == agreements[0, 0], -1).any(1)
    return (~seen_before).sum().astype(q.batch.images.dtype)


def _log_det(q: Quantities, terms: list[Array]) -> Array:
    """Return log |det| of the sum over ReLUs of matrices [N N]."""
    with q.wide():
        total = jnp.sum(jnp.stack([q.widen(term) for term in terms]), axis=0)
    return q.finish(_log_abs_det, total)


def _log_abs_det(matrix: Array) -> Array:
    log_determinant: Array = jnp.linalg.slogdet(matrix)[1]
    return log_determinant


def _products(x: Array, used: Array, n: int) -> Array:
    """Return the inner products of the images, [N N]."""
    channels = used.reshape(*used.shape[:-1], 1, 1, 1, used.shape[-1])
    rows = jnp.moveaxis(jnp.where(channels, x, 0), -4, 0).reshape(n, -1)
    return jnp.matmul(rows, rows.T, precision="highest")


def _agreements(x: Array, used: Array, n: int) -> Array:
    """Return (U + s s') / 2 [N N] for the signs s = -1, 1 of the U ReLUs in use; exact in float32 for U up to 2^24."""
    channels = used.reshape(*used.shape[:-1], 1, 1, 1, used.shape[-1])
    signs = jnp.where(channels, jnp.where(x > 0, 1.0, -1.0), 0.0).astype(jnp.float32)
    signs = jnp.moveaxis(signs, -4, 0).reshape(n, -1)
    return (jnp.abs(signs[0]).sum() + signs @ signs.T) / 2
