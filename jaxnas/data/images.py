"""Labelled image sets: checking, standardising, splitting, drawing one minibatch."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int, Int32, Shaped
from numpy.typing import ArrayLike

from jaxnas.errors import InputError
from jaxnas.runtime.names import split_names
from jaxnas.runtime.settings import Whole, check_seed, check_whole

TO_CHANNELS_LAST = "images.transpose(0, 2, 3, 1)"


class ImageData(NamedTuple):
    """A labelled image set of N training and N_test test images.

    Attributes:
      name: name for messages and provenance.
      train_images: training images [N H W C], in [0, 1] unless standardised.
      train_labels: classes of the training images [N], from 0 to K - 1.
      test_images: test images [N_test H W C].
      test_labels: classes of the test images [N_test].
      num_classes: the number of classes, K.
      class_names: the names of the classes [K] in the order of their labels; their numbers where the source has none.
      mean: what `standardize` subtracted from each channel; None before.
      std: what `standardize` divided each channel by; None before.
    """

    name: str
    train_images: Float32[np.ndarray, "N H W C"]
    train_labels: Int32[np.ndarray, " N"]
    test_images: Float32[np.ndarray, "N_test H W C"]
    test_labels: Int32[np.ndarray, " N_test"]
    num_classes: int
    class_names: tuple[str, ...] = ()
    mean: Float32[np.ndarray, " C"] | None = None
    std: Float32[np.ndarray, " C"] | None = None

    def __repr__(self) -> str:
        """Return one line: name, numbers of images, their shape and the number of classes."""
        shape = "x".join(map(str, self.train_images.shape[1:]))
        counts = f"{len(self.train_images):,} training and {len(self.test_images):,} test images"
        return f"<ImageData {self.name}: {counts} of {shape}, {self.num_classes} classes>"


def from_arrays(
    x_train: ArrayLike,
    y_train: ArrayLike,
    x_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    *,
    name: str = "arrays",
    class_names: Sequence[str] = (),
    channels_first: bool | None = None,
) -> ImageData:
    """Make a labelled image set from arrays: images of any size, or rows of features, which become images of one pixel.

    Args:
      x_train: training images [N H W C] or [N H W], uint8 or float in [0, 1]; or finite numbers, as rows [N F] or as
        sequences [N 1 L C] of L steps.
      y_train: training labels [N], integers from 0 to K - 1, each at least once.
      x_test: test images or rows; None moves every fifth of each class of the training set to the test set.
      y_test: test labels [N_test]; None together with `x_test`.
      name: name for messages and provenance.
      class_names: the names of classes 0 to K - 1; by default their numbers.
      channels_first: whether images are [N C H W], as PyTorch has them. None refuses images that look so: with 1 to 4
        rows of larger sides. False takes such images as [N H W C].

    Raises:
      InputError: an array has another shape or dtype, or values masked or out of range; the message names what was
        expected.
    """
    passed = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    if masked := [argument for argument, array in passed.items() if np.ma.is_masked(array)]:
        raise InputError(f"{name}: `{masked[0]}` has masked entries: fill them, or remove their images")
    given = [None if array is None else np.asarray(array) for array in passed.values()]
    for number in (0, 2):
        images = given[number]
        if images is not None and images.ndim == 4:
            given[number] = channels_last(images, name, channels_first)
    arrays = [np.zeros(0) if array is None else array for array in given]
    if (given[2] is None) != (given[3] is None):
        raise InputError(f"{name}: `x_test` and `y_test` must be given together, or neither of them")
    if given[2] is None:
        _check_images(_as_pixels(arrays[0], name), f"{name}, training images")
        labels = _check_labels(arrays[1], len(arrays[0]), f"{name}, training labels")
        test = rank_in_class(labels, np.arange(len(labels))) % 5 == 4
        if not test.any():
            raise InputError(f"{name}: no class has five images, of which one would be a test image; give `x_test`")
        arrays = [arrays[0][~test], labels[~test], arrays[0][test], labels[test]]
    return check_arrays(
        name, (_as_pixels(arrays[0], name), arrays[1], _as_pixels(arrays[2], name), arrays[3]), name, class_names
    )


def looks_channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether images of this shape are rather [N C H W] than [N H W C]: 1 to 4 rows, of larger sides."""
    return len(shape) == 4 and 1 <= shape[1] <= 4 < min(shape[2:])


def channels_last(images: np.ndarray, source: Path | str, channels_first: bool | None = None) -> np.ndarray:
    """Return images [N H W C].

    Raises:
      InputError: they look like [N C H W], and `channels_first` does not say what they are.
    """
    if channels_first is None and looks_channels_first(images.shape):
        raise InputError(
            f"{source}: images must be [N, H, W, C], and {list(images.shape)} look like [N, C, H, W]: transpose them "
            f"by {TO_CHANNELS_LAST}, or call `from_arrays` with channels_first=True, or False if they are [N, H, W, C]"
        )
    return np.moveaxis(images, 1, -1) if channels_first else images


