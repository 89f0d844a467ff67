"""Which images candidates train on, and which validate: one split, or folds of which each validates once."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from jaxnas.data.images import ImageData, split_validation, stratified_folds
from jaxnas.objectives.config import TrainingConfig
from jaxnas.objectives.programs import Labelled


class Split(NamedTuple):
    """The trainings of a candidate: one for each of k folds, or one where there are no folds.

    Attributes:
      data: images to train on; with folds, all that they choose from.
      images: the images of `data` that each fold trains on [k I]; None without folds.
      validation: the images that validate each training [k].
    """

    data: Labelled
    images: Int32[np.ndarray, "k I"] | None
    validation: tuple[Labelled, ...]

    @property
    def num_training(self) -> int:
        """Images that a training uses."""
        return len(self.data.labels) if self.images is None else self.images.shape[1]

    @property
    def validation_labels(self) -> Int32[np.ndarray, " V"]:
        """The labels of all images that validate."""
        return np.concatenate([np.asarray(part.labels) for part in self.validation])


def split_images(data: ImageData, config: TrainingConfig) -> Split:
    """Split the training images; the test images are not read.

    All folds train on equally many images: where a fold could have one more, one is left out.

    Args:
      data: the image set.
      config: hyperparameters without a 0 that `jaxnas.objectives.fit` would replace.

    Raises:
      InputError: a class has fewer than two training images, or there are fewer images than folds.
    """
    if config.folds == 1:
        rest, images, labels = split_validation(data, config.validation_fraction, config.seed)
        return Split(Labelled(rest.train_images, rest.train_labels), None, (Labelled(images, labels),))
    fold = stratified_folds(data.train_labels, config.folds, config.seed)
    whole = Labelled(data.train_images, data.train_labels)
    validating = [np.flatnonzero(fold == number) for number in range(config.folds)]
    num_training = len(fold) - max(map(len, validating))
    training = [np.flatnonzero(fold != number)[:num_training] for number in range(config.folds)]
    validation = tuple(Labelled(whole.images[rows], whole.labels[rows]) for rows in validating)
    return Split(whole, np.stack(training).astype(np.int32), validation)
