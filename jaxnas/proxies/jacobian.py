"""Proxies of the input Jacobian J = d(sum of all logits)/dx: one row per image."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.proxies.quantities import Quantities

_STABILISER = 1e-5


def jacob_cov(q: Quantities) -> Float[Array, ""]:
    """-sum_i log(v_i + k) + 1 / (v_i + k), v the eigenvalues of the correlation of J's rows, k = 1e-5.

    At most -N (all rows uncorrelated), higher is better; float64 in any process. NaN where a row is constant, as for
    an architecture whose output does not depend on the image.
    Source: Mellor et al. 2020 (arXiv:2006.04647v1), as in Abdelfattah et al. 2021.
    """
    with jax.enable_x64(True):
        rows = q.input_jacobian.reshape(q.input_jacobian.shape[0], -1).astype(jnp.float64)
        centred = rows - rows.mean(1, keepdims=True)
        unit = centred / jnp.sqrt(jnp.square(centred).sum(1, keepdims=True))
        correlation = unit @ unit.T
        defined = jnp.isfinite(correlation).all()
        eigenvalues = jnp.linalg.eigvalsh(jnp.where(defined, correlation, jnp.eye(len(rows)))) + _STABILISER
        return jnp.where(defined, -jnp.sum(jnp.log(eigenvalues) + 1 / eigenvalues), jnp.nan)
