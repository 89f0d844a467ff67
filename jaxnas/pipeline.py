"""The whole road from images to the selected architecture, as the command line walks it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnas.errors import InputError, unknown_name
from jaxnas.images import ImageData, load_images, minibatch, resize, standardize
from jaxnas.networks import NETWORKS
from jaxnas.objectives.sgd import check_config
from jaxnas.objectives.tabular import Table, TabularObjective, load_nasbench201, load_table, tabular_objective
from jaxnas.objectives.trainer import Progress
from jaxnas.objectives.training import TrainingConfig, TrainingObjective
from jaxnas.proxies import Batch, expand_names, orient
from jaxnas.scoring import DEFAULT_PROXIES, ScoringConfig, get_proxies
from jaxnas.search import Query, SearchResult, get_method, get_preset
from jaxnas.shipped import load_scores, shipped_scores
from jaxnas.spaces import SearchSpace, get_space, sample
from jaxnas.store import Scores, read_scores, score_to_store
from jaxnas.table import NORMALIZATIONS, TableReport, normalize
from jaxnas.tasks import get_task, task_batch
from jaxnas.timing import Stopwatch
from jaxnas.workers import Workers


@dataclass(frozen=True)
class RunConfig:
    """What a search depends on; the defaults are the main job: scikit-learn's digits and a small network."""

    space: str = "nasbench201"
    data: str = "digits"  # name or path of the images
    channels: int = 8
    cells_per_stage: int = 1
    proxies: tuple[str, ...] = DEFAULT_PROXIES
    batch_size: int = 64  # images of the minibatch that proxies see
    pool: int = 1000  # architectures drawn from the space, unless scores are given
    normalization: str = "minmax"
    preset: str = "default"  # settings of robot
    method: str = "robot"
    budget: int = 20
    compare: str | None = None  # a second method with the same pool and budget
    table: str | None = None  # where accuracies are looked up, instead of training
    column: str = ""
    test_column: str = ""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    together: int | None = None  # candidates trained at once where the method foresees them; None: one on each device
    at_once: int = 1  # proposed before any of them is trained; more is for workers, and another search
    seed: int = 0

    def __post_init__(self) -> None:
        get_proxies(self.proxies)
        get_method(self.method)
        if self.compare:
            get_method(self.compare)
        get_preset(self.preset)
        if self.normalization not in NORMALIZATIONS:
            raise unknown_name("normalization", self.normalization, NORMALIZATIONS)
        if self.budget < 1:
            raise InputError(f"budget {self.budget} is outside 1 to {self.pool}, the architectures of the pool")
        check_config(self.training)
        if self.at_once < 1 or (self.at_once > 1 and self.table):
            raise InputError(f"{self.at_once} proposals at once: give 1, or more where candidates are trained")
        if self.table and not self.column:
            raise InputError(f"table {self.table} needs the column that the search maximises: give --column")


PAPER: dict[str, dict[str, Any]] = {
    # He et al. 2024 (arXiv:2403.07591): on CIFAR-10, each candidate trained on half of the training images.
    "darts": dict(
        channels=16,
        cells_per_stage=1,
        pool=60_000,
        budget=25,
        training=TrainingConfig(
            epochs=10,
            batch_size=576,
            learning_rate=0.1,
            final_learning_rate=0.005,
            nesterov=False,
            weight_decay=3e-4,
            clip_norm=5.0,
            crop_padding=4,
            flip=True,
            drop_path=0.2,
        ),
    ),
}


def run_config(space: str, preset: str = "default", *, epochs: int | None = None, seed: int = 0, **given) -> RunConfig:
    """The settings of a preset, with those that are `given` and not None in their places.

    "paper" are the published settings of RoBoT and, where a space has some of its own, of its search.
    """
    fields = PAPER.get(space, {}) if preset == "paper" else {}
    training = replace(fields.get("training", TrainingConfig()), seed=seed)
    if epochs is not None:
        training = replace(training, epochs=epochs)
    chosen = {name: value for name, value in given.items() if value is not None}
    return RunConfig(**{**fields, **chosen, "training": training, "space": space, "preset": preset, "seed": seed})


