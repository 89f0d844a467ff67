"""A network that learns free statistics of all architectures before any label, and then the objective of the queried.

| symbol | here |
|---|---|
| x [D K] | the decisions of an architecture, one-hot |
| e(x) = relu(relu(x W_1 + b_1) W_2 + b_2) | `Encoder`: two layers of `width` units |
| s [M + K] | statistics: the normal scores of each proxy, and how often each op is chosen; see `statistics` |
| y | Phi^-1((rank - 1/2) / n) of the n objectives so far: `warp` |
| min over W, V, c of mean (e(x) V + c - s)^2 | `pretrain`: `pretraining` steps of Adam on batches of the pool |
| min over W, v, c of mean huber(e(x) v + c - y) | `fine_tune`: v and c, then all at a tenth of the rate |

A statistic is free if no training is needed to know it. The paper takes FLOPs and parameters; here these are columns of
the score table like every other proxy, so that a table of `flops`, `params` and `num_layers` has such statistics alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxnas.errors import InputError
from jaxnas.runtime.settings import check_kinds
from jaxnas.search.config import check_positive
from jaxnas.search.history import History, Phase, Proposal
from jaxnas.search.method import Method
from jaxnas.search.pool import Pool, next_in_ranking, one_hot, pick, unweighted
from jaxnas.search.proxy_gp import describe, warp

BATCH = 128  # architectures in a step of pretraining
BLOCK = 8192  # architectures that are predicted together
REDUCED = 0.1  # learning rate of the whole network, relative to that of its last layer alone

ParamsT = TypeVar("ParamsT")


@dataclass(frozen=True)
class PretrainedPredictorConfig:
    """Hyperparameters of `pretrained_predictor`.

    Attributes:
        pretraining: Steps of Adam on the statistics, at least 0; with 0 the encoder is as initialised.
        steps: Steps of Adam on the objectives after each query, at least 1; as many for the last layer and for all.
        learning_rate: Step size of Adam, above 0.
        width: Units of each of the two layers of the encoder, at least 1.
        initial: Architectures drawn at random before the first prediction, at least 1.
    """

    pretraining: int = 300
    steps: int = 100
    learning_rate: float = 0.01
    width: int = 64
    initial: int = 3

    def __post_init__(self) -> None:
        """Check every field."""
        check_kinds(self)
        check_positive(steps=self.steps, learning_rate=self.learning_rate, width=self.width, initial=self.initial)
        if self.pretraining < 0:
            raise InputError(f"`pretraining` must be at least 0, got {self.pretraining}")


class Layer(NamedTuple):
    """A dense layer.

    Attributes:
        kernel: Weights [I O].
        bias: Offsets [O].
    """

    kernel: Float[Array, "I O"]
    bias: Float[Array, " O"]

    def __call__(self, x: Float[Array, "... I"]) -> Float[Array, "... O"]:
        """Return x W + b."""
        return x @ self.kernel + self.bias


Encoder = tuple[Layer, Layer]


class Network(NamedTuple):
    """An encoder and the layer that reads its units.

    Attributes:
        encoder: The two layers of the encoder.
        head: The last layer, with one output for each statistic or one for the objective.
    """

    encoder: Encoder
    head: Layer

    def __call__(self, inputs: Float[Array, "... I"]) -> Float[Array, "... O"]:
        """Return the outputs for one-hot architectures."""
        return self.head(embed(self.encoder, inputs))


class _Trained(NamedTuple):
    """The queries so far and the network that they train.

    Attributes:
        encoder: The pretrained encoder.
        item: The queried architectures [T]; padding from `count` on.
        objective: The objective of each [T], NaN or inf for failures; padding is NaN.
        count: The number of queries [].
        network: The network fitted to the queries, which predicts y.
    """

    encoder: Encoder
    item: Int[Array, " T"]
    objective: Float[Array, " T"]
    count: Int[Array, ""]  # type: ignore[assignment]  # hides tuple.count
    network: Network


def embed(encoder: Encoder, inputs: Float[Array, "... I"]) -> Float[Array, "... E"]:
    """Return the units of the encoder for one-hot architectures."""
    for layer in encoder:
        inputs = jax.nn.relu(layer(inputs))
    return inputs


def statistics(pool: Pool) -> Float[Array, "A S"]:
    """Return the normal scores of each proxy and how often each op is chosen, S = M + K.

    Every column is standardised and a constant one is 0. Each of both groups has the same variance in all.
    """
    features = describe(pool)
    return jnp.concatenate([features.scores, features.op_counts], axis=1)


def pretrain(pool: Pool, key: PRNGKeyArray, config: PretrainedPredictorConfig) -> Network:
    """Return a network that predicts the statistics of architectures; no objective is read."""
    targets = statistics(pool)
    keys = jax.random.split(key, 4)
    sizes = pool.archs.shape[1] * len(pool.options), config.width, config.width, targets.shape[1]
    draw = jax.nn.initializers.he_normal()
    first, second, head = (
        Layer(draw(keys[row], (inputs, outputs), targets.dtype), jnp.zeros(outputs, targets.dtype))
        for row, (inputs, outputs) in enumerate(pairwise(sizes))
    )

    def loss(network: Network, step: Int[Array, ""]) -> Float[Array, ""]:
        rows = jax.random.randint(jax.random.fold_in(keys[3], step), (BATCH,), 0, pool.num_archs)
        errors = network(one_hot(pool.archs[rows], pool)) - targets[rows]
        return jnp.mean(jnp.sum(errors**2, axis=1))

    rate = optax.cosine_decay_schedule(config.learning_rate, max(config.pretraining, 1))
    return _descend(loss, Network((first, second), head), config.pretraining, optax.adam(rate))


def _descend(
    loss: Callable[[ParamsT, Int[Array, ""]], Float[Array, ""]],
    start: ParamsT,
    steps: int,
    optimizer: optax.GradientTransformation,
) -> ParamsT:
    """Return the parameters after some steps along the gradient of loss(parameters, number of the step)."""

    def step(number: Int[Array, ""], carried: tuple[ParamsT, optax.OptState]) -> tuple[ParamsT, optax.OptState]:
        params, memory = carried
        update, memory = optimizer.update(jax.grad(loss)(params, number), memory)
        moved: ParamsT = optax.apply_updates(params, update)
        return moved, memory

    carried: tuple[ParamsT, optax.OptState] = lax.fori_loop(0, steps, step, (start, optimizer.init(start)))
    return carried[0]


def _with_new_head(encoder: Encoder) -> Network:
    """Return a network that predicts 0 for every architecture."""
    kernel = jnp.zeros((len(encoder[-1].bias), 1), encoder[-1].bias.dtype)
    return Network(encoder, Layer(kernel, kernel[0]))


def fine_tune(
    encoder: Encoder,
    inputs: Float[Array, "T I"],
    objective: Float[Array, " T"],
    count: Int[Array, ""],
    config: PretrainedPredictorConfig,
) -> Network:
    """Return a network fitted to the first `count` objectives: its last layer alone, then all at a reduced rate."""
    y, used = warp(objective, count), jnp.arange(len(objective)) < count

    def loss(network: Network) -> Float[Array, ""]:
        errors = optax.huber_loss(network(inputs)[:, 0], y)
        return jnp.sum(jnp.where(used, errors, 0)) / jnp.maximum(count, 1)

    start = _with_new_head(encoder)
    head = _descend(
        lambda head, _: loss(Network(encoder, head)), start.head, config.steps, optax.adam(config.learning_rate)
    )
    optimizer = optax.adam(REDUCED * config.learning_rate)
    return _descend(lambda network, _: loss(network), Network(encoder, head), config.steps, optimizer)


def predict(network: Network, pool: Pool) -> Float[Array, "A O"]:
    """Return the outputs for every architecture of a pool, `BLOCK` at a time."""
    outputs: Float[Array, "A O"] = lax.map(
        lambda arch: network(one_hot(arch, pool)), pool.archs, batch_size=min(BLOCK, pool.num_archs)
    )
    return outputs


def _init(pool: Pool, budget: int, key: PRNGKeyArray, config: PretrainedPredictorConfig) -> _Trained:
    encoder = pretrain(pool, key, config).encoder
    item, objective = jnp.zeros(budget, jnp.int32), jnp.full(budget, jnp.nan)
    return _Trained(encoder, item, objective, jnp.zeros((), jnp.int32), _with_new_head(encoder))


def _tell(
    state: _Trained, proposal: Proposal, objective: Float[Array, ""], pool: Pool, config: PretrainedPredictorConfig
) -> _Trained:
    """Fit the network to all queries, from the pretrained encoder, once the first prediction is due."""
    item = state.item.at[state.count].set(proposal.item)
    values = state.objective.at[state.count].set(objective)
    count = state.count + 1
    network = lax.cond(
        count < config.initial,
        lambda: state.network,
        lambda: fine_tune(state.encoder, one_hot(pool.archs[item], pool), values, count, config),
    )
    return _Trained(state.encoder, item, values, count, network)


def _ask(
    state: _Trained, history: History, pool: Pool, key: PRNGKeyArray, config: PretrainedPredictorConfig
) -> Proposal:
    def draw() -> Proposal:
        return Proposal(pick(key, ~history.queried), jnp.int32(Phase.RANDOM), unweighted(pool))

    def lead() -> Proposal:
        arch = next_in_ranking(predict(state.network, pool)[:, 0], history.queried)
        return Proposal(arch, jnp.int32(Phase.PREDICTION), unweighted(pool))

    proposal: Proposal = lax.cond(state.count < config.initial, draw, lead)
    return proposal


pretrained_predictor = Method("pretrained_predictor", _init, _ask, _tell, PretrainedPredictorConfig(), needs_archs=True)
"""The best by a network that was pretrained on free statistics of all architectures and fitted to the queried.

The first queries are random. After each query the network is trained from the pretrained encoder, and the next query is
the architecture that it predicts to be best, without a rule for exploration.

Source: Dai et al. 2021, FBNetV3 (arXiv:2006.02049), without its training recipes, and with random architectures of the
pool in place of its quasi-random sample of the space.
"""
