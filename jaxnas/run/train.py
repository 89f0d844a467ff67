"""One architecture trained for its final accuracy, as `jaxnas train` does it."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxnas.errors import InputError
from jaxnas.networks import NETWORKS, num_params
from jaxnas.objectives.checkpoint import Checkpoints
from jaxnas.objectives.conditions import check_fit, describe_training
from jaxnas.objectives.recipes import get_recipe
from jaxnas.objectives.sgd import Labelled
from jaxnas.objectives.trainer import Trainer, chunks
from jaxnas.run.config import TrainConfig
from jaxnas.run.inputs import load_standardized
from jaxnas.run.run import load_selected
from jaxnas.runtime.events import Listener, StageStarted, ignore
from jaxnas.runtime.files import make_writable
from jaxnas.runtime.records import Record
from jaxnas.spaces import SPACES, get_space


class TrainedArch(NamedTuple):
    """One architecture trained on all training images.

    Attributes:
      config: settings of the training.
      num_params: number of trainable parameters.
      loss: mean training loss of each epoch, nats.
      accuracy: accuracy on the augmented training images in each epoch, percent.
      test_accuracy: test accuracy in percent, NaN if the training diverged.
      seconds: seconds of training, without compilation.
    """

    config: TrainConfig
    num_params: int
    loss: list[float]
    accuracy: list[float]
    test_accuracy: float
    seconds: float


def train_config(
    arch: str, space: str = "", data: str = "cifar10", *, network: Mapping[str, object] = {}, **training: object
) -> TrainConfig:
    """Build the settings of a final training on top of the published recipe of the architecture's space.

    Args:
      arch: text of an architecture, or the folder of a search, whose selected architecture is trained.
      space: the search space; by default that of the search, or the first one that can read the text.
      data: name or path of the images.
      network: fields of the space's network; None leaves the recipe's value.
      **training: fields of `TrainingConfig`; None leaves the recipe's value.

    Raises:
      InputError: no space can read the text, the folder has no finished search, or a setting is out of range.
    """
    recorded, arch = load_selected(arch) if os.path.isdir(arch) else ("", arch)
    space = space or recorded or _space_of(arch)
    recipe = get_recipe(space)
    chosen: Record = {name: value for name, value in training.items() if value is not None}
    config = replace(recipe.training, **chosen)
    fields = {**recipe.network, **{name: value for name, value in network.items() if value is not None}}
    if "auxiliary" in fields:
        fields["auxiliary"] = config.auxiliary_weight > 0
    canonical = get_space(space).format(get_space(space).parse(arch))
    return TrainConfig(space, canonical, data, tuple(sorted(fields.items())), config)


def train_arch(
    config: TrainConfig,
    folder: Path,
    *,
    data_folder: Path | None = None,
    on_event: Listener = ignore,
) -> TrainedArch:
    """Train one architecture on all training images, then measure its accuracy on the test images.

    Args:
      config: see `train_config`.
      folder: folder of `checkpoint`, from which the same call resumes a killed training; the last checkpoint is kept.
      data_folder: folder of public images, see `jaxnas.data_folder`.
      on_event: receives `StageStarted("training")`, then `TrainingProgress`, see `jaxnas.runtime.events`.

    Raises:
      InputError: settings that do not fit, or a checkpoint that other settings made.
    """
    make_writable(folder)
    on_event(StageStarted("training"))
    space, data = get_space(config.space), load_standardized(config.data, data_folder)
    fields: Record = {"num_classes": data.num_classes, **dict(config.network)}
    network = NETWORKS[config.space](**fields)
    check_fit(network, data, config.training, len(space.num_choices))
    arch = space.parse(config.arch)
    made_with = {**describe_training(space, network, data, config.training), "arch": config.arch}
    trainer = Trainer(network, config.training, Labelled(data.train_images, data.train_labels), len(arch))
    checkpoints = Checkpoints(folder / "checkpoint", keeps_last=True)
    fitted = trainer.fit(arch[None], on_event, checkpoints, made_with)
    (state,), losses = fitted.states, fitted.loss[:, 0].tolist()
    diverged = not np.isfinite(losses).all()
    accuracy = np.nan if diverged else trainer.accuracy(state, arch, chunks(data.test_images, data.test_labels))
    size = int(num_params(network, state.params, jnp.asarray(arch)))
    return TrainedArch(config, size, losses, fitted.accuracy[:, 0].tolist(), accuracy, round(fitted.seconds, 3))


def _space_of(text: str) -> str:
    """Return the first space that can read the text of an architecture."""
    for name, space in SPACES.items():
        with suppress(InputError):
            space.parse(text)
            return name
    raise InputError(
        f"{text!r:.80} is neither a folder of a search nor an architecture of any space: correct the path, or name the "
        "space after the architecture"
    )
