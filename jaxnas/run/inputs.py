"""The inputs of a search: images, networks, minibatches and scores."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jaxnas.data.batch import Batch
from jaxnas.data.images import ImageData, minibatch, resize, standardize
from jaxnas.data.load import load_images
from jaxnas.data.tasks import get_task, task_batch
from jaxnas.errors import InputError, unknown_name
from jaxnas.networks import CUSTOM_NETWORKS, NETWORKS, SearchNetwork
from jaxnas.objectives.find import ENDINGS
from jaxnas.objectives.tabular import load_table
from jaxnas.proxies import expand_names
from jaxnas.run.sections import SearchConfig
from jaxnas.runtime.events import Listener
from jaxnas.runtime.places import is_address, to_path, without_secrets
from jaxnas.runtime.records import Record
from jaxnas.scoring.engine import DEFAULT_PROXIES
from jaxnas.spaces import SPACES, SearchSpace, equal_rows, get_space
from jaxnas.store.scores import Scores
from jaxnas.store.shipped import load_scores, shipped_scores
from jaxnas.store.tables import read_scores


def load_standardized(
    name: str, folder: Path | None = None, *, pixels: int | None = None, on_event: Listener | None = None
) -> ImageData:
    """Load images as `load_images` does, each channel with mean 0 and standard deviation 1 over the training set."""
    return standardize(load_images(name, folder, pixels=pixels, on_event=on_event))


def make_network(space: str, data: ImageData, channels: int, cells_per_stage: int, task: str = "") -> SearchNetwork:
    """Make the network of a space, with the classes of the data or with the head of a task.

    Raises:
      InputError: the network of the space has no heads for tasks, or the task is unknown.
    """
    if space in CUSTOM_NETWORKS:
        if task:
            raise InputError(f"space {space!r} has no heads for tasks such as {task!r}: leave the task out")
        return CUSTOM_NETWORKS[space](data.num_classes)
    fields: Record = dict(num_classes=data.num_classes, channels=channels, cells_per_stage=cells_per_stage)
    if task:
        fields["head"], fields["num_classes"] = get_task(task)
        if len(NETWORKS[space].heads) == 1:
            raise InputError(f"space {space!r} has no heads for tasks such as {task!r}: leave the task out")
    return NETWORKS[space](**fields)


def make_batch(data: ImageData, size: int, seed: int, task: str = "", pixels: int | None = None) -> Batch:
    """Draw a class-balanced minibatch of training images, or that of a task, resized to `pixels` if given.

    The default size stands for all images where there are fewer.
    """
    if size == SearchConfig.batch_size:
        size = min(size, len(data.train_labels))
    images, labels = minibatch(data, size, seed)
    if pixels is not None:
        images = resize(images, pixels)
    return task_batch(task, images, seed) if task else Batch(jnp.asarray(images), jnp.asarray(labels))


def load_pool_scores(
    space: str | SearchSpace, scores: Path | str, proxies: tuple[str, ...] = (), without: tuple[str, ...] = ()
) -> Scores:
    """Read the scores of named proxies from a store or a file, or shipped ones by their data set.

    The default is all proxies of a store or file, and RoBoT's six of shipped scores: more are not better, see
    experiments/README.md. A table, such as a CSV, has a column of architectures and a column of numbers for each proxy,
    see `load_table`; a missing value is NaN.

    Args:
      space: the search space, or its name.
      scores: a store or a file, or the name of shipped scores.
      proxies: names of the columns; empty for the default.
      without: columns that are left out of the default, such as the objective in the same file.

    Raises:
      InputError: the file cannot be read, has no such column, or has an architecture twice.
    """
    space = get_space(space) if isinstance(space, str) else space
    found = _read_pool_scores(space, scores, proxies, without)
    if rows := equal_rows(found.archs):
        first, second = (row + 1 for row in rows)
        arch = space.format(found.archs[rows[0]])
        raise InputError(
            f"{without_secrets(str(scores))}, rows {first} and {second}: both are of architecture {arch}; keep one"
        )
    return found


def _read_pool_scores(
    space: SearchSpace, scores: Path | str, proxies: tuple[str, ...], without: tuple[str, ...]
) -> Scores:
    path = Path(scores) if is_address(scores) else to_path(scores)
    proxies = expand_names(proxies)
    if isinstance(scores, str) and (space.name, scores) in shipped_scores():  # a folder of that name is ./NAME
        return load_scores(space.name, scores, proxies or DEFAULT_PROXIES)
    if not is_table(path):
        return read_scores(scores, proxies, None if space.name in SPACES else space)
    table = load_table(path, space)
    for name in proxies:
        if name not in table.columns:
            raise unknown_name("proxy", name, [column for column in table.columns if column not in without])
    names = proxies or tuple(name for name in table.columns if name not in without)
    if not names:
        raise InputError(f"{path} must have a column of scores in addition to the architectures")
    values = np.stack([table.columns[name] for name in names], axis=1)
    return Scores(table.archs, values, names, {"space": space.name, "file": path.name, "texts": list(table.texts)}, {})


def is_table(path: Path) -> bool:
    """Return whether a file is a table of the user's, in place of one that jaxnas wrote."""
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return path.suffix.lower() in ENDINGS and path.suffix.lower() != ".parquet"
    try:
        return b"jaxnas" not in (pq.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError, ValueError):
        return False
