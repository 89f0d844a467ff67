"""The result of a final training, and its files."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnas.models.find import MODEL
from jaxnas.models.model import Model
from jaxnas.run.config import TrainConfig
from jaxnas.runtime.files import atomic_write
from jaxnas.runtime.measures import TEST_ACCURACY
from jaxnas.runtime.places import to_path
from jaxnas.runtime.records import Record
from jaxnas.store.store import make_environment


class TrainedArch(NamedTuple):
    """One architecture trained on all training images.

    Attributes:
      config: settings of the training.
      num_params: number of trainable parameters.
      loss: mean training loss of each epoch, nats.
      accuracy: accuracy on the augmented training images in each epoch, percent.
      test_accuracy: test accuracy in percent, NaN if the training diverged.
      seconds: seconds of training, without compilation.
      model: the trained network; None if the training diverged, or if no model can be made of the network.
    """

    config: TrainConfig
    num_params: int
    loss: list[float]
    accuracy: list[float]
    test_accuracy: float
    seconds: float
    model: Model | None = None

    def __repr__(self) -> str:
        """Return one line: architecture, test accuracy, number of parameters and epochs."""
        tested = f"{TEST_ACCURACY.name} {TEST_ACCURACY.show(self.test_accuracy)}"
        return f"<TrainedArch {self.config.arch}: {tested}, {self.num_params:,} params, {len(self.loss)} epochs>"


def trained_record(trained: TrainedArch) -> Record:
    """Return a trained architecture as plain JSON values: settings, losses and accuracies, versions, device."""
    record: Record = {
        **trained._asdict(),
        "config": asdict(trained.config),
        "environment": make_environment(trained.seconds),
    }
    del record["model"]
    record["config"]["network"] = dict(trained.config.network)
    for name in ("loss", "accuracy"):
        record[name] = [value if np.isfinite(value) else None for value in record[name]]
    record["test_accuracy"] = trained.test_accuracy if np.isfinite(trained.test_accuracy) else None
    return record


def save_trained(folder: Path | str, trained: TrainedArch) -> None:
    """Write result.json of one trained architecture (`trained_record`), and its model into the subfolder `model`."""
    if trained.model is not None:
        trained.model.save(to_path(folder) / MODEL)
    with atomic_write(to_path(folder) / "result.json") as partial:
        partial.write_text(json.dumps(trained_record(trained), indent=1, allow_nan=False) + "\n")