@dataclass(frozen=True)
class Events:
    """Called while a search runs; each does nothing by default."""

    on_stage: Callable[[str], None] = lambda stage: None
    on_scored: Callable[[int, int], None] = lambda done, total: None
    on_damaged: Callable[[str, str], None] = lambda name, message: None
    on_progress: Callable[[list[int], Progress], None] = lambda indices, at: None
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
    seconds: dict[str, float]  # by stage; tracing and compiling are not in the stages but apart

    @property
    def selected(self) -> str:
        """The architecture that config.method selects, as text."""
        return self.space.format(self.scores.archs[self.outcomes[self.config.method].result.selected])

    @property
    def test_accuracy(self) -> float:
        """Of the selected architecture, percent."""
        return self.outcomes[self.config.method].test_accuracy


def load_standardized(name: str, folder: Path | None = None) -> ImageData:
    """Images by name or path, each channel with mean 0 and standard deviation 1 over the training set."""
    return standardize(load_images(name, folder))


def make_network(space: str, data: ImageData, channels: int, cells_per_stage: int, task: str = "") -> nn.Module:
    """The network of a space, with as many classes as the data, or with the head of a task.

    Raises: InputError for a space whose network has no heads for tasks, or an unknown task.
    """
    fields = dict(num_classes=data.num_classes, channels=channels, cells_per_stage=cells_per_stage)
    if task:
        head, fields["num_classes"] = get_task(task)
        if not hasattr(NETWORKS[space], "head"):
            raise InputError(f"space {space!r} has no heads for tasks such as {task!r}: leave the task out")
        return NETWORKS[space](head=head, **fields)
    return NETWORKS[space](**fields)


def make_batch(data: ImageData, size: int, seed: int, task: str = "", pixels: int | None = None) -> Batch:
    """One class-balanced minibatch of training images, resized to `pixels` if they are given, or that of a task."""
    images, labels = minibatch(data, size, seed)
    if pixels is not None:
        images = resize(images, pixels)
    return task_batch(task, images, seed) if task else Batch(jnp.asarray(images), jnp.asarray(labels))


def search_images(
    config: RunConfig,
    folder: Path,
    *,
    data_folder: Path | None = None,
    scores_path: Path | str | None = None,
    workers: Workers | None = None,
    events: Events = Events(),
) -> Run:
    """Score a pool, weight the proxies, query `budget` architectures, and report the best with its test accuracy.

    Scores and trained candidates are kept in the run folder as they come: a search that was killed goes on there.
    `scores_path`, a store or a file, here or in an object store, or the name of shipped scores, brings a pool with its
    scores, all of them unless `config.proxies` is another choice than the default; otherwise `pool` architectures are
    drawn, from the table's if there is one, and scored. `workers` score and train instead of this process.

    Raises: InputError for settings that do not fit, or for files in the run folder that other settings made.
    """
    space = get_space(config.space)
    network = data = None
    if scores_path is None or config.table is None:  # else nothing is scored or trained
        data = load_standardized(config.data, data_folder)
        network = make_network(config.space, data, config.channels, config.cells_per_stage)
    scores = None if scores_path is None else load_pool_scores(config.space, scores_path, _chosen(config))
    table = None if config.table is None else load_accuracies(config.table, space, data_folder)
    return _search(config, space, network, data, folder, events, scores, table, workers)


def search_network(
    network: nn.Module,
    data: ImageData,
    folder: Path | str,
    *,
    pool: int = 1000,
    budget: int = 20,
    training: TrainingConfig | None = None,
    seed: int = 0,
    workers: Workers | None = None,
    events: Events = Events(),
    **settings: Any,
) -> Run:
    """`search_images` in the space of any network, on any standardised data.

    Args: network, which names its `space`; data, see `from_arrays` and `standardize`; folder, for scores, trained
      candidates, and a later call that goes on; settings, further fields of `RunConfig`.
    Raises: InputError for settings that do not fit.
    """
    space: SearchSpace = network.space
    training = replace(training or TrainingConfig(), seed=seed)
    size = {name: getattr(network, name, 0) for name in ("channels", "cells_per_stage")}  # 0: it has no such field
    fields: dict[str, Any] = {**size, "pool": pool, "budget": budget, "seed": seed, **settings}
    config = RunConfig(space=space.name, data=data.name, training=training, **fields)
    return _search(config, space, network, data, Path(folder), events, workers=workers)


