"""Bayesian optimisation over architectures, from what the proxies agree on.

The process is defined on the architectures of the pool. Its mean is a multiple of the mean rank by all proxies, a
ranking that needs no label; its covariance joins the proxies and the decisions. It can therefore follow the proxies
where they are right and leave them where they are not. Only ranks are read, of the scores and of the objective, so that
monotone transformations change nothing.

| symbol | here |
|---|---|
| z [A M] | ranks of scores as normal quantiles, Phi^-1(rank / (A + 1)), standardised: `Features.scores`, z / sqrt(M) |
| m [A] | mean of z over the proxies, standardised: `Features.consensus` |
| c [A K] | how often each op is chosen, standardised: `Features.op_counts`, c / sqrt(K) |
| h(i, j) | number of the D decisions in which i and j differ |
| y | Phi^-1((rank - 1/2) / n) of the n objectives so far: `warp` |
| m' [A] | with earlier tasks: the mean of the normal scores of their objectives, standardised |
| E[f] = b m + b' m' | b, b' in `SLOPES` |
| Cov[f] = 1 + v_1 z_i z_j / M + v_2 k_c + v_3 (k_z + k_h) / 2 | v in `VARIANCES`, a row of the grid for each choice |
| k_z, k_c | Matern-5/2 of the distances of z / sqrt(M), length scale 1.5, and of c / sqrt(K), length scale 1 |
| k_h | exp(-h / (D / 4)), see `kernels.Hamming` |
| y = f + noise | variances in `NOISES` |

Each covariance of the grid keeps the inverse W of the Cholesky factor of its matrix [n n], to which a query adds one
row, and the posterior variance of all architectures. A step therefore takes matrix products alone: one column of
covariances per component, and time proportional to A T. The evidence of every covariance and slope follows from W y and
W m; the step uses one combination, drawn in proportion to it. The components and their
variances were chosen on the tasks that `TUNING` in experiments/beyond.py names.
"""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import ndtri
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxnas.search.bo import without_failures
from jaxnas.search.config import ProxyGPConfig
from jaxnas.search.history import History, Phase, Proposal, SurrogateInfo, no_info
from jaxnas.search.insight import effects, expected_gain, fit_line, ridge_weights
from jaxnas.search.method import Method
from jaxnas.search.pool import Pool, next_in_ranking, pick, unweighted
from jaxnas.table.normalize import mean_ranks, normal_quantiles

SLOPES = (0.0, 0.5, 1.0)
VARIANCES = {"linear": (0.3, 3.0), "op counts": (0.1, 0.5), "local": (0.2,)}
NOISES = (0.03, 0.2)
GRID = np.array(list(itertools.product(*VARIANCES.values(), NOISES)))
VARIANCE, NOISE = GRID[:, :-1], GRID[:, -1]  # of the components [G C], of the noise [G]
CONSTANT = 1.0  # variance of the constant component
BLOCK = 20  # queries whose columns are read together
SMALLEST = 1e-9  # posterior variance: rounding can leave one below 0


class Features(NamedTuple):
    """What the process knows of the architectures; the features of one kind that are constant are 0.

    Attributes:
        means: What the prior mean is a combination of [A B], standardised: the mean of the normal scores of all proxies
            and, with earlier tasks, that of their objectives.
        scores: The normal scores of each proxy over the square root of the number of proxies [A M].
        op_counts: How often each op is chosen, over the square root of their number [A K].
        usable: Whether any proxy or earlier task ranks two architectures [].
    """

    means: Float[Array, "A B"]
    scores: Float[Array, "A M"]
    op_counts: Float[Array, "A K"]
    usable: Bool[Array, ""]

    @property
    def consensus(self) -> Float[Array, " A"]:
        """The mean of the normal scores of all proxies, standardised [A]."""
        return self.means[:, 0]

    @property
    def slopes(self) -> Float[np.ndarray, "S B"]:
        """The combinations of the means, each with the slopes of `SLOPES`."""
        return np.array(list(itertools.product(SLOPES, repeat=self.means.shape[1])))


class Posterior(NamedTuple):
    """The posterior of one combination of the grid.

    Attributes:
        mean: The expected y of every architecture [A].
        std: The standard deviation of each, without noise [A].
        noise: The variance of the noise [].
        log_evidence: The log of the mean evidence of the grid, in nats [].
        residual: The whitened residuals of the observations, for every covariance and prior mean [G S T].
        share: The probability of each covariance and prior mean [G S].
    """

    mean: Float[Array, " A"]
    std: Float[Array, " A"]
    noise: Float[Array, ""]
    log_evidence: Float[Array, ""]
    residual: Float[Array, "G S T"]
    share: Float[Array, "G S"]