class Rows(NamedTuple):
    """Rows of features as images of one pixel, or sequences as images of one row: values need not lie in [0, 1]."""

    values: Float32[np.ndarray, "N 1 L F"]


def _as_pixels(x: np.ndarray, name: str) -> np.ndarray | Rows:
    """Return rows of features as images of one pixel, floats of one row as sequences, and images unchanged."""
    if x.ndim == 4 and x.shape[1] == 1 and x.dtype.kind == "f":
        if not np.isfinite(x).all():
            raise InputError(f"{name}: sequences must be finite numbers [N, 1, L, C], got NaN or inf")
        return Rows(x.astype(np.float32))
    if x.ndim != 2:
        return x
    if x.dtype.kind not in "iuf" or not np.isfinite(x).all():
        raise InputError(f"{name}: rows must be finite numbers [N, F], got dtype {x.dtype}, or NaN or inf")
    return Rows(x.astype(np.float32)[:, None, None, :])


def standardize(data: ImageData) -> ImageData:
    """Shift and scale every channel of both sets by the mean and standard deviation of the training images.

    A channel that is constant over the training images is shifted only. The result names both as `mean` and `std`, so
    that a trained model can prepare other images in the same way; of data that are standardised already, both are those
    of the original images.
    """
    mean = data.train_images.mean((0, 1, 2), dtype=np.float64)
    std = data.train_images.std((0, 1, 2), dtype=np.float64)
    shift, scale = mean.astype(np.float32), np.where(std > 1e-6, std, 1).astype(np.float32)
    return data._replace(
        train_images=(data.train_images - shift) / scale,
        test_images=(data.test_images - shift) / scale,
        mean=shift if data.mean is None or data.std is None else data.mean + data.std * shift,
        std=scale if data.std is None else data.std * scale,
    )


def split_validation(
    data: ImageData, fraction: float, seed: Whole
) -> tuple[ImageData, Float32[np.ndarray, "V H W C"], Int32[np.ndarray, " V"]]:
    """Split a share of each class off the training images for validation; the test set is unchanged.

    Args:
      data: the image set.
      fraction: share for validation, in (0, 1); of n images of a class round(fraction n), at least 1 and at most n - 1.
      seed: seed of the draw.

    Returns:
      `data` with the remaining training images, the validation images [V H W C], and their labels [V].

    Raises:
      InputError: `fraction` is not in (0, 1), or a class has fewer than two training images.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the validation fraction must be between 0 and 1, got {fraction}")
    counts = np.bincount(data.train_labels, minlength=data.num_classes)
    if counts.min() < 2:
        raise InputError(
            f"class {counts.argmin()} of {data.name} has {counts.min()} training images, but a split needs 2 of each"
        )
    taken = np.array([num_validation(count, fraction) for count in counts.tolist()])
    order = np.random.default_rng(check_seed(seed)).permutation(len(data.train_labels))
    chosen = rank_in_class(data.train_labels, order) < taken[data.train_labels]
    rest = data._replace(train_images=data.train_images[~chosen], train_labels=data.train_labels[~chosen])
    return rest, data.train_images[chosen], data.train_labels[chosen]


def stratified_folds(labels: Int32[np.ndarray, " N"], folds: int, seed: int) -> Int[np.ndarray, " N"]:
    """Draw the fold of each image, 0 to `folds` - 1.

    The counts of a class in the folds differ by at most 1, and so do the sizes of the folds.

    Raises:
      InputError: there are fewer than two folds or fewer images than folds, or a class has a single image, without
        which a network would be trained.
    """
    if not 2 <= folds <= len(labels):
        raise InputError(f"the number of folds must be from 2 to {len(labels)}, the training images, got {folds}")
    counts = np.bincount(labels)
    if (counts == 1).any():
        raise InputError(f"class {(counts == 1).argmax()} has 1 training image, but folds need 2 of each")
    order = np.random.default_rng(check_seed(seed)).permutation(len(labels))
    dealt = order[np.argsort(labels[order], kind="stable")]  # by class, each in the order of the draw
    fold = np.empty(len(labels), np.intp)
    fold[dealt] = np.arange(len(labels)) % folds
    return fold


def minibatch(
    data: ImageData, size: Whole, seed: Whole
) -> tuple[Float32[np.ndarray, "size H W C"], Int32[np.ndarray, " size"]]:
    """Draw `size` different training images and their labels.

    The counts of the classes differ by at most 1, unless a class has too few images.

    Raises:
      InputError: `size` is below 2 or above the number of training images.
    """
    count = check_whole("minibatch size", size, 2, len(data.train_images), f", the training images of {data.name}")
    order = np.random.default_rng(check_seed(seed)).permutation(len(data.train_labels))
    rank = rank_in_class(data.train_labels, order)
    chosen = order[np.argsort(rank[order], kind="stable")][:count]
    return data.train_images[chosen], data.train_labels[chosen]


def resize(images: Float32[np.ndarray, "N H W C"], pixels: int) -> Float32[np.ndarray, "N pixels pixels C"]:
    """Resize images bilinearly to `pixels` x `pixels`."""
    shape = (len(images), pixels, pixels, images.shape[-1])
    return np.asarray(jax.image.resize(jnp.asarray(images), shape, "bilinear"))


def fingerprint(*arrays: Shaped[np.ndarray | jax.Array, "..."]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 over dtype, shape and bytes of the arrays in this order."""
    digest = hashlib.sha256()
    for array in arrays:
        values = np.ascontiguousarray(array)
        digest.update(f"{values.dtype.str}{values.shape}".encode())
        digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]


