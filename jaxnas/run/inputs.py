"""The inputs of a search: images, networks and minibatches, scores, and tables of accuracies."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxnas.data.batch import Batch
from jaxnas.data.images import ImageData, minibatch, resize, standardize
from jaxnas.data.load import load_images
from jaxnas.data.tasks import get_task, task_batch
from jaxnas.errors import InputError, unknown_name
from jaxnas.networks import NETWORKS, SearchNetwork
from jaxnas.objectives.tabular import Table, load_nasbench201, load_table
from jaxnas.proxies import expand_names
from jaxnas.runtime.events import Listener
from jaxnas.runtime.records import Record
from jaxnas.scoring.engine import DEFAULT_PROXIES
from jaxnas.spaces import SearchSpace, get_space
from jaxnas.store.scores import Scores
from jaxnas.store.shipped import load_scores, shipped_scores
from jaxnas.store.store import read_scores


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
    fields: Record = dict(num_classes=data.num_classes, channels=channels, cells_per_stage=cells_per_stage)
    if task:
        fields["head"], fields["num_classes"] = get_task(task)
        if len(NETWORKS[space].heads) == 1:
            raise InputError(f"space {space!r} has no heads for tasks such as {task!r}: leave the task out")
    return NETWORKS[space](**fields)


def make_batch(data: ImageData, size: int, seed: int, task: str = "", pixels: int | None = None) -> Batch:
    """Draw a class-balanced minibatch of training images, or that of a task, resized to `pixels` if given."""
    images, labels = minibatch(data, size, seed)
    if pixels is not None:
        images = resize(images, pixels)
    return task_batch(task, images, seed) if task else Batch(jnp.asarray(images), jnp.asarray(labels))


def load_pool_scores(space: str, scores: Path | str, proxies: tuple[str, ...] = ()) -> Scores:
    """Read the scores of named proxies from a store or a file, or shipped ones by their data set.

    The default is all proxies of a store or file, and RoBoT's six of shipped scores: more are not better, see
    experiments/README.md. A CSV has a column `arch` of texts of the space and a column of numbers for each proxy; an
    empty cell is NaN.
    """
    path, proxies = Path(scores), expand_names(proxies)
    if not path.exists() and (space, str(scores)) in shipped_scores():
        return load_scores(space, str(scores), proxies or DEFAULT_PROXIES)
    if path.suffix.lower() != ".csv":
        return read_scores(scores, proxies)
    table = load_table(path, get_space(space))
    if unknown := [name for name in proxies if name not in table.columns]:
        raise unknown_name("proxy", unknown[0], table.columns)
    names = tuple(proxies or table.columns)
    if not names:
        raise InputError(f"{path} must have a column of scores in addition to arch")
    values = np.stack([table.columns[name] for name in names], axis=1)
    return Scores(table.archs, values, names, {"space": space, "file": path.name}, {})


def load_accuracies(table: str, space: SearchSpace, folder: Path | None = None) -> Table:
    """Read NAS-Bench-201's accuracies by name, or a CSV or Parquet file."""
    return load_nasbench201(folder) if table == "nasbench201" else load_table(table, space)
