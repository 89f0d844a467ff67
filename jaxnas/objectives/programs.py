"""The programs of training: initialise, train some steps, evaluate.

The architecture and the numbers of the schedule are arguments of the programs, so that each is compiled once for all
candidates, seeds and learning rates.
"""

from functools import lru_cache, partial
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Float32, Int, Int8, Int32, PRNGKeyArray, PyTree

from jaxnas.networks import init_variables
from jaxnas.networks.network import SearchNetwork
from jaxnas.objectives.config import TrainingConfig
from jaxnas.objectives.optimizer import AnyArray, Form, Rates, form_of, make_optimizer, rates_of
from jaxnas.proxies.loss import cross_entropy
from jaxnas.runtime.devices import map_on_devices, partition_spec
from jaxnas.runtime.traces import KeptProgram

EVALUATION_BATCH = 256
TrainingStrategy: TypeAlias = Literal["loop", "vmapped", "fused"]


class Labelled(NamedTuple):
    """Images and their labels, in NumPy or on the device.

    Attributes:
      images: standardised images.
      labels: classes from 0; -1 marks an image that does not count.
    """

    images: Float32[AnyArray, "N H W C"]
    labels: Int32[AnyArray, " N"]


class TrainState(NamedTuple):
    """The state of a training between steps; in a `Trainer`, with a leading axis for several candidates.

    Attributes:
      params: parameters of the network.
      batch_stats: running statistics of batch normalisation.
      optimizer: state of the optimiser.
      loss: sum over the steps of this epoch of the loss before the step, nats.
      hits: number of training images of this epoch whose largest logit was that of their label.
    """

    params: PyTree
    batch_stats: PyTree
    optimizer: optax.OptState
    loss: Float[Array, ""]
    hits: Float[Array, ""]


def epoch_order(config: TrainingConfig, num_images: int, epoch: int) -> Int32[np.ndarray, "S B"]:
    """Draw the training images of each of the S = floor(N / B) minibatches of an epoch; all are different."""
    steps = num_images // config.batch_size
    order = np.random.default_rng((config.seed, epoch)).permutation(num_images)
    return order[: steps * config.batch_size].reshape(steps, -1).astype(np.int32)


def init_state(
    network: SearchNetwork, config: TrainingConfig, arch: Int8[Array, " D"], images: Float[Array, "N H W C"]
) -> TrainState:
    """Return the state before the first step: the same parameters for every architecture, those of scoring."""
    variables = init_variables(network, images.shape[1:], len(arch), config.seed)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    optimizer = _init_optimizer(params, rates_of(config), form_of(config))
    return TrainState(params, batch_stats, optimizer, jnp.zeros(()), jnp.zeros(()))


@partial(jax.jit, static_argnames="form")  # one program in place of one for each shape
def _init_optimizer(params: PyTree, rates: Rates, form: Form) -> optax.OptState:
    return make_optimizer(rates, 1, form).init(params)


class Candidate(NamedTuple):
    """One training: a candidate, or one of its folds.

    Attributes:
      state: its state.
      arch: its architecture.
      images: the images that it trains on, of which the order of an epoch names the places; None for all of the data.
    """

    state: TrainState
    arch: Int8[AnyArray, " D"]
    images: Int32[AnyArray, " I"] | None = None


class Stretch(NamedTuple):
    """A range of steps of an epoch, the same for all candidates that are trained together.

    Attributes:
      data: images.
      order: places of the images of each minibatch of the epoch, among the images that a candidate trains on.
      epoch: number of the epoch, from 0.
      start: first step.
      stop: step after the last.
      key: key of the training's seed.
      rates: numbers of the schedule.
    """

    data: Labelled
    order: Int32[AnyArray, "S B"]
    epoch: Int32[AnyArray, ""]
    start: Int32[AnyArray, ""]
    stop: Int32[AnyArray, ""]
    key: PRNGKeyArray
    rates: Rates


@lru_cache(maxsize=8)
def make_trainer(network: SearchNetwork, form: Form, mesh: Mesh, strategy: TrainingStrategy) -> KeptProgram:
    """Compile (counts [devices], candidates [G], stretch) -> states [G] after it, for a mesh along "candidates".

    G candidates come in equal shares on each device, of which the first `count` matter. The strategy says how a device
    trains its share: "loop" one after another, the others together under `vmap`. With "vmapped" each candidate computes
    every op and keeps one; with "fused" kernels for NVIDIA GPUs compute its own op alone (`SearchNetwork.fused`).
    """
    network = network.clone(fused=strategy == "fused")

    def train(candidate: Candidate, stretch: Stretch) -> TrainState:
        return _train(network, form, candidate, stretch)

    split, whole = (NamedSharding(mesh, partition_spec(*axes)) for axes in (("candidates",), ()))
    program = map_on_devices(train, mesh, vmapped=strategy != "loop")
    return KeptProgram(program, network, form, mesh.size, strategy, shardings=(split, split, whole))


