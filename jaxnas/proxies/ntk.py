"""Proxies of the derivatives of the logits with respect to the kernels: neural tangent kernel, Fisher information.

The tangent kernel is T_ij = <df(x_i)/dw, df(x_j)/dw>, f the sum of the logits, over the kernels w of the network and
the first 16 images, which are the minibatch of normalisation.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.proxies.counts import num_layers
from jaxnas.proxies.quantities import Quantities

_MOST_TENSORS, _SMALLEST_SHARE = 128, 1e-10


def ntk_condition(q: Quantities) -> Float[Array, ""]:
    """Return the largest eigenvalue of T divided by the smallest; >= 1, lower is better.

    NaN for a network whose output depends on no kernel. Above 1e7 rounding of float32 decides. Uses no labels.
    Source: Chen, Gong & Wang 2021 (arXiv:2102.11535), in a network of 3 channels, as one term of TE-NAS.
    """
    return q.finish(_condition, _kernel(q))


def _condition(kernel: Array) -> Array:
    eigenvalues = jnp.linalg.eigvalsh(kernel)
    condition: Array = eigenvalues[-1] / jnp.maximum(eigenvalues[0], 0)
    return condition


def ntk_trace(q: Quantities) -> Float[Array, ""]:
    """Return sqrt(mean_i T_ii), the size of the derivative of the logits of one image; >= 0, higher is better.

    Uses no labels.
    Source: Shu et al. 2022 (arXiv:2201.09785), who take the logit of the class of the image in place of the sum.
    """
    return jnp.sqrt(jnp.trace(_kernel(q)) / len(_kernel(q)))


def vkdnw(q: Quantities) -> Float[Array, ""]:
    """Return the number of layers + the entropy of the nine deciles of the spectrum of the Fisher information.

    Higher is better. The information F = mean_n J_n' (diag p_n - p_n p_n') J_n is that of the first number of each
    parameter tensor in use, of the first 128 of those; J_n [K, 128] are the derivatives of the logits of image n, p_n =
    0.95 softmax + 0.05 / K. For more than 16 classes it is estimated: B_n'B_n, of 16 random combinations of rows, has
    the expectation of each term. The deciles divided by their sum have the entropy, at most log 9, so that it decides
    between equal depths. Images of noise, kernels N(0, 2 / fan-in), normalisation by means 0 and variances 1. No data.
    NaN where all deciles are 0, as where the output does not depend on the image.
    Source: Tybl & Neumann 2025 (arXiv:2502.04975), there of 64 images and all classes; their code takes a triangular
    root of the matrix in the middle the other way round; here the paper's form.

    Raises:
      InputError: The outputs are not [N, K].
    """
    rows, used = q.fisher_rows
    first = jnp.argsort(~used, stable=True)[:_MOST_TENSORS]
    along = jnp.where(used[first], rows[:, :, first], 0)
    return q.finish(_depth_and_entropy, along, jnp.minimum(used.sum(), _MOST_TENSORS), num_layers(q))


def _depth_and_entropy(rows: Array, size: Array, depth: Array) -> Array:
    """Return the score of factors `rows` [n R P], which are 0 beyond `size` of the P."""
    tensors = rows.shape[-1]
    along = rows.reshape(-1, tensors)
    eigenvalues = jnp.maximum(jnp.linalg.eigvalsh(along.T @ along / len(rows)), 0)  # ascending: 0 of unused first
    at = tensors - size + jnp.arange(1, 10) / 10 * (size - 1)
    low = jnp.floor(at).astype(jnp.int32)
    high = jnp.minimum(low + 1, tensors - 1)
    deciles = eigenvalues[low] + (at - low) * (eigenvalues[high] - eigenvalues[low])
    shares = deciles / deciles.sum()
    return depth - jnp.sum(shares * jnp.log(shares + _SMALLEST_SHARE))


def _kernel(q: Quantities) -> Array:
    rows = [leaf.reshape(len(leaf), -1) for leaf in q.image_jacobians.values()]
    return jnp.sum(jnp.stack([jnp.matmul(row, row.T, precision="highest") for row in rows]), axis=0)
