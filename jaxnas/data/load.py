"""Loading image sets by name, from files and from folders."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxnas.data.catalogue import data_folder, find_data
from jaxnas.data.cifar import is_cifar, read_cifar
from jaxnas.data.find import FORMS, find_images
from jaxnas.data.images import ImageData, channels_last, check_arrays, from_arrays, rank_in_class
from jaxnas.data.public import DATASETS
from jaxnas.errors import InputError
from jaxnas.runtime.events import Listener, Noted
from jaxnas.runtime.files import read_npz

_SPLIT = (  # the names of training images and labels, test images and labels in an .npz file
    ("x_train", "y_train", "x_test", "y_test"),
    ("x_train", "y_train", "x_val", "y_val"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("train_images", "train_labels", "val_images", "val_labels"),
)
_WHOLE = (("x", "y"), ("X", "y"), ("images", "labels"))  # of a set without test images


def load_images(
    name_or_path: str | Path,
    folder: str | Path | None = None,
    *,
    pixels: int | None = None,
    on_event: Listener | None = None,
) -> ImageData:
    """Load an image set by its name in `DATASETS`, or from files of pictures, lists or arrays.

    The set "digits" is part of scikit-learn. A set without test images gives every fifth image of each class to them.
    Pictures become RGB, or grey if all are, in [0, 1]; see `jaxnas.data.pictures`.

    Args:
      name_or_path: a name, or the path of

        - a folder with a subfolder of pictures (PNG, JPEG, WebP, BMP, GIF, TIFF, PPM) for each class, or with the
          folders train, val and test that have these;
        - a CSV, TSV or Parquet file with the columns path, label and possibly split, paths relative to the file;
        - a Parquet file with the content of pictures, or a folder of such files, as the Hugging Face hub has them;
        - an .npz file with the arrays x_train, y_train, x_test and y_test, or with images and labels: images are
          [N H W C] or [N H W], uint8 or float in [0, 1];
        - a folder or .tar.gz with the published batches of CIFAR; CIFAR-100 has its 100 fine labels.
      folder: the data folder, see `jaxnas.data_folder`.
      pixels: side to which all images are resized. By default pictures of one size of at most 64 pixels keep it, and
        other pictures become 32 x 32.
      on_event: receives a `Noted` on the size of pictures and on those skipped; default: warn of the latter.

    Raises:
      InputError: the name is unknown, the file is missing, damaged or of another form, no picture can be read, a class
        has no pictures, or there are fewer than two classes.
    """
    name, path = str(name_or_path), find_images(name_or_path)
    if path is not None:
        return _load_path(path, pixels, on_event)
    if name == "digits":
        return _resized(_digits(), pixels, on_event)
    found = find_data(name, folder)
    if found is None:
        raise InputError(_missing(name, data_folder(folder)))
    known = DATASETS[name]
    data = check_arrays(name, _read_arrays(found), found, known.class_names, known.num_classes)
    return _resized(data, pixels, on_event)


def _load_path(path: Path, pixels: int | None, on_event: Listener | None) -> ImageData:
    # Imported here because they import Pillow and Arrow, which named sets do not need.
    from jaxnas.data.examples import assemble, warn_of_skipped
    from jaxnas.data.listings import LISTS, list_file, list_folder

    name = path.resolve().name if path.is_dir() else path.stem
    if is_cifar(path) or path.suffix.lower() == ".npz":
        return _resized(_from_file(name, path), pixels, on_event)
    if not path.is_dir() and path.suffix.lower() not in LISTS:
        raise InputError(f"{path}: not a form of images that jaxnas reads: give {FORMS}")
    listing = list_folder(path) if path.is_dir() else list_file(path)
    return assemble(listing.examples, name, listing.class_names, pixels, on_event or warn_of_skipped)


def _from_file(name: str, path: Path) -> ImageData:
    """Read a set of arrays, which may have no test images."""
    if is_cifar(path):
        return check_arrays(name, read_cifar(path), path)
    arrays = read_npz(path)
    whole = next((keys for keys in _WHOLE if all(key in arrays for key in keys)), None)
    if whole and not any(key in arrays for key in ("x_train", "train_images")):
        return from_arrays(*(arrays[key] for key in whole), name=name)
    return check_arrays(name, _split(arrays, path), path)


def _read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training images and labels, test images and labels, as they are in the file."""
    return read_cifar(path) if is_cifar(path) else _split(read_npz(path), path)


def _split(arrays: Mapping[str, np.ndarray], path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training images and labels, test images and labels, known by the names of the arrays."""
    started = [keys for keys in _SPLIT if keys[0] in arrays] or _SPLIT[:1]
    keys = next((keys for keys in started if keys[2] in arrays), started[0])
    if missing := [key for key in keys if key not in arrays]:
        raise InputError(f"{path}: no array {missing[0]!r}; it has {', '.join(arrays) or 'none'}")
    images = [channels_last(arrays[key], path) if arrays[key].ndim == 4 else arrays[key] for key in keys[::2]]
    return images[0], arrays[keys[1]], images[1], arrays[keys[3]]


def _resized(data: ImageData, pixels: int | None, on_event: Listener | None) -> ImageData:
    """Return a set of arrays with images of `pixels` x `pixels`, if given."""
    height, width = data.train_images.shape[1:3]
    if pixels is None:
        return data
    from jaxnas.data.pictures import check_pixels, resize_pixels

    check_pixels(pixels)
    if on_event is not None and (height, width) != (pixels, pixels):
        on_event(Noted(f"{data.name}: images are resized from {width}x{height} to {pixels}x{pixels}"))
    train, test = (resize_pixels(images, pixels) for images in (data.train_images, data.test_images))
    return data._replace(train_images=train, test_images=test)


def _digits() -> ImageData:
    # Imported here because the import takes a second and no other set needs it.
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[..., None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int32)
    test = rank_in_class(labels, np.arange(len(labels))) % 5 == 4
    return ImageData("digits", images[~test], labels[~test], images[test], labels[test], 10, tuple("0123456789"))


def _missing(name: str, folder: Path) -> str:
    data = DATASETS[name]
    places = ", ".join(data.places)
    remedy = f"run `jaxnas data get {name}` ({data.files[0].address})" if data.files else f"get it from {data.address}"
    return f"no {name} in {folder} (looked for {places}): {remedy}"
