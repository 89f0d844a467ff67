"""The loop of a training: epochs in short stretches, watched, kept in checkpoints, several candidates at once."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Float32, Int8, Int32

from jaxnas.networks import SearchNetwork
from jaxnas.objectives.checkpoint import Checkpoints
from jaxnas.objectives.sgd import (
    Labelled,
    TrainingConfig,
    TrainState,
    count_correct,
    epoch_order,
    init_state,
    make_trainer,
)
from jaxnas.runtime.events import Listener, TrainingProgress, ignore

STRETCH = 2.0  # seconds of training between two looks at it
EVALUATION_BATCH = 256
CHECKPOINT_INTERVAL = 60.0  # seconds; a candidate that takes less has none


class Fitted(NamedTuple):
    """Trained candidates."""

    states: list[TrainState]  # of each, in NumPy arrays
    loss: Float[np.ndarray, "E n"]  # of every epoch; fewer than the configured ones if all diverged
    accuracy: Float[np.ndarray, "E n"]
    seconds: float  # without compiling


class Trainer:
    """Trains candidates from the initialisation on, up to `together` at once, in one program for all of them.

    Each device has an equal share, which it trains one after another, or under `vmap` where `vmapped`: by default on
    accelerators. What a candidate becomes depends neither on the others nor on where training was interrupted.
    """

    def __init__(
        self,
        network: SearchNetwork,
        config: TrainingConfig,
        data: Labelled,
        num_decisions: int,
        *,
        together: int = 1,
        num_devices: int | None = None,
        vmapped: bool | None = None,
    ):
        self.network, self.config, self.num_decisions = network, config, num_decisions
        self.num_devices = min(together, num_devices or jax.local_device_count())
        self.share = -(-together // self.num_devices)
        self.vmapped = (self.share > 1 and jax.default_backend() != "cpu") if vmapped is None else vmapped
        mesh = Mesh(np.array(jax.local_devices()[: self.num_devices]), "candidates")
        self._split, whole = (NamedSharding(mesh, PartitionSpec(axes)) for axes in ("candidates", None))
        self.data = jax.device_put(data, whole)
        self.compile_seconds = 0.0
        self._stride = 1  # steps of the next stretch

    @property
    def together(self) -> int:
        """How many candidates the program takes."""
        return self.num_devices * self.share

    def fit(
        self,
        archs: Int8[np.ndarray, "n D"],
        on_event: Listener = ignore,
        checkpoints: Checkpoints | None = None,
        made_with: Mapping[str, Any] | None = None,
    ) -> Fitted:
        """Train n candidates, n at most `together`; from the last checkpoint on if there is one.

        Given up as soon as no candidate's loss is finite.

        Raises: InputError for a checkpoint that is damaged or that others than `made_with` made.
        """
        with jax.enable_x64(False):  # whatever the caller computes in
            return self._fit(np.asarray(archs, np.int8), on_event, checkpoints, dict(made_with or {}))

    def accuracy(self, state: TrainState, arch: Int8[np.ndarray, " D"], data: Sequence[Labelled]) -> float:
        """Percent of the images in these `chunks` classified correctly with running statistics; NaN for NaN logits."""
        with jax.enable_x64(False):
            hits = sum(float(self._count(state, arch, chunk)) for chunk in data)
        return 100 * hits / sum(int((chunk.labels >= 0).sum()) for chunk in data)

    def _fit(self, archs, on_event, checkpoints, made_with):
        start, program = self._programs
        lanes = np.array([i % self.num_devices * self.share + i // self.num_devices for i in range(len(archs))])
        counts = np.bincount(lanes // self.share, minlength=self.num_devices).astype(np.int32)
        padded = np.zeros((self.together, archs.shape[1]), np.int8)
        padded[lanes] = archs
        states, course, kept = self._own(start, padded), Course(), time.monotonic()
        if checkpoints and (found := checkpoints.restore(_of_lanes(states, lanes), made_with)):
            states, course = self._put(states, lanes, found[0]), Course(**found[1])
        while course.epoch < self.config.epochs and course.alive:
            began, order = time.perf_counter(), epoch_order(self.config, len(self.data.labels), course.epoch)
            stop = min(len(order), course.step + self._stride)
            when = map(np.int32, (course.epoch, course.step, stop))
            states = program(counts, states, padded, self.data, order, *when)
            sums = np.asarray(states.loss)[lanes], np.asarray(states.hits)[lanes]
            pace = (time.perf_counter() - began) / (stop - course.step)
            self._stride = max(1, int(STRETCH / pace))
            on_event(course.advance(self.config, len(order), stop, pace, *sums))
            if course.step == 0:
                states = states._replace(loss=start.loss, hits=start.hits)
            ended = course.epoch == self.config.epochs
            due = time.monotonic() - kept > CHECKPOINT_INTERVAL or (ended and checkpoints and checkpoints.keeps_last)
            if checkpoints and course.alive and due:
                number = course.epoch * (len(order) + 1) + course.step
                checkpoints.save(number, _of_lanes(states, lanes), dataclasses.asdict(course), made_with)
                kept = time.monotonic()
        each = _of_lanes(states, lanes)
        states = [jax.tree.map(lambda leaf, i=i: leaf[i], each) for i in range(len(lanes))]
        return Fitted(states, np.array(course.loss), np.array(course.accuracy), course.seconds)

    def _put(self, states, lanes, found):
        """The states, with those found in the lanes of their candidates."""

        def put(leaf, own):
            leaf = np.array(leaf)
            leaf[lanes] = own
            return leaf

        return jax.device_put(jax.tree.map(put, jax.device_get(states), found), self._split)

    def _own(self, states, archs):
        """The states, whose params are equal in all lanes, with those of each lane's architecture."""
        params = jax.device_get(jax.tree.map(lambda leaf: leaf[0], states.params))
        each = [self.network.params_for(params, arch) for arch in archs]
        stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *each)
        return states._replace(params=jax.device_put(stacked, self._split))

    @cached_property
    def _programs(self):
        """The first states, and the compiled program."""
        began = time.perf_counter()
        arch = np.zeros(self.num_decisions, np.int8)
        one = init_state(self.network, self.config, jnp.asarray(arch), self.data.images)
        states = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (self.together, *leaf.shape)), one)
        states = jax.device_put(states, self._split)
        trainer = make_trainer(self.network, self.config, self.num_devices, self.vmapped)
        order = epoch_order(self.config, len(self.data.labels), 0)
        archs, counts = np.zeros((self.together, len(arch)), np.int8), np.zeros(self.num_devices, np.int32)
        when = [np.int32(0)] * 3
        program = trainer.lower(counts, states, archs, self.data, order, *when).compile()
        self.compile_seconds += time.perf_counter() - began
        return states, program

    @cached_property
    def _count(self):
        began = time.perf_counter()
        images = jax.ShapeDtypeStruct((EVALUATION_BATCH, *self.data.images.shape[1:]), np.float32)
        labels = jax.ShapeDtypeStruct((EVALUATION_BATCH,), np.int32)
        arch = jax.ShapeDtypeStruct((self.num_decisions,), np.int8)
        state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), self._programs[0])
        program = count_correct.lower(self.network, state, arch, Labelled(images, labels)).compile()
        self.compile_seconds += time.perf_counter() - began
        return program