def _search(config, space, network, data, folder, events, scores=None, table=None, workers=None):
    pool = _draw_pool(config, space, table) if scores is None else scores.archs
    if config.budget > len(pool):
        raise InputError(f"budget {config.budget} is outside 1 to {len(pool)}, the architectures of the pool")
    objective: TrainingObjective | TabularObjective  # made before scoring, so that what does not fit is said at once
    if table is None:
        record = folder / "training.jsonl"
        how = dict(space=space, together=config.together, workers=workers)
        objective = TrainingObjective(network, pool, data, config.training, record, events.on_progress, **how)
    else:
        objective = tabular_objective(table, space, pool, config.column, config.test_column)
    watch = Stopwatch()
    with watch.stage("scoring"):
        if scores is None:
            events.on_stage("scoring")
            scores = _score(config, space, network, pool, data, folder, events, workers)
        normalized, masked = normalize(orient(scores.values, scores.proxies), config.normalization)
    results = {}
    for method in dict.fromkeys(filter(None, [config.method, config.compare])):
        events.on_stage(method)
        with watch.stage("searching"):
            results[method] = _run_method(method, config, pool, normalized, objective, events)
    if isinstance(objective, TrainingObjective):
        watch.seconds["training"] = objective.seconds_trained
        watch.seconds["searching"] -= objective.seconds_trained
    with watch.stage("testing"):  # the test images are not touched before
        outcomes = {
            method: Outcome(result, objective.test_accuracy(result.selected)) for method, result in results.items()
        }
    return Run(config, space, scores, masked, outcomes, watch.seconds)


def load_pool_scores(space: str, scores: Path | str, proxies: tuple[str, ...] = ()) -> Scores:
    """Scores of a store, of a file, or shipped ones by their data set; all proxies unless some are named.

    A CSV has a column `arch` of the space's strings and one of numbers for each proxy, an empty cell being NaN.
    """
    path, proxies = Path(scores), expand_names(proxies)
    if not path.exists() and (space, str(scores)) in shipped_scores():
        return load_scores(space, str(scores), proxies)
    if path.suffix.lower() != ".csv":
        return read_scores(scores, proxies)
    table = load_table(path, get_space(space))
    if unknown := [name for name in proxies if name not in table.columns]:
        raise unknown_name("proxy", unknown[0], table.columns)
    names = tuple(proxies or table.columns)
    if not names:
        raise InputError(f"{path} has no column of scores beside arch")
    values = np.stack([table.columns[name] for name in names], axis=1)
    return Scores(table.archs, values, names, {"space": space, "file": path.name}, {})


def load_accuracies(table: str, space: SearchSpace, folder: Path | None = None) -> Table:
    """NAS-Bench-201's accuracies by name, or a CSV or Parquet file."""
    return load_nasbench201(folder) if table == "nasbench201" else load_table(table, space)


def _chosen(config):
    return () if config.proxies == DEFAULT_PROXIES else config.proxies  # by default all that there are


def _draw_pool(config, space, table):
    if table is None:
        return sample(space, config.pool, config.seed)
    rows = np.random.default_rng(config.seed).permutation(len(table.archs))[: config.pool]
    return table.archs[rows]


def _score(config, space, network, pool, data, folder, events, workers):
    return score_to_store(
        folder / "scores",
        space,
        network,
        pool,
        make_batch(data, config.batch_size, config.seed),
        config.proxies,
        ScoringConfig(seed=config.seed),
        data_name=config.data,
        workers=workers,
        on_chunk=events.on_scored,
        on_damaged=events.on_damaged,
    )


def _run_method(method, config, pool, table, objective, events):
    """Look-ups go in as an array, which the jitted loop takes; training as a function of the index."""
    trained = isinstance(objective, TrainingObjective)
    return get_method(method)(
        table,
        objective if trained else objective.values,
        budget=config.budget,
        seed=config.seed,
        config=get_preset(config.preset) if method == "robot" else None,
        on_query=events.on_query,
        costs=objective.cost if trained else None,
        archs=pool,
        at_once=config.at_once,
    )
