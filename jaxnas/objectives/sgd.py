"""Training by SGD: hyperparameters, and the three programs initialise, train some steps, evaluate.

The architecture is an argument of the programs, so that each is compiled once for all candidates.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Float32, Int, Int8, Int32, PRNGKeyArray

from jaxnas.networks import init_variables
from jaxnas.networks.network import SearchNetwork
from jaxnas.objectives.config import TrainingConfig
from jaxnas.proxies.loss import cross_entropy


class Labelled(NamedTuple):
    """Images and their labels, on the device."""

    images: Float32[Any, "N H W C"]
    labels: Int32[Any, " N"]


class TrainState(NamedTuple):
    """What one training step hands to the next."""

    params: Any
    batch_stats: Any
    optimizer: Any
    loss: Float[Array, ""]  # sum over the steps of this epoch of the loss before the step, nats
    hits: Float[Array, ""]  # training images of this epoch whose largest logit was their label's


def make_optimizer(config: TrainingConfig, steps: int) -> optax.GradientTransformation:
    """Clip, add the decay, SGD with momentum and lr_t = lr_T + (lr_0 - lr_T) (1 + cos(pi t / T)) / 2, T = steps."""
    final = config.final_learning_rate / config.learning_rate
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(optax.cosine_decay_schedule(config.learning_rate, steps, final), config.momentum, config.nesterov),
    )


def epoch_order(config: TrainingConfig, num_images: int, epoch: int) -> Int32[np.ndarray, "S B"]:
    """Training images of each of the S = floor(N / B) minibatches of an epoch; all different."""
    steps = num_images // config.batch_size
    order = np.random.default_rng((config.seed, epoch)).permutation(num_images)
    return order[: steps * config.batch_size].reshape(steps, -1).astype(np.int32)


def init_state(
    network: SearchNetwork, config: TrainingConfig, arch: Int8[Array, " D"], images: Float[Array, "N H W C"]
) -> TrainState:
    """The state before the first step: the same parameters for every architecture, those that scoring draws too."""
    variables = init_variables(network, images.shape[1:], len(arch), config.seed)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(params, batch_stats, make_optimizer(config, 1).init(params), jnp.zeros(()), jnp.zeros(()))


@lru_cache(maxsize=8)
def make_trainer(network: SearchNetwork, config: TrainingConfig, num_devices: int, vmapped: bool) -> Any:
    """Jitted (counts [devices], states [G], archs [G D], data, order [S B], epoch, start, stop) -> states [G].

    Steps `start` to `stop` of an epoch, for G candidates in equal shares on each device, of which the first `count`
    matter. On a device they are trained one after another, or `vmapped`: then each computes every op and keeps one.
    """

    def all_at_once(counts, states, archs, data, *when):
        return jax.vmap(lambda state, arch: _train(network, config, state, arch, data, *when))(states, archs)

    def one_by_one(counts, states, archs, data, *when):
        def candidate(number, states):
            own = jax.tree.map(lambda leaf: leaf[number], states)
            own = _train(network, config, own, archs[number], data, *when)
            return jax.tree.map(lambda all, one: lax.dynamic_update_index_in_dim(all, one, number, 0), states, own)

        return lax.fori_loop(0, counts[0], candidate, states)

    split, whole = PartitionSpec("candidates"), PartitionSpec()
    sharded = jax.shard_map(
        all_at_once if vmapped else one_by_one,
        mesh=Mesh(np.array(jax.local_devices()[:num_devices]), "candidates"),
        in_specs=(split, split, split, *[whole] * 5),
        out_specs=split,
        check_vma=False,
    )
    return jax.jit(sharded)


def _train(network, config, state, arch, data, order, epoch, start, stop):
    optimizer = make_optimizer(config, config.epochs * len(order))
    keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), epoch), len(order))

    def step(number, state):
        chosen, key = order[number], keys[number]
        images, labels = augment(config, key, data.images[chosen]), data.labels[chosen]
        options: dict[str, Any] = {}
        if config.drop_path:
            options = {"drop_path": config.drop_path * epoch / config.epochs, "rngs": {"drop_path": key}}

        def loss_of(params):
            variables = {"params": params, "batch_stats": state.batch_stats}
            mutable = ["batch_stats", "auxiliary"] if config.auxiliary_weight else ["batch_stats"]
            logits, moved = network.apply(variables, images, arch, train=True, mutable=mutable, **options)
            loss = smoothed_cross_entropy(logits, labels, config.label_smoothing)
            if config.auxiliary_weight:
                (second,) = moved["auxiliary"]["logits"]
                loss += config.auxiliary_weight * smoothed_cross_entropy(second, labels, config.label_smoothing)
            return loss, (moved.get("batch_stats", {}), (logits.argmax(-1) == labels).sum())

        (loss, (batch_stats, hits)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        updates, moments = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, batch_stats, moments, state.loss + loss, state.hits + hits)

    return lax.fori_loop(start, stop, step, state)


def smoothed_cross_entropy(logits: Float[Array, "N K"], labels: Int[Array, " N"], share: float) -> Float[Array, ""]:
    """Mean cross-entropy with a target of 1 - share on the label and share / K on every class, in nats."""
    loss = cross_entropy(logits, labels)
    return loss if not share else (1 - share) * loss - share * jax.nn.log_softmax(logits).mean()


def augment(config: TrainingConfig, key: PRNGKeyArray, images: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    """Each image shifted by up to `crop_padding` pixels, zeros moving in, mirrored with probability 1/2, a square of
    `cutout` pixels in it set to 0."""
    crop_key, flip_key = jax.random.split(key)
    if pad := config.crop_padding:
        corners = jax.random.randint(crop_key, (len(images), 2), 0, 2 * pad + 1)
        padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        crop = jax.vmap(lambda image, corner: lax.dynamic_slice(image, (*corner, 0), images.shape[1:]))
        images = crop(padded, corners)
    if config.flip:
        mirrored = jax.random.bernoulli(flip_key, shape=(len(images), 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    if config.cutout:
        shape = images.shape[1:3]
        centres = jax.random.randint(jax.random.fold_in(key, 2), (2, len(images)), 0, jnp.array(shape)[:, None])
        rows, columns = (
            _within(config.cutout, centre[:, None], jnp.arange(size)[None])
            for centre, size in zip(centres, shape, strict=True)
        )
        images = jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], 0, images)
    return images


def _within(length, centre, places):
    """Is a place one of the `length` around the centre?"""
    start = centre - length // 2
    return (places >= start) & (places < start + length)


@partial(jax.jit, static_argnames="network")
def count_correct(
    network: SearchNetwork, state: TrainState, arch: Int8[Array, " D"], data: Labelled
) -> Float[Array, ""]:
    """Images whose largest logit, with running statistics, is their label's; NaN if a logit is not finite."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    logits = jnp.asarray(network.apply(variables, data.images, arch, train=False))
    hits = (logits.argmax(-1) == data.labels).sum().astype(logits.dtype)
    return jnp.where(jnp.isfinite(logits).all(), hits, jnp.nan)
