"""The pipeline of every search: score the pool, normalise the scores, run each method on them, test what it selects."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int8

from jaxnas.data.images import ImageData
from jaxnas.errors import InputError
from jaxnas.objectives.tabular import TabularObjective
from jaxnas.objectives.training import TrainingObjective
from jaxnas.proxies import orient
from jaxnas.run.advice import ImageSummary, advise, summarize_images
from jaxnas.run.config import RunConfig
from jaxnas.run.ending import TimeLimit, confirm, num_to_search
from jaxnas.run.latency import Latencies
from jaxnas.run.own import OwnObjective
from jaxnas.run.record import describe_space, run_record
from jaxnas.run.run import Outcome, Run
from jaxnas.run.sizes import Sizes
from jaxnas.run.warm_start import load_earlier
from jaxnas.runtime.events import Listener, Noted, SearchFinished, SearchStarted, StageStarted
from jaxnas.runtime.records import Record, to_plain
from jaxnas.runtime.timing import Ahead, Stopwatch
from jaxnas.search import RobotConfig, SearchResult, get_method, get_preset
from jaxnas.search.inputs import method_settings
from jaxnas.search.stepped import compile_steps
from jaxnas.spaces import SearchSpace
from jaxnas.spaces.ids import IDS
from jaxnas.store.scores import Scores
from jaxnas.store.store import make_environment
from jaxnas.table.normalize import normalize


def search_pool(
    config: RunConfig,
    space: SearchSpace,
    pool: Int8[np.ndarray, "A D"],
    objective: TrainingObjective | TabularObjective | OwnObjective,
    score: Callable[[], tuple[Scores, Sizes]],
    data: ImageData | None,
    on_event: Listener,
    origin: Record | None = None,
    latencies: Latencies | None = None,
    data_folder: Path | None = None,
) -> Run:
    """Score the pool, normalise the scores, run each method on them, and test what it selects.

    The objective was made before scoring, which may take hours, so that settings that do not fit are refused at once.
    """
    check_written(config, space)
    earlier = load_earlier(config, methods_of(config), space, pool, data_folder, on_event)
    if isinstance(objective, TrainingObjective) and config.training != objective.config:
        config = replace(config, training=objective.config)
        on_event(Noted(objective.schedule))
    on_event(SearchStarted(_title(config), config.record(), lambda row: space.format(pool[row]), config.measured))
    watch, began = Stopwatch(), time.perf_counter()
    ahead = _compile_ahead(config, pool, objective, earlier)
    with watch.stage("scoring"):
        try:
            scores, sizes = score()
        except BaseException:
            ahead.cancel()
            raise
        table, masked = normalize(orient(scores.values, scores.proxies), config.search.normalization)
    vectors = None if space.name == IDS else pool  # the digits of an id mean nothing
    results: dict[str, SearchResult] = {}
    confirmed: dict[str, dict[int, float]] = {}
    for method in methods_of(config):
        on_event(StageStarted(method))
        with watch.stage("searching"):
            ahead.wait()
            limit = TimeLimit(config.search, began, share=len(methods_of(config)) - len(results))
            if isinstance(objective, OwnObjective):
                results[method] = objective.run(method, config, space, pool, table, on_event)
            else:
                with objective.exclusive() if isinstance(objective, TrainingObjective) else nullcontext():
                    results[method] = _run_method(method, config, vectors, table, objective, limit, on_event, earlier)
            limit.tell(len(results[method].queries), on_event)
    if isinstance(objective, TrainingObjective) and config.search.confirm:
        with watch.stage("confirming"):
            again = objective.from_another_seed()
            with again.exclusive():
                for method, result in results.items():
                    confirmed[method], selected = confirm(result, again, config.search.confirm)
                    results[method] = replace(result, selected=selected)
    if isinstance(objective, TrainingObjective):
        watch.seconds["training"] = objective.seconds_trained
        watch.seconds["searching"] = max(0.0, watch.seconds["searching"] - objective.seconds_trained)  # two clocks
    with watch.stage("testing"):  # the test images are not touched before
        outcomes = {
            method: Outcome(result, objective.test_accuracy(result.selected), confirmed.get(method, {}))
            for method, result in results.items()
        }
    environment = make_environment(sum(watch.seconds.values()))
    images, notes = _look_at_images(data, objective, outcomes)
    for message in notes:
        on_event(Noted(message, is_warning=True))
    run = Run(
        config,
        space,
        scores,
        masked,
        outcomes,
        watch.seconds,
        environment,
        origin=origin,
        images=images,
        notes=notes,
        sizes=sizes if latencies is None else {**sizes, "latency": latencies.of(pool)},
        latency=None if latencies is None else latencies.record(),
    )
    on_event(SearchFinished(run_record(run)))
    return run


def _compile_ahead(
    config: RunConfig,
    pool: Int8[np.ndarray, "A D"],
    objective: TrainingObjective | TabularObjective | OwnObjective,
    earlier: Float[np.ndarray, "A E"] | None,
) -> Ahead:
    """Compile what trains candidates and the steps of the methods while the pool is scored."""
    if not isinstance(objective, TrainingObjective):
        return Ahead()
    shape, budget = (len(pool), len(config.search.scored)), num_to_search(config.search)
    steps = [
        partial(
            compile_steps,
            get_method(name),
            shape,
            pool,
            budget=budget,
            config=_method_config(name, config),
            earlier=_read_by(name, earlier),
        )
        for name in methods_of(config)
    ]
    return Ahead(objective.compile, *steps)


def _method_config(method: str, config: RunConfig) -> RobotConfig | None:
    """Return the hyperparameters of a method that are not its defaults."""
    return get_preset(config.search.preset) if method == "robot" else None


def _read_by(method: str, earlier: Float[np.ndarray, "A E"] | None) -> Float[np.ndarray, "A E"] | None:
    """Return earlier tasks for a method that reads them."""
    return earlier if get_method(method).reads_earlier else None


def _look_at_images(
    data: ImageData | None, objective: TrainingObjective | TabularObjective | OwnObjective, outcomes: dict[str, Outcome]
) -> tuple[ImageSummary | None, tuple[str, ...]]:
    """Summarise the images, and say what to change if the best candidate of all methods has not learned them."""
    if data is None:
        return None, ()
    if not isinstance(objective, TrainingObjective):
        return summarize_images(data, None), ()
    images = summarize_images(data, objective)
    best = max((outcome.result for outcome in outcomes.values()), key=lambda result: result.best)
    return images, advise(images, best.best, objective.result(best.selected).loss, objective.config.epochs)


def _run_method(
    method: str,
    config: RunConfig,
    vectors: Int8[np.ndarray, "A D"] | None,
    table: Float[np.ndarray, "A M"],
    objective: TrainingObjective | TabularObjective,
    limit: Callable[[float], bool],
    on_event: Listener,
    earlier: Float[np.ndarray, "A E"] | None,
) -> SearchResult:
    """Run a method: look-ups are an array, which the jitted loop takes, training is a function of the row."""
    return get_method(method)(
        table,
        objective if isinstance(objective, TrainingObjective) else objective.values,
        budget=num_to_search(config.search),
        seed=config.seed,
        config=_method_config(method, config),
        on_event=on_event,
        costs=objective.cost if isinstance(objective, TrainingObjective) else None,
        archs=vectors,
        at_once=config.search.at_once,
        affordable=(lambda _: limit(objective.mean_seconds)) if isinstance(objective, TrainingObjective) else limit,
        direction=config.problem.direction,
        earlier=_read_by(method, earlier),
        progress=False,
    )


def methods_of(config: RunConfig) -> tuple[str, ...]:
    """Return the methods of a search, each once, first that of the settings."""
    return tuple(dict.fromkeys([config.search.method, *config.search.compare]))


def check_written(config: RunConfig, space: SearchSpace) -> None:
    """Check, before long work, that what `Run.save` writes can be written as JSON.

    Raises:
      InputError: the settings of a method or the description of the space cannot.
    """
    methods = [method_settings(get_method(name).config) for name in methods_of(config)]
    try:
        json.dumps([config.record(), describe_space(space), to_plain(methods)], allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the settings of the search cannot be written as JSON ({error}): give plain values"
        ) from error


def _title(config: RunConfig) -> str:
    return f"{config.search.method}-{config.problem.space}-{Path(config.measured_on).name}-seed{config.seed}"
