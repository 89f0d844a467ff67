"""How found architectures are trained for their final accuracy: the published recipe of each space."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxnas.objectives.config import TrainingConfig

NEVER = 1e9  # a norm at which no gradient is clipped


class Recipe(NamedTuple):
    """A training, and the fields of the network that is trained."""

    training: TrainingConfig
    network: Mapping[str, Any]


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
        ),
        {"channels": 36, "cells_per_stage": 6, "auxiliary": True},
    ),
    # Dong and Yang 2020 (arXiv:2001.00326).
    "nasbench201": Recipe(
        TrainingConfig(
            epochs=200, batch_size=256, learning_rate=0.1, clip_norm=NEVER, crop_padding=4, flip=True, weight_decay=5e-4
        ),
        {"channels": 16, "cells_per_stage": 5, "affine": True},
    ),
}


def get_recipe(space: str) -> Recipe:
    """The recipe of a space; one that has none gets NAS-Bench-201's training and the network's own defaults."""
    return RECIPES.get(space, Recipe(RECIPES["nasbench201"].training, {}))
