"""Training as the objective: a candidate's validation accuracy after a short, fixed schedule.

All candidates share the split, the supernet initialisation (each takes the tensors of its own ops) and the order of the
minibatches, all drawn from the seed alone: a candidate's result depends on nothing but itself, and comparisons are free
of three sources of noise.
"""

import dataclasses
import hashlib
import json
import logging
import math
import shutil
import time
from collections.abc import Sequence
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int8

from jaxnas.data.images import ImageData, fingerprint, split_validation
from jaxnas.errors import InputError
from jaxnas.networks import SearchNetwork, describe
from jaxnas.objectives.checkpoint import Checkpoints
from jaxnas.objectives.config import TrainingConfig
from jaxnas.objectives.record import Trained, read_record, write_record
from jaxnas.objectives.sgd import Labelled, TrainState
from jaxnas.objectives.trainer import Trainer, chunks
from jaxnas.runtime.events import Event, Listener, TrainingProgress, ignore
from jaxnas.runtime.workers import Workers
from jaxnas.spaces import SearchSpace, check_archs

__all__ = ["TrainingConfig", "TrainingObjective"]

_log = logging.getLogger(__name__)


class TrainingObjective:
    """Validation accuracy in percent of `archs[index]`, which is trained when it is first asked for.

    Validation images are split off the training images; the test images are used by `test_accuracy` alone. A candidate
    whose loss or logits stop being finite has diverged: it is given up at that epoch, and its accuracies are NaN.

    Args:
      network: called as network.apply(variables, images, arch, train=...), keeps running statistics in `batch_stats`.
      archs: the pool; rows may repeat.
      data: images as the network shall see them, see `standardize`.
      config: hyperparameters.
      record: JSON-lines file of what was trained, written anew and atomically after each candidate. The candidates in
        it are not trained again, whatever pool they came from.
      on_event: given a `TrainingProgress` every few seconds and after each epoch.
      together: candidates that `prepare` trains at once; default: one on each device.
      space: the space of the architectures; default: the one that the network names.
      workers: train instead of this process, each one candidate at a time.

    Raises:
      InputError: network, images, architectures and config do not fit each other; the record is damaged, or was made
        with other settings (which are named).
    """

    def __init__(
        self,
        network: SearchNetwork,
        archs: Int8[np.ndarray, "A D"],
        data: ImageData,
        config: TrainingConfig | None = None,
        record: str | Path | None = None,
        on_event: Listener = ignore,
        *,
        space: SearchSpace | None = None,
        together: int | None = None,
        workers: Workers | None = None,
    ):
        self.network, self.config, self.on_event = network, config or TrainingConfig(), on_event
        self._space = space or network.space
        self.archs = check_archs(self._space, archs)
        rest, *validation = split_validation(data, self.config.validation_fraction, self.config.seed)
        check_fit(network, rest, self.config, len(self._space.num_choices))
        if together is not None and together < 1:
            raise InputError(f"{together} candidates cannot be trained together: give 1 or more")
        train = Labelled(rest.train_images, rest.train_labels)
        self._workers, self._job = workers, None
        if workers is not None:
            path = None if record is None else Path(record).resolve()
            self._job = workers.share(_work, _Job(network, self.archs, data, self.config, self._space, path))
        given = 1 if workers else together or jax.local_device_count()
        self._trainer = Trainer(self.network, self.config, train, len(self._space.num_choices), together=given)
        self._validation, self._test = chunks(*validation), (data.test_images, data.test_labels)
        self.seconds_trained = 0.0  # of this process
        self._record = None if record is None else Path(record)
        self._checkpoints = self._record and self._record.with_name(f"{self._record.name}.checkpoints")
        self._header = describe_training(self._space, network, data, self.config)
        self._trained = read_record(self._record, self._header) if self._record else {}
        self._test_accuracy: dict[str, float] = {}
        self._best: tuple[str, TrainState] | None = None  # the best candidate that this process trained

    def __call__(self, index: int) -> float:
        """Validation accuracy in percent, NaN if the candidate diverged."""
        return self.result(index).validation_accuracy

    def cost(self, index: int) -> float:
        """Seconds that training and validation took, without compilation."""
        return self.result(index).seconds

    def result(self, index: int) -> Trained:
        """All that the record holds of a candidate, which is trained if it was not.

        Raises:
          InputError: no such index, or the record cannot be written.
        """
        self.prepare([index])
        return self._trained[self._name(index)]

    @property
    def together(self) -> int:
        """How many candidates are trained at once."""
        return self._workers.num_workers if self._workers else self._trainer.together

    def prepare(self, indices: Sequence[int]) -> None:
        """Train those of the candidates that the record does not hold, `together` at a time.

        A candidate's result does not depend on which others are trained with it.

        Raises:
          InputError: no such index, or the record cannot be written.
        """
        missing: dict[str, int] = {}
        for index in indices:
            if (name := self._name(index)) not in self._trained:
                missing.setdefault(name, index)
        names = list(missing)
        if self._workers and self._job:
            started = time.perf_counter()
            for number, (state, result) in self._workers.map(self._job, [("train", i) for i in missing.values()]):
                self._keep(names[number : number + 1], [state], [result])
            self.seconds_trained += time.perf_counter() - started
            return
        for start in range(0, len(names), self.together):
            group = {name: missing[name] for name in names[start : start + self.together]}
            self._keep(group, *self._fit(list(group.values()), self._folder(group)))

    def _folder(self, names):
        """Of checkpoints, one of its own for each group of candidates: those of other searches can be told apart."""
        return self._checkpoints and self._checkpoints / hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]

    def _keep(self, names, states, results):
        """Add their lines to the record."""
        for name, state, result in zip(names, states, results, strict=True):
            accuracies = [other.validation_accuracy for other in self._trained.values() if not other.diverged]
            if not result.diverged and result.validation_accuracy > max(accuracies, default=-1):
                self._best = name, state
            self._trained[name] = result
        if self._record and self._checkpoints:
            write_record(self._record, self._header, self._trained)
            shutil.rmtree(self._folder(names) if self._workers else self._checkpoints, ignore_errors=True)

    def test_accuracy(self, index: int) -> float:
        """Percent of the test images that the trained candidate classifies correctly, NaN if it diverged.

        The parameters of the best candidate are kept; any other is trained again, with the same outcome.
        """
        name = self._name(index)
        if self.result(index).diverged:
            return math.nan
        if name not in self._test_accuracy:
            state = self._best[1] if self._best and self._best[0] == name else None
            if self._workers and self._job:
                [(_, accuracy)] = self._workers.map(self._job, [("test", index, state)])
            else:
                accuracy = self._test_one(index, state)
            self._test_accuracy[name] = accuracy
        return self._test_accuracy[name]

    def _test_one(self, index, state):
        state = self._fit([index])[0][0] if state is None else state
        return self._trainer.accuracy(state, self.archs[index], chunks(*self._test))

    def _name(self, index):
        if not 0 <= index < len(self.archs):
            raise InputError(f"index {index} is not in the pool: choose from 0..{len(self.archs) - 1}")
        return self._space.format(self.archs[index])

    def _report(self, indices, event):
        """Name the candidates by their rows of the pool."""
        self.on_event(event._replace(candidates=tuple(map(int, indices))))

    def _fit(self, indices, folder=None):
        """Train candidates from the initialisation on; their last states and their lines of the record."""
        with jax.enable_x64(False):  # whatever the caller computes in
            made_with = {**self._header, "archs": [self._name(index) for index in indices]}
            checkpoints = Checkpoints(folder) if folder else None
            fitted = self._trainer.fit(self.archs[indices], partial(self._report, indices), checkpoints, made_with)
            start, compiled = time.perf_counter(), self._trainer.compile_seconds
            results = []
            for number, (index, state) in enumerate(zip(indices, fitted.states, strict=True)):
                losses = fitted.loss[:, number]
                diverged = not np.isfinite(losses).all()
                accuracy = math.nan if diverged else self._trainer.accuracy(state, self.archs[index], self._validation)
                epochs = 1 + int(np.argmax(~np.isfinite(losses))) if diverged else len(losses)
                loss = math.nan if diverged else float(losses[-1])
                results.append(Trained(accuracy, loss, epochs, math.nan, diverged or not math.isfinite(accuracy)))
            seconds = fitted.seconds + time.perf_counter() - start - (self._trainer.compile_seconds - compiled)
            self.seconds_trained += seconds
            share = round(seconds / len(indices), 3)
            return fitted.states, [result._replace(seconds=share) for result in results]


