"""Acquisition functions, and their maximisation over a domain of proxy weights.

An acquisition turns a fitted surrogate into a utility: a function from points [Q M] to values [Q], to be maximised.

| symbol | here |
|---|---|
| mu(w) + kappa sigma(w) | `upper_confidence_bound` |
| E[max(f(w) - f*, 0)] | `expected_improvement`, f* = `best` |
| f ~ GP given the data | `surrogate.sample_function` ("thompson") |
| Delta(w)^2 / I(w) | `information_ratio`, negated; Delta = `regret`, I = log(1 + `signal`) |
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxnas.search import surrogate as gp

NUM_STEPS = 30
FIRST_STEP, STEP_DECAY = 0.2, 0.8  # 0.2 * 0.8^k: up to a length of 1 in all, about 3e-4 at the end

Utility = Callable[[Float[Array, "Q M"]], Float[Array, " Q"]]
Ascents = tuple[Float[Array, "S M"], Float[Array, " S"]]  # S points and their utilities


@runtime_checkable
class Acquisition(Protocol):
    """A function from a surrogate to a utility."""

    def __call__(self, surrogate: gp.Surrogate, best: Float[Array, ""], key: PRNGKeyArray, kappa: float) -> Utility:
        """Return the utility.

        Args:
            surrogate: The fitted process.
            best: The highest objective so far.
            key: For acquisitions that draw.
            kappa: Weight of the standard deviation, for acquisitions that bound.
        """
        ...


def upper_confidence_bound(mean: Float[Array, " Q"], std: Float[Array, " Q"], kappa: float) -> Float[Array, " Q"]:
    """Return mean + kappa std, in the unit of the objective.

    Source: Srinivas et al. 2010 (arXiv:0912.3995).
    """
    return mean + kappa * std


def expected_improvement(
    mean: Float[Array, " Q"], std: Float[Array, " Q"], best: Float[Array, ""]
) -> Float[Array, " Q"]:
    """Return E[max(f - best, 0)] = std (z Phi(z) + phi(z)) >= 0 with z = (mean - best) / std; std must be positive.

    Source: Jones, Schonlau and Welch 1998.
    """
    z = (mean - best) / std
    return std * (z * jax.scipy.stats.norm.cdf(z) + jax.scipy.stats.norm.pdf(z))


def information_ratio(regret: Float[Array, " Q"], signal: Float[Array, " Q"]) -> Float[Array, " Q"]:
    """Return -(regret^2) / log(1 + signal) <= 0, the regret bound against the information gained.

    Args:
        regret: An upper bound in the unit of the objective; negative values count as 0.
        signal: The predictive variance in units of the noise variance, > 0.

    Source: Kirschner and Krause 2018 (arXiv:1801.09667), the deterministic form that RoBoT's theory uses.
    """
    return -(jnp.maximum(regret, 0.0) ** 2) / jnp.log1p(signal)


def _ucb(surrogate: gp.Surrogate, best: Float[Array, ""], key: PRNGKeyArray, kappa: float) -> Utility:
    return lambda points: upper_confidence_bound(*gp.predict(surrogate, points), kappa)


def _ei(surrogate: gp.Surrogate, best: Float[Array, ""], key: PRNGKeyArray, kappa: float) -> Utility:
    return lambda points: expected_improvement(*gp.predict(surrogate, points), best)


def _thompson(surrogate: gp.Surrogate, best: Float[Array, ""], key: PRNGKeyArray, kappa: float) -> Utility:
    return gp.sample_function(surrogate, key)


def _ids(surrogate: gp.Surrogate, best: Float[Array, ""], key: PRNGKeyArray, kappa: float) -> Utility:
    highest = jnp.max(_ucb(surrogate, best, key, kappa)(_draw_cube(key, 1000, surrogate.num_proxies)))

    def utility(points: Float[Array, "Q M"]) -> Float[Array, " Q"]:
        mean, std = gp.predict(surrogate, points)
        return information_ratio(highest - (mean - kappa * std), (std / surrogate.scale) ** 2 / surrogate.noise)

    return utility


ACQUISITIONS: dict[str, Acquisition] = {"ucb": _ucb, "ei": _ei, "thompson": _thompson, "ids": _ids}


def _draw_cube(key: PRNGKeyArray, num: int, num_proxies: int) -> Float[Array, "Q M"]:
    return jax.random.uniform(key, (num, num_proxies), minval=-1.0, maxval=1.0)


def _draw_sphere(key: PRNGKeyArray, num: int, num_proxies: int) -> Float[Array, "Q M"]:
    return _to_sphere(jax.random.normal(key, (num, num_proxies)))


def _to_cube(points: Float[Array, "Q M"]) -> Float[Array, "Q M"]:
    return jnp.clip(points, -1.0, 1.0)


def _to_sphere(points: Float[Array, "Q M"]) -> Float[Array, "Q M"]:
    return points / _length(points)


class Domain(NamedTuple):
    """The domain of weights. M(a; w) ranks architectures alike for all positive multiples of w.

    Attributes:
        draw: Draws Q uniform points from a key, Q and M.
        project: Moves points to the nearest ones in the domain.
    """

    draw: Callable[[PRNGKeyArray, int, int], Float[Array, "Q M"]]
    project: Callable[[Float[Array, "Q M"]], Float[Array, "Q M"]]


DOMAINS = {"cube": Domain(_draw_cube, _to_cube), "sphere": Domain(_draw_sphere, _to_sphere)}


def maximise(
    utility: Utility,
    candidates: Float[Array, "Q M"],
    *,
    num_ascents: int,
    domain: str = "cube",
    num_best: int = 1,
) -> tuple[Float[Array, "K M"], Float[Array, " K"]]:
    """Return the best of the candidates and of the local ascents that start from the best of them.

    An ascent is projected gradient ascent with steps of falling length. (Published: L-BFGS-B from random points.)

    Args:
        utility: A differentiable function.
        candidates: Points of the domain [Q M], as its `draw` gives them.
        num_ascents: Number of ascents; at most Q are made.
        domain: A name in `DOMAINS`.
        num_best: K, at most Q.

    Returns:
        The K points of highest utility [K M], the maximiser first, and their utilities [K]. The maximiser is at least
        as good as the best candidate.
    """
    project = DOMAINS[domain].project
    values = utility(candidates)
    num_ascents = min(num_ascents, len(candidates))
    _, leaders = jax.lax.top_k(values, max(num_ascents, num_best))

    def total(points: Float[Array, "S M"]) -> tuple[Float[Array, ""], Float[Array, " S"]]:
        values = utility(points)
        return values.sum(), values

    def ascend(points: Float[Array, "S M"], length: Float[Array, ""]) -> tuple[Float[Array, "S M"], Ascents]:
        (_, values), direction = jax.value_and_grad(total, has_aux=True)(points)
        direction = project(points + 1e-3 * direction / _length(direction)) - points  # along the border, if on it
        return project(points + length * direction / _length(direction)), (points, values)

    # One step more than is taken, for the utility of the ends: a separate evaluation would be compiled once more.
    lengths = FIRST_STEP * STEP_DECAY ** jnp.arange(NUM_STEPS + 1)
    _, (paths, utilities) = jax.lax.scan(ascend, candidates[leaders[:num_ascents]], lengths)
    points = jnp.concatenate([paths[-1], candidates[leaders]])
    values, order = jax.lax.top_k(jnp.concatenate([utilities[-1], values[leaders]]), num_best)
    return points[order], values


def _length(directions: Float[Array, "Q M"]) -> Float[Array, "Q 1"]:
    return jnp.maximum(jnp.linalg.norm(directions, axis=-1, keepdims=True), 1e-30)
