"""What a training leaves open: its length and images are fitted to the data, its optimizer to the network.

The rule counts steps instead of epochs, as an epoch of a small set has few of them: candidates separate only once they
have begun to learn, which takes some hundred steps on any set and more with more classes.

Networks with attention are trained by AdamW, as vision transformers are, and three times as long, as they learn slowly;
all others by SGD.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from jaxnas.data.images import num_validation
from jaxnas.networks import SearchNetwork
from jaxnas.objectives.config import TrainingConfig
from jaxnas.runtime.names import OptimizerName

MIN_EPOCHS = 6
LARGE_SET = 1000  # training images from which half of them validate
BATCH_SIZE = 64
LONGER = 3  # times as many steps by AdamW as by SGD
ENOUGH = 141  # validation images, with which the 95 % interval of an accuracy of 90 % is within 5 points of it


class OptimizerDefaults(NamedTuple):
    """Hyperparameters of an optimizer that a `TrainingConfig` leaves open, see there."""

    learning_rate: float
    weight_decay: float
    warm_up: float


OPTIMIZERS: dict[OptimizerName, OptimizerDefaults] = {
    "sgd": OptimizerDefaults(0.02, 5e-4, 0.0),
    "adamw": OptimizerDefaults(3e-3, 0.05, 0.1),
}
"""What each optimizer takes where nothing is given."""


def fit_training(config: TrainingConfig, network: SearchNetwork, counts: Sequence[int]) -> TrainingConfig:
    """Return the hyperparameters with all that is left open, see `fit_to_network` and `fit_to_images`."""
    return fit_to_images(fit_to_network(config, network), counts)


def fit_to_network(config: TrainingConfig, network: SearchNetwork) -> TrainingConfig:
    """Return the hyperparameters with the optimizer for a network, and what of its numbers is None.

    The optimizer "auto" is AdamW where the network has attention, SGD elsewhere.

    Raises:
      InputError: `final_learning_rate` is above the learning rate of the optimizer.
    """
    optimizer = config.optimizer
    if optimizer == "auto":
        optimizer = "adamw" if network.has_attention else "sgd"
    numbers = OPTIMIZERS[optimizer]._asdict()
    return replace(
        config, optimizer=optimizer, **{name: value for name, value in numbers.items() if getattr(config, name) is None}
    )


def fit_to_images(config: TrainingConfig, counts: Sequence[int]) -> TrainingConfig:
    """Return the hyperparameters with all that is 0 for "fitted" replaced by a value for these images.

    - `validation_fraction`: 1/2; of fewer than 1,000 images 1/3, so that more of them train.
    - `batch_size`: the largest power of two up to 64 of which the rest has four minibatches.
    - `epochs`: the fewest, but at least 6, that make 100 + 10 K steps, K classes; of AdamW three times as many steps.

    Where `epochs` is given, the others are 1/2, and 64 if there are so many images. With `folds` the share is that of
    one of them.

    Args:
      config: hyperparameters.
      counts: the number of training images of each class [K], those for validation included.
    """
    by_epochs = config.epochs > 0
    share = config.validation_fraction or (1 / 2 if by_epochs or sum(counts) >= LARGE_SET else 1 / 3)
    images = sum(count - num_validation(count, share) for count in counts)
    if config.folds > 1:
        share, images = 1 / config.folds, sum(counts) - math.ceil(sum(counts) / config.folds)
    batch_size = config.batch_size or (BATCH_SIZE if by_epochs and images >= BATCH_SIZE else small_batch(images))
    steps = max(1, images // batch_size)
    wanted = (LONGER if config.optimizer == "adamw" else 1) * (100 + 10 * len(counts))
    epochs = config.epochs or max(MIN_EPOCHS, math.ceil(wanted / steps))
    return replace(config, validation_fraction=share, batch_size=batch_size, epochs=epochs)


def small_batch(images: int) -> int:
    """Return the largest power of two from 2 to 64 of which there are four minibatches, 2 if there is none."""
    return max(2, min(BATCH_SIZE, 1 << max(1, images // 4).bit_length() - 1))
