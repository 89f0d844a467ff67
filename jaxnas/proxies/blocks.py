"""Proxies of the blocks of a network, from AZ-NAS: random kernels, images of noise, no data.

The fourth proxy of AZ-NAS is `flops`. Blocks are the stem, then every cell and residual block; of declared networks the
blocks of their list, of which a `Repeat` counts as many as the architecture has repetitions. Each of these proxies
raises InputError for networks that declare no blocks.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxnas.proxies.quantities import Quantities
from jaxnas.proxies.spectrum import eigenvalues, singular_values

_SMALLEST_SHARE, _SMALLEST_NORM = 1e-8, 1e-6


def az_expressivity(q: Quantities) -> Float[Array, ""]:
    """Return the sum over blocks of the entropy e = -sum_i p_i log(p_i + 1e-8) of the covariance of channels.

    The p_i are the eigenvalues of the covariance, divided by their sum. The covariance is over images and pixels of the
    output of the block. The score is at least 0, up to 1e-8, and at most sum log C; higher is better. NaN where an
    output is constant.
    Source: Lee & Ham 2024 (arXiv:2403.19232).
    """
    return jnp.where(q.has_block, _entropies(q), 0).sum()


def az_progressivity(q: Quantities) -> Float[Array, ""]:
    """Return the least growth of the e of `az_expressivity` from one block to the next: min_l e_l - e_(l-1).

    Of either sign; higher is better. NaN where an output is constant, and for fewer than two blocks.
    Source: Lee & Ham 2024 (arXiv:2403.19232).
    """
    counts = _has_both(q)
    least = jnp.where(counts, jnp.diff(_entropies(q)), jnp.inf).min(initial=jnp.inf)
    return jnp.where(counts.any(), least, jnp.nan)


def az_trainability(q: Quantities) -> Float[Array, ""]:
    """Return the mean over all blocks except the first of 2 - s - 1 / (s + 1e-6); at most 0.

    s is the largest singular value of M = G'S / (N h w), an estimate of the mean Jacobian of a block over images and
    pixels: S [N h w, O] are random signs at its output and G their pullback to its input, where pixels that become one
    are concatenated as channels. Higher is better. -inf where a block is the identity for every sign, NaN for
    fewer than two blocks.
    Source: Lee & Ham 2024 (arXiv:2403.19232).
    """
    counts, terms = _has_both(q), jnp.array([_trainability(*pair) for pair in q.block_jacobians])
    return terms.mean(where=counts)


def _has_both(q: Quantities) -> Bool[Array, " K"]:
    """Return for each block except the first whether the architecture has it, and one before it."""
    present = q.has_block
    return present[1:] & (jnp.cumsum(present)[:-1] > 0)


def _entropies(q: Quantities) -> Array:
    return jnp.stack([_entropy(x.reshape(-1, x.shape[-1])) for x in q.blocks])


def _entropy(rows: Array) -> Array:
    centred = rows - rows.mean(0, keepdims=True)
    spectrum = jnp.maximum(eigenvalues(centred.T @ centred / len(rows)), 0)  # only rounding is below 0
    shares = spectrum / spectrum.sum()
    return -jnp.sum(shares * jnp.log(shares + _SMALLEST_SHARE))


def _trainability(signs: Array, pulled: Array) -> Array:
    """Return the term of one block, from signs at its output [N h w O] and their pullback to its input [N H W C]."""
    n, h, w, outputs = signs.shape
    stride = -(-pulled.shape[1] // h)
    padding = ((0, 0), (0, h * stride - pulled.shape[1]), (0, w * stride - pulled.shape[2]), (0, 0))
    pulled = jnp.pad(pulled, padding).reshape(n, h, stride, w, stride, -1)
    side_by_side = pulled.transpose(0, 1, 3, 2, 4, 5).reshape(n * h * w, -1)
    flat = signs.reshape(n * h * w, outputs)
    norm = singular_values(side_by_side.T @ flat / len(flat))[0]
    is_identity = jnp.array_equal(side_by_side, flat) if side_by_side.shape == flat.shape else jnp.zeros((), bool)
    return jnp.where(is_identity, -jnp.inf, 2 - norm - 1 / (norm + _SMALLEST_NORM))
