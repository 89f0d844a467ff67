"""The hyperparameters of a training: a frozen configuration, imported without JAX."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jaxnas.errors import InputError, unknown_name
from jaxnas.runtime.names import OptimizerName, names
from jaxnas.runtime.settings import check_kinds, check_seed, setting

_EPOCHS = "fitted to the data; as published with `jaxnas train` and `jaxnas search --preset paper`"

EARLIER: Mapping[str, object] = {"optimizer": "sgd", "warm_up": 0.0}
"""Fields that records of earlier versions lack, with the values that trainings had then."""


@dataclass(frozen=True)
class TrainingConfig:
    """Hyperparameters of a training: SGD as in NAS-Bench-201, or AdamW as for vision transformers.

    SGD has Nesterov momentum and decays all parameters. AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) decays the
    kernels alone, and its gradient is clipped too. Both have a cosine schedule. What is None or "auto" is fitted to the
    network, see `jaxnas.objectives.fit`.

    Attributes:
      epochs: epochs of a training; 0 fits them to the data, see `jaxnas.objectives.fit`.
      batch_size: images of a step; each epoch has another order and drops its last, incomplete batch. 0 fits it to the
        data.
      optimizer: "sgd", "adamw", or "auto" for AdamW where the network has attention and SGD elsewhere.
      learning_rate: largest learning rate, that of the first step unless there is a warm-up; None for that of the
        optimizer.
      final_learning_rate: learning rate that the cosine reaches one step after the last.
      warm_up: share of the steps in which the learning rate rises linearly, before the cosine; None for that of the
        optimizer.
      momentum: share of the last update that is added to the next; of AdamW the decay of the mean gradient.
      nesterov: whether the momentum of SGD is Nesterov's.
      weight_decay: factor of the parameters that SGD adds to the clipped gradient and AdamW to its update; None for
        that of the optimizer.
      clip_norm: largest L2 norm of the gradient of all parameters.
      crop_padding: pixels by which a random crop may shift the image; 0 turns it off.
      flip: whether images are mirrored left-right with probability 1/2.
      cutout: side in pixels of a square that is set to 0, its centre anywhere in the image; 0 turns it off.
      label_smoothing: share of the target that is spread over all classes.
      drop_path: rate of dropped paths, for networks that can drop them; of DARTS that after the last epoch, to which it
        rises linearly from 0, of declared networks that of the last block, to which it rises linearly over the blocks.
      auxiliary_weight: factor of the loss of the second head, for networks that have one.
      validation_fraction: share of the training images of each class that is used for validation; 0 fits it to the
        data.
      folds: trainings of a candidate, each validated by another of so many equal parts of the images; 1 is one training
        and one validation set.
      seed: seed of the initial parameters, the order of images and everything else drawn at random.
    """

    epochs: int = setting(0, "Epochs of a training.", "Budget", minimum=1, shown=_EPOCHS)
    batch_size: int = setting(0, "Images of a training step.", "Budget", shown="of the recipe; of darts 96")
    optimizer: Literal["auto", OptimizerName] = "auto"
    learning_rate: float | None = setting(
        None, "Largest learning rate.", "Budget", shown="of the recipe; of darts 0.025"
    )
    final_learning_rate: float = 0.0
    warm_up: float | None = None
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float | None = None
    clip_norm: float = 5.0
    crop_padding: int = 0
    flip: bool = False
    cutout: int = setting(
        0, "Side in pixels of the square cut out of images.", "Budget", shown="of the recipe; of darts 16"
    )
    label_smoothing: float = 0.0
    drop_path: float = setting(0.0, "Largest rate of dropped paths.", "Budget", shown="of the recipe; of darts 0.2")
    auxiliary_weight: float = setting(
        0.0, "Weight of the loss of the second head.", "Budget", shown="of the recipe; of darts 0.4"
    )
    validation_fraction: float = 0.0
    folds: int = setting(
        1, "Trainings of a candidate, each validated by another part of the images.", "Budget", minimum=1
    )
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the type and range of every hyperparameter."""
        check_kinds(self)
        if self.optimizer not in (known := ("auto", *names(OptimizerName))):
            raise unknown_name("optimizer", self.optimizer, known)
        rate = math.inf if self.learning_rate is None else self.learning_rate
        rules = {
            "epochs": (self.epochs >= 0, "at least 1, or 0 to fit them to the data"),
            "batch_size": (
                self.batch_size == 0 or self.batch_size >= 2,
                "at least 2, which batch normalisation needs, or 0 to fit it to the data",
            ),
            "folds": (self.folds >= 1, "at least 1"),
            "validation_fraction": (0 <= self.validation_fraction < 1, "between 0 and 1, or 0 to fit it to the data"),
            "learning_rate": (self.learning_rate is None or 0 < self.learning_rate < math.inf, "above 0"),
            "final_learning_rate": (
                0 <= self.final_learning_rate <= rate and self.final_learning_rate < math.inf,
                "from 0 to learning_rate",
            ),
            "warm_up": (self.warm_up is None or 0 <= self.warm_up < 1, "from 0 to below 1"),
            "momentum": (0 <= self.momentum < 1, "from 0 to below 1"),
            "weight_decay": (self.weight_decay is None or 0 <= self.weight_decay < math.inf, "at least 0"),
            "clip_norm": (0 < self.clip_norm < math.inf, "above 0 (a huge one never clips)"),
            "crop_padding": (self.crop_padding >= 0, "at least 0"),
            "cutout": (self.cutout >= 0, "at least 0"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "from 0 to below 1"),
            "drop_path": (0 <= self.drop_path < 1, "from 0 to below 1"),
            "auxiliary_weight": (0 <= self.auxiliary_weight < math.inf, "at least 0"),
        }
        for name, (fits, rule) in rules.items():
            if not fits:
                raise InputError(f"training `{name}` must be {rule}, got {getattr(self, name)}")
        if self.folds > 1 and self.validation_fraction not in (0, 1 / self.folds):
            raise InputError(
                f"training `validation_fraction` must be left out with `folds` = {self.folds}, of which each is the "
                f"validation set once, got {self.validation_fraction}"
            )
        check_seed(self.seed, "training seed")


def complete(found: Mapping[str, object], wanted: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that a record has, with those of `EARLIER` that are wanted and that it lacks."""
    return {**{name: value for name, value in EARLIER.items() if name in wanted}, **found}
