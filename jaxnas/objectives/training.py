"""Training as the objective of a search: the validation accuracy of a candidate after a short, fixed schedule.

All candidates share the split, the supernet initialisation (each takes the tensors of the ops it has) and the order of
the minibatches, all drawn from the seed alone: the result of a candidate does not depend on other candidates, and three
sources of noise do not affect comparisons.
"""

import dataclasses
import hashlib
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import Float, Int8, Int32

from jaxnas.data.images import ImageData
from jaxnas.errors import InputError
from jaxnas.networks import SearchNetwork
from jaxnas.objectives.checkpoint import Checkpoints
from jaxnas.objectives.conditions import check_fit, describe_training
from jaxnas.objectives.config import TrainingConfig
from jaxnas.objectives.fit import ENOUGH, fit_training
from jaxnas.objectives.programs import TrainState, chunks
from jaxnas.objectives.record import Trained, read_record, write_record
from jaxnas.objectives.split import split_images
from jaxnas.objectives.trainer import Trainer
from jaxnas.runtime.events import Event, Listener, TrainingProgress, ignore
from jaxnas.runtime.files import exclusive
from jaxnas.runtime.places import to_path
from jaxnas.runtime.session import fixed_settings, in_fixed_settings
from jaxnas.runtime.settings import LAST_SEED
from jaxnas.runtime.workers import Workers
from jaxnas.spaces import SearchSpace, check_archs

__all__ = ["TrainingConfig", "TrainingObjective"]

States: TypeAlias = tuple[TrainState, ...]  # of one candidate, one for each fold

_NOT_TRAINED = Trained(math.nan, math.nan, 0, 0.0, diverged=True)

_log = logging.getLogger(__name__)