@dataclasses.dataclass(frozen=True)
class _Job:
    """What a worker needs to train any of the candidates."""

    network: SearchNetwork
    archs: Int8[np.ndarray, "A D"]
    data: ImageData
    config: TrainingConfig
    space: SearchSpace
    record: Path | None

    @cached_property
    def objective(self) -> TrainingObjective:
        """The objective, made once for each worker, which then has the compiled program; it logs to stderr."""
        logging.basicConfig(format="%(message)s")
        _log.setLevel(logging.INFO)
        given = (self.network, self.archs, self.data, self.config)
        objective = TrainingObjective(*given, on_event=_log_epoch, space=self.space, together=1)
        objective._checkpoints = self.record and self.record.with_name(f"{self.record.name}.checkpoints")
        return objective


def _work(job, item):
    """In a worker: ("train", index) gives the last state and the line of the record of one candidate, from its
    checkpoint on if another worker left one where both see the folder; ("test", index, state) the test accuracy."""
    objective, (what, index, *given) = job.objective, item
    if what == "test":
        return objective._test_one(index, *given)
    (state,), (result,) = objective._fit([index], objective._folder([objective._name(index)]))
    return state, result


def _log_epoch(event: Event) -> None:
    """Log a finished epoch, in a worker, whose events reach no listener."""
    if isinstance(event, TrainingProgress) and event.step == event.steps:
        _log.info(f"candidate {event.candidates[0]}: epoch {event.epoch} of {event.epochs}, loss {event.loss[0]:.3f}")