class Process(NamedTuple):
    """The queries so far and what they say of the pool. Rows of T from `count` on are 0 or, of the objective, NaN.

    Attributes:
        key: For the draws from the grid [].
        features: See `Features`.
        item: The queried architectures [T].
        objective: The objective of each [T]; NaN and inf are failures.
        count: The number of queries [].
        covariance: Of each query with all architectures, C rows for the C components, of R >= T queries [R C, A].
        whitening: The inverse Cholesky factor of the observations' covariance, for each of the G of the grid [G T T].
        variance: The posterior variance of every architecture [G A].
        posterior: The posterior that the next query maximises.
    """

    key: PRNGKeyArray
    features: Features
    item: Int[Array, " T"]
    objective: Float[Array, " T"]
    count: Int[Array, ""]  # type: ignore[assignment]  # hides tuple.count
    covariance: Float[Array, "RC A"]
    whitening: Float[Array, "G T T"]
    variance: Float[Array, "G A"]
    posterior: Posterior


def describe(pool: Pool) -> Features:
    """Return the features of every architecture of a pool."""
    scores, num_usable = _normal_scores(pool.table)
    chosen = (pool.archs[:, :, None] == pool.options).sum(1)
    op_counts, num_varying = _standardise(chosen.astype(scores.dtype))
    tasks = [scores] if pool.earlier is None else [scores, _normal_scores(pool.earlier)[0]]
    means, num_ranking = _standardise(jnp.stack([columns.sum(1) for columns in tasks], axis=1))
    return Features(
        means=means,
        scores=scores / jnp.sqrt(jnp.maximum(num_usable, 1)),
        op_counts=op_counts / jnp.sqrt(jnp.maximum(num_varying, 1)),
        usable=(num_usable > 0) | (num_ranking > 0),
    )


def _normal_scores(columns: Float[Array, "A F"]) -> tuple[Float[Array, "A F"], Int[Array, ""]]:
    """Return Phi^-1(rank / (A + 1)) of each column, standardised, and the number of columns that vary."""
    return _standardise(normal_quantiles(columns))


def _standardise(columns: Float[Array, "A F"]) -> tuple[Float[Array, "A F"], Int[Array, ""]]:
    """Return columns of mean 0 and deviation 1, constant ones as 0, and the number of others."""
    varies = jnp.ptp(columns, axis=0) > 1e-9  # a sum of opposite columns is not exactly constant
    centred = columns - columns.mean(0)
    return jnp.where(varies, centred / jnp.where(varies, columns.std(0), 1), 0), varies.sum()


def warp(objective: Float[Array, " T"], count: Int[Array, ""]) -> Float[Array, " T"]:
    """Return Phi^-1((rank - 1/2) / n) of the first n = `count` objectives, ties at their mean rank, and 0 for padding.

    A failure ranks with the worst.
    """
    used = jnp.arange(len(objective)) < count
    ranks = mean_ranks(jnp.where(used, without_failures(objective), jnp.inf))
    return jnp.where(used, ndtri(jnp.where(used, ranks - 0.5, 0.5) / jnp.maximum(count, 1)), 0)


def prior_variance(scores: Float[Array, "A M"]) -> Float[Array, "G A"]:
    """Return the variance of every architecture before any observation, for each covariance of the grid."""
    of_linear = jnp.sum(scores**2, axis=1)  # the variance of the other components is 1
    return jnp.asarray(CONSTANT + VARIANCE[:, :1] * of_linear + VARIANCE[:, 1:].sum(1, keepdims=True))


