"""A search that is followed in TensorBoard or MLflow, on this machine.

Each function returns `Events` for `search_images` and `search_network`. Of every query they log accuracy, best so far,
seconds and architecture, besides progress, settings and results. A search that goes on logs what it finds again with
the same steps and values.
"""

import hashlib
import json
import logging
import math
import os
import shlex
import time
from collections.abc import Callable, Sequence
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from jaxnas.errors import InputError, unknown_name
from jaxnas.run.config import RunConfig
from jaxnas.run.run import Run, run_record
from jaxnas.run.search import Events

INTERVAL = 1.0  # seconds between two looks at how far scoring is


def tensorboard(folder: Path | str) -> Events:
    """Log a search to event files in this folder (extra: tensorboard).

    Raises: InputError where the package is missing.
    """
    _check("tensorboard", "tensorboard")
    return _events(_TensorBoard(folder))


def mlflow(place: Path | str, experiment: str = "jaxnas") -> Events:
    """Log a search to a database in this folder, or to the store or server of this URI (extra: mlflow).

    A search of the same settings that was stopped goes on in its run.

    Raises: InputError where a package is missing.
    """
    _check("mlflow", "mlflow", "sqlalchemy", "alembic")
    return _events(_MLflow(place, experiment))


TRACKERS: dict[str, Callable[[Path], Events]] = {"tensorboard": tensorboard, "mlflow": mlflow}


def track(names: Sequence[str], folder: Path) -> Events:
    """The trackers of these names, each in the folder of its name within `folder`.

    Raises: InputError for an unknown name, or where a package is missing.
    """
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
    return reduce(Events.also, (TRACKERS[name](folder / name) for name in names), Events())


def how_to_look(name: str, folder: Path) -> str:
    """The command that shows what `track` logged. MLflow's is in the package mlflow, which the extra does without."""
    if name == "tensorboard":
        return shlex.join(["tensorboard", "--logdir", str(folder / name)])
    return shlex.join(["mlflow", "ui", "--backend-store-uri", _uri(folder / name)])


def _check(extra, *packages):
    for package in packages:
        if find_spec(package) is None:
            raise InputError(f'tracking in {extra} needs the package {package}: pip install "jaxnas[{extra}]"')


class _Log(Protocol):
    """Where numbers and texts go."""

    def open(self, config: RunConfig) -> None:
        """A search of these settings begins, or goes on."""

    def numbers(self, values: dict[str, float], step: int) -> None:
        """Finite values by their names, at a step."""

    def text(self, name: str, value: str, step: int) -> None:
        """A text, at a step."""

    def close(self, run: Run) -> None:
        """The search is finished."""


def _events(log: _Log) -> Events:
    """What is logged of each event."""
    known: dict[str, Any] = {"stage": "", "looked": 0.0}

    def numbers(values, step):
        log.numbers({name: float(value) for name, value in values.items() if math.isfinite(value)}, step)

    def on_start(config, space, archs):
        known.update(space=space, archs=archs)
        log.open(config)

    def on_stage(stage):
        known["stage"] = stage

    def on_scored(done, total):
        if done == total or time.monotonic() - known["looked"] > INTERVAL:
            known["looked"] = time.monotonic()
            numbers({"scoring/architectures": done}, done)

    def on_progress(indices, at):
        values: dict[str, float] = {}
        for index, loss, accuracy in zip(indices, at.loss, at.accuracy, strict=True):
            values |= {f"training/{index}/loss": loss, f"training/{index}/accuracy": accuracy}
        numbers(values, (at.epoch - 1) * at.steps + at.step)

    def on_query(query):
        arch = known["space"].format(known["archs"][query.arch])
        failed = "" if math.isfinite(query.objective) else " (diverged)"
        values = {"validation_accuracy": query.objective, "best": query.best, "seconds": query.cost}
        log.text(f"{known['stage']}/query", f"{query.phase}: {arch}{failed}", query.number)
        numbers({f"{known['stage']}/{name}": value for name, value in values.items()}, query.number)

    def on_done(run):
        for method, outcome in run.outcomes.items():
            queries = len(outcome.result.queries)
            numbers({f"{method}/test_accuracy": outcome.test_accuracy}, queries)
            log.text(f"{method}/selected", run.space.format(run.scores.archs[outcome.result.selected]), queries)
        log.close(run)

    return Events(
        on_start=on_start,
        on_stage=on_stage,
        on_scored=on_scored,
        on_progress=on_progress,
        on_query=on_query,
        on_done=on_done,
    )


class _TensorBoard:
    def __init__(self, folder):
        self.folder = folder

    def open(self, config):
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(self.folder))
        self.text("settings", json.dumps(config.record(), indent=1), 0)

    def numbers(self, values, step):
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(Summary(value=[Summary.Value(tag=name, simple_value=values[name]) for name in values]), step)

    def text(self, name, value, step):
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._write(text_pb(name, f"```\n{value}\n```"), step)

    def _write(self, summary, step):
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
        self.writer.flush()  # a kill takes nothing back

    def close(self, run):
        self.writer.close()


class _MLflow:
    def __init__(self, place, experiment):
        self.place, self.experiment = place, experiment

    def open(self, config):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read on import
        from mlflow import MlflowClient
        from mlflow.entities import Param

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of every table
        where: dict[str, Any] = {}
        if "://" not in str(self.place):
            Path(self.place).mkdir(parents=True, exist_ok=True)
            where["artifact_location"] = Path(self.place, "artifacts").absolute().as_uri()
        self.client = MlflowClient(tracking_uri=_uri(self.place))
        found = self.client.get_experiment_by_name(self.experiment)
        number = found.experiment_id if found else self.client.create_experiment(self.experiment, **where)
        self.run = self._run(number, config)
        self.client.update_run(self.run, status="RUNNING")
        self.client.log_batch(self.run, params=[Param(name, str(value)) for name, value in _flat(config.record())])

    def _run(self, experiment, config):
        """The run of these settings, or a new one."""
        settings = hashlib.sha256(json.dumps(config.record(), sort_keys=True).encode()).hexdigest()
        found = self.client.search_runs([experiment], f"tags.`jaxnas.settings` = '{settings}'", max_results=1)
        if found:
            return found[0].info.run_id
        name = f"{config.search.method}-{config.problem.space}-{config.measured_on}-seed{config.seed}"
        return self.client.create_run(experiment, tags={"jaxnas.settings": settings}, run_name=name).info.run_id

    def numbers(self, values, step):
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self.client.log_batch(self.run, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def text(self, name, value, step):
        self.client.set_tag(self.run, f"{name}/{step:03d}", value)

    def close(self, run):
        self.client.log_dict(self.run, run_record(run), "result.json")
        self.client.set_terminated(self.run)


def _uri(place):
    """MLflow's own files are not kept up any more: in a folder it is SQLite's."""
    return str(place) if "://" in str(place) else f"sqlite:///{Path(place, 'mlflow.db').absolute()}"


def _flat(settings, prefix=""):
    """(name, value) of nested settings, as in training.epochs."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
