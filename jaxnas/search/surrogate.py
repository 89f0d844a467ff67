"""The Gaussian process that models the objective over proxy weights: the one module that uses gpjax.

| symbol | here |
|---|---|
| k(x, x') = (1 + r + r^2 / 3) exp(-r), r = sqrt(5) abs((x - x') / l) | `gpjax.kernels.Matern52`, variance 1 |
| K + s^2 I | `model.condition(data)`, s^2 = `noise` |
| log p(y) + log p(l), maximised over l | `log_marginal_likelihood`, log l ~ N(0, `PRIOR_DEVIATION`^2) |

Functions here are traced inside `jax.enable_x64(True)`. gpjax takes a second to import and does not admit the newest
jax, so it is imported where it is used: scoring runs without it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

KERNELS = {"matern52": "Matern52", "matern32": "Matern32", "rbf": "RBF"}  # classes of gpjax.kernels
FAR = 1e9  # where padding rows lie: their covariance with anything in [-1, 1]^M underflows to exactly 0
PRIOR_DEVIATION = 10.0  # of log l around l = 1: all but flat, as published; it decides where the likelihood does not
LOG_LENGTHSCALES = (-5.0, 7.0, 17)  # from, to, and how many isotropic log l are tried
GOLDEN = (math.sqrt(5) - 1) / 2
NUM_SECTIONS = 17  # of the interval around the best of them: its length falls from 1.5 to 4e-4
NUM_ARD_STEPS = 80
NUM_FEATURES = 200


class Surrogate(NamedTuple):
    """A fitted process; L = 1 (isotropic) or M (one lengthscale per proxy)."""

    posterior: Any  # gpjax ExactPosterior of the standardised objective
    whitening: Float[Array, "T T"]  # inverse of the Cholesky factor of K + s^2 I: products, where a solve is slow
    lengthscale: Float[Array, " L"]
    log_evidence: Float[Array, ""]  # log p(y) of the standardised objective at that lengthscale, in nats; without prior
    offset: Float[Array, ""]  # mean of the objective
    scale: Float[Array, ""]  # standard deviation of the objective, 1 where it is 0
    noise: float  # variance of the standardised objective

    @property
    def num_proxies(self) -> int:
        return self.posterior.train_data.X.shape[1]


def fit(
    weights: Float[Array, "T M"],
    objective: Float[Array, " T"],
    count: Int[Array, ""],
    *,
    kernel: str = "matern52",
    ard: bool = False,
    noise: float = 1e-6,
) -> Surrogate:
    """Condition a zero-mean process on the first `count` rows, its lengthscales by marginal likelihood.

    The objective is standardised. The likelihood has a very wide log-normal prior, because where it is flat, as for a
    single point, l would be undefined. A single l is the best of a grid, refined by golden sections; ARD goes on with
    Adam from there.

    Args: weights, points; objective, any unit, finite; count, rows in use; kernel, a name in `KERNELS`; ard, one
      lengthscale per proxy instead of a single one; noise, variance of the standardised objective.
    Returns: the surrogate. Rows from `count` on have no influence.
    """
    used = jnp.arange(len(objective)) < count
    offset = jnp.sum(objective, where=used) / jnp.maximum(count, 1)
    spread = jnp.sqrt(jnp.sum((objective - offset) ** 2, where=used) / jnp.maximum(count, 1))
    scale = jnp.where(spread > 0, spread, 1.0)
    inputs, targets = _pad(weights, (objective - offset) / scale, used)

    def condition(lengthscale):
        return _condition(inputs, targets, lengthscale, kernel, noise)

    lengthscale = _fit_isotropic(condition)
    if ard:
        lengthscale = _fit_ard(condition, jnp.broadcast_to(lengthscale, weights.shape[1]))
    posterior = condition(lengthscale)
    return Surrogate(
        posterior=posterior,
        whitening=_invert(posterior.cholesky_factor),
        lengthscale=lengthscale,
        log_evidence=posterior.log_marginal_likelihood - _padding_evidence(used, noise),
        offset=offset,
        scale=scale,
        noise=noise,
    )


def predict(surrogate: Surrogate, points: Float[Array, "Q M"]) -> tuple[Float[Array, " Q"], Float[Array, " Q"]]:
    """Posterior mean and standard deviation (without noise) at each point, in the unit of the objective."""
    posterior = surrogate.posterior
    cross = posterior.prior.kernel.cross_covariance(points, posterior.train_data.X)
    explained = jnp.sum((cross @ surrogate.whitening.T) ** 2, axis=1)  # of a prior variance of 1
    std = jnp.sqrt(jnp.maximum(1.0 - explained, 1e-12))  # rounding can leave a variance just below 0
    return surrogate.offset + surrogate.scale * (cross @ posterior.representer_weights)[:, 0], surrogate.scale * std


def sample_function(surrogate: Surrogate, key: PRNGKeyArray) -> Callable[[Float[Array, "Q M"]], Float[Array, " Q"]]:
    """One function drawn from the posterior, in the unit of the objective.

    Pathwise conditioning: a prior draw from `NUM_FEATURES` random Fourier features, corrected to pass through the
    data; a dense joint draw over 10,000 candidates would need a factor of their covariance matrix.
    Source: Wilson et al. 2020 (arXiv:2002.09309).
    """
    draw = surrogate.posterior.sample_approx(1, key, num_features=NUM_FEATURES)
    return lambda points: surrogate.offset + surrogate.scale * draw(points)[:, 0]


def _pad(
    weights: Float[Array, "T M"], targets: Float[Array, " T"], used: Bool[Array, " T"]
) -> tuple[Float[Array, "T M"], Float[Array, " T"]]:
    """Unused rows lie far away, each apart from all others, with target 0."""
    far = FAR * jnp.arange(1, len(used) + 1, dtype=weights.dtype)
    return jnp.where(used[:, None], weights, far[:, None]), jnp.where(used, targets, 0.0)


def _padding_evidence(used: Bool[Array, " T"], noise: float) -> Float[Array, ""]:
    """Log density of the unused rows: each is independent of all others, with target 0 and variance 1 + noise."""
    return -0.5 * math.log(2 * math.pi * (1 + noise)) * jnp.sum(~used)


def _condition(
    inputs: Float[Array, "T M"], targets: Float[Array, " T"], lengthscale: Float[Array, " L"], kernel: str, noise: float
) -> Any:
    """The gpjax posterior at given lengthscales."""
    import gpjax as gpx

    num_proxies = inputs.shape[1]
    scales = gpx.parameters.Real(jnp.broadcast_to(lengthscale, num_proxies))
    covariance = getattr(gpx.kernels, KERNELS[kernel])(lengthscale=scales, n_dims=num_proxies)
    prior = gpx.gps.Prior(kernel=covariance, mean_function=gpx.mean_functions.Zero(), jitter=0.0)
    model = prior * gpx.likelihoods.Gaussian(obs_stddev=math.sqrt(noise))
    return model.condition(gpx.Dataset(X=inputs, y=targets[:, None]))


def _invert(factor: Float[Array, "T T"]) -> Float[Array, "T T"]:
    return jax.scipy.linalg.solve_triangular(factor, jnp.eye(len(factor)), lower=True)


def _log_prior(log_lengthscale: Float[Array, " L"]) -> Float[Array, ""]:
    return -0.5 * jnp.sum((log_lengthscale / PRIOR_DEVIATION) ** 2)


def _fit_isotropic(condition: Callable) -> Float[Array, " 1"]:
    """The maximum of evidence times prior over one lengthscale; no derivative, because a factor's is slow on CPUs."""

    def merit(log_lengthscale):
        point = log_lengthscale[None]
        return condition(jnp.exp(point)).log_marginal_likelihood + _log_prior(point)

    grid = jnp.linspace(*LOG_LENGTHSCALES)
    best = grid[jnp.argmax(jax.lax.map(merit, grid))]  # not vmap: see `bo.ask`
    step = grid[1] - grid[0]

    def section(_, bracket):
        """(low, high, inner low, inner high, merits of the inner two): the side of the worse inner point is cut off."""
        low, high, inner_low, inner_high, merit_low, merit_high = bracket
        lower = merit_low >= merit_high
        low, high = jnp.where(lower, low, inner_low), jnp.where(lower, inner_high, high)
        new = jnp.where(lower, high - GOLDEN * (high - low), low + GOLDEN * (high - low))
        value = merit(new)
        return (
            low,
            high,
            jnp.where(lower, new, inner_high),
            jnp.where(lower, inner_low, new),
            jnp.where(lower, value, merit_high),
            jnp.where(lower, merit_low, value),
        )

    low, high = best - step, best + step
    inner = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    bracket = jax.lax.fori_loop(0, NUM_SECTIONS, section, (low, high, *inner, *map(merit, inner)))
    return jnp.exp(0.5 * (bracket[0] + bracket[1]))[None]


