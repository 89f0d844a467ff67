"""Image sets from objects of other libraries, which are known by what they can do and are not imported."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from jaxnas.data.examples import Example, assemble, warn_of_skipped
from jaxnas.data.images import ImageData
from jaxnas.data.listings import SUBSETS, find_column, label_of, split_subsets
from jaxnas.data.pictures import Source
from jaxnas.errors import InputError
from jaxnas.runtime.events import Listener


@runtime_checkable
class _Indexed(Protocol):
    """A data set of PyTorch, which need not be iterable, nor end."""

    def __getitem__(self, index: int, /) -> object: ...

    def __len__(self) -> int: ...


def from_dataset(
    train: object,
    test: object = None,
    *,
    name: str = "dataset",
    class_names: Sequence[str] = (),
    pixels: int | None = None,
    on_event: Listener = warn_of_skipped,
) -> ImageData:
    """Make an image set from a data set of PyTorch, Hugging Face or any iterable of (image, label).

    The set is read once. An image is a Pillow image, a path, the content of a file, or an array [H W], [H W C] or, as
    PyTorch has them, [C H W]: uint8, uint16 or floats in [0, 1]. Images may differ in size and mode. A label is a whole
    number or a text. `from_arrays` is for images that are one array.

    Args:
      train: a torch `Dataset` or `DataLoader`; a `datasets.Dataset`; a dictionary of such by train, validation and
        test; or an iterable of pairs, such as a list or `zip(images, labels)`. A validation set joins the training
        images, or is the test set where test is missing or has no labels. The order of a shuffled loader decides which
        images are test images.
      test: the test images in the same form; None moves every fifth image of each class to the test set.
      name: name for messages and provenance.
      class_names: the names of classes 0 to K - 1; default: those of `train.classes` or `train.features`, else the
        labels.
      pixels: side of the images, see `load_images`.
      on_event: receives a `Noted` on the size of images and on those skipped; default: warn of the latter.

    Raises:
      InputError: an element is not a pair, no image can be read, a class has none, or there are fewer than two classes.
    """
    parts = dict(train) if isinstance(train, Mapping) else {"train": train}
    if "train" not in parts:
        raise InputError(f"{name}: no data set 'train' in the dictionary; it has {', '.join(map(str, parts))}")
    if test is not None:
        parts["test"] = test
    names = class_names or _class_names(parts["train"])
    labelled = [
        (SUBSETS[part], example)
        for part, source in parts.items()
        if part in SUBSETS
        for example in _examples(source, name, part, bool(names))
    ]
    return assemble(split_subsets(labelled), name, names, pixels, on_event)


def _class_names(source: object) -> Sequence[str]:
    """Return the names of classes that a data set knows: torchvision's `classes`, or the hub's `features`."""
    classes = getattr(source, "classes", None) or getattr(getattr(source, "dataset", None), "classes", None)
    if classes:
        return list(map(str, classes))
    features = getattr(source, "features", None)
    if not isinstance(features, Mapping):
        return ()
    return list(getattr(features[find_column("labels", features)], "names", None) or ())


def _examples(source: object, name: str, part: str, is_number: bool) -> Iterator[Example]:
    number = 0
    for element in _elements(source, name):
        for image, label in _pairs(element, name, number):
            where = str(image) if isinstance(image, str) else f"{'' if part == 'train' else f'{part} '}image {number}"
            yield Example(where, _as_picture(image, f"{name}: {where}"), _as_label(label, is_number))
            number += 1


def _elements(source: object, name: str) -> Iterable[object]:
    """Return the elements of a source."""
    if isinstance(source, Iterable):
        return source
    if isinstance(source, _Indexed):
        return (source[index] for index in range(len(source)))
    raise InputError(f"{name}: {type(source).__name__} is not an iterable of (image, label) or a data set")


def _pairs(element: object, name: str, number: int) -> Iterable[tuple[object, object]]:
    """Return the image and the label of an element, or all of a batch."""
    if isinstance(element, Mapping):
        image, label = (element[find_column(what, element)] for what in ("pictures", "labels"))
    elif isinstance(element, tuple | list) and len(element) == 2:
        image, label = element
    else:
        raise InputError(f"{name}: element {number} must be a pair (image, label), got {type(element).__name__}")
    if getattr(image, "ndim", 0) == 4 and getattr(label, "ndim", 0) == 1:
        return zip(image, label, strict=True)
    return [(image, label)]


def _as_picture(image: object, where: str) -> Source:
    """Return what `jaxnas.data.pictures` takes: arrays become NumPy arrays with the channels last."""
    if isinstance(image, str | bytes | PathLike | Image.Image):
        return image
    if np.ma.is_masked(image):
        raise InputError(f"{where} has masked pixels: fill them, or leave it out")
    array = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    channels_first = array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4)
    return np.moveaxis(array, 0, -1) if channels_first or (array.ndim == 3 and hasattr(image, "detach")) else array


def _as_label(label: object, is_number: bool) -> Hashable:
    """Return a whole number, a text, or None for a label that is missing: -1 where labels number known classes."""
    if isinstance(label, bytes):
        label = label.decode()
    if isinstance(label, str):
        return label if label.strip() else None
    if label is None or np.ma.is_masked(label):
        return None
    value = np.asarray(label.detach().cpu() if hasattr(label, "detach") else label)
    if value.size != 1 or value.dtype.kind not in "iubf":
        return str(label)
    number = value.item()
    return label_of(int(number) if value.dtype.kind == "b" else number, is_number)