def _init(pool: Pool, budget: int, key: PRNGKeyArray, config: ProxyGPConfig) -> Process:
    num_components, num_grid = len(VARIANCES), len(GRID)
    features = describe(pool)
    room, num_means = budget if budget < BLOCK else -(-budget // BLOCK) * BLOCK, len(features.slopes)
    unknown, zero = jnp.zeros(pool.num_archs), jnp.zeros(())
    residual, share = jnp.zeros((num_grid, num_means, budget)), jnp.zeros((num_grid, num_means))
    return Process(
        key=key,
        features=features,
        item=jnp.zeros(budget, jnp.int32),
        objective=jnp.full(budget, jnp.nan),
        count=jnp.zeros((), jnp.int32),
        covariance=jnp.zeros((room * num_components, pool.num_archs)),
        whitening=jnp.zeros((num_grid, budget, budget)),
        variance=prior_variance(features.scores),
        posterior=Posterior(unknown, unknown, zero, zero, residual, share),
    )


def _tell(
    state: Process, proposal: Proposal, objective: Float[Array, ""], pool: Pool, config: ProxyGPConfig
) -> Process:
    """Add one row to every whitening, take what it explains from every variance, and draw the next posterior."""
    with jax.ensure_compile_time_eval():  # else what gpjax draws on import is recorded in this trace
        from jaxnas.search.kernels import covariance_with

    features, item, row = state.features, proposal.item, state.count
    column = covariance_with(item[None], features.scores, features.op_counts, pool.archs)[:, 0]
    # Two axes, because XLA would fuse a reshaping with the update, once for every reader, and copy the array for each.
    covariance = lax.dynamic_update_slice_in_dim(state.covariance, column, row * len(column), axis=0)
    with_item = covariance[: len(state.item) * len(column), item].reshape(-1, len(column))
    shared = CONSTANT + VARIANCE @ with_item.T  # [G T]; later whitening is 0
    projected = jnp.sum(state.whitening * shared[:, None, :], axis=2)
    own = CONSTANT + VARIANCE @ column[:, item] + NOISE
    scale = 1 / jnp.sqrt(own - jnp.sum(projected**2, axis=1))
    new = -scale[:, None] * jnp.sum(projected[:, :, None] * state.whitening, axis=1)
    new = new.at[:, row].set(scale)
    following = state._replace(
        item=state.item.at[row].set(item),
        objective=state.objective.at[row].set(objective),
        count=row + 1,
        covariance=covariance,
        whitening=lax.dynamic_update_index_in_dim(state.whitening, new, row, axis=1),
    )
    y = warp(following.objective, following.count)
    return condition(following, y, new, jax.random.fold_in(state.key, row))


def _covary(
    coefficients: Float[Array, "K T"],
    variances: Float[Array, "K C"],
    covariance: Float[Array, "RC A"],
    count: Int[Array, ""],
) -> Float[Array, "K A"]:
    """Return sum_t coefficients[k, t] Cov[f(query t), f(a)] of every architecture, for K rows of the grid.

    Blocks of the columns that hold no query yet are left out.
    """
    num_queries, num_components = coefficients.shape[1], variances.shape[1]
    by_component = (coefficients[:, :, None] * variances[:, None, :]).reshape(len(coefficients), -1)
    by_component = jnp.pad(by_component, ((0, 0), (0, len(covariance) - by_component.shape[1])))
    size = min(BLOCK, num_queries) * num_components

    def add(number: Int[Array, ""], total: Float[Array, "K A"]) -> Float[Array, "K A"]:
        weights, rows = (
            lax.dynamic_slice_in_dim(x, number * size, size, y) for x, y in ((by_component, 1), (covariance, 0))
        )
        return total + weights @ rows

    constant = jnp.broadcast_to(CONSTANT * coefficients.sum(1, keepdims=True), (len(coefficients), covariance.shape[1]))
    total: Float[Array, "K A"] = lax.fori_loop(0, -(-count * num_components // size), add, constant)
    return total


def weigh(
    whitening: Float[Array, "G T T"],
    y: Float[Array, " T"],
    means: Float[Array, "T B"],
    slopes: Float[Array, "S B"],
    used: Bool[Array, " T"],
) -> tuple[Float[Array, "G S T"], Float[Array, "G S"]]:
    """Return the whitened residuals of the observations y and their log evidence, of every covariance and prior mean.

    Args:
        whitening: See `Process`.
        y: The warped objectives.
        means: See `Features`, for the architectures of these objectives.
        slopes: The prior means, as combinations of these means.
        used: Which of them are observations; the others are padding, where y and the means are 0.
    """
    white_y = jnp.sum(whitening * y, axis=2)[:, None]
    white_means = jnp.sum(whitening[:, None] * means.T[:, None], axis=3)  # [G B T]
    residual = white_y - jnp.sum(slopes[:, :, None] * white_means[:, None], axis=2)
    diagonal = jnp.diagonal(whitening, axis1=1, axis2=2)
    log_root = jnp.sum(jnp.log(jnp.where(used, diagonal, 1)), axis=1, keepdims=True)
    return residual, log_root - 0.5 * jnp.sum(residual**2, axis=2) - 0.5 * math.log(2 * math.pi) * used.sum()


def condition(state: Process, y: Float[Array, " T"], new: Float[Array, "G T"], key: PRNGKeyArray) -> Process:
    """Condition the state on the observations y, of which the last added the rows `new` to the whitenings.

    The variances of the whole grid lose what the last query explains. The posterior is that of a covariance and a prior
    mean that are drawn in proportion to their evidence. Every second query draws among the prior means that leave out
    earlier tasks, so that no earlier task can mislead more than half of the queries.
    """
    used, slopes = jnp.arange(len(y)) < state.count, jnp.array(state.features.slopes)
    means = jnp.where(used[:, None], state.features.means[state.item], 0)
    residual, log_evidence = weigh(state.whitening, y, means, slopes, used)
    is_drawn = (slopes[:, 1:] == 0).all(1) | (state.count % 2 == 1)
    drawn = jax.random.categorical(key, jnp.where(is_drawn, log_evidence, -jnp.inf).ravel())
    row, slope = drawn // len(slopes), drawn % len(slopes)
    representer = jnp.sum(residual[row, slope][:, None] * state.whitening[row], axis=0)
    coefficients = jnp.concatenate([new, representer[None]])
    variances = jnp.concatenate([VARIANCE, jnp.array(VARIANCE)[row][None]])
    explained = _covary(coefficients, variances, state.covariance, state.count)  # one product reads the columns once
    variance = state.variance - explained[:-1] ** 2
    posterior = Posterior(
        mean=jnp.sum(slopes[slope] * state.features.means, axis=1) + explained[-1],
        std=jnp.sqrt(jnp.maximum(variance[row], SMALLEST)),
        noise=jnp.array(NOISE)[row],
        log_evidence=jax.nn.logsumexp(log_evidence) - math.log(log_evidence.size),
        residual=residual,
        share=jax.nn.softmax(log_evidence, axis=(0, 1)),
    )
    return state._replace(variance=variance, posterior=posterior)


def _ask(state: Process, history: History, pool: Pool, key: PRNGKeyArray, config: ProxyGPConfig) -> Proposal:
    nothing = no_info(pool.num_proxies)

    def lead() -> Proposal:
        arch = next_in_ranking(state.features.means.sum(1), history.queried)
        return Proposal(arch, jnp.int32(Phase.GREEDY), unweighted(pool), nothing)

    def draw() -> Proposal:
        return Proposal(pick(key, ~history.queried), jnp.int32(Phase.RANDOM), unweighted(pool), nothing)

    def improve() -> Proposal:
        found = state.posterior
        merit = found.mean + config.kappa * found.std
        arch = next_in_ranking(merit, history.queried)
        info = _inspect(state, merit, arch, history.queried)
        return Proposal(arch, jnp.int32(Phase.BO), unweighted(pool), info)

    leads = (state.count == 0) & state.features.usable
    initial = max(1, min(config.initial, len(state.item) // 5))
    stage = jnp.where(leads, 0, jnp.where(state.count <= initial, 1, 2))
    proposal: Proposal = lax.switch(stage, [lead, draw, improve])
    return proposal


def _inspect(
    state: Process, merit: Float[Array, " A"], arch: Int[Array, ""], queried: Bool[Array, " A"]
) -> SurrogateInfo:
    """Return the info of a choice by its merit.

    Values of y are turned into the objective by least squares on the observations, and gains by least squares on those
    with y >= 0, as objectives are closer to each other at the top.
    """
    y, found, features = warp(state.objective, state.count), state.posterior, state.features
    used, values = jnp.arange(len(y)) < state.count, without_failures(state.objective)
    centre, level, unit = fit_line(y, values, used)
    unit_at_top = fit_line(y, values, used & (y >= 0))[2]
    slopes = jnp.array(features.slopes)
    observed = jnp.where(used[:, None], features.scores[state.item], 0)
    weight = ridge_weights(jnp.array(VARIANCE[:, 0]), state.whitening @ observed, found.residual)
    effect, effect_std = effects(features.scores, slopes[:, 0], *weight, found.share)
    gain = expected_gain(
        found.mean,
        jnp.sqrt(found.std**2 + found.noise),
        jnp.where(queried, -jnp.inf, merit),
        jnp.max(y, where=used, initial=-jnp.inf),
    )
    num_proxies = features.scores.shape[1]
    return SurrogateInfo(
        lengthscale=jnp.full(num_proxies, 1.5 * math.sqrt(num_proxies)),
        log_evidence=found.log_evidence,
        acquisition=level + unit * (merit[arch] - centre),
        mean=level + unit * (found.mean[arch] - centre),
        std=unit * found.std[arch],
        slope=found.share.sum(0) @ slopes[:, 0],
        effect=unit * effect,
        effect_std=unit * effect_std,
        gain=unit_at_top * gain,
    )


proxy_gp = Method("proxy_gp", _init, _ask, _tell, ProxyGPConfig(), reads_earlier=True)
"""A Gaussian process over architectures whose mean is the consensus of the proxies and whose covariance is learned.

The first query is the first by consensus, the next `initial` are random (with a budget below ten the next one), then
each maximises mean + kappa std. Beyond that the method does not know the budget. It uses scores alone without
architectures, and decisions alone without usable scores. Earlier tasks enter the mean, for all but every second query.
"""
