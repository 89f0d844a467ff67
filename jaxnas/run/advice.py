"""What a run keeps of its images, and what it says of a result that is no better than guessing."""

import math
from typing import NamedTuple

import numpy as np

from jaxnas.data.images import ImageData
from jaxnas.objectives.training import TrainingObjective
from jaxnas.runtime.records import Record
from jaxnas.table.evaluation import wilson_interval

UNDERFIT = 0.5  # of the loss of guessing, ln K: a training loss above has not learned the training images


class ImageSummary(NamedTuple):
    """The description of an image set that a run keeps.

    Attributes:
      name: name of the set.
      shape: height, width and channels of an image [3].
      class_names: the names of the classes [K].
      num_training: images that a candidate is trained on.
      num_validation: images that choose among candidates, with folds all that train; 0 where none is trained.
      num_test: images that test the selected architecture.
      majority: share of the most frequent class among the validation images, percent; 0 where there are none.
    """

    name: str
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    num_training: int
    num_validation: int
    num_test: int
    majority: float


def summarize_images(data: ImageData, objective: TrainingObjective | None) -> ImageSummary:
    """Summarise a set, with the validation images that the objective splits off."""
    labels = np.zeros(0, np.int32) if objective is None else objective.validation_labels
    return ImageSummary(
        data.name,
        tuple(data.train_images.shape[1:]),
        data.class_names or tuple(map(str, range(data.num_classes))),
        len(data.train_labels) if objective is None else objective.num_training,
        len(labels),
        len(data.test_labels),
        100 * float(np.bincount(labels).max()) / len(labels) if len(labels) else 0.0,
    )


def read_summary(record: Record | None) -> ImageSummary | None:
    """Read what `ImageSummary._asdict` became in JSON; None where an earlier version wrote none."""
    if record is None:
        return None
    values: Record = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    return ImageSummary(**values)


def advise(images: ImageSummary, best: float, loss: float, epochs: int) -> tuple[str, ...]:
    """Return what to change, one line each, where the best candidate has not learned the task; nothing where it has.

    Args:
      images: the images of the search.
      best: validation accuracy of the best candidate, percent.
      loss: its mean training loss in the last epoch, nats.
      epochs: epochs of its training.
    """
    guessing = math.log(len(images.class_names))
    underfits = loss > UNDERFIT * guessing
    longer = f"train longer, such as `epochs` = {4 * epochs}, or with wider networks"
    low, high = wilson_interval(best, images.num_validation)
    if low <= images.majority:
        remedy = longer if underfits else "give more images, or check that labels belong to their images"
        return (
            f"the best candidate is no better than the most frequent class: validation accuracy {best:.1f} % "
            f"({low:.1f} to {high:.1f}), most frequent class {images.majority:.1f} %; {remedy}",
        )
    if underfits:
        return (
            f"the best candidate still underfits: training loss {loss:.2f} nats after {epochs} epochs, guessing "
            f"{guessing:.2f}; {longer}",
        )
    return ()
