"""A search from images or a table to the selected architecture: draw a pool, score, normalise, search, test."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int8

from jaxnas.data.images import ImageData
from jaxnas.errors import InputError
from jaxnas.networks import SearchNetwork, describe
from jaxnas.networks.network import require_network
from jaxnas.objectives.tabular import Table, TabularObjective, align, load_ids, tabular_objective
from jaxnas.objectives.training import TrainingConfig
from jaxnas.run.config import RunConfig, run_config
from jaxnas.run.inputs import load_pool_scores, load_standardized, make_network
from jaxnas.run.origin import describe_origin, keep_origin
from jaxnas.run.own import OwnObjective, own_objective
from jaxnas.run.pipeline import methods_of, search_pool
from jaxnas.run.run import Run
from jaxnas.run.sections import ProblemConfig
from jaxnas.run.sizes import Sizes, filter_texts, sizes_of_scores, within_limits
from jaxnas.run.supernet import Supernet
from jaxnas.run.tables import (
    check_latency_column,
    check_methods,
    leave_out_unmeasured,
    load_accuracies,
    look_up,
    matching_scores,
    size_columns,
)
from jaxnas.runtime.bars import showing
from jaxnas.runtime.events import Listener, Noted, ignore
from jaxnas.runtime.files import make_writable
from jaxnas.runtime.places import to_path
from jaxnas.runtime.records import Record
from jaxnas.runtime.settings import Whole
from jaxnas.runtime.workers import Workers
from jaxnas.spaces import SearchSpace, check_archs, get_space, sample
from jaxnas.spaces.ids import IDS, id_space


def search_images(
    config: RunConfig,
    folder: Path | str,
    *,
    data_folder: Path | None = None,
    scores_path: Path | str | None = None,
    record: Path | None = None,
    workers: Workers | None = None,
    on_event: Listener = ignore,
    events: Listener | None = None,
) -> Run:
    """Score a pool, weight the proxies, query `budget` architectures, and report the best with its test accuracy.

    Scores and trained candidates are kept in the folder as they come: the same call continues a search that was
    killed.

    Args:
      config: settings of the search.
      folder: folder of scores and trained candidates.
      data_folder: folder of public images and tables, see `jaxnas.data_folder`.
      scores_path: a store or a file, local or in an object store, or the name of shipped scores. They define the
        pool, with all their proxies unless `config.search.proxies` names some. Of a table, the architectures that have
        both are searched. By default `config.search.pool` architectures are drawn, from the table if there is one, and
        scored; see `given_scores` for tables by name.
      record: file of trained candidates, which searches may share; None for one in the folder.
      workers: workers that score and train in place of this process.
      on_event: receives the events of the search, see `jaxnas.runtime.events`.
      events: deprecated name of `on_event`.

    Returns:
      The finished search; `Run.save` writes its files.

    Raises:
      InputError: settings that do not fit, or files in the folder that other settings made.
    """
    on_event, folder = _listener(on_event, events), to_path(folder)
    problem = config.problem
    scores_path = given_scores(config, scores_path)
    if problem.table is not None and scores_path is not None:
        return _search_tables(config, problem.table, scores_path, folder, data_folder, on_event)
    own = own_objective(config, folder)
    if own is not None and scores_path is not None:
        return _search_scores(config, scores_path, own, on_event)
    if problem.space == IDS:
        raise InputError(f"the architectures of table {problem.table} are of no known space: give --scores for them")
    space = get_space(problem.space)
    scores = None
    if scores_path is not None:
        scores = load_pool_scores(problem.space, scores_path, config.search.read)
    config = _name_proxies(config, config.search.scored if scores is None else scores.proxies)
    table, unmeasured = _load_measured(config, space, data_folder)
    pool = draw_pool(config, space, table) if scores is None else scores.archs
    config = _fit_budget(config, pool)
    if scores is not None and (config.limits.limited or len(config.limits.objective) > 1):
        raise InputError("limits and fronts need --table where --scores are given: give it, or leave --scores out")
    make_writable(folder)
    for note in unmeasured:
        on_event(Noted(note))
    data = load_standardized(problem.data, data_folder, pixels=problem.pixels, on_event=on_event)
    network = make_network(problem.space, data, config.network.channels, config.network.cells_per_stage)
    supernet = Supernet(config, space, network, data, folder, record, workers, on_event, config.search.scored)
    if scores is None:
        pool = supernet.limit(pool)
        config = _fit_budget(config, pool)
    looked_up = None if table is None else _looked_up(config, space, pool, table)
    objective = own or looked_up or supernet.train(pool)
    score = partial(supernet.score, pool) if scores is None else lambda: (scores, sizes_of_scores(scores))
    origin = None if table is not None else describe_origin(network, data, problem.data, problem.pixels)
    latencies = supernet.latencies if scores is None else None
    return search_pool(config, space, pool, objective, score, data, on_event, origin, latencies, data_folder)


def _load_measured(
    config: RunConfig, space: SearchSpace, data_folder: Path | None
) -> tuple[Table | None, tuple[str, ...]]:
    """Return the architectures of the table that have an objective, and lines on the others; None without a table."""
    if config.problem.table is None:
        return None, ()
    table = load_accuracies(config.problem.table, space, data_folder)
    align(table, space, table.archs, config.problem.column)  # the column is known, the architectures are distinct
    return leave_out_unmeasured(table, config.problem.column)


def given_scores(config: RunConfig, scores: Path | str | None) -> Path | str | None:
    """Return the scores of a search: those given, or the shipped ones on the images of a table by name.

    A table by name is of other images than the default ones: their scores are taken unless other images are chosen.

    Returns:
      None where a pool is scored.

    Raises:
      InputError: the package has no scores on the images of the table's column.
    """
    problem = config.problem
    if scores is None and problem.data == ProblemConfig.data:
        return matching_scores(problem.table, problem.column)
    return scores


def _search_tables(
    config: RunConfig, table: str, scores: Path | str, folder: Path, data_folder: Path | None, on_event: Listener
) -> Run:
    """Search among the architectures that have both a row of the table and scores."""
    problem = config.problem
    columns = problem.column, problem.test_column
    found = look_up(problem.space, table, columns, scores, config.search.read, data_folder, config.limits)
    config = _name_proxies(config, found.scores.proxies)
    _check_front(config, found.sizes, f"{table} or {scores}")
    check_methods(found.space, methods_of(config))
    config = _fit_budget(config, found.scores.archs)
    make_writable(folder)
    for note in found.notes:
        on_event(Noted(note))
    pool, known = found.scores.archs, (found.scores, found.sizes)
    return search_pool(
        config, found.space, pool, found.objective, lambda: known, None, on_event, data_folder=data_folder
    )


def _search_scores(config: RunConfig, path: Path | str, own: OwnObjective, on_event: Listener) -> Run:
    """Search among the architectures of scores, which an objective of the user's evaluates."""
    name = config.problem.space
    space = id_space(load_ids(path)) if name == IDS else get_space(name)
    scores = load_pool_scores(space, path, config.search.read)
    config = _name_proxies(config, scores.proxies)
    sizes = size_columns(path, space, scores.archs, config.limits.latency_column)
    check_methods(space, methods_of(config))
    check_latency_column(config.limits, sizes, str(path))
    if config.limits.limited:
        within, note = within_limits(config.limits, sizes)
        on_event(Noted(note))
        texts = [space.format(arch) for arch in scores.archs[within]]
        space = id_space(texts) if name == IDS else space
        archs = np.stack([space.parse(text) for text in texts])
        scores = scores._replace(archs=archs, values=scores.values[within])
        sizes = {size: values[within] for size, values in sizes.items()}
    _check_front(config, sizes, str(path))
    config = _fit_budget(config, scores.archs)
    make_writable(own.folder)
    on_event(Noted(f"{len(scores.archs):,} architectures; proxies {', '.join(scores.proxies)} of {path}"))
    return search_pool(config, space, scores.archs, own, lambda: (scores, sizes), None, on_event)


