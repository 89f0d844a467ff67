"""Progress of a command: bars on stderr, see `jaxnas.runtime.bars`, or JSON lines on stdout."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import IO

from jaxnas.runtime.bars import show_bars, status, steps_of
from jaxnas.runtime.events import (
    Downloaded,
    Event,
    Listener,
    Noted,
    PartDamaged,
    QueryAnswered,
    Scored,
    SeedsFinished,
    StageStarted,
    TrainingProgress,
)
from jaxnas.runtime.pace import Jobs, make_bars, memory, seconds_left, speed
from jaxnas.runtime.records import to_plain

JSON_INTERVAL = 1.0  # seconds between progress objects


def emit(event: str, file: IO[str] | None = None, **fields: object) -> None:
    """Print one event as JSON, at once; NaN and inf are null."""
    print(json.dumps(to_plain({"event": event, **fields}), allow_nan=False), file=file, flush=True)


class NullReporter:
    """Shows nothing, as all but the first process of a job."""

    def __call__(self, event: Event) -> None:
        """Ignore an event."""


class JsonReporter:
    """Prints one JSON object per line."""

    def __init__(self, file: IO[str] | None = None):
        """Print to a file, stdout by default."""
        self.file = file
        self.jobs = Jobs(make_bars(status, disable=True))
        self.last_line = 0.0

    def __call__(self, event: Event) -> None:
        """Print an event; the start of scoring is printed when its total is known."""
        match event:
            case StageStarted(stage):
                if stage != "scoring":
                    emit("start", self.file, stage=stage)
            case Scored(done, total):
                self._count("scoring", done, total)
            case SeedsFinished(method, done, total):
                self._count(method, done, total)
            case Downloaded(done, total):
                self._advance("download", done, total)
            case TrainingProgress():
                self._train(event)
            case PartDamaged(name, message):
                emit("damaged", self.file, part=name.rpartition("/")[2], message=message)
            case Noted(message, is_warning):
                emit("note", self.file, message=message, warning=is_warning)
            case QueryAnswered():
                emit("query", self.file, **event._asdict())

    def _count(self, stage: str, done: int, total: int) -> None:
        """Take the first event of a stage for what there was before."""
        if stage in self.jobs:
            return self._advance(stage, done, total)
        self.jobs.add(stage, done, total)
        emit("start", self.file, stage=stage, total=total, found=done)

    def _advance(self, stage: str, done: int, total: int | None, **more: object) -> None:
        task = self.jobs.advance(stage, done, total)
        rate, left = speed(task), seconds_left(task)
        measured = {"rate": rate and round(rate, 3), "eta_s": None if left is None else round(left, 1)}
        if done == total or time.monotonic() - self.last_line > JSON_INTERVAL:
            self.last_line = time.monotonic()
            emit("progress", self.file, stage=stage, **{"done": done, "total": total, **measured, **memory(), **more})

    def _train(self, at: TrainingProgress) -> None:
        """Print losses and accuracies of each candidate."""
        done, total, rate = steps_of(at)
        measured = {"rate": rate and round(rate, 3), "eta_s": round(at.seconds_left, 1), "epoch": at.epoch}
        values = {"loss": at.loss.tolist(), "accuracy": at.accuracy.tolist()}
        self._advance("training", done, total, candidates=list(at.candidates), **measured, **values)


@contextmanager
def progress(as_json: bool = False) -> Iterator[Listener]:
    """Show bars while the body runs; or print JSON lines, and what else comes to stdout goes to stderr."""
    if as_json:
        out = sys.stdout
        with redirect_stdout(sys.stderr):
            yield JsonReporter(out)
        return
    with show_bars() as shown:
        yield shown