class TrainingObjective:
    """The validation accuracy in percent of `archs[index]`, which is trained when it is first asked for.

    It has all that `jaxnas.search.Objective` lists, so that a search trains several candidates together.

    Validation images are split off the training images; the test images are used by `test_accuracy` alone. With
    `config.folds` = k each candidate is trained k times, together, and its validation accuracy is the share of all
    training images that the training without them classifies correctly. A candidate whose loss or logits stop being
    finite has diverged: it is given up at that epoch, and its accuracies are NaN.

    Args:
      network: called as network.apply(variables, images, arch, train=...), keeps running statistics in `batch_stats`.
      archs: the pool; rows may repeat.
      data: standardised images, see `standardize`.
      config: hyperparameters; what is 0 in them is fitted to the data, see `jaxnas.objectives.fit`.
      record: JSON-lines file of what was trained, replaced atomically after each candidate. The candidates in
        it are not trained again, from any pool.
      on_event: receives a `TrainingProgress` every few seconds and after each epoch.
      together: candidates that `prepare` trains at once; default: one on each device.
      space: the space of the architectures; default: the one that the network names.
      workers: train instead of this process, each one candidate at a time.
      admits: whether an architecture may be trained; the accuracies of others are NaN.

    Raises:
      InputError: network, images, architectures and config do not fit each other; the record is damaged, or was made
        with other settings (which are named).
    """

    @in_fixed_settings
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
        admits: Callable[[Int8[np.ndarray, " D"]], bool] | None = None,
    ):
        """Read the record and split the images; nothing is compiled or trained yet."""
        counts = np.bincount(data.train_labels, minlength=data.num_classes)
        self.config = fit_training(config or TrainingConfig(), network, counts.tolist())
        self.network, self.on_event = network, on_event
        self._data, self._together, self._admits = data, together, admits
        self._space = space or network.space
        self.archs = check_archs(self._space, archs)
        self._split = split_images(data, self.config)
        num_decisions, num_training = len(self._space.num_choices), self._split.num_training
        check_fit(network, data, self.config, num_decisions, num_training)
        if together is not None and together < 1:
            raise InputError(f"`together` must be at least 1, got {together}")
        self._workers, self._job = workers, None
        if workers is not None:
            path = None if record is None else to_path(record).resolve()
            self._job = workers.share(_work, _Job(network, self.archs, data, self.config, self._space, path))
        num_candidates = 1 if workers else together or jax.local_device_count()
        self._trainer = Trainer(
            self.network,
            self.config,
            self._split.data,
            num_decisions,
            num_images=None if self._split.images is None else num_training,
            together=num_candidates * self.config.folds,
        )
        self._validation = [chunks(*part) for part in self._split.validation]
        self._test = data.test_images, data.test_labels
        self.seconds_trained, self.num_trained = 0.0, 0  # of this process
        self._record = None if record is None else to_path(record)
        self._checkpoints = self._record and self._record.with_name(f"{self._record.name}.checkpoints")
        self._header = describe_training(self._space, network, data, self.config)
        self._trained = read_record(self._record, self._header, on_event) if self._record else {}
        self._test_accuracy: dict[str, float] = {}
        self._admitted: dict[str, bool] = {}
        self._best: tuple[str, States] | None = None  # the best candidate that this process trained

    def __call__(self, index: int) -> float:
        """Return the validation accuracy in percent, NaN if the candidate diverged."""
        return self.result(index).validation_accuracy

    def cost(self, index: int) -> float:
        """Return the seconds that training and validation took, without compilation."""
        return self.result(index).seconds

    def result(self, index: int) -> Trained:
        """Return what the record holds of a candidate, which is trained if it was not.

        Raises:
          InputError: no such index, or the record cannot be written.
        """
        self.prepare([index])
        return self._trained[self._name(index)] if self._may_train(index) else _NOT_TRAINED

    @property
    def mean_seconds(self) -> float:
        """The mean seconds of the trainings of this process, 0 if there were none; those in the record took no time."""
        return self.seconds_trained / max(1, self.num_trained)

    @property
    def schedule(self) -> str:
        """The length of a training and what it trains on, in one line."""
        images, validating, config = self.num_training, len(self.validation_labels), self.config
        steps = images // config.batch_size
        trained = f"{config.epochs} epochs of {steps} steps of {config.batch_size} images"
        if config.folds > 1:
            return (
                f"each candidate trains {config.folds} times, {trained}; {images:,} images train, the others validate, "
                f"all {validating:,} once"
            )
        hint = ""
        if validating < ENOUGH:
            hint = ", too few to know an accuracy of 90 % to 5 points: "
            hint += f"by `folds` = 3 all {images + validating:,} validate"
        return f"each candidate trains {trained}; {images:,} images train and {validating:,} validate{hint}"

    @property
    def num_training(self) -> int:
        """Images that a training uses."""
        return self._split.num_training

    @property
    def validation_labels(self) -> Int32[np.ndarray, " V"]:
        """The labels of the images that validate; with folds of all training images, by fold."""
        return self._split.validation_labels

    @property
    def together(self) -> int:
        """Candidates that are trained at once."""
        return self._workers.num_workers if self._workers else self._trainer.together // self.config.folds

    def compile(self) -> None:
        """Compile the programs of training before they are needed; workers compile their own.

        A record that holds candidates may have all that a search needs: then nothing is compiled ahead.
        """
        if self._workers is None and not self._trained:
            self._trainer.compile()

    def prepare(self, indices: Sequence[int]) -> None:
        """Train those of the candidates that the record does not hold, `together` at a time.

        A candidate's result does not depend on which others are trained with it.

        Raises:
          InputError: no such index, or the record cannot be written.
        """
        missing: dict[str, int] = {}
        for index in indices:
            if (name := self._name(index)) not in self._trained and self._may_train(index):
                missing.setdefault(name, index)
        names = list(missing)
        if self._workers and self._job:
            started = time.perf_counter()
            for number, (state, result) in self._workers.map(self._job, list(map(_Train, missing.values()))):
                self._keep(names[number : number + 1], [state], [result])
            self.seconds_trained += time.perf_counter() - started
            return
        for start in range(0, len(names), self.together):
            group = {name: missing[name] for name in names[start : start + self.together]}
            self._keep(group, *self._fit(list(group.values()), self._folder(group)))

    def _may_train(self, index: int) -> bool:
        """Return whether a candidate is admitted; each is asked for once."""
        name = self._name(index)
        if name not in self._admitted:
            self._admitted[name] = self._admits is None or bool(self._admits(self.archs[index]))
        return self._admitted[name]

    def from_another_seed(self) -> "TrainingObjective":
        """Return the objective that differs in the seed of training, the next one, and in its record.

        Parameters, validation images and the order of minibatches are drawn differently.
        """
        record = self._record and self._record.with_name(f"{self._record.stem}-confirmed{self._record.suffix}")
        return TrainingObjective(
            self.network,
            self.archs,
            self._data,
            dataclasses.replace(self.config, seed=(self.config.seed + 1) % (LAST_SEED + 1)),
            record,
            self.on_event,
            space=self._space,
            together=self._together,
            workers=self._workers,
            admits=self._admits,
        )

    def exclusive(self) -> AbstractContextManager[None]:
        """Return a context that no other process can enter for the same record, whose checkpoints it would share.

        Raises:
          InputError: on entry, another process trains candidates of the record.
        """
        return exclusive(self._record, "training candidates") if self._record else nullcontext()

    def _folder(self, names: Iterable[str]) -> Path | None:
        """Return the folder of checkpoints of a group of candidates, which no other group shares."""
        return self._checkpoints and self._checkpoints / hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]

    def _keep(self, names: Iterable[str], states: Sequence[States], results: Sequence[Trained]) -> None:
        """Add trained candidates to the record, and remove their checkpoints."""
        names = list(names)
        self.num_trained += len(names)
        for name, state, result in zip(names, states, results, strict=True):
            accuracies = [other.validation_accuracy for other in self._trained.values() if not other.diverged]
            if not result.diverged and result.validation_accuracy > max(accuracies, default=-1):
                self._best = name, state
            self._trained[name] = result
        if self._record and self._checkpoints:
            write_record(self._record, self._header, self._trained)
            finished = self._folder(names) if self._workers else self._checkpoints
            shutil.rmtree(finished or self._checkpoints, ignore_errors=True)

    def test_accuracy(self, index: int) -> float:
        """Return the percentage of test images that the trained candidate classifies correctly, NaN if it diverged.

        With folds it is the mean over their trainings.

        The parameters of the best candidate are kept; any other is trained again, with the same outcome.
        """
        name = self._name(index)
        if self.result(index).diverged:
            return math.nan
        if name not in self._test_accuracy:
            states = self._best[1] if self._best and self._best[0] == name else None
            if self._workers and self._job:
                [(_, accuracy)] = self._workers.map(self._job, [_Test(index, states)])
            else:
                accuracy = self._test_one(index, states)
            self._test_accuracy[name] = accuracy
        return self._test_accuracy[name]

    def _test_one(self, index: int, states: States | None) -> float:
        states = self._fit([index])[0][0] if states is None else states
        return self._trainer.accuracy(states, self.archs[index], [chunks(*self._test)] * len(states))

    def _name(self, index: int) -> str:
        if not 0 <= index < len(self.archs):
            raise InputError(f"an index of the pool must be from 0 to {len(self.archs) - 1}, got {index}")
        return self._space.format(self.archs[index])

    def _report(self, indices: Sequence[int], event: Event) -> None:
        """Pass an event on, in which candidates are rows of the pool, and numbers the means over their folds."""
        if isinstance(event, TrainingProgress):
            loss, accuracy = (_mean(values, len(indices)) for values in (event.loss, event.accuracy))
            event = event._replace(candidates=tuple(map(int, indices)), loss=loss, accuracy=accuracy)
        self.on_event(event)

    def _fit(self, indices: Sequence[int], folder: Path | None = None) -> tuple[list[States], list[Trained]]:
        """Train candidates from the initialisation on; return their last states and their lines of the record."""
        folds, images = self.config.folds, self._split.images
        with fixed_settings(float64=False):
            made_with = {**self._header, "archs": [self._name(index) for index in indices]}
            checkpoints = Checkpoints(folder) if folder else None
            fitted = self._trainer.fit(
                np.repeat(self.archs[list(indices)], folds, axis=0),
                partial(self._report, indices),
                checkpoints,
                made_with,
                None if images is None else np.tile(images, (len(indices), 1)),
            )
            start, compiled = time.perf_counter(), self._trainer.compile_seconds
            states = [tuple(fitted.states[first : first + folds]) for first in range(0, len(fitted.states), folds)]
            results = []
            for number, (index, own) in enumerate(zip(indices, states, strict=True)):
                losses = fitted.loss.reshape(len(fitted.loss), len(indices), folds).mean(-1)[:, number]
                diverged = not bool(np.isfinite(losses).all())
                accuracy = math.nan if diverged else self._trainer.accuracy(own, self.archs[index], self._validation)
                epochs = 1 + int(np.argmax(~np.isfinite(losses))) if diverged else len(losses)
                loss = math.nan if diverged else float(losses[-1])
                results.append(Trained(accuracy, loss, epochs, math.nan, diverged or not math.isfinite(accuracy)))
            seconds = fitted.seconds + time.perf_counter() - start - (self._trainer.compile_seconds - compiled)
            self.seconds_trained += seconds
            share = round(seconds / len(indices), 3)
            return states, [result._replace(seconds=share) for result in results]


