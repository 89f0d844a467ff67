"""The seven tasks of TransNAS-Bench-101: what a network gives for each, and a minibatch of any images with its labels.

Taskonomy's labels are not at hand everywhere. Where labels can be made from the images they are: puzzles, the image
itself, and stand-ins for segments (levels of brightness) and surface normals (of brightness as a height). Classes of
scenes, objects and rooms are drawn at random: a proxy at initialisation sees noise in them anyway.

Source: Duan et al. 2021 (arXiv:2105.11871).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int, Int32

from jaxnas.data.batch import Batch
from jaxnas.errors import InputError, unknown_name


class Task(NamedTuple):
    """What a network needs to know of a task."""

    head: str  # a name in `networks.heads.HEADS`
    num_classes: int  # outputs, of each pixel for images


TASKS: dict[str, Task] = {
    "class_scene": Task("classification", 47),
    "class_object": Task("classification", 75),
    "room_layout": Task("classification", 9),
    "jigsaw": Task("jigsaw", 1000),  # permutations
    "segmentsemantic": Task("segmentation", 17),
    "normal": Task("image", 3),
    "autoencoder": Task("image", 3),  # published with an adversarial loss beside; left out here
}


def get_task(name: str) -> Task:
    """Return the task called `name`.

    Raises:
        InputError: there is no such task; the message names the nearest.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


def task_batch(name: str, images: Float32[np.ndarray, "N H W C"], seed: int) -> Batch:
    """A minibatch of the task from standardised images; labels that are drawn come from `seed`.

    Raises:
        InputError: the task is unknown, or the images are too small for a puzzle.
    """
    task, rng = get_task(name), np.random.default_rng(seed)
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
    """`num` different orders of nine pieces, always the same."""
    rng = np.random.default_rng(0)
    found: dict[tuple[int, ...], np.ndarray] = {}
    while len(found) < num:
        order = rng.permutation(9)
        found.setdefault(tuple(order), order)
    return np.stack(list(found.values())).astype(np.int32)


def _puzzles(
    images: Float32[np.ndarray, "N H W C"], num_classes: int, rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "N 9 h w C"], Int[np.ndarray, " N"]]:
    """Pieces [N 9 h w C] in a drawn order, and which it is."""
    n, h, w, c = images.shape
    h, w = h // 3, w // 3
    if not h or not w:
        raise InputError(f"images of {images.shape[1]} x {images.shape[2]} pixels cannot be cut into 3 x 3 pieces")
    pieces = images[:, : 3 * h, : 3 * w].reshape(n, 3, h, 3, w, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, 9, h, w, c)
    labels = np.asarray(rng.integers(0, num_classes, n))
    return pieces[np.arange(n)[:, None], permutations(num_classes)[labels]], labels


def _levels(values: Float32[np.ndarray, "N H W"], num: int) -> Int[np.ndarray, "N H W"]:
    """Rank of every value among all, in `num` classes of equal size."""
    ranks = np.empty(values.size, np.int64)
    ranks[np.argsort(values, axis=None, kind="stable")] = np.arange(values.size)
    return (ranks * num // values.size).reshape(values.shape)


def _normals(heights: Float32[np.ndarray, "N H W"]) -> Float32[np.ndarray, "N H W 3"]:
    """Unit normals of a surface over the image plane."""
    down, right = np.gradient(heights, axis=(1, 2))
    normals = np.stack([-right, -down, np.ones_like(heights)], axis=-1)
    return np.divide(normals, np.linalg.norm(normals, axis=-1, keepdims=True))