def num_validation(count: int, fraction: float) -> int:
    """Return how many of the images of a class `split_validation` takes."""
    return max(1, min(round(fraction * count), count - 1))


def rank_in_class(labels: Int32[np.ndarray, " N"], order: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Return the position 0, 1, ... of each image among those of its class, in the given order of images."""
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    return rank


def check_arrays(
    name: str,
    arrays: tuple[np.ndarray | Rows, np.ndarray, np.ndarray | Rows, np.ndarray],
    source: Path | str,
    class_names: Sequence[str] = (),
    num_classes: int | None = None,
) -> ImageData:
    """Check and convert arrays.

    Args:
      name: name of the set.
      arrays: training images and labels, test images and labels.
      source: the file, for messages.
      class_names: the names of the classes; by default their numbers.
      num_classes: the number of classes that there must be, if known.

    Raises:
      InputError: see `from_arrays`.
    """
    train_images = _check_images(arrays[0], f"{source}, training images")
    test_images = _check_images(arrays[2], f"{source}, test images")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise InputError(
            f"{source}: training and test images must have one shape, got {train_images.shape[1:]} and "
            f"{test_images.shape[1:]}"
        )
    train_labels = _check_labels(arrays[1], len(train_images), f"{source}, training labels")
    test_labels = _check_labels(arrays[3], len(test_images), f"{source}, test labels")
    classes = np.unique(train_labels)
    expected = num_classes or max(2, len(classes))
    if not np.array_equal(classes, np.arange(expected)):
        found = f"{len(classes)} classes, labels {classes[0]} to {classes[-1]}"
        raise InputError(f"{source}: the training labels of {name} must be 0 to {expected - 1}, got {found}")
    if test_labels.max() >= expected:
        raise InputError(f"{source}: test labels must be 0 to {expected - 1}, as for training, got {test_labels.max()}")
    names = tuple(map(str, split_names(class_names) or range(expected)))
    if len(names) != expected or len(set(names)) != expected:
        raise InputError(f"{source}: `class_names` must be {expected} different names, one for each class, got {names}")
    return ImageData(name, train_images, train_labels, test_images, test_labels, expected, names)


def _check_images(images: np.ndarray | Rows, source: str) -> Float32[np.ndarray, "N H W C"]:
    if isinstance(images, Rows):
        if not images.values.size:
            raise InputError(f"{source} must have at least one row, got shape {images.values.shape}")
        return images.values
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise InputError(f"{source} must be uint8 or float, got {images.dtype}")
    if images.ndim not in (3, 4) or not images.size:
        raise InputError(f"{source} must be [N, H, W, C] or [N, H, W] with at least one image, got {images.shape}")
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype == np.uint8:
        scaled: np.ndarray = images / np.float32(255)
        return scaled
    if not (images.min() >= 0 and images.max() <= 1):  # NaN fails too
        raise InputError(f"{source} must be finite floats in [0, 1], or uint8, got {images.min()} to {images.max()}")
    return images.astype(np.float32)


def _check_labels(labels: np.ndarray, count: int, source: str) -> Int32[np.ndarray, " N"]:
    if labels.shape == (count, 1):
        labels = labels[:, 0]
    if labels.shape != (count,):
        hint = "; of rows with a 1 at the class take labels.argmax(axis=1)" if labels.ndim == 2 else ""
        raise InputError(f"{source} must have shape [{count}], one for each image, got {labels.shape}{hint}")
    if labels.dtype.kind not in "iu":
        raise InputError(f"{source} must be integers 0 to K-1, got {labels.dtype}; texts are for `from_dataset`")
    if labels.min() < 0 or labels.max() >= 2**31:
        raise InputError(f"{source} must be 0 to K-1, got {labels.min()} to {labels.max()}")
    return labels.astype(np.int32)
