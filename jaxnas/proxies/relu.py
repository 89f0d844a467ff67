"""Proxies of the pattern of ReLUs: which inputs are above 0 for which image."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.proxies.counts import params
from jaxnas.proxies.quantities import Quantities

_BITS = 16  # of a pattern, at most 32


def nwot(q: Quantities) -> Float[Array, ""]:
    """log |det K|, K_ij the number of ReLUs that are both on or both off for images i and j.

    At most log det of a diagonal matrix, N log(ReLUs), where no two images have a pattern in common; higher is better;
    -inf where two images have equal patterns. Batch normalisation uses the minibatch; leaky ReLUs do not count.
    Source: Mellor et al. 2021 (arXiv:2006.04647), on all ReLUs as in NAS-Bench-Suite-Zero (arXiv:2210.03230).
    """
    n = len(q.batch.images)
    return _log_det(q, [_agreements(x, used, n) for x, used in q.relus])


def naswot(q: Quantities) -> Float[Array, ""]:
    """log |det K|, K_ij the inner product of what all ReLUs see of images i and j: values where nwot has patterns.

    Higher is better; -inf where what they see is linearly dependent, which float32 may miss. No labels. A ReLU that
    works in place, as the last of NAS-Bench-201's, counts in the public code by what it gives; here by what it sees.
    Source: the public code of He et al. 2024 (arXiv:2403.07591), for the proxy of Mellor et al. 2021.
    """
    n = len(q.batch.images)
    return _log_det(q, [_products(x, used, n) for x, used in q.relus])


def swap(q: Quantities) -> Float[Array, ""]:
    """Number of distinct patterns of ReLUs, a pattern being the images, of the first 16, for which one is on.

    1 to 2^16, at most the number of ReLUs; higher is better. No labels. Normalisation uses the minibatch.
    Source: Peng et al. 2024 (arXiv:2403.04161), "sample-wise activation patterns": there in a network of 3 channels,
    with kernels from N(0, 1).
    """
    place = jnp.uint32(1) << jnp.arange(min(_BITS, len(q.batch.images)), dtype=jnp.uint32)
    patterns: list[Array] = []
    for x, used in reversed(q.relus):  # the last is always used: what is not gets the pattern of its first
        bits = jnp.moveaxis(x[..., : len(place), :, :, :] > 0, -4, -1)  # [..., H W C n]
        pattern = jnp.dot(bits.astype(jnp.uint32), place)
        channels = used.reshape(*used.shape[:-1], 1, 1, used.shape[-1])
        first = patterns[0][0] if patterns else pattern.reshape(-1)[0]
        patterns.append(jnp.where(channels, pattern, first).reshape(-1))
    together = jnp.sort(jnp.concatenate(patterns))
    return (1 + (together[1:] != together[:-1]).sum()).astype(q.batch.images.dtype)


def regularised_swap(mean: float, width: float) -> Callable[[Quantities], Float[Array, ""]]:
    """The proxy swap * exp(-(P - mean)^2 / width), P the parameters of the architecture in thousands.

    `mean` and `width` are yours to choose: the size that is wanted, and the square of how far from it is tolerated.
    Source: Peng et al. 2024 (arXiv:2403.04161).
    """

    def proxy(q: Quantities) -> Float[Array, ""]:
        return swap(q) * jnp.exp(-jnp.square(1e3 * params(q) - mean) / width)

    return proxy


def linear_regions(q: Quantities) -> Float[Array, ""]:
    """Number of distinct patterns of all ReLUs among 1,000 images: pieces on which the network is linear.

    The images are 3x3 crops at random of one channel of the minibatch's; the network is the thinnest of its kind, one
    channel wide and one cell per stage where it has such fields, with kernels N(0, 2 / fan-in). 1 to 1,000, higher is
    better. No labels.
    Source: Chen, Gong & Wang 2021 (arXiv:2102.11535), as one term of TE-NAS, there among 3,000 images.
    """
    n = q.thin_relus[0][0].shape[-4]
    agreements = jnp.sum(jnp.stack([_agreements(x, used, n) for x, used in q.thin_relus]), axis=0)
    seen_before = jnp.tril(agreements == agreements[0, 0], -1).any(1)
    return (~seen_before).sum().astype(q.batch.images.dtype)


def _log_det(q, kernels):
    """Of the sum of what each ReLU adds."""
    with q.wide():
        total = jnp.sum(jnp.stack([q.widen(kernel) for kernel in kernels]), axis=0)
    return q.finish(_log_abs_det, total)


def _log_abs_det(matrix):
    return jnp.linalg.slogdet(matrix)[1]


def _products(x, used, n):
    """[N N]: inner products of the images' rows."""
    channels = used.reshape(*used.shape[:-1], 1, 1, 1, used.shape[-1])
    rows = jnp.moveaxis(jnp.where(channels, x, 0), -4, 0).reshape(n, -1)
    return jnp.matmul(rows, rows.T, precision="highest")


def _agreements(x, used, n):
    """[N N]: (U + s s') / 2 for signs s = -1, 1 of the U ReLUs that there are; exact in float32 up to 2^24 of them."""
    channels = used.reshape(*used.shape[:-1], 1, 1, 1, used.shape[-1])
    signs = jnp.where(channels, jnp.where(x > 0, 1.0, -1.0), 0.0).astype(jnp.float32)
    signs = jnp.moveaxis(signs, -4, 0).reshape(n, -1)
    return (jnp.abs(signs[0]).sum() + signs @ signs.T) / 2
