"""The whole road from images to the selected architecture, as the command line walks it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnas.errors import InputError, unknown_name
from jaxnas.images import ImageData, load_images, minibatch, standardize
from jaxnas.networks import NETWORKS
from jaxnas.objectives.tabular import load_nasbench201, load_table, tabular_objective
from jaxnas.objectives.training import TrainingConfig, TrainingObjective
from jaxnas.proxies import Batch
from jaxnas.scoring import DEFAULT_PROXIES, get_proxies
from jaxnas.search import Query, SearchResult, get_method
from jaxnas.spaces import SearchSpace, get_space, sample
from jaxnas.store import Scores, read_scores, score_to_file
from jaxnas.table import NORMALIZATIONS, TableReport, normalize


@dataclass(frozen=True)
class RunConfig:
    """What a search depends on; the defaults are the main job: scikit-learn's digits and a small network."""

    space: str = "nasbench201"
    data: str = "digits"  # name or path of the images
    channels: int = 8
    cells_per_stage: int = 1
    proxies: tuple[str, ...] = DEFAULT_PROXIES
    batch_size: int = 64  # images of the minibatch that proxies see
    pool: int = 1000  # architectures drawn from the space, unless a score file names them
    normalization: str = "minmax"
    method: str = "robot"
    budget: int = 20
    compare: str | None = None  # a second method with the same pool and budget
    table: str | None = None  # where accuracies are looked up, instead of training
    column: str = ""
    test_column: str = ""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        get_space(self.space)
        get_proxies(self.proxies)
        get_method(self.method)
        if self.compare:
            get_method(self.compare)
        if self.normalization not in NORMALIZATIONS:
            raise unknown_name("normalization", self.normalization, NORMALIZATIONS)
        if not 1 <= self.budget <= self.pool:
            raise InputError(f"budget {self.budget} is outside 1 to {self.pool}, the number of architectures")
        if self.table and not self.column:
            raise InputError(f"table {self.table} needs the column that the search maximises: give --column")


@dataclass(frozen=True)
class Events:
    """Called while a search runs; each does nothing by default."""

    on_stage: Callable[[str], None] = lambda stage: None
    on_scored: Callable[[int, int], None] = lambda done, total: None
    on_epoch: Callable[[int, int, int, float], None] = lambda index, epoch, epochs, loss: None
    on_query: Callable[[Query], None] = lambda query: None


class Outcome(NamedTuple):
    """What one method found."""

    result: SearchResult
    test_accuracy: float  # of the selected architecture, percent; NaN where the table has none


class Run(NamedTuple):
    """A finished search: the first outcome is that of config.method, a second that of config.compare."""

    config: RunConfig
    space: SearchSpace
    scores: Scores
    masked: TableReport
    outcomes: dict[str, Outcome]
    seconds: dict[str, float]  # scoring, training, searching


def load_standardized(name: str, folder: Path | None = None) -> ImageData:
    """Images by name or path, each channel with mean 0 and standard deviation 1 over the training set."""
    return standardize(load_images(name, folder))


def make_network(space: str, data: ImageData, channels: int, cells_per_stage: int) -> nn.Module:
    """The network of a space, with as many classes as the data."""
    return NETWORKS[space](num_classes=data.num_classes, channels=channels, cells_per_stage=cells_per_stage)


def make_batch(data: ImageData, size: int, seed: int) -> Batch:
    """One class-balanced minibatch of training images."""
    images, labels = minibatch(data, size, seed)
    return Batch(jnp.asarray(images), jnp.asarray(labels))


def search_images(
    config: RunConfig,
    folder: Path,
    *,
    data_folder: Path | None = None,
    scores_path: Path | None = None,
    events: Events = Events(),
) -> Run:
    """Score a pool, weight the proxies, query `budget` architectures, and report the best with its test accuracy.

    Scores and trained candidates are kept in the run folder as they come: a search that was killed goes on there.
    `scores_path` brings a pool with its scores; otherwise `pool` architectures are drawn, from the table's if there is
    one, and scored.

    Raises: InputError for settings that do not fit, or for files in the run folder that other settings made.
    """
    space = get_space(config.space)
    data = load_standardized(config.data, data_folder)
    network = make_network(config.space, data, config.channels, config.cells_per_stage)
    table = _load_table(config, space, data_folder)
    started = time.perf_counter()
    events.on_stage("scoring")
    scores = read_scores(scores_path) if scores_path else _score(config, space, network, data, table, folder, events)
    normalized, masked = normalize(scores.values, config.normalization)
    seconds = {"scoring": time.perf_counter() - started}
    events.on_stage("searching")
    started = time.perf_counter()
    objective: Any
    values: Any
    if table is None:
        objective = TrainingObjective(
            network,
            scores.archs,
            data,
            config.training,
            folder / "training.jsonl",
            space=space,
            on_epoch=events.on_epoch,
        )
        values = objective
    else:
        objective = tabular_objective(table, space, scores.archs, config.column, config.test_column)
        values = objective.values
    outcomes: dict[str, Outcome] = {}
    for method in dict.fromkeys([config.method, *([config.compare] if config.compare else [])]):
        result = get_method(method)(
            normalized,
            values,
            budget=config.budget,
            seed=config.seed,
            on_query=events.on_query,
        )
        outcomes[method] = Outcome(result, objective.test_accuracy(result.selected))
    seconds["training"] = sum(float(np.nansum(outcome.result.cost)) for outcome in outcomes.values())
    seconds["searching"] = time.perf_counter() - started - seconds["training"]
    return Run(config, space, scores, masked, outcomes, seconds)


def _score(config, space, network, data, table, folder, events):
    archs = table.archs if table is not None else None
    if archs is None:
        archs = sample(space, config.pool, config.seed)
    elif config.pool < len(archs):
        archs = archs[np.random.default_rng(config.seed).choice(len(archs), config.pool, replace=False)]
    return score_to_file(
        folder / "scores.parquet",
        space,
        network,
        archs,
        make_batch(data, config.batch_size, config.seed),
        config.proxies,
        data_name=config.data,
        seed=config.seed,
        on_chunk=events.on_scored,
    )


def _load_table(config, space, data_folder):
    if config.table is None:
        return None
    return load_nasbench201(data_folder) if config.table == "nasbench201" else load_table(config.table, space)
