"""The Gaussian process that models the objective over proxy weights, by gpjax.

| symbol | here |
|---|---|
| k(x, x') = (1 + r + r^2 / 3) exp(-r), r = sqrt(5) abs((x - x') / l) | `gpjax.kernels.Matern52`, variance 1 |
| K + s^2 I | `model.condition(data)`, s^2 = `noise` |
| log p(y), y standardised | `gpjax.objectives.conjugate_mll`, `Surrogate.log_evidence` |
| log p(l) | log l ~ N(0, `PRIOR_DEVIATION`^2) for every l |
| argmax over l of log p(y) + log p(l) | `Surrogate.lengthscale`: one l by golden sections, many by `gpjax.fit_lbfgs` |

Functions here are traced inside `jax.enable_x64(True)`. gpjax takes a second to import and does not admit the newest
jax, so it is imported where it is used: scoring runs without it.
"""

import math
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

if TYPE_CHECKING:
    from gpjax import Dataset
    from gpjax.gps import ConjugateModel, ExactPosterior
else:  # the types cannot be named without importing gpjax
    ConjugateModel = Dataset = ExactPosterior = object

KERNELS = {"matern52": "Matern52", "matern32": "Matern32", "rbf": "RBF"}  # classes of gpjax.kernels
FAR = 1e9  # coordinate of padding rows: their covariance with anything in [-1, 1]^M underflows to exactly 0
PRIOR_DEVIATION = 10.0  # of log l around l = 1: all but flat, as published; it decides where the likelihood does not
LOG_LENGTHSCALES = (-5.0, 7.0, 17)  # first, last and number of the isotropic log l that are tried
GOLDEN = (math.sqrt(5) - 1) / 2
NUM_SECTIONS = 17  # of the interval around the best of them: its length falls from 1.5 to 4e-4
NUM_ITERATIONS = 60  # of L-BFGS at most
NUM_LINE_SEARCH_STEPS = 20  # at most in one iteration
GRADIENT_TOLERANCE = 1e-4  # nats per unit of log l at which L-BFGS ends
NUM_FEATURES = 200

Bracket = tuple[Float[Array, ""], ...]  # low, high, inner low, inner high, losses at the inner two


class Surrogate(NamedTuple):
    """A fitted process.

    Attributes:
        posterior: The gpjax `ExactPosterior` of the standardised objective.
        whitening: The inverse of the Cholesky factor of K + s^2 I [T T], so that a prediction takes matrix products
            in place of triangular solves, which are slow on CPUs.
        lengthscale: One for all proxies [1], or one per proxy [M].
        log_evidence: log p(y) of the standardised objective at that lengthscale, in nats, without the prior [].
        offset: Mean of the objective [].
        scale: Standard deviation of the objective [], 1 where that is 0.
        noise: Noise variance of the standardised objective.
    """

    posterior: ExactPosterior
    whitening: Float[Array, "T T"]
    lengthscale: Float[Array, " L"]
    log_evidence: Float[Array, ""]
    offset: Float[Array, ""]
    scale: Float[Array, ""]
    noise: float

    @property
    def num_proxies(self) -> int:
        """The number M of inputs of the process."""
        return int(self.posterior.train_data.X.shape[1])


