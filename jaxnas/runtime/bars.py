"""Bars that show the events of a long job on stderr: in a terminal or a notebook, and as lines elsewhere."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import ClassVar, Unpack

from rich.console import Console
from rich.progress import Progress, TaskID

from jaxnas.runtime.cache import keep_wait, last_wait
from jaxnas.runtime.events import (
    Downloaded,
    Event,
    Listener,
    Noted,
    PartDamaged,
    QueryAnswered,
    Scored,
    SearchStarted,
    SeedsFinished,
    StageStarted,
    TrainingProgress,
    join_listeners,
)
from jaxnas.runtime.measures import ACCURACY, Measure
from jaxnas.runtime.pace import UNKNOWN, Jobs, TaskFields, make_bars, memory, pace
from jaxnas.runtime.settings import parse_seconds

status = Console(stderr=True, markup=False)

QUIET_INTERVAL = 10.0  # seconds between progress lines where there is no terminal


def warn(message: str) -> None:
    """Print a warning on stderr."""
    status.print(f"warning: {message}", style="yellow", highlight=False, soft_wrap=True)


def note(message: str, is_warning: bool = False) -> None:
    """Print a line on stderr, as a warning or plainly."""
    if is_warning:
        return warn(message)
    status.print(message, highlight=False, soft_wrap=True)


def show_note(event: Event) -> None:
    """Print a `Noted` on stderr, and nothing else: a listener where there is no progress yet."""
    if isinstance(event, Noted):
        note(event.message, event.is_warning)


def steps_of(at: TrainingProgress) -> tuple[int, int, float | None]:
    """Return steps done, in all, and a second; None at the end."""
    done, total = (at.epoch - 1) * at.steps + at.step, at.epochs * at.steps
    return done, total, (total - done) / at.seconds_left if at.seconds_left else None


class BarReporter:
    """Shows bars in a terminal, else a line at most every ten seconds; queries always get a line.

    Attributes:
      is_shown: whether this process shows bars now.
    """

    is_shown: ClassVar[bool] = False

    def __init__(self, bars: Progress):
        """Show them in these bars."""
        self.bars = bars
        self.jobs = Jobs(bars)
        self.waiting: TaskID | None = None
        self.remembers = True  # how long a stage waited for its programs
        self.job = self.stage = ""  # what is searched; the stage that waits for its programs
        self.awaits_scores = True
        self.last_line = self.started = time.monotonic()
        self.cost = 0.0  # seconds of the queries so far
        self.end = math.inf  # of the time that the search may take
        self.measure = ACCURACY

    def __call__(self, event: Event) -> None:
        """Show what happened."""
        match event:
            case SearchStarted(settings=settings, measure=measure):
                self.measure = measure
                self.job = " ".join(str(settings.get(name, "")) for name in ("space", "data", "channels"))
                self.end = time.monotonic() + parse_seconds(str(limit)) if (limit := settings.get("time")) else math.inf
            case StageStarted(stage):
                self._start(stage)
            case Scored(done, total):
                self._score(done, total)
            case SeedsFinished(method, done, total):
                self._advance(f"{method}: seeds", done, total)
            case Downloaded(done, total):
                self._advance("bytes", done, total)
            case TrainingProgress():
                self._train(event)
            case PartDamaged(message=message):
                warn(message)
            case Noted(message, is_warning):
                note(message, is_warning)
            case QueryAnswered():
                self._answer(event)

    def _start(self, stage: str) -> None:
        """Hide the bars of the stage before, and wait for the first event of this one."""
        self.stage = ""  # that before had no progress
        self._stop_waiting()
        self.started, self.stage = time.monotonic(), f"{stage} {self.job}".strip()
        self.jobs.hide()
        seconds = last_wait(self.stage) if self.remembers else None
        before = "" if seconds is None or seconds < 1 else f" ({timedelta(seconds=round(seconds))} the last time)"
        if status.is_terminal:
            self.waiting = self.bars.add_task(f"{stage}: compiling{before}", total=None, **UNKNOWN)
        else:
            status.print(f"{stage}: the program compiles first{before}", highlight=False)

    def _stop_waiting(self) -> None:
        if self.stage:
            if self.remembers:
                keep_wait(self.stage, time.monotonic() - self.started)
            self.stage = ""
        if self.waiting is not None:
            self.bars.remove_task(self.waiting)
            self.waiting = None

    def _advance(self, name: str, done: int, total: int | None, **fields: Unpack[TaskFields]) -> None:
        self._stop_waiting()
        task = self.jobs.advance(name, done, total, **fields)
        if not status.is_terminal and time.monotonic() - self.last_line > QUIET_INTERVAL:
            self.last_line = time.monotonic()
            reached = f"{done:,} of {total:,}" if total else f"{done:,}"
            line = ", ".join(filter(None, [reached, pace(task), task.fields["detail"]]))
            status.print(f"{name}: {line}", highlight=False, soft_wrap=True)

    def _score(self, done: int, total: int) -> None:
        name = "architectures scored"
        if name not in self.jobs:
            self.jobs.add(name, done, total)
            if done:
                status.print(f"{done:,} of {total:,} architectures were scored before", highlight=False)
            return
        if self.awaits_scores and not status.is_terminal:
            status.print(f"first scores after {time.monotonic() - self.started:.1f} s", highlight=False)
        self.awaits_scores = False
        megabytes = memory()
        texts = [
            f"{megabytes['rss_mb']:,.0f} MB" if megabytes["rss_mb"] else "",
            f"{megabytes['device_mb']:,.0f} MB on the device" if megabytes["device_mb"] else "",
        ]
        self._advance(name, done, total, detail=", ".join(filter(None, texts)))

    def _train(self, at: TrainingProgress) -> None:
        num = len(at.candidates)
        name = f"training {num} together" if num > 1 else "training"
        losses, accuracies = _joined(at.loss.tolist(), ".3f"), _joined(at.accuracy.tolist(), ".1f")
        epoch = f"epoch {at.epoch} of {at.epochs}"
        if status.is_terminal:  # where the end may be cropped
            detail = f"loss {losses}, {accuracies} %, {epoch}"
        else:
            detail = f"{epoch}, loss {losses}, training accuracy {accuracies} %"
        done, total, rate = steps_of(at)
        self._advance(f"{name}: steps", done, total, detail=detail, rate=rate, seconds_left=at.seconds_left)

    def _answer(self, query: QueryAnswered) -> None:
        self._stop_waiting()
        outcome = self.measure.show(query.objective, f"{self.measure.failed}, the search continues")
        cost = f"   {query.cost:.1f} s" if math.isfinite(query.cost) else ""
        best = f"best {self.measure.show(query.best)}"
        line = f"query {query.number:2d}/{query.budget} ({query.phase}): {outcome:>8}   {best}{cost}"
        if math.isfinite(query.cost) and query.number < query.budget:
            self.cost = self.cost + query.cost if query.number > 1 else query.cost
            left = min((query.budget - query.number) * self.cost / query.number, self.end - time.monotonic())
            line += f"   about {timedelta(seconds=round(max(left, 0)))} to go"
        status.print(line, highlight=False)


def _joined(values: Iterable[float], form: str) -> str:
    return "/".join(f"{value:{form}}" for value in values)


@contextmanager
def show_bars(*, only_lines: bool = False) -> Iterator[BarReporter]:
    """Show bars while the body runs, or `only_lines`, which leave stdout alone."""
    BarReporter.is_shown = True
    try:
        with make_bars(status, disable=only_lines or not status.is_terminal) as bars:
            yield BarReporter(bars)
    finally:
        BarReporter.is_shown = False


@contextmanager
def showing(
    on_event: Listener,
    progress: bool | None,
    stage: str | None = None,
    measure: Measure = ACCURACY,
    *,
    only_lines: bool = False,
) -> Iterator[Listener]:
    """Give the listener of a job in Python: `on_event`, and bars unless those of a job around it are shown.

    Args:
      on_event: receives every event.
      progress: whether bars are shown, or lines without a terminal; None shows them in a terminal or a notebook.
      stage: the only stage of the job, whose program compiles first; None for a job that reports its stages.
      measure: what the objectives of queries are.
      only_lines: whether there are lines alone, as beside a function of the user's, which may print.
    """
    is_wanted = status.is_terminal or status.is_jupyter if progress is None else progress
    if not is_wanted or BarReporter.is_shown:
        yield on_event
        return
    with show_bars(only_lines=only_lines) as bars:
        bars.measure = measure
        if stage is not None:
            bars.remembers = False  # as nothing tells its program from that of another call
            bars(StageStarted(stage))
        yield join_listeners(bars, on_event)
