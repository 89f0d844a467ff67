"""Which weights to query next: acquisition functions, and their maximisation over a domain of weights.

An acquisition turns a fitted surrogate into a utility: a function from points [Q M] to values [Q], to be maximised.
"""

from collections.abc import Callable
from typing import NamedTuple

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


def information_ratio(regret: Float[Array, " Q"], signal: Float[Array, " Q"]) -> Float[Array, " Q"]:
    """-(regret^2) / log(1 + signal): information-directed sampling, <= 0, regret bound against information gained.

    Args: regret, an upper bound in the unit of the objective, negative counts as 0; signal, predictive variance in
      units of the noise's, > 0.
    Source: Kirschner and Krause 2018 (arXiv:1801.09667), the deterministic form that RoBoT's theory uses.
    """
    return -(jnp.maximum(regret, 0.0) ** 2) / jnp.log1p(signal)


def _ucb(surrogate, best, key, kappa):
    return lambda points: upper_confidence_bound(*gp.predict(surrogate, points), kappa)


def _ei(surrogate, best, key, kappa):
    return lambda points: expected_improvement(*gp.predict(surrogate, points), best)


def _thompson(surrogate, best, key, kappa):
    return gp.sample_function(surrogate, key)


def _ids(surrogate, best, key, kappa):
    highest = jnp.max(_ucb(surrogate, best, key, kappa)(_draw_cube(key, 1000, surrogate.num_proxies)))

    def utility(points):
        mean, std = gp.predict(surrogate, points)
        return information_ratio(highest - (mean - kappa * std), (std / surrogate.scale) ** 2 / surrogate.noise)

    return utility


ACQUISITIONS: dict[str, Callable] = {"ucb": _ucb, "ei": _ei, "thompson": _thompson, "ids": _ids}


def _draw_cube(key, num, num_proxies):
    return jax.random.uniform(key, (num, num_proxies), minval=-1.0, maxval=1.0)


def _draw_sphere(key, num, num_proxies):
    return _to_sphere(jax.random.normal(key, (num, num_proxies)))


def _to_cube(points):
    return jnp.clip(points, -1.0, 1.0)


def _to_sphere(points):
    return points / jnp.maximum(jnp.linalg.norm(points, axis=-1, keepdims=True), 1e-30)


class Domain(NamedTuple):
    """Where weights may lie. M(a; w) ranks alike for all lengths of w."""

    draw: Callable[..., Float[Array, "Q M"]]  # (key, Q, M) -> uniform points
    project: Callable[[Float[Array, "Q M"]], Float[Array, "Q M"]]


DOMAINS = {"cube": Domain(_draw_cube, _to_cube), "sphere": Domain(_draw_sphere, _to_sphere)}


def maximise(
    utility: Callable[[Float[Array, "Q M"]], Float[Array, " Q"]],
    key: PRNGKeyArray,
    num_proxies: int,
    *,
    num_candidates: int,
    num_ascents: int,
    domain: str = "cube",
    num_best: int = 1,
) -> Float[Array, "K M"]:
    """The best of uniform candidates in the domain and of the local ascents that start from the best of them.

    An ascent is projected gradient ascent with steps of falling length. (Published: L-BFGS-B from random points.)

    Args: utility, differentiable; key, draws the candidates; num_candidates, Q; num_ascents, at most Q are made;
      domain, a name in `DOMAINS`; num_best, K, at most Q.
    Returns: the K points of highest utility, the maximiser first; it is never worse than the best candidate.
    """
    draw, project = DOMAINS[domain]
    candidates = draw(key, num_candidates, num_proxies)
    values = utility(candidates)
    num_ascents = min(num_ascents, num_candidates)
    _, leaders = jax.lax.top_k(values, max(num_ascents, num_best))
    slope = jax.grad(lambda points: utility(points).sum())

    def ascend(points, length):
        direction = slope(points)
        direction = project(points + 1e-3 * direction / _length(direction)) - points  # along the border, if on it
        return project(points + length * direction / _length(direction)), None

    ends, _ = jax.lax.scan(ascend, candidates[leaders[:num_ascents]], FIRST_STEP * STEP_DECAY ** jnp.arange(NUM_STEPS))
    points, values = jnp.concatenate([ends, candidates[leaders]]), jnp.concatenate([utility(ends), values[leaders]])
    return points[jax.lax.top_k(values, num_best)[1]]


def _length(directions):
    return jnp.maximum(jnp.linalg.norm(directions, axis=-1, keepdims=True), 1e-30)