def fit(
    weights: Float[Array, "T M"],
    objective: Float[Array, " T"],
    count: Int[Array, ""],
    *,
    kernel: str = "matern52",
    ard: bool = False,
    noise: float = 1e-6,
) -> Surrogate:
    """Condition a zero-mean process on the first `count` rows, with the lengthscales of highest evidence.

    The objective is standardised. The evidence is multiplied by a very wide log-normal prior, because where it is flat,
    as for a single point, the lengthscale would be undefined. A single one is the best of a grid, refined by golden
    sections; ARD starts L-BFGS there.

    Args:
        weights: Points [T M].
        objective: Finite values [T], in any unit.
        count: Rows in use; rows from there on have no influence.
        kernel: A name in `KERNELS`.
        ard: Whether to fit one lengthscale per proxy ("automatic relevance determination") in place of a single one.
        noise: Noise variance of the standardised objective.

    Returns:
        The surrogate.
    """
    used = jnp.arange(len(objective)) < count
    offset = jnp.sum(objective, where=used) / jnp.maximum(count, 1)
    spread = jnp.sqrt(jnp.sum((objective - offset) ** 2, where=used) / jnp.maximum(count, 1))
    scale = jnp.where(spread > 0, spread, 1.0)
    data = _pad(weights, (objective - offset) / scale, used)
    build = partial(_build, num_proxies=weights.shape[1], kernel=kernel, noise=noise)

    def loss(log_lengthscale: Float[Array, "..."]) -> Float[Array, ""]:
        evidence: Float[Array, ""] = _gpjax().objectives.conjugate_mll(build(jnp.exp(log_lengthscale)), data)
        return -evidence - _log_prior(log_lengthscale)

    log_lengthscale = _fit_isotropic(loss)
    if ard:
        log_lengthscale = _fit_ard(loss, jnp.broadcast_to(log_lengthscale, weights.shape[1]), data)
    lengthscale = jnp.exp(log_lengthscale)
    posterior = build(lengthscale).condition(data)
    return Surrogate(
        posterior=posterior,
        whitening=_invert(posterior.cholesky_factor),
        lengthscale=jnp.atleast_1d(lengthscale),
        log_evidence=posterior.log_marginal_likelihood - _padding_evidence(used, noise),
        offset=offset,
        scale=scale,
        noise=noise,
    )


def predict(surrogate: Surrogate, points: Float[Array, "Q M"]) -> tuple[Float[Array, " Q"], Float[Array, " Q"]]:
    """Return the posterior mean and standard deviation (without noise) at each point, in the unit of the objective.

    The same as `surrogate.posterior(points, covariance="diagonal")`, by products with the stored `whitening`.
    """
    posterior = surrogate.posterior
    cross = posterior.prior.kernel.cross_covariance(points, posterior.train_data.X)
    explained = jnp.sum((cross @ surrogate.whitening.T) ** 2, axis=1)  # of a prior variance of 1
    std = jnp.sqrt(jnp.maximum(1.0 - explained, 1e-12))  # rounding can leave a variance just below 0
    return surrogate.offset + surrogate.scale * (cross @ posterior.representer_weights)[:, 0], surrogate.scale * std


def sample_function(surrogate: Surrogate, key: PRNGKeyArray) -> Callable[[Float[Array, "Q M"]], Float[Array, " Q"]]:
    """Draw one function from the posterior, in the unit of the objective.

    Pathwise conditioning: a prior draw from `NUM_FEATURES` random Fourier features, corrected to pass through the
    data; a dense joint draw over 10,000 candidates would need a factor of their covariance matrix.
    Source: Wilson et al. 2020 (arXiv:2002.09309).
    """
    draw = surrogate.posterior.sample_approx(1, key, num_features=NUM_FEATURES)
    return lambda points: surrogate.offset + surrogate.scale * draw(points)[:, 0]


def _gpjax() -> ModuleType:
    """Import gpjax without recording it in a trace that may be under way.

    It draws the default keys of its functions on import: made in a trace, they would leak out of it and break a later
    `gpjax.fit` of the same process.
    """
    with jax.ensure_compile_time_eval():
        import gpjax
    module: ModuleType = gpjax
    return module


def _pad(weights: Float[Array, "T M"], targets: Float[Array, " T"], used: Bool[Array, " T"]) -> Dataset:
    """Return data whose unused rows are far from all other rows, with target 0."""
    far = FAR * jnp.arange(1, len(used) + 1, dtype=weights.dtype)
    inputs = jnp.where(used[:, None], weights, far[:, None])
    return _gpjax().Dataset(X=inputs, y=jnp.where(used, targets, 0.0)[:, None])


