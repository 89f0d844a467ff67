"""The seven tasks of TransNAS-Bench-101: the output that each needs, and minibatches with labels made from any images.

The labels of Taskonomy are not needed. Puzzles and the images themselves follow from the images. Segments are replaced
by levels of brightness, and surface normals by those of the brightness taken as a height. Classes of scenes, objects
and rooms are drawn at random: they are noise to a proxy at initialisation in any case.

Source: Duan et al. 2021 (arXiv:2105.11871).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int, Int32

from jaxnas.data.batch import Batch
from jaxnas.errors import InputError, unknown_name
from jaxnas.runtime.settings import check_seed


class Task(NamedTuple):
    """The output of a network for a task.

    Attributes:
      head: a name in `jaxnas.networks.heads.HEADS`.
      num_classes: number of outputs; for images, of each pixel.
    """

    head: str
    num_classes: int


TASKS: dict[str, Task] = {
    "class_scene": Task("classification", 47),
    "class_object": Task("classification", 75),
    "room_layout": Task("classification", 9),
    "jigsaw": Task("jigsaw", 1000),  # permutations
    "segmentsemantic": Task("segmentation", 17),
    "normal": Task("image", 3),
    "autoencoder": Task("image", 3),  # the published adversarial loss is left out
}


def get_task(name: str) -> Task:
    """Return the task called `name`.

    Raises:
      InputError: the name is unknown; the message suggests the nearest one.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


def task_batch(name: str, images: Float32[np.ndarray, "N H W C"], seed: int) -> Batch:
    """Make a minibatch of the task from standardised images [N H W C].

    Args:
      name: name of the task.
      images: standardised images.
      seed: seed of the labels that are drawn.

    Raises:
      InputError: the task is unknown, or the images are too small for a puzzle.
    """
    task, rng = get_task(name), np.random.default_rng(check_seed(seed))
    if task.head == "classification":
        labels: np.ndarray = rng.permutation(len(images)) % task.num_classes
    elif task.head == "jigsaw":
        images, labels = _puzzles(images, task.num_classes, rng)
    elif task.head == "segmentation":
        labels = _levels(images.mean(-1), task.num_classes)
    else:
        labels = _normals(images.mean(-1)) if name == "normal" else np.clip(images / 3, -1, 1)
    dtype = np.float32 if task.head == "image" else np.int32
    return Batch(jnp.asarray(images), jnp.asarray(labels.astype(dtype)))


def permutations(num: int) -> Int32[np.ndarray, "num 9"]:
    """Return `num` different orders of nine pieces [num 9], the same in every call."""
    rng = np.random.default_rng(0)
    found: dict[tuple[int, ...], np.ndarray] = {}
    while len(found) < num:
        order = rng.permutation(9)
        found.setdefault(tuple(order), order)
    return np.stack(list(found.values())).astype(np.int32)


def _puzzles(
    images: Float32[np.ndarray, "N H W C"], num_classes: int, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "N 9 h w C"], Int[np.ndarray, " N"]]:
    """Return the pieces [N 9 h w C] of every image in an order drawn at random, and the number of that order [N]."""
    n, h, w, c = images.shape
    h, w = h // 3, w // 3
    if not h or not w:
        raise InputError(
            f"images must have at least 3 x 3 pixels to be cut into puzzles, got {images.shape[1]} x {images.shape[2]}"
        )
    pieces = images[:, : 3 * h, : 3 * w].reshape(n, 3, h, 3, w, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, 9, h, w, c)
    labels = np.asarray(rng.integers(0, num_classes, n))
    return pieces[np.arange(n)[:, None], permutations(num_classes)[labels]], labels


def _levels(values: Float32[np.ndarray, "N H W"], num: int) -> Int[np.ndarray, "N H W"]:
    """Return for every value its class [N H W] of `num` classes of equal size, in the order of the values."""
    ranks = np.empty(values.size, np.int64)
    ranks[np.argsort(values, axis=None, kind="stable")] = np.arange(values.size)
    levels: np.ndarray = (ranks * num // values.size).reshape(values.shape)
    return levels


def _normals(heights: Float32[np.ndarray, "N H W"]) -> Float32[np.ndarray, "N H W 3"]:
    """Return the unit normals of a surface of these heights over the image plane."""
    down, right = np.gradient(heights, axis=(1, 2))
    normals = np.stack([-right, -down, np.ones_like(heights)], axis=-1)
    return np.asarray(np.divide(normals, np.linalg.norm(normals, axis=-1, keepdims=True)))
