"""Published settings by name: trainings for a final accuracy, and whole searches; imported without JAX."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from jaxnas.objectives.config import TrainingConfig

HALF = 0.5  # of the training images validate in a search; all train the final architecture
NO_CLIPPING = 1e9  # a gradient norm that no training reaches


class Recipe(NamedTuple):
    """A training for the final accuracy of an architecture.

    Attributes:
      training: hyperparameters of SGD.
      network: names and values of the fields of the network that is trained.
    """

    training: TrainingConfig
    network: Mapping[str, int | bool]


@dataclass(frozen=True)
class PublishedSearch:
    """The settings with which a paper searched a space.

    Attributes:
      channels: channels of the network's first stage.
      cells_per_stage: cells of every stage.
      pool: architectures that are drawn and scored.
      budget: architectures that are trained.
      training: hyperparameters of each training.
    """

    channels: int
    cells_per_stage: int
    pool: int
    budget: int
    training: TrainingConfig


RECIPES: dict[str, Recipe] = {
    # Liu, Simonyan and Yang 2019 (arXiv:1806.09055), CIFAR-10.
    "darts": Recipe(
        TrainingConfig(
            epochs=600,
            batch_size=96,
            learning_rate=0.025,
            nesterov=False,
            weight_decay=3e-4,
            crop_padding=4,
            flip=True,
            cutout=16,
            drop_path=0.2,
            auxiliary_weight=0.4,
            validation_fraction=HALF,
        ),
        {"channels": 36, "cells_per_stage": 6, "auxiliary": True},
    ),
    # Dong and Yang 2020 (arXiv:2001.00326).
    "nasbench201": Recipe(
        TrainingConfig(
            epochs=200,
            batch_size=256,
            learning_rate=0.1,
            clip_norm=NO_CLIPPING,
            crop_padding=4,
            flip=True,
            weight_decay=5e-4,
            validation_fraction=HALF,
        ),
        {"channels": 16, "cells_per_stage": 5, "affine": True},
    ),
}
"""The published training of the final architecture of each space."""

PAPER_SEARCHES: dict[str, PublishedSearch] = {
    # He et al. 2024 (arXiv:2403.07591): on CIFAR-10, each candidate trained on half of the training images.
    "darts": PublishedSearch(
        channels=16,
        cells_per_stage=1,
        pool=60_000,
        budget=25,
        training=TrainingConfig(
            epochs=10,
            batch_size=576,
            learning_rate=0.1,
            final_learning_rate=0.005,
            nesterov=False,
            weight_decay=3e-4,
            clip_norm=5.0,
            crop_padding=4,
            flip=True,
            drop_path=0.2,
            validation_fraction=HALF,
        ),
    ),
}
"""The search of each space as RoBoT's paper describes it; `--preset paper` uses it."""


def get_recipe(space: str) -> Recipe:
    """Return the recipe of a space, or NAS-Bench-201's training and the network's defaults if none is published."""
    return RECIPES.get(space, Recipe(RECIPES["nasbench201"].training, {}))
