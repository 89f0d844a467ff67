"""The loop of a training: epochs in short stretches with progress and checkpoints, for several candidates at once."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Float, Int, Int8, Int32

from jaxnas.networks import SearchNetwork
from jaxnas.objectives.checkpoint import Checkpoints
from jaxnas.objectives.config import TrainingConfig
from jaxnas.objectives.optimizer import form_of, rates_of
from jaxnas.objectives.programs import (
    EVALUATION_BATCH,
    Candidate,
    Labelled,
    Stretch,
    TrainingStrategy,
    TrainState,
    epoch_order,
    init_state,
    make_counter,
    make_trainer,
)
from jaxnas.runtime.devices import abstract_array, partition_spec
from jaxnas.runtime.events import Listener, TrainingProgress, ignore
from jaxnas.runtime.session import fixed_settings, make_key
from jaxnas.scoring.engine import require_kernels

STRETCH = 2.0  # seconds of training between two reports
CHECKPOINT_INTERVAL = 60.0  # seconds; a shorter training has no checkpoint
SPLIT, WHOLE = partition_spec("candidates"), partition_spec()


class Fitted(NamedTuple):
    """Candidates that were trained together.

    Attributes:
      states: the last state of each, in NumPy arrays.
      loss: mean training loss of every epoch, nats; fewer epochs than the configured ones if all diverged.
      accuracy: accuracy on the augmented training images in every epoch, percent.
      seconds: seconds of training, without compilation.
    """

    states: list[TrainState]
    loss: Float[np.ndarray, "E n"]
    accuracy: Float[np.ndarray, "E n"]
    seconds: float


class Trainer:
    """Train candidates from the initialisation, several at once, in one program for all of them.

    The result of a candidate depends neither on the others nor on interruptions of the training.

    Args:
      network: the network, see `TrainingObjective`.
      config: hyperparameters, without a 0 that `jaxnas.objectives.fit` would replace.
      data: images, all of them to train on, or those that `fit` chooses from.
      num_decisions: number of decisions of an architecture, D.
      num_images: images that a candidate trains on, I, where `fit` chooses them; None for all.
      together: candidates that are trained at once.
      num_devices: devices that train; by default all of this process, at most one for each candidate.
      strategy: how a device trains its share, see `make_trainer`; by default "vmapped" on accelerators.

    Raises:
      InputError: the strategy is "fused", but the network does not group ops, or the device is no NVIDIA GPU.
    """

    def __init__(
        self,
        network: SearchNetwork,
        config: TrainingConfig,
        data: Labelled,
        num_decisions: int,
        *,
        num_images: int | None = None,
        together: int = 1,
        num_devices: int | None = None,
        strategy: TrainingStrategy | None = None,
    ):
        """Put the data on the devices; programs are compiled when they are first needed."""
        if strategy == "fused":
            require_kernels(network)
        self.network, self.config, self.num_decisions = network, config, num_decisions
        self.num_devices = min(together, num_devices or jax.local_device_count())
        self.share = -(-together // self.num_devices)
        self.strategy = strategy or ("vmapped" if self.share > 1 and jax.default_backend() != "cpu" else "loop")
        self._mesh = Mesh(np.array(jax.local_devices()[: self.num_devices]), "candidates")
        self._split, whole = (NamedSharding(self._mesh, spec) for spec in (SPLIT, WHOLE))
        self.data = jax.device_put(data, whole)
        self._chooses, self._num_images = num_images is not None, num_images or len(data.labels)
        self._key = jax.device_put(make_key(config.seed), whole)
        self._rates = rates_of(config)
        self.compile_seconds = 0.0
        self._stride = 1  # steps of the next stretch

    @property
    def together(self) -> int:
        """Candidates that the program takes at once."""
        return self.num_devices * self.share

    def compile(self) -> None:
        """Compile the programs before they are needed."""
        with fixed_settings(float64=False):
            self._programs, self._count  # noqa: B018 # compiled where they are first read

    def fit(
        self,
        archs: Int8[np.ndarray, "n D"],
        on_event: Listener = ignore,
        checkpoints: Checkpoints | None = None,
        made_with: Mapping[str, object] | None = None,
        images: Int32[np.ndarray, "n I"] | None = None,
    ) -> Fitted:
        """Train n candidates, from the last checkpoint if there is one.

        Training ends as soon as no candidate has a finite loss.

        Args:
          archs: candidates, at most `together`.
          on_event: receives a `TrainingProgress` every few seconds and after each epoch.
          checkpoints: checkpoints of the state; None for no checkpoints.
          made_with: settings that the training depends on, as plain JSON values.
          images: the images that each candidate trains on; None with a trainer on all.

        Raises:
          InputError: the checkpoint is damaged, or made with other settings than `made_with`.
        """
        with fixed_settings(float64=False):
            archs = np.asarray(archs, np.int8)
            fitted: Fitted = self._fit(archs, images, on_event, checkpoints, dict(made_with or {}))
            return fitted

    def accuracy(
        self, states: Sequence[TrainState], arch: Int8[np.ndarray, " D"], data: Sequence[Sequence[Labelled]]
    ) -> float:
        """Return the percentage of images classified correctly with running statistics, NaN if a logit is not finite.

        Args:
          states: the trained states of one candidate, one for each fold.
          arch: the architecture of the candidate.
          data: for each state the chunks of images that it classifies, see `chunks`.
        """
        pairs = [(state, chunk) for state, part in zip(states, data, strict=True) for chunk in part]
        with fixed_settings(float64=False):
            hits = sum(float(self._count(state, arch, chunk)) for state, chunk in pairs)
        return 100 * hits / sum(int((np.asarray(chunk.labels) >= 0).sum()) for _, chunk in pairs)

    def _fit(
        self,
        archs: Int8[np.ndarray, "n D"],
        images: Int32[np.ndarray, "n I"] | None,
        on_event: Listener,
        checkpoints: Checkpoints | None,
        made_with: Mapping[str, object],
    ) -> Fitted:
        first, program = self._programs
        lanes = np.array([i % self.num_devices * self.share + i // self.num_devices for i in range(len(archs))])
        counts = np.bincount(lanes // self.share, minlength=self.num_devices).astype(np.int32)
        padded, chosen = self._lanes()
        padded[lanes] = archs
        if chosen is not None:
            chosen[lanes] = images
        states, course, kept = self._fit_params(first, padded), Course(), time.monotonic()
        if checkpoints and (restored := checkpoints.restore(_take(states, lanes), made_with)):
            states, course = self._put(states, lanes, restored[0]), Course(**restored[1])
        while course.epoch < self.config.epochs and course.alive:
            began, order = time.perf_counter(), epoch_order(self.config, self._num_images, course.epoch)
            stop = min(len(order), course.step + self._stride)
            when = np.int32(course.epoch), np.int32(course.step), np.int32(stop)
            candidates = Candidate(states, padded, chosen)
            states = program(counts, candidates, Stretch(self.data, order, *when, self._key, self._rates))
            sums = np.asarray(states.loss)[lanes], np.asarray(states.hits)[lanes]
            pace = (time.perf_counter() - began) / (stop - course.step)
            self._stride = max(1, int(STRETCH / pace))
            on_event(course.advance(self.config, len(order), stop, pace, *sums))
            if course.step == 0:
                states = states._replace(loss=first.loss, hits=first.hits)
            ended = course.epoch == self.config.epochs
            due = time.monotonic() - kept > CHECKPOINT_INTERVAL or (ended and checkpoints and checkpoints.keeps_last)
            if checkpoints and course.alive and due:
                number = course.epoch * (len(order) + 1) + course.step
                checkpoints.save(number, _take(states, lanes), dataclasses.asdict(course), made_with)
                kept = time.monotonic()
        stacked = _take(states, lanes)
        separate = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(len(lanes))]
        return Fitted(separate, np.array(course.loss), np.array(course.accuracy), course.seconds)

    def _lanes(self) -> tuple[Int8[np.ndarray, "G D"], Int32[np.ndarray, "G I"] | None]:
        """Return architectures and images of all lanes, zeros."""
        images = np.zeros((self.together, self._num_images), np.int32) if self._chooses else None
        return np.zeros((self.together, self.num_decisions), np.int8), images

    def _put(self, states: TrainState, lanes: Int[np.ndarray, " n"], restored: TrainState) -> TrainState:
        """Return the states with the restored ones in the lanes of their candidates."""

        def put(leaf: np.ndarray, values: np.ndarray) -> np.ndarray:
            leaf = np.array(leaf)
            leaf[lanes] = values
            return leaf

        moved: TrainState = jax.device_put(jax.tree.map(put, jax.device_get(states), restored), self._split)
        return moved

    def _fit_params(self, states: TrainState, archs: Int8[np.ndarray, "G D"]) -> TrainState:
        """Return the states, whose params are equal in all lanes, with those of each lane's architecture."""
        params = jax.tree.map(lambda leaf: leaf[0], jax.device_get(states.params))
        by_lane = [self.network.params_for(params, arch) for arch in archs]
        stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *by_lane)
        return states._replace(params=jax.device_put(stacked, self._split))

    @cached_property
    def _programs(self) -> tuple[TrainState, jax.stages.Compiled]:
        """The first states, and the compiled program."""
        began = time.perf_counter()
        arch = np.zeros(self.num_decisions, np.int8)
        one = init_state(self.network, self.config, jnp.asarray(arch), self.data.images)
        states = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (self.together, *leaf.shape)), one)
        states = jax.device_put(states, self._split)
        trainer = make_trainer(self.network, form_of(self.config), self._mesh, self.strategy)
        order = epoch_order(self.config, self._num_images, 0)
        candidates, counts = Candidate(states, *self._lanes()), np.zeros(self.num_devices, np.int32)
        when = np.int32(0), np.int32(0), np.int32(0)
        program = trainer.lower(counts, candidates, Stretch(self.data, order, *when, self._key, self._rates)).compile()
        self.compile_seconds += time.perf_counter() - began
        return states, program

    @cached_property
    def _count(self) -> jax.stages.Compiled:
        """The compiled program of `make_counter`."""
        began = time.perf_counter()
        images = abstract_array((EVALUATION_BATCH, *self.data.images.shape[1:]), np.float32)
        labels = abstract_array((EVALUATION_BATCH,), np.int32)
        arch = abstract_array((self.num_decisions,), np.int8)
        state = jax.tree.map(lambda leaf: abstract_array(leaf.shape[1:], leaf.dtype), self._programs[0])
        program = make_counter(self.network).lower(state, arch, Labelled(images, labels)).compile()
        self.compile_seconds += time.perf_counter() - began
        return program


