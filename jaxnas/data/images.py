"""Labelled image sets: loading, checking, standardising, splitting, drawing one minibatch."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int, Int32, Shaped

from jaxnas.data.catalogue import DATASETS, data_folder, find_data
from jaxnas.data.cifar import read_cifar
from jaxnas.errors import InputError, unknown_name
from jaxnas.runtime.files import read_npz


class ImageData(NamedTuple):
    """A training and a test set; labels are 0..num_classes-1."""

    name: str
    train_images: Float32[np.ndarray, "N H W C"]  # in [0, 1] unless standardised
    train_labels: Int32[np.ndarray, " N"]
    test_images: Float32[np.ndarray, "N_test H W C"]
    test_labels: Int32[np.ndarray, " N_test"]
    num_classes: int


def load_images(name_or_path: str | Path, folder: str | Path | None = None) -> ImageData:
    """An image set by its name in DATASETS, or from a file of one's own.

    A path is an .npz file with x_train, y_train, x_test, y_test (or x_val, y_val): uint8, or float in [0, 1], images
    [N, H, W, C] or [N, H, W]; or the folder or .tar.gz of CIFAR's original python or binary batches. CIFAR-100 has its
    100 fine labels. "digits" is embedded in scikit-learn: every fifth image of each class is the test set.

    Raises:
      InputError: unknown name, missing, cut short or corrupt file, or content that is no labelled image set.
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name == "digits":
        return _digits()
    images = [data.name for data in DATASETS.values() if data.kind == "images"]
    if name in images:
        found = find_data(name, folder)
        if found is None:
            raise InputError(_missing(name, data_folder(folder)))
        return _checked(name, _read(found), found, DATASETS[name].num_classes)
    if path.exists():
        return _checked(path.stem, _read(path), path)
    if len(path.parts) > 1 or path.suffix:
        raise InputError(f"no image file {path}; give the path of an .npz file, or one of {', '.join(images)}")
    raise unknown_name("image set", name, images)


def from_arrays(
    x_train: Any,
    y_train: Any,
    x_test: Any = None,
    y_test: Any = None,
    *,
    name: str = "arrays",
) -> ImageData:
    """A labelled set of one's own: images of any size, or rows of features, which become images of one pixel.

    Args:
      x_train: images [N, H, W, C] or [N, H, W], uint8 or float in [0, 1]; or rows [N, F] of finite numbers.
      y_train: labels [N], integers 0..K-1, each of them at least once.
      x_test: the same for the test set; None: every fifth of each class of the training set.

    Raises:
      InputError: what does not fit, with its shape, dtype or values and what was expected.
    """
    given = [None if array is None else np.asarray(array) for array in (x_train, y_train, x_test, y_test)]
    arrays = [np.zeros(0) if array is None else array for array in given]
    if (given[2] is None) != (given[3] is None):
        raise InputError(f"{name}: test images and test labels come together: give both or neither")
    if given[2] is None:
        _check_images(_as_pixels(arrays[0], name), f"{name}, training images")
        labels = _check_labels(arrays[1], len(arrays[0]), f"{name}, training labels")
        test = _rank_in_class(labels, np.arange(len(labels))) % 5 == 4
        if not test.any():
            raise InputError(f"{name}: no class has five images, of which one would be a test image: give x_test")
        arrays = [arrays[0][~test], labels[~test], arrays[0][test], labels[test]]
    return _checked(name, (_as_pixels(arrays[0], name), arrays[1], _as_pixels(arrays[2], name), arrays[3]), name)


def _as_pixels(x, name):
    """Rows of features as images of one pixel; images as they are."""
    if x.ndim != 2:
        return x
    if x.dtype.kind not in "iuf" or not np.isfinite(x).all():
        raise InputError(f"{name}: rows of dtype {x.dtype} with NaN, inf or no numbers: give finite numbers [N, F]")
    return _Rows(x.astype(np.float32)[:, None, None, :])


class _Rows(NamedTuple):
    """Features, which unlike pixels may have any value."""

    values: Float32[np.ndarray, "N 1 1 F"]


def standardize(data: ImageData) -> ImageData:
    """Both sets with every channel shifted and scaled by the training images' mean and standard deviation.

    A channel that is constant over the training images is only shifted.
    """
    mean = data.train_images.mean((0, 1, 2), dtype=np.float64)
    std = data.train_images.std((0, 1, 2), dtype=np.float64)
    shift, scale = mean.astype(np.float32), np.where(std > 1e-6, std, 1).astype(np.float32)
    return data._replace(
        train_images=(data.train_images - shift) / scale, test_images=(data.test_images - shift) / scale
    )


def split_validation(
    data: ImageData, fraction: float, seed: int
) -> tuple[ImageData, Float32[np.ndarray, "V H W C"], Int32[np.ndarray, " V"]]:
    """Takes a share of each class out of the training images; the test set stays as it is.

    Args:
      fraction: share that goes to validation, in (0, 1); each class gives round(fraction * its images), at least one
        and never all.
      seed: of the draw.

    Returns:
      `data` with the rest of its training images, validation images, validation labels.

    Raises:
      InputError: fraction outside (0, 1), or a class with a single training image.
    """
    if not 0 < fraction < 1:
        raise InputError(f"validation fraction {fraction} is not between 0 and 1")
    counts = np.bincount(data.train_labels, minlength=data.num_classes)
    if counts.min() < 2:
        few = f"class {counts.argmin()} of {data.name} has {counts.min()}"
        raise InputError(f"{few} training images: a split needs two of each class")
    taken = np.clip(np.rint(fraction * counts), 1, counts - 1)
    order = np.random.default_rng(seed).permutation(len(data.train_labels))
    chosen = _rank_in_class(data.train_labels, order) < taken[data.train_labels]
    rest = data._replace(train_images=data.train_images[~chosen], train_labels=data.train_labels[~chosen])
    return rest, data.train_images[chosen], data.train_labels[chosen]


