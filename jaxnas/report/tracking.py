"""A search that is followed in TensorBoard or MLflow, on this machine.

Each function returns a listener: `search_network(..., on_event=tensorboard("runs/mine/tensorboard"))`. For every query
it logs accuracy, best so far, seconds and architecture, in addition to progress, settings and results. A continued
search logs the queries that it repeats with the same steps and values.
"""

import hashlib
import json
import logging
import math
import os
import shlex
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxnas.errors import InputError, unknown_name
from jaxnas.runtime.events import (
    Event,
    Listener,
    QueryAnswered,
    Scored,
    SearchFinished,
    SearchStarted,
    StageStarted,
    TrainingProgress,
    join_listeners,
)
from jaxnas.runtime.names import split_names
from jaxnas.runtime.records import Record

INTERVAL = 1.0  # seconds between two records of the progress of scoring


def tensorboard(folder: Path | str) -> "Tracker":
    """Return a listener that logs a search to event files in this folder (extra: tensorboard).

    Raises:
      InputError: the package is missing.
    """
    _check("tensorboard", "tensorboard")
    return Tracker(_TensorBoard(folder))


def mlflow(place: Path | str, experiment: str = "jaxnas") -> "Tracker":
    """Return a listener that logs a search to a database in a folder, or to a store or server (extra: mlflow).

    A search of the same settings that was stopped continues its MLflow run.

    Args:
      place: the folder, or the URI of the store or server.
      experiment: name of the experiment in MLflow.

    Raises:
      InputError: a package is missing.
    """
    _check("mlflow", "mlflow", "sqlalchemy", "alembic")
    return Tracker(_MLflow(place, experiment))


TRACKERS: dict[str, Callable[[Path], "Tracker"]] = {"tensorboard": tensorboard, "mlflow": mlflow}


def track(names: Sequence[str], folder: Path) -> Listener:
    """Return the trackers of these names as one listener, each in the folder of its name within `folder`.

    Raises:
      InputError: an unknown name, or a package is missing.
    """
    names = split_names(names)
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
    return join_listeners(*(TRACKERS[name](folder / name) for name in names))


def how_to_look(name: str, folder: Path) -> str:
    """Return the command that shows what `track` logged; MLflow's needs the package mlflow, which the extra omits."""
    if name == "tensorboard":
        return shlex.join(["tensorboard", "--logdir", str(folder / name)])
    return shlex.join(["mlflow", "ui", "--backend-store-uri", _uri(folder / name)])


def _check(extra: str, *packages: str) -> None:
    for package in packages:
        if find_spec(package) is None:
            raise InputError(f'tracking in {extra} needs the package {package}: pip install "jaxnas[{extra}]"')


@runtime_checkable
class _Log(Protocol):
    """A log of numbers and texts."""

    def open(self, search: SearchStarted) -> None:
        """Begin, or continue, the log of a search."""

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        """Log finite values by their names, at a step."""

    def text(self, name: str, value: str, step: int) -> None:
        """Log a text, at a step."""

    def close(self, record: Record) -> None:
        """End the log of a search with what result.json keeps of it."""