@dataclass
class Course:
    """The progress and losses of a training, which the header of a checkpoint contains.

    Attributes:
      epoch: number of finished epochs.
      step: number of finished steps of the next epoch.
      seconds: seconds of training, without compilation.
      loss: mean training loss of each epoch and candidate [E][n], nats.
      accuracy: accuracy on the training images in each epoch [E][n], percent.
      alive: whether some candidate's loss is finite.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    loss: list[list[float]] = field(default_factory=list)
    accuracy: list[list[float]] = field(default_factory=list)
    alive: bool = True

    def advance(
        self,
        config: TrainingConfig,
        steps: int,
        stop: int,
        pace: float,
        losses: Float[np.ndarray, " n"],
        hits: Float[np.ndarray, " n"],
    ) -> TrainingProgress:
        """Record that the epoch has come from `step` to `stop` at `pace` seconds a step, with these sums since 0."""
        loss, accuracy = losses / stop, 100 * hits / (stop * config.batch_size)
        self.seconds += pace * (stop - self.step)
        left = pace * ((config.epochs - self.epoch) * steps - stop)
        candidates = tuple(range(len(loss)))
        progress = TrainingProgress(self.epoch + 1, config.epochs, stop, steps, loss, accuracy, left, candidates)
        self.step, self.alive = stop, bool(np.isfinite(loss).any())
        if stop == steps or not self.alive:
            self.loss.append(loss.tolist())
            self.accuracy.append(accuracy.tolist())
            self.epoch, self.step = self.epoch + 1, 0
        return progress


def _take(states: TrainState, lanes: Int[np.ndarray, " n"]) -> TrainState:
    """Return the states of the candidates, in NumPy arrays [n ...]."""
    taken: TrainState = jax.tree.map(lambda leaf: leaf[lanes], jax.device_get(states))
    return taken
