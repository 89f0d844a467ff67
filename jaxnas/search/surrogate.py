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
NUM_STARTS = 32
NUM_STEPS = 80
NUM_FEATURES = 200


class Surrogate(NamedTuple):
    """A fitted process; L = 1 (isotropic) or M (one lengthscale per proxy)."""

    posterior: Any  # gpjax ExactPosterior of the standardised objective
    lengthscale: Float[Array, " L"]
    offset: Float[Array, ""]  # mean of the objective
    scale: Float[Array, ""]  # standard deviation of the objective, 1 where it is 0


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
    single point, l would be undefined. log l starts from the best of `NUM_STARTS` isotropic values, refined by Adam.

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

    lengthscale = _fit_lengthscale(condition, weights.shape[1] if ard else 1)
    return Surrogate(condition(lengthscale), lengthscale, offset, scale)


def predict(surrogate: Surrogate, points: Float[Array, "Q M"]) -> tuple[Float[Array, " Q"], Float[Array, " Q"]]:
    """Posterior mean and standard deviation (without noise) at each point, in the unit of the objective."""
    prediction = surrogate.posterior(points, covariance="diagonal")
    std = jnp.sqrt(jnp.maximum(prediction.variance, 1e-12))  # rounding can leave a variance just below 0
    return surrogate.offset + surrogate.scale * prediction.mean, surrogate.scale * std


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


def _fit_lengthscale(condition: Callable, num_lengthscales: int) -> Float[Array, " L"]:
    def loss(log_lengthscale):
        evidence = condition(jnp.exp(log_lengthscale)).log_marginal_likelihood
        return 0.5 * jnp.sum((log_lengthscale / PRIOR_DEVIATION) ** 2) - evidence

    starts = jnp.linspace(-4.0, 4.0, NUM_STARTS)[:, None] * jnp.ones((1, num_lengthscales))
    losses = jax.lax.map(loss, starts)  # not vmap: see `ask`
    optimiser = optax.adam(optax.cosine_decay_schedule(0.2, NUM_STEPS))

    def step(carry, _):
        point, state = carry
        update, state = optimiser.update(jax.grad(loss)(point), state)
        return (point + update, state), None

    start = starts[jnp.argmin(losses)]
    (point, _), _ = jax.lax.scan(step, (start, optimiser.init(start)), length=NUM_STEPS)
    return jnp.exp(point)