def _padding_evidence(used: Bool[Array, " T"], noise: float) -> Float[Array, ""]:
    """Return the log density of the unused rows, independent of all others with target 0 and variance 1 + noise."""
    return -0.5 * math.log(2 * math.pi * (1 + noise)) * jnp.sum(~used)


def _build(
    lengthscale: Float[Array, ""] | Float[Array, " M"], *, num_proxies: int, kernel: str, noise: float
) -> ConjugateModel:
    """Return the joint model of function and observations, with one lengthscale for all proxies or one for each."""
    gpx = _gpjax()
    covariance = getattr(gpx.kernels, KERNELS[kernel])(lengthscale=gpx.parameters.Real(lengthscale), n_dims=num_proxies)
    prior = gpx.gps.Prior(kernel=covariance, mean_function=gpx.mean_functions.Zero(), jitter=0.0)
    return prior * gpx.likelihoods.Gaussian(obs_stddev=math.sqrt(noise))


def _fit_isotropic(loss: Callable[[Float[Array, ""]], Float[Array, ""]]) -> Float[Array, ""]:
    """Return the log l of the least loss, by a grid and golden sections.

    `gpjax.fit_lbfgs` from the best of 9 values reaches the same evidence within 1e-9 nats, in 1.1 to 1.6 times the
    time, and takes more than twice as long to compile, as its line search holds three copies of the gradient of a
    Cholesky factor; a search compiles a fit for every buffer size.
    """
    grid = jnp.linspace(*LOG_LENGTHSCALES)
    best = grid[jnp.argmin(jax.lax.map(loss, grid))]  # not vmap: see `bo.ask`
    step = grid[1] - grid[0]

    def section(_: Int[Array, ""], bracket: Bracket) -> Bracket:
        """Cut off the side of the worse inner point."""
        low, high, inner_low, inner_high, loss_low, loss_high = bracket
        lower = loss_low <= loss_high
        low, high = jnp.where(lower, low, inner_low), jnp.where(lower, inner_high, high)
        new = jnp.where(lower, high - GOLDEN * (high - low), low + GOLDEN * (high - low))
        value = loss(new)
        return (
            low,
            high,
            jnp.where(lower, new, inner_high),
            jnp.where(lower, inner_low, new),
            jnp.where(lower, value, loss_high),
            jnp.where(lower, loss_low, value),
        )

    low, high = best - step, best + step
    inner_low, inner_high = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    start = (low, high, inner_low, inner_high, loss(inner_low), loss(inner_high))
    bracket: Bracket = jax.lax.fori_loop(0, NUM_SECTIONS, section, start)
    return 0.5 * (bracket[0] + bracket[1])


def _fit_ard(
    loss: Callable[[Float[Array, " M"]], Float[Array, ""]], start: Float[Array, " M"], data: Dataset
) -> Float[Array, " M"]:
    """Return the log l of a local minimum of the loss, by L-BFGS from `start`; its loss is at most that of `start`."""
    gpx = _gpjax()
    fitted, final_loss = gpx.fit_lbfgs(
        model=gpx.parameters.Real(start),
        objective=lambda log_lengthscale, _: loss(log_lengthscale.value),
        train_data=data,
        max_iters=NUM_ITERATIONS,
        max_linesearch_steps=NUM_LINE_SEARCH_STEPS,
        gtol=GRADIENT_TOLERANCE,
    )
    return jnp.where(final_loss < loss(start), fitted.value, start)  # a line search that fails may end anywhere


def _log_prior(log_lengthscale: Float[Array, "..."]) -> Float[Array, ""]:
    """Return log p(l), up to a constant."""
    return -0.5 * jnp.sum((log_lengthscale / PRIOR_DEVIATION) ** 2)


def _invert(factor: Float[Array, "T T"]) -> Float[Array, "T T"]:
    return jax.scipy.linalg.solve_triangular(factor, jnp.eye(len(factor)), lower=True)