def check_fit(network: SearchNetwork, data: ImageData, config: TrainingConfig, num_decisions: int) -> None:
    """InputError unless images, classes and batch size fit; `data` holds the training part of the images."""
    if config.batch_size > len(data.train_labels):
        raise InputError(
            f"training batch_size is {config.batch_size}, but {len(data.train_labels)} images of {data.name} are left "
            f"to train on: choose 2..{len(data.train_labels)}"
        )
    if config.drop_path and not network.drops_paths:
        raise InputError(f"{type(network).__name__} has no paths to drop: give training drop_path 0")
    if config.auxiliary_weight and not network.has_auxiliary_head:
        raise InputError(f"{type(network).__name__} has no second head: give training auxiliary_weight 0")
    images = jax.ShapeDtypeStruct((2, *data.train_images.shape[1:]), jnp.float32)
    with jax.enable_x64(False):
        arch = jax.ShapeDtypeStruct((num_decisions,), jnp.int8)
        logits, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), images, arch)
    if logits.shape[-1] != data.num_classes:
        raise InputError(
            f"a network of {logits.shape[-1]} classes does not fit {data.name} with {data.num_classes}: "
            f"give num_classes={data.num_classes}"
        )


def describe_training(space, network, data, config):
    """All that a result depends on, apart from the architecture, as plain JSON values."""
    description = {
        "jaxnas": version("jaxnas"),
        "space": space.name,
        **describe(network),
        "data": fingerprint(data.train_images, data.train_labels),
        **dataclasses.asdict(config),
    }
    return json.loads(json.dumps(description, default=repr))
