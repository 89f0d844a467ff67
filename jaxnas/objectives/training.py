"""Training as the objective: a candidate's validation accuracy after a short, fixed schedule.

All candidates share the split, the supernet initialisation (each takes the tensors of its own ops) and the order of the
minibatches, all drawn from the seed alone: a candidate's result depends on nothing but itself, and comparisons are free
of three sources of noise.
"""

import dataclasses
import inspect
import json
import math
import time
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int8

from jaxnas.errors import InputError
from jaxnas.images import ImageData, fingerprint, split_validation
from jaxnas.networks import describe
from jaxnas.objectives.record import Trained, read_record, write_record
from jaxnas.objectives.sgd import (
    Labelled,
    TrainingConfig,
    TrainState,
    check_config,
    count_correct,
    epoch_order,
    init_state,
    train_epoch,
)
from jaxnas.spaces import NASBENCH201, SearchSpace, check_archs

__all__ = ["TrainingConfig", "TrainingObjective"]

EVALUATION_BATCH = 256


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
      on_epoch: called as on_epoch(index, epoch, epochs, loss) after each epoch, epoch from 1, loss in nats.
      space: the space of the architectures.

    Raises:
      InputError: network, images, architectures and config do not fit each other; the record is damaged, or was made
        with other settings (which are named).
    """

    def __init__(
        self,
        network: nn.Module,
        archs: Int8[np.ndarray, "A D"],
        data: ImageData,
        config: TrainingConfig | None = None,
        record: str | Path | None = None,
        on_epoch: Callable[[int, int, int, float], None] = lambda index, epoch, epochs, loss: None,
        *,
        space: SearchSpace = NASBENCH201,
    ):
        self.network, self.config, self.on_epoch, self._space = network, config or TrainingConfig(), on_epoch, space
        self.archs = check_archs(space, archs)
        check_config(self.config)
        rest, *validation = split_validation(data, self.config.validation_fraction, self.config.seed)
        check_fit(network, rest, self.config, len(space.num_choices))
        self._train = Labelled(jnp.asarray(rest.train_images), jnp.asarray(rest.train_labels))
        self._validation, self._test = _chunks(*validation), (data.test_images, data.test_labels)
        self.compile_seconds = self.seconds_trained = 0.0  # of this process
        self._record = None if record is None else Path(record)
        self._header = _describe(space, network, data, self.config)
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
        name = self._name(index)
        if name not in self._trained:
            state, result = self._fit(index)
            accuracies = [other.validation_accuracy for other in self._trained.values() if not other.diverged]
            if not result.diverged and result.validation_accuracy > max(accuracies, default=-1):
                self._best = name, state
            self._trained[name] = result
            if self._record:
                write_record(self._record, self._header, self._trained)
        return self._trained[name]

    def test_accuracy(self, index: int) -> float:
        """Percent of the test images that the trained candidate classifies correctly, NaN if it diverged.

        The parameters of the best candidate are kept; any other is trained again, with the same outcome.
        """
        name = self._name(index)
        if self.result(index).diverged:
            return math.nan
        if name not in self._test_accuracy:
            state = self._best[1] if self._best and self._best[0] == name else self._fit(index)[0]
            self._test_accuracy[name] = self._accuracy(state, self.archs[index], _chunks(*self._test))
        return self._test_accuracy[name]

    def _name(self, index):
        if not 0 <= index < len(self.archs):
            raise InputError(f"index {index} is not in the pool: choose from 0..{len(self.archs) - 1}")
        return self._space.format(self.archs[index])

    @cached_property
    def _programs(self):
        """The first state, epoch and evaluation, compiled apart from the candidates' seconds."""
        start = time.perf_counter()
        static, arch = (self.network, self.config), self.archs[0]
        state = init_state(*static, arch, self._train.images)
        order = epoch_order(self.config, len(self._train.labels), 0)
        epoch = train_epoch.lower(*static, state, arch, self._train, order, np.int32(0)).compile()
        count = count_correct.lower(self.network, state, arch, self._validation[0]).compile()
        self.compile_seconds = time.perf_counter() - start
        return state, epoch, count

    def _fit(self, index):
        """Train a candidate from the initialisation on; its last state and its line of the record."""
        with jax.enable_x64(False):  # whatever the caller computes in
            state, train, _ = self._programs
            start, arch, epochs = time.perf_counter(), self.archs[index], self.config.epochs
            for epoch in range(epochs):
                order = epoch_order(self.config, len(self._train.labels), epoch)
                state, loss = train(state, arch, self._train, order, np.int32(epoch))
                loss = float(loss)
                self.on_epoch(index, epoch + 1, epochs, loss)
                if not math.isfinite(loss):
                    break
            accuracy = self._accuracy(state, arch, self._validation) if math.isfinite(loss) else math.nan
            seconds = time.perf_counter() - start
            self.seconds_trained += seconds
        return state, Trained(accuracy, loss, epoch + 1, seconds, math.isnan(accuracy))

    def _accuracy(self, state, arch, chunks):
        """Percent of the images classified correctly with running statistics; NaN if a logit is not finite."""
        with jax.enable_x64(False):
            *_, count = self._programs
            hits = sum(float(count(state, arch, chunk)) for chunk in chunks)
        return 100 * hits / sum(int((chunk.labels >= 0).sum()) for chunk in chunks)


def check_fit(network: nn.Module, data: ImageData, config: TrainingConfig, num_decisions: int) -> None:
    """InputError unless images, classes and batch size fit; `data` holds the training part of the images."""
    if config.batch_size > len(data.train_labels):
        raise InputError(
            f"training batch_size is {config.batch_size}, but {len(data.train_labels)} images of {data.name} are left "
            f"to train on: choose 2..{len(data.train_labels)}"
        )
    if config.drop_path and "drop_path" not in inspect.signature(type(network).__call__).parameters:
        raise InputError(f"{type(network).__name__} has no paths to drop: give training drop_path 0")
    if config.auxiliary_weight and not getattr(network, "auxiliary", False):
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


def _chunks(images, labels):
    """Chunks of one size on the device; the last is filled up with images of label -1."""
    filler = -len(labels) % EVALUATION_BATCH
    images = np.pad(images, ((0, filler), (0, 0), (0, 0), (0, 0)))
    labels = np.pad(labels, (0, filler), constant_values=-1)
    starts = range(0, len(labels), EVALUATION_BATCH)
    cut = [slice(start, start + EVALUATION_BATCH) for start in starts]
    return [Labelled(jnp.asarray(images[part]), jnp.asarray(labels[part])) for part in cut]


def _describe(space, network, data, config):
    """All that a result depends on, apart from the architecture, as plain JSON values."""
    description = {
        "jaxnas": version("jaxnas"),
        "space": space.name,
        **describe(network),
        "data": fingerprint(data.train_images, data.train_labels),
        **dataclasses.asdict(config),
    }
    return json.loads(json.dumps(description, default=repr))