class Tracker:
    """A listener that logs the events of searches, one search after another."""

    def __init__(self, log: _Log):
        """Write to this log."""
        self._log = log
        self._stage, self._last = "", 0.0
        self._format_arch: Callable[[int], str] = str

    def __call__(self, event: Event) -> None:
        """Log an event."""
        match event:
            case SearchStarted():
                self._format_arch = event.format_arch
                self._log.open(event)
            case StageStarted(stage):
                self._stage = stage
            case Scored(done, total):
                if done == total or time.monotonic() - self._last > INTERVAL:
                    self._last = time.monotonic()
                    self._numbers({"scoring/architectures": float(done)}, done)
            case TrainingProgress():
                self._train(event)
            case QueryAnswered():
                self._answer(event)
            case SearchFinished(record):
                self._finish(record)

    def also(self, other: Listener) -> Listener:
        """Deprecated: `join_listeners(tracker, other)`."""
        warnings.warn("use jaxnas.runtime.events.join_listeners", DeprecationWarning, stacklevel=2)
        return join_listeners(self, other)

    def _numbers(self, values: Mapping[str, float], step: int) -> None:
        self._log.numbers({name: float(value) for name, value in values.items() if math.isfinite(value)}, step)

    def _train(self, at: TrainingProgress) -> None:
        values: dict[str, float] = {}
        for row, loss, accuracy in zip(at.candidates, at.loss, at.accuracy, strict=True):
            values |= {f"training/{row}/loss": float(loss), f"training/{row}/accuracy": float(accuracy)}
        self._numbers(values, (at.epoch - 1) * at.steps + at.step)

    def _answer(self, query: QueryAnswered) -> None:
        failed = "" if math.isfinite(query.objective) else " (diverged)"
        text = f"{query.phase}: {self._format_arch(query.arch)}{failed}"
        self._log.text(f"{self._stage}/query", text, query.number)
        values = {"validation_accuracy": query.objective, "best": query.best, "seconds": query.cost}
        self._numbers({f"{self._stage}/{name}": value for name, value in values.items()}, query.number)

    def _finish(self, record: Record) -> None:
        for method, outcome in record["outcomes"].items():
            num_queries = len(outcome["queries"])
            if outcome["test_accuracy"] is not None:
                self._numbers({f"{method}/test_accuracy": outcome["test_accuracy"]}, num_queries)
            self._log.text(f"{method}/selected", outcome["selected"], num_queries)
        self._log.close(record)


class _TensorBoard:
    def __init__(self, folder: Path | str):
        self.folder = folder

    def open(self, search: SearchStarted) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(self.folder))
        self.text("settings", json.dumps(search.settings, indent=1), 0)

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(Summary(value=[Summary.Value(tag=name, simple_value=values[name]) for name in values]), step)

    def text(self, name: str, value: str, step: int) -> None:
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._write(text_pb(name, f"```\n{value}\n```"), step)

    def _write(self, summary: object, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
        self.writer.flush()  # so that a kill loses nothing

    def close(self, record: Record) -> None:
        self.writer.close()


class _MLflow:
    def __init__(self, place: Path | str, experiment: str):
        self.place, self.experiment = place, experiment

    def open(self, search: SearchStarted) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read on import
        from mlflow import MlflowClient
        from mlflow.entities import Param

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it reports every table
        artifacts = None
        if "://" not in str(self.place):
            Path(self.place).mkdir(parents=True, exist_ok=True)
            artifacts = Path(self.place, "artifacts").absolute().as_uri()
        self.client = MlflowClient(tracking_uri=_uri(self.place))
        known = self.client.get_experiment_by_name(self.experiment)
        number = known.experiment_id if known else self.client.create_experiment(self.experiment, artifacts)
        self.run = self._run(number, search)
        self.client.update_run(self.run, status="RUNNING")
        self.client.log_batch(self.run, params=[Param(name, str(value)) for name, value in _flat(search.settings)])

    def _run(self, experiment: str, search: SearchStarted) -> str:
        """Return the id of the run of these settings, or of a new one."""
        settings = hashlib.sha256(json.dumps(search.settings, sort_keys=True).encode()).hexdigest()
        known = self.client.search_runs([experiment], f"tags.`jaxnas.settings` = '{settings}'", max_results=1)
        if known:
            return str(known[0].info.run_id)
        run = self.client.create_run(experiment, tags={"jaxnas.settings": settings}, run_name=search.title)
        return str(run.info.run_id)

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self.client.log_batch(self.run, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def text(self, name: str, value: str, step: int) -> None:
        self.client.set_tag(self.run, f"{name}/{step:03d}", value)

    def close(self, record: Record) -> None:
        self.client.log_dict(self.run, dict(record), "result.json")
        self.client.set_terminated(self.run)


def _uri(place: Path | str) -> str:
    """Return MLflow's address of a folder, that of an SQLite database: its plain files are no longer maintained."""
    return str(place) if "://" in str(place) else f"sqlite:///{Path(place, 'mlflow.db').absolute()}"


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield name and value of nested settings, as in training.epochs."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
