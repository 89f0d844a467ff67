"""What the posterior of `proxy_gp` says to a reader: the effect of each proxy, and what further queries would gain."""

import jax.numpy as jnp
from jax import lax
from jax.scipy.special import ndtr
from jaxtyping import Array, Bool, Float

from jaxnas.search.history import HORIZON

NUM_POINTS, WIDTH = 101, 5.0  # of the integral of a gain, and how far it reaches in standard deviations


def fit_line(
    x: Float[Array, " T"], y: Float[Array, " T"], used: Bool[Array, " T"]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Return the mean of x and of y and the slope of y by least squares on the used rows; 0 where x is constant."""
    number = jnp.maximum(used.sum(), 1)
    centre, level = (jnp.where(used, column, 0).sum() / number for column in (x, y))
    centred = jnp.where(used, x - centre, 0)
    spread = jnp.sum(centred**2)
    return centre, level, jnp.sum(centred * jnp.where(used, y, 0)) / jnp.where(spread > 0, spread, 1)


def ridge_weights(
    variance: Float[Array, " G"], white: Float[Array, "G T M"], residual: Float[Array, "G S T"]
) -> tuple[Float[Array, "G S M"], Float[Array, "G M"]]:
    """Return mean and variance of the weights w ~ N(0, v I) of a linear component, for G covariances and S slopes.

    Args:
        variance: v.
        white: The whitened scores of the observed architectures, W X.
        residual: The whitened residuals, W (y - b m).
    """
    mean = variance[:, None, None] * (residual @ white)
    return mean, variance[:, None] - variance[:, None] ** 2 * jnp.sum(white**2, axis=1)


def effects(
    scores: Float[Array, "A M"],
    slopes: Float[Array, " S"],
    weight: Float[Array, "G S M"],
    weight_variance: Float[Array, "G M"],
    share: Float[Array, "G S"],
) -> tuple[Float[Array, " M"], Float[Array, " M"]]:
    """Return how much y rises with the normal score of each proxy, and the standard deviation of that.

    The normal score enters the prior mean, the slope times the standardised sum of all, and the linear component. NaN
    is the effect of a constant proxy.

    Args:
        scores: The normal scores of all architectures over the square root of the number of proxies that vary.
        slopes: The slopes of the prior mean.
        weight: The expected weights of `scores` in the linear component.
        weight_variance: The variances of these weights.
        share: The probability of each covariance and slope.
    """
    varies = jnp.any(scores != 0, axis=0)
    root = jnp.sqrt(jnp.maximum(varies.sum(), 1))
    deviation = jnp.std(scores.sum(1)) * root
    of_consensus = jnp.where(deviation > 1e-9, 1 / jnp.maximum(deviation, 1e-9), 0)
    effect = slopes[:, None] * of_consensus + weight / root
    mean = jnp.einsum("gs,gsm->m", share, effect)
    spread = jnp.einsum("gs,gsm->m", share, (effect - mean) ** 2 + weight_variance[:, None] / root**2)
    return jnp.where(varies, mean, jnp.nan), jnp.where(varies, jnp.sqrt(jnp.maximum(spread, 0)), jnp.nan)


def expected_gain(
    mean: Float[Array, " A"], std: Float[Array, " A"], merit: Float[Array, " A"], best: Float[Array, ""]
) -> Float[Array, ""]:
    """Return E[max(max_i f_i - best, 0)] over the `HORIZON` architectures of highest merit, taken as independent.

    It is the integral over t > best of 1 - prod_i Phi((t - mean_i) / std_i), by the trapezoid rule. A merit of -inf
    leaves an architecture out.
    """
    merits, chosen = lax.top_k(merit, min(HORIZON, len(merit)))
    centre, spread = mean[chosen], std[chosen]
    end = jnp.maximum(jnp.max(centre + WIDTH * spread), best)
    points = jnp.linspace(best, end, NUM_POINTS)
    below = jnp.where(jnp.isfinite(merits), ndtr((points[:, None] - centre) / spread), 1)
    return jnp.trapezoid(1 - jnp.prod(below, axis=1), points)