def search_network(
    network: SearchNetwork,
    data: ImageData,
    folder: Path | str,
    *,
    pool: Whole = 1000,
    budget: Whole | None = None,
    training: TrainingConfig | None = None,
    seed: Whole = 0,
    workers: Workers | None = None,
    on_event: Listener = ignore,
    progress: bool | None = None,
    events: Listener | None = None,
    archs: Sequence[str] | Int8[np.ndarray, "A D"] | None = None,
    keep: Callable[[str], object] | None = None,
    **settings: object,
) -> Run:
    """Search the space of any network on any standardised images, as `search_images` does, and save the run.

    Args:
      network: a supernet, which names its `space`.
      data: images, see `from_arrays` and `standardize`.
      folder: for scores, trained candidates and the files of the run, which `load_run` reads. The same call continues
        a search that was killed.
      pool: architectures drawn and scored.
      budget: architectures trained; None for 20, or with `time` as many as it allows.
      training: hyperparameters of the training of candidates.
      seed: seed of everything drawn at random.
      workers: workers that score and train in place of this process.
      on_event: receives the events of the search, see `jaxnas.runtime.events`.
      progress: whether bars are shown; None shows them in a terminal or a notebook.
      events: deprecated name of `on_event`.
      archs: the pool, as texts or vectors of the space, in place of `pool` drawn architectures.
      keep: returns whether the architecture of a text may be in the pool.
      **settings: further flat names of `run_config`; `proxies` may be a dictionary of functions, see `score_archs`, and
        `objective` a function of the text of an architecture that returns its objective, see `Study.run`.

    Returns:
      The finished search.

    Raises:
      InputError: settings that do not fit.
    """
    require_network(network)
    if not isinstance(data, ImageData):
        raise InputError(f"`data` must be images, see `load_images` and `from_arrays`, got {type(data).__name__}")
    with showing(_listener(on_event, events), progress) as on_event:
        space: SearchSpace = network.space
        fields_of_network = describe(network)
        size = {name: fields_of_network.get(f"network.{name}", 0) for name in ("channels", "cells_per_stage")}
        functions = settings.get("proxies")
        if isinstance(functions, Mapping):
            settings["proxies"] = settings["custom"] = tuple(functions)
        function = settings.get("objective")
        if callable(function):
            name = getattr(function, "__name__", type(function).__name__)
            settings["objective"] = ("objective" if name == "accuracy" else name,)  # accuracy stands for training
        flat: Record = {**size, "pool": pool, "budget": budget, "seed": seed, "training": training, **settings}
        config = run_config(space.name, **{"data": data.name, **flat})
        config = _name_proxies(config, config.search.scored)
        chosen = draw_pool(config, space) if archs is None else _to_vectors(space, archs)
        if keep is not None:
            chosen = chosen[filter_texts([space.format(arch) for arch in chosen], keep)]
            on_event(Noted(f"{len(chosen):,} architectures are kept"))
        config = _fit_budget(config, chosen)
        folder = to_path(folder).absolute()  # as an objective of the user's may change the working directory
        make_writable(folder)
        proxies = functions if isinstance(functions, Mapping) else config.search.scored
        supernet = Supernet(config, space, network, data, folder, None, workers, on_event, proxies)
        chosen = supernet.limit(chosen)
        config = _fit_budget(config, chosen)
        own = own_objective(config, folder, function if callable(function) else None)
        objective, origin = own or supernet.train(chosen), keep_origin(folder, network, data)
        score = partial(supernet.score, chosen)
        found = search_pool(config, space, chosen, objective, score, data, on_event, origin, supernet.latencies)
        run = found._replace(folder=folder)
        run.save(folder)
        return run