def _train(network: SearchNetwork, form: Form, candidate: Candidate, stretch: Stretch) -> TrainState:
    """Return the state of one candidate after the steps of a stretch."""
    (state, arch, own), (data, order, epoch), rates = candidate, stretch[:3], stretch.rates
    optimizer = make_optimizer(rates, rates.epochs * len(order), form)
    keys = jax.random.split(jax.random.fold_in(stretch.key, epoch), len(order))

    def step(number: Array, state: TrainState) -> TrainState:
        chosen, key = order[number] if own is None else own[order[number]], keys[number]
        images, labels = augment(form, key, data.images[chosen]), data.labels[chosen]
        drop_path = None
        if form.drops_paths:
            drop_path = rates.drop_path * epoch / rates.epochs if network.drop_path_rises else rates.drop_path
        loss = partial(_loss, network, form, rates, arch, Labelled(images, labels), state.batch_stats, drop_path, key)
        (value, (batch_stats, hits)), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
        updates, moments = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, batch_stats, moments, state.loss + value, state.hits + hits)

    trained: TrainState = lax.fori_loop(stretch.start, stretch.stop, step, state)
    return trained


def _loss(
    network: SearchNetwork,
    form: Form,
    rates: Rates,
    arch: Int8[Array, " D"],
    data: Labelled,
    batch_stats: PyTree,
    drop_path: Float[Array, ""] | None,
    key: PRNGKeyArray,
    params: PyTree,
) -> tuple[Float[Array, ""], tuple[PyTree, Int[Array, ""]]]:
    """Return the loss of a minibatch in nats, and the running statistics and hits that come with it."""
    options: dict[str, PyTree] = {} if drop_path is None else {"drop_path": drop_path, "rngs": {"drop_path": key}}
    mutable = ["batch_stats", "auxiliary"] if form.has_auxiliary else ["batch_stats"]
    variables = {"params": params, "batch_stats": batch_stats}
    logits, moved = network.apply(variables, data.images, arch, train=True, mutable=mutable, **options)
    smoothing = rates.label_smoothing if form.smooths_labels else None
    loss = smoothed_cross_entropy(logits, data.labels, smoothing)
    if form.has_auxiliary:
        (second,) = moved["auxiliary"]["logits"]
        loss += rates.auxiliary_weight * smoothed_cross_entropy(second, data.labels, smoothing)
    return loss, (moved.get("batch_stats", {}), (logits.argmax(-1) == data.labels).sum())


def smoothed_cross_entropy(
    logits: Float[Array, "N K"], labels: Int[Array, " N"], share: Float[AnyArray, ""] | float | None
) -> Float[Array, ""]:
    """Return the mean cross-entropy in nats, the target being 1 - share on the label plus share / K on every class."""
    loss = cross_entropy(logits, labels)
    return loss if share is None else (1 - share) * loss - share * jax.nn.log_softmax(logits).mean()


def augment(form: Form, key: PRNGKeyArray, images: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    """Augment images at random.

    Each image is shifted by up to `crop_padding` pixels, zeros moving in, mirrored with probability 1/2, and loses a
    square of `cutout` pixels, which is set to 0.
    """
    crop_key, flip_key = jax.random.split(key)
    if pad := form.crop_padding:
        corners = jax.random.randint(crop_key, (len(images), 2), 0, 2 * pad + 1)
        padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        shape_of_image = images.shape[1:]

        def crop(image: Float[Array, "P Q C"], corner: Int[Array, "2"]) -> Float[Array, "H W C"]:
            return lax.dynamic_slice(image, (*corner, 0), shape_of_image)

        images = jax.vmap(crop)(padded, corners)
    if form.flip:
        mirrored = jax.random.bernoulli(flip_key, shape=(len(images), 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    if form.cutout:
        shape = images.shape[1:3]
        centres = jax.random.randint(jax.random.fold_in(key, 2), (2, len(images)), 0, jnp.array(shape)[:, None])
        rows, columns = (
            _within(form.cutout, centre[:, None], jnp.arange(size)[None])
            for centre, size in zip(centres, shape, strict=True)
        )
        images = jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], 0, images)
    return images


def _within(length: int, centre: Int[Array, "N 1"], places: Int[Array, "1 P"]) -> Bool[Array, "N P"]:
    """Return whether places are among the `length` around the centre."""
    start = centre - length // 2
    return (places >= start) & (places < start + length)


@lru_cache(maxsize=8)
def make_counter(network: SearchNetwork) -> KeptProgram:
    """Compile (state, arch, data) -> the number of images whose largest logit is that of their label.

    The network uses running statistics. The number is NaN if a logit is not finite.
    """

    def count_correct(state: TrainState, arch: Int8[Array, " D"], data: Labelled) -> Float[Array, ""]:
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        logits = jnp.asarray(network.apply(variables, data.images, arch, train=False))
        hits = (logits.argmax(-1) == data.labels).sum().astype(logits.dtype)
        return jnp.where(jnp.isfinite(logits).all(), hits, jnp.nan)

    return KeptProgram(jax.jit(count_correct), network)


def chunks(images: Float32[np.ndarray, "N H W C"], labels: Int32[np.ndarray, " N"]) -> list[Labelled]:
    """Cut images into chunks of one size on the device; the last is filled up with images of label -1."""
    filler = -len(labels) % EVALUATION_BATCH
    images = np.pad(images, ((0, filler), (0, 0), (0, 0), (0, 0)))
    labels = np.pad(labels, (0, filler), constant_values=-1)
    starts = range(0, len(labels), EVALUATION_BATCH)
    cuts = [slice(start, start + EVALUATION_BATCH) for start in starts]
    return [Labelled(jnp.asarray(images[cut]), jnp.asarray(labels[cut])) for cut in cuts]