@dataclass
class Course:
    """How far a training has come, apart from its states: what a checkpoint's header holds."""

    epoch: int = 0  # finished
    step: int = 0  # of the next
    seconds: float = 0.0
    loss: list[list[float]] = field(default_factory=list)  # [E][n]
    accuracy: list[list[float]] = field(default_factory=list)
    alive: bool = True  # some candidate's loss is finite

    def advance(
        self, config: TrainingConfig, steps: int, stop: int, pace: float, loss: Any, hits: Any
    ) -> TrainingProgress:
        """Record that the epoch has come from `step` to `stop` at `pace` seconds a step, with these sums since 0."""
        loss, accuracy = loss / stop, 100 * hits / (stop * config.batch_size)
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


def _of_lanes(states, lanes):
    """Of each candidate, in NumPy arrays [n ...]."""
    return jax.tree.map(lambda leaf: leaf[lanes], jax.device_get(states))


def chunks(images: Float32[np.ndarray, "N H W C"], labels: Int32[np.ndarray, " N"]) -> list[Labelled]:
    """Images on the device in chunks of one size; the last is filled up with images of label -1."""
    filler = -len(labels) % EVALUATION_BATCH
    images = np.pad(images, ((0, filler), (0, 0), (0, 0), (0, 0)))
    labels = np.pad(labels, (0, filler), constant_values=-1)
    starts = range(0, len(labels), EVALUATION_BATCH)
    cut = [slice(start, start + EVALUATION_BATCH) for start in starts]
    return [Labelled(jnp.asarray(images[part]), jnp.asarray(labels[part])) for part in cut]
