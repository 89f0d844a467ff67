"""Published settings by name: trainings for a final accuracy, and whole searches; imported without JAX."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from jaxnas.objectives.config import TrainingConfig
from jaxnas.runtime.records import Record

if TYPE_CHECKING:
    from jaxnas.networks import SearchNetwork

HALF = 0.5  # of the training images validate in a search; all train the final architecture
NO_CLIPPING = 1e9  # a gradient norm that no training reaches


class Recipe(NamedTuple):
    """A training for the final accuracy of an architecture.

    Attributes:
      training: hyperparameters.
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
            optimizer="sgd",
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
    # Chen et al. 2021 (arXiv:2107.00651) with the settings of its program for ImageNet, except mixing of images, random
    # augmentation and erasing, which are not there.
    "autoformer-tiny": Recipe(
        TrainingConfig(
            epochs=500,
            batch_size=1024,
            optimizer="adamw",
            learning_rate=1e-3,
            final_learning_rate=1e-5,
            warm_up=20 / 500,
            weight_decay=0.05,
            clip_norm=NO_CLIPPING,
            crop_padding=4,
            flip=True,
            label_smoothing=0.1,
            drop_path=0.1,
            validation_fraction=HALF,
        ),
        {"channels": 16},
    ),
    # Dong and Yang 2020 (arXiv:2001.00326).
    "nasbench201": Recipe(
        TrainingConfig(
            epochs=200,
            batch_size=256,
            optimizer="sgd",
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
            optimizer="sgd",
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


def get_recipe(space: str, network: "SearchNetwork | None") -> tuple[str, Recipe]:
    """Return the recipe of a space, and the name of the space that it is published for.

    Where none is published, it is the training of AutoFormer for networks with attention, that of NAS-Bench-201 for all
    others, and the network's own defaults; without dropped paths where the network cannot drop any.
    """
    if space in RECIPES:
        return space, RECIPES[space]
    similar = "autoformer-tiny" if network is not None and network.has_attention else "nasbench201"
    training = RECIPES[similar].training
    drop_path = training.drop_path if network is not None and network.drops_paths else 0.0
    return similar, Recipe(replace(training, drop_path=drop_path), {})


def with_settings(training: TrainingConfig, chosen: Mapping[str, object]) -> TrainingConfig:
    """Return a training with other hyperparameters; those of another optimizer are its own unless they are chosen."""
    of_optimizer: Record = {}
    if chosen.get("optimizer", training.optimizer) != training.optimizer:
        of_optimizer = {"learning_rate": None, "final_learning_rate": 0.0, "warm_up": None, "weight_decay": None}
    return replace(training, **{**of_optimizer, **chosen})