def _fit_ard(condition: Callable, start: Float[Array, " M"]) -> Float[Array, " M"]:
    """Adam on evidence times prior over log l, from `start`."""
    optimiser = optax.adam(optax.cosine_decay_schedule(0.2, NUM_ARD_STEPS))

    def slope(log_lengthscale):
        """d log p(y) = tr((a a' - (K + s^2 I)^-1) dK) / 2 with a = (K + s^2 I)^-1 y: no derivative of a factor."""
        fixed = condition(jnp.exp(jax.lax.stop_gradient(log_lengthscale)))
        whitening, solved = _invert(fixed.cholesky_factor), fixed.representer_weights
        outer = solved @ solved.T - whitening.T @ whitening

        def linearised(point):
            posterior = condition(jnp.exp(point))
            gram = posterior.prior.kernel.gram(posterior.train_data.X).as_matrix()
            return 0.5 * jnp.sum(outer * gram) + _log_prior(point)

        return jax.grad(linearised)(log_lengthscale)

    def step(carry, _):
        point, state = carry
        update, state = optimiser.update(-slope(point), state)
        return (point + update, state), None

    point = jnp.log(start)
    (point, _), _ = jax.lax.scan(step, (point, optimiser.init(point)), length=NUM_ARD_STEPS)
    return jnp.exp(point)
