"""Predictions of a model for files of pictures, which are brought to the size and the channels that it takes."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnas.data.pictures import ENDINGS, Form, UnreadableError, decode
from jaxnas.errors import InputError
from jaxnas.models.model import BATCH, Model
from jaxnas.runtime.places import to_path


class Prediction(NamedTuple):
    """The prediction for one file.

    Attributes:
      file: the file.
      class_name: the most probable class; an empty text where the file is unreadable.
      probability: its probability.
      probabilities: those of all classes, in the order of `Model.class_names`; empty where the file is unreadable.
      problem: why the file is unreadable, or an empty text.
    """

    file: Path
    class_name: str
    probability: float
    probabilities: tuple[float, ...]
    problem: str = ""


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """Return files, with folders replaced by the pictures in them and in their subfolders, in order of their names.

    Raises:
      InputError: a path does not exist, or a folder has no pictures.
    """
    files: list[Path] = []
    for path in map(to_path, paths):
        if not path.exists():
            raise InputError(f"no picture {path}: correct the path")
        inside = sorted(one for one in path.rglob("*") if one.suffix.lower() in ENDINGS) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"no pictures in {path}: give files that end in {', '.join(ENDINGS)}")
        files.extend(inside)
    return files


def predict_files(model: Model, files: Iterable[Path]) -> Iterator[Prediction]:
    """Yield the prediction for each file, in their order.

    Raises:
      InputError: the model takes no pictures.
    """
    if model.image_shape[-1] not in (1, 3):
        raise InputError(f"the model takes {model.image_shape[-1]} channels, pictures have 1 or 3: use Model.predict")
    form = Form(*model.image_shape)
    left, size = iter(files), 0
    while group := list(islice(left, BATCH)):
        size = max(size, len(group))  # the last group is filled up, so that it needs no program of its own
        images, problems = np.zeros((size, *form), np.float32), dict[int, str]()
        for number, file in enumerate(group):
            try:
                images[number] = decode(file, form)
            except UnreadableError as error:
                problems[number] = str(error)
        for number, (file, row) in enumerate(zip(group, model.predict_proba(images), strict=False)):
            if number in problems:
                yield Prediction(file, "", 0.0, (), problems[number])
            else:
                best = int(row.argmax())
                yield Prediction(file, model.class_names[best], float(row[best]), tuple(map(float, row)))
