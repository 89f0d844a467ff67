"""Which weights to query next: acquisition functions, and their maximisation over [-1, 1]^M.

An acquisition turns a fitted surrogate into a utility: a function from points [Q M] to values [Q], to be maximised.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxnas.search import surrogate as gp

NUM_STEPS = 30
FIRST_STEP, STEP_DECAY = 0.2, 0.8  # 0.2 * 0.8^k: up to a length of 1 in all, about 3e-4 at the end


def upper_confidence_bound(mean: Float[Array, " Q"], std: Float[Array, " Q"], kappa: float) -> Float[Array, " Q"]:
    """mean + kappa std, in the unit of the objective. Source: Srinivas et al. 2010 (arXiv:0912.3995)."""
    return mean + kappa * std


def expected_improvement(
    mean: Float[Array, " Q"], std: Float[Array, " Q"], best: Float[Array, ""]
) -> Float[Array, " Q"]:
    """E[max(f - best, 0)] = std (z Phi(z) + phi(z)), z = (mean - best) / std; >= 0, std > 0 is required.

    Source: Jones, Schonlau and Welch 1998.
    """
    z = (mean - best) / std
    return std * (z * jax.scipy.stats.norm.cdf(z) + jax.scipy.stats.norm.pdf(z))


def _ucb(surrogate, best, key, kappa):
    return lambda points: upper_confidence_bound(*gp.predict(surrogate, points), kappa)


def _ei(surrogate, best, key, kappa):
    return lambda points: expected_improvement(*gp.predict(surrogate, points), best)


def _thompson(surrogate, best, key, kappa):
    return gp.sample_function(surrogate, key)


ACQUISITIONS: dict[str, Callable] = {"ucb": _ucb, "ei": _ei, "thompson": _thompson}


def maximise(
    utility: Callable[[Float[Array, "Q M"]], Float[Array, " Q"]],
    key: PRNGKeyArray,
    num_proxies: int,
    *,
    num_candidates: int,
    num_ascents: int,
) -> Float[Array, " M"]:
    """The best of uniform candidates in [-1, 1]^M and of the local ascents that start from the best of them.

    An ascent is projected gradient ascent with steps of falling length. (Published: L-BFGS-B from random points.)

    Args: utility, differentiable; key, draws the candidates; num_candidates, Q; num_ascents, at most Q are made.
    Returns: the maximiser [M]; never worse than the best candidate.
    """
    candidates = jax.random.uniform(key, (num_candidates, num_proxies), minval=-1.0, maxval=1.0)
    _, leaders = jax.lax.top_k(utility(candidates), min(num_ascents, num_candidates))
    starts = candidates[leaders]
    slope = jax.grad(lambda points: utility(points).sum())

    def ascend(points, length):
        direction = slope(points)
        direction = jnp.where(points * jnp.sign(direction) >= 1.0, 0.0, direction)  # no way on beyond the border
        norm = jnp.linalg.norm(direction, axis=-1, keepdims=True)
        return jnp.clip(points + length * direction / jnp.maximum(norm, 1e-30), -1.0, 1.0), None

    ends, _ = jax.lax.scan(ascend, starts, FIRST_STEP * STEP_DECAY ** jnp.arange(NUM_STEPS))
    points = jnp.concatenate([starts, ends])
    return points[jnp.argmax(utility(points))]