def _mean(values: Float[np.ndarray, " n"], num_candidates: int) -> Float[np.ndarray, " c"]:
    """Return the mean over the folds of each candidate, which are next to each other."""
    means: np.ndarray = values.reshape(num_candidates, -1).mean(-1)
    return means


@dataclasses.dataclass(frozen=True)
class _Job:
    """The arguments of the `TrainingObjective` that a worker makes to train any of the candidates."""

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
        pool = (self.network, self.archs, self.data, self.config)
        objective = TrainingObjective(*pool, on_event=_log_epoch, space=self.space, together=1)
        objective._checkpoints = self.record and self.record.with_name(f"{self.record.name}.checkpoints")
        return objective


class _Train(NamedTuple):
    """A worker trains a candidate, and returns its last states and its line of the record."""

    row: int


class _Test(NamedTuple):
    """A worker returns the test accuracy of a candidate, which it trains where `states` is None."""

    row: int
    states: States | None


def _work(job: _Job, task: _Train | _Test) -> Any:  # what the classes of tasks say
    """Do a task in a worker, from the checkpoint on that another one left where both see the folder."""
    objective, index = job.objective, task.row
    if isinstance(task, _Test):
        return objective._test_one(index, task.states)
    (states,), (result,) = objective._fit([index], objective._folder([objective._name(index)]))
    return states, result


def _log_epoch(event: Event) -> None:
    """Log a finished epoch, in a worker, whose events reach no listener."""
    if isinstance(event, TrainingProgress) and event.step == event.steps:
        _log.info(f"candidate {event.candidates[0]}: epoch {event.epoch} of {event.epochs}, loss {event.loss[0]:.3f}")
