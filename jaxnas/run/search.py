"""The whole road from images to the selected architecture, as the command line walks it."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxnas.data.batch import Batch
from jaxnas.data.images import ImageData, load_images, minibatch, resize, standardize
from jaxnas.data.tasks import get_task, task_batch
from jaxnas.errors import InputError, unknown_name
from jaxnas.networks import NETWORKS
from jaxnas.objectives.tabular import Table, TabularObjective, load_nasbench201, load_table, tabular_objective
from jaxnas.objectives.trainer import Progress
from jaxnas.objectives.training import TrainingConfig, TrainingObjective
from jaxnas.proxies import expand_names, orient
from jaxnas.run.config import RunConfig, run_config
from jaxnas.run.run import Outcome, Run
from jaxnas.runtime.timing import Stopwatch
from jaxnas.runtime.workers import Workers
from jaxnas.scoring.engine import DEFAULT_PROXIES
from jaxnas.search import Query, get_method, get_preset
from jaxnas.spaces import SearchSpace, get_space, sample
from jaxnas.store.scores import Scores
from jaxnas.store.shipped import load_scores, shipped_scores
from jaxnas.store.store import make_environment, read_scores, score_to_store
from jaxnas.table.normalize import normalize


@dataclass(frozen=True)
class Events:
    """Called while a search runs; each does nothing by default."""

    on_start: Callable[[RunConfig, SearchSpace, np.ndarray], None] = lambda config, space, archs: None  # the pool's
    on_stage: Callable[[str], None] = lambda stage: None
    on_scored: Callable[[int, int], None] = lambda done, total: None
    on_damaged: Callable[[str, str], None] = lambda name, message: None
    on_progress: Callable[[list[int], Progress], None] = lambda indices, at: None
    on_query: Callable[[Query], None] = lambda query: None
    on_done: Callable[[Run], None] = lambda run: None

    def also(self, other: "Events") -> "Events":
        """Both: each callback of this one, then that of the other."""

        def both(first, second):
            def call(*event):
                first(*event)
                second(*event)

            return call

        pairs = {one.name: (getattr(self, one.name), getattr(other, one.name)) for one in fields(self)}
        return Events(**{name: both(*pair) for name, pair in pairs.items()})


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
    scores, all of them unless `config.search.proxies` is another choice than the default; otherwise `pool`
    architectures are drawn, from the table's if there is one, and scored. `workers` score and train instead of this
    process.

    Raises: InputError for settings that do not fit, or for files in the run folder that other settings made.
    """
    space = get_space(config.problem.space)
    network = data = None
    if scores_path is None or config.problem.table is None:  # else nothing is scored or trained
        data = load_standardized(config.problem.data, data_folder)
        network = make_network(config.problem.space, data, config.network.channels, config.network.cells_per_stage)
    scores = None if scores_path is None else load_pool_scores(config.problem.space, scores_path, _chosen(config))
    table = None if config.problem.table is None else load_accuracies(config.problem.table, space, data_folder)
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
      candidates, a later call that goes on, and the run's files (see `load_run`); settings, further flat names of
      `run_config`.
    Raises: InputError for settings that do not fit.
    """
    space: SearchSpace = network.space
    size = {name: getattr(network, name, 0) for name in ("channels", "cells_per_stage")}  # 0: it has no such field
    fields: dict[str, Any] = {**size, "pool": pool, "budget": budget, "seed": seed, "training": training, **settings}
    config = run_config(space.name, **{"preset": "default", "data": data.name, **fields})
    run = _search(config, space, network, data, Path(folder), events, workers=workers)
    run.save(folder)
    return run


def _search(config, space, network, data, folder, events, scores=None, table=None, workers=None):
    pool = _draw_pool(config, space, table) if scores is None else scores.archs
    if config.search.budget > len(pool):
        raise InputError(f"budget {config.search.budget} is outside 1 to {len(pool)}, the architectures of the pool")
    objective: TrainingObjective | TabularObjective  # made before scoring, so that what does not fit is said at once
    if table is None:
        record = folder / "training.jsonl"
        how = dict(space=space, together=config.search.together, workers=workers)
        objective = TrainingObjective(network, pool, data, config.training, record, events.on_progress, **how)
    else:
        objective = tabular_objective(table, space, pool, config.problem.column, config.problem.test_column)
    events.on_start(config, space, pool)
    watch = Stopwatch()
    with watch.stage("scoring"):
        if scores is None:
            events.on_stage("scoring")
            scores = _score(config, space, network, pool, data, folder, events, workers)
        normalized, masked = normalize(orient(scores.values, scores.proxies), config.search.normalization)
    results = {}
    for method in dict.fromkeys(filter(None, [config.search.method, config.search.compare])):
        events.on_stage(method)
        with watch.stage("searching"):
            results[method] = _run_method(method, config, pool, normalized, objective, events)
    if isinstance(objective, TrainingObjective):
        watch.seconds["training"] = objective.seconds_trained
        watch.seconds["searching"] = max(0.0, watch.seconds["searching"] - objective.seconds_trained)  # two clocks
    with watch.stage("testing"):  # the test images are not touched before
        outcomes = {
            method: Outcome(result, objective.test_accuracy(result.selected)) for method, result in results.items()
        }
    environment = make_environment(sum(watch.seconds.values()))
    run = Run(config, space, scores, masked, outcomes, watch.seconds, environment)
    events.on_done(run)
    return run


def load_pool_scores(space: str, scores: Path | str, proxies: tuple[str, ...] = ()) -> Scores:
    """Scores of a store, of a file, or shipped ones by their data set, of the proxies named.

    By default all that a store or file has, and of shipped ones RoBoT's six: more are not better, see
    experiments/README.md. A CSV has a column `arch` of the space's strings and one of numbers for each proxy, an empty
    cell being NaN.
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
        raise InputError(f"{path} has no column of scores beside arch")
    values = np.stack([table.columns[name] for name in names], axis=1)
    return Scores(table.archs, values, names, {"space": space, "file": path.name}, {})


def load_accuracies(table: str, space: SearchSpace, folder: Path | None = None) -> Table:
    """NAS-Bench-201's accuracies by name, or a CSV or Parquet file."""
    return load_nasbench201(folder) if table == "nasbench201" else load_table(table, space)


def _chosen(config):
    return () if config.search.proxies == DEFAULT_PROXIES else config.search.proxies  # by default all that there are


def _draw_pool(config, space, table):
    if table is None:
        return sample(space, config.search.pool, config.seed)
    rows = np.random.default_rng(config.seed).permutation(len(table.archs))[: config.search.pool]
    return table.archs[rows]


def _score(config, space, network, pool, data, folder, events, workers):
    return score_to_store(
        folder / "scores",
        space,
        network,
        pool,
        make_batch(data, config.search.batch_size, config.seed),
        config.search.proxies,
        config.scoring,
        data_name=config.problem.data,
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
        budget=config.search.budget,
        seed=config.seed,
        config=get_preset(config.search.preset) if method == "robot" else None,
        on_query=events.on_query,
        costs=objective.cost if trained else None,
        archs=pool,
        at_once=config.search.at_once,
    )