def minibatch(
    data: ImageData, size: int, seed: int
) -> tuple[Float32[np.ndarray, "size H W C"], Int32[np.ndarray, " size"]]:
    """`size` different training images: class counts differ by one at most, unless a class has too few images.

    Raises:
      InputError: size < 2 or above the number of training images.
    """
    if not 2 <= size <= len(data.train_images):
        raise InputError(f"minibatch size {size}: choose 2 to {len(data.train_images)}, the images of {data.name}")
    order = np.random.default_rng(seed).permutation(len(data.train_labels))
    rank = _rank_in_class(data.train_labels, order)
    chosen = order[np.argsort(rank[order], kind="stable")][:size]
    return data.train_images[chosen], data.train_labels[chosen]


def resize(images: Float32[np.ndarray, "N H W C"], pixels: int) -> Float32[np.ndarray, "N pixels pixels C"]:
    """Bilinear, to `pixels` x `pixels`."""
    shape = (len(images), pixels, pixels, images.shape[-1])
    return np.asarray(jax.image.resize(jnp.asarray(images), shape, "bilinear"))


def fingerprint(*arrays: Shaped[np.ndarray | jax.Array, "..."]) -> str:
    """16 hex digits of the SHA-256 over dtype, shape and bytes of the arrays, in this order."""
    digest = hashlib.sha256()
    for array in arrays:
        values = np.ascontiguousarray(array)
        digest.update(f"{values.dtype.str}{values.shape}".encode())
        digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]


def _rank_in_class(labels: Int32[np.ndarray, " N"], order: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Position 0, 1, ... of each image among those of its class, when they come in this order."""
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    return rank


def _digits() -> ImageData:
    # Imported here: scikit-learn takes a second, which only this set is worth.
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[..., None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int32)
    test = _rank_in_class(labels, np.arange(len(labels))) % 5 == 4
    return ImageData("digits", images[~test], labels[~test], images[test], labels[test], 10)


def _missing(name: str, folder: Path) -> str:
    data = DATASETS[name]
    places = ", ".join(data.places)
    how = f"run `jaxnas data get {name}` ({data.files[0].address})" if data.files else f"bring it, from {data.address}"
    return f"no {name} in {folder} (looked for {places}): {how}"


def _read(path: Path) -> tuple[Any, Any, Any, Any]:
    """Training images and labels, test images and labels, as they are in the file."""
    if path.is_dir() or path.name.endswith((".tar.gz", ".tgz")):
        return read_cifar(path)
    arrays = read_npz(path)
    other = "val" if "x_val" in arrays and "x_test" not in arrays else "test"
    keys = ("x_train", "y_train", f"x_{other}", f"y_{other}")
    if missing := [key for key in keys if key not in arrays]:
        raise InputError(f"{path}: no array {missing[0]!r}; it has {', '.join(arrays) or 'none'}")
    return arrays[keys[0]], arrays[keys[1]], arrays[keys[2]], arrays[keys[3]]


def _checked(
    name: str, arrays: tuple[Any, Any, Any, Any], source: Path | str, num_classes: int | None = None
) -> ImageData:
    train_images = _check_images(arrays[0], f"{source}, training images")
    test_images = _check_images(arrays[2], f"{source}, test images")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise InputError(f"{source}: training images {train_images.shape[1:]}, test images {test_images.shape[1:]}")
    train_labels = _check_labels(arrays[1], len(train_images), f"{source}, training labels")
    test_labels = _check_labels(arrays[3], len(test_images), f"{source}, test labels")
    classes = np.unique(train_labels)
    expected = num_classes or max(2, len(classes))
    if not np.array_equal(classes, np.arange(expected)):
        found = f"{len(classes)} classes, labels {classes[0]} to {classes[-1]}"
        raise InputError(f"{source}: the training set has {found}, but {name} needs each of 0 to {expected - 1}")
    if test_labels.max() >= expected:
        raise InputError(f"{source}: test label {test_labels.max()}, but the training labels are 0 to {expected - 1}")
    return ImageData(name, train_images, train_labels, test_images, test_labels, expected)


def _check_images(images: Any, source: str) -> Float32[np.ndarray, "N H W C"]:
    if isinstance(images, _Rows):
        if not images.values.size:
            raise InputError(f"{source}: shape {images.values[:, 0, 0].shape}, give [N, F] with at least one row")
        return images.values
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise InputError(f"{source}: dtype {images.dtype}, give uint8 or float")
    if images.ndim not in (3, 4) or not images.size:
        raise InputError(f"{source}: shape {images.shape}, give [N, H, W, C] or [N, H, W] with at least one image")
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype == np.uint8:
        return images / np.float32(255)
    if not (images.min() >= 0 and images.max() <= 1):  # NaN fails too
        raise InputError(f"{source}: values {images.min()} to {images.max()}, give finite floats in [0, 1], or uint8")
    return images.astype(np.float32)


def _check_labels(labels: Any, count: int, source: str) -> Int32[np.ndarray, " N"]:
    if labels.shape == (count, 1):
        labels = labels[:, 0]
    if labels.shape != (count,):
        raise InputError(f"{source}: shape {labels.shape}, but there are {count} images")
    if labels.dtype.kind not in "iu":
        raise InputError(f"{source}: dtype {labels.dtype}, give integers 0 to K-1")
    if labels.min() < 0 or labels.max() >= 2**31:
        raise InputError(f"{source}: values {labels.min()} to {labels.max()}, give 0 to K-1")
    return labels.astype(np.int32)
