"""Proxies of the input Jacobian J = d(sum of all logits)/dx: one row per image."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.errors import InputError
from jaxnas.proxies.quantities import Quantities

_STABILISER = 1e-5
_MANY_CLASSES = 100


def jacob_cov(q: Quantities) -> Float[Array, ""]:
    """Return -sum_i log(v_i + k) + 1 / (v_i + k), v the eigenvalues of the correlation of J's rows, k = 1e-5.

    At most -N (all rows uncorrelated); higher is better. Computed in float64. NaN where a row is constant, as for an
    architecture whose output does not depend on the image.
    Source: Mellor et al. 2020 (arXiv:2006.04647v1), as in Abdelfattah et al. 2021.
    """
    return q.finish(_spectral_score, _correlation(q))


def _spectral_score(correlation: Array) -> Array:
    defined = jnp.isfinite(correlation).all()
    eigenvalues = jnp.linalg.eigvalsh(jnp.where(defined, correlation, jnp.eye(len(correlation)))) + _STABILISER
    return jnp.where(defined, -jnp.sum(jnp.log(eigenvalues) + 1 / eigenvalues), jnp.nan)


def epe_nas(q: Quantities) -> Float[Array, ""]:
    """Return the sum over classes c of |s_c|, s_c = sum_ij log(|C_ij| + k) over pairs of images of c, k = 1e-5.

    C is the correlation of the rows of J. With more than 100 classes, s_c is divided by the number of its images, and
    the score is the sum of |s_c - s_d| over ordered pairs of classes with at least two images, divided by the number of
    those classes. >= 0, higher is better. Always computed in float64. NaN where a row is constant, or where more than
    100 classes have one image at most.
    Source: Lopes et al. 2021 (arXiv:2102.08099), as in NAS-Bench-Suite-Zero (arXiv:2210.03230).

    Raises:
      InputError: The labels are not one class for each image.
    """
    labels, num_classes = q.batch.labels, q.network.num_classes
    if labels.ndim != 1 or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise InputError(
            f"labels must be one class for each image for epe_nas, got {labels.dtype} {labels.shape}; leave it out"
        )
    members = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)  # [N K]
    return q.finish(_between_classes, _correlation(q), members)


def _between_classes(correlation: Array, members: Array) -> Array:
    logs = jnp.log(jnp.abs(correlation) + _STABILISER)
    sums, sizes = jnp.einsum("ik,ij,jk->k", members, logs, members), members.sum(0)
    if members.shape[1] <= _MANY_CLASSES:
        return jnp.abs(sums).sum()
    means, counts = sums / jnp.maximum(sizes, 1), sizes > 1
    differences = jnp.abs(means[:, None] - means[None, :])
    return jnp.sum(differences, where=counts[:, None] & counts[None, :]) / counts.sum()


def _correlation(q: Quantities) -> Array:
    """Return the correlation of the rows of J; NaN for a constant row."""
    with q.wide():
        rows = q.widen(q.input_jacobian.reshape(len(q.input_jacobian), -1))
        centred = rows - rows.mean(1, keepdims=True)
        unit = centred / jnp.sqrt(jnp.square(centred).sum(1, keepdims=True))
        return jnp.matmul(unit, unit.T, precision="highest")