def draw_pool(config: RunConfig, space: SearchSpace, table: Table | None = None) -> Int8[np.ndarray, "A D"]:
    """Draw the architectures that are scored: of the table if there is one, else of the whole space."""
    if table is None:
        return sample(space, config.search.pool, config.seed)
    rows = np.random.default_rng(config.seed).permutation(len(table.archs))[: config.search.pool]
    return table.archs[rows]


def _to_vectors(space: SearchSpace, archs: Sequence[str] | Int8[np.ndarray, "A D"]) -> Int8[np.ndarray, "a D"]:
    """Return distinct architectures, given as texts or vectors, as vectors."""
    if not len(archs):
        raise InputError("`archs` must have at least one architecture, got none: leave it out to draw a pool")
    vectors = check_archs(space, np.stack([space.parse(arch) if isinstance(arch, str) else arch for arch in archs]))
    _, first = np.unique(vectors, axis=0, return_index=True)
    return vectors[np.sort(first)]


def _looked_up(config: RunConfig, space: SearchSpace, pool: Int8[np.ndarray, "A D"], table: Table) -> TabularObjective:
    return tabular_objective(table, space, pool, config.problem.column, config.problem.test_column)


def _check_front(config: RunConfig, sizes: Sizes, source: str) -> None:
    """Check that every size that the objectives trade off is known."""
    if missing := [name for name in config.limits.objective[1:] if name not in sizes]:
        raise InputError(f"the objective {missing[0]} needs a column of that name in {source}")


def _fit_budget(config: RunConfig, pool: Int8[np.ndarray, "A D"]) -> RunConfig:
    """Check that the pool has as many architectures as the budget; with a limit of time the budget is a bound."""
    search = config.search
    if search.time is not None:
        return replace(config, search=replace(search, budget=min(search.budget, len(pool))))
    if search.budget > len(pool):
        raise InputError(f"`budget` must be from 1 to {len(pool)}, the architectures of the pool, got {search.budget}")
    return config


def _name_proxies(config: RunConfig, proxies: Sequence[str]) -> RunConfig:
    """Return the settings with the names of the proxies that the search combines, as its record keeps them."""
    search = config.search
    return replace(config, search=replace(search, proxies=tuple(proxies), custom=(*search.custom, *proxies)))


def _listener(on_event: Listener, events: Listener | None) -> Listener:
    """Return the listener by its present or its former keyword."""
    if events is None:
        return on_event
    warnings.warn("the keyword `events` is now `on_event`", DeprecationWarning, stacklevel=3)
    return events
