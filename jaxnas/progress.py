"""Progress of a command: on stderr bars in a terminal and lines elsewhere, or JSON lines on stdout."""

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

status = Console(stderr=True)

QUIET_INTERVAL = 10.0  # seconds between progress lines where there is no terminal
JSON_INTERVAL = 1.0  # seconds between progress objects


def warn(message: str) -> None:
    """One line that needs a look."""
    status.print(f"warning: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)


class Pace:
    """How fast scoring goes, from the first chunk on: what came before was compiling."""

    def __init__(self) -> None:
        self.first: tuple[float, int] | None = None

    def __call__(self, done: int, total: int) -> dict[str, Any]:
        """Architectures a second, seconds to go and megabytes in use; None for what is not known (yet)."""
        now = time.monotonic()
        since, before = self.first = self.first or (now, done)
        rate = (done - before) / (now - since) if done > before else None
        return {
            "done": done,
            "total": total,
            "rate": rate and round(rate, 3),
            "eta_s": rate and round((total - done) / rate, 1),
            **memory(),
        }


def memory() -> dict[str, float | None]:
    """Megabytes that the process and its accelerators use now; None where the system does not tell."""
    import jax

    statm = Path("/proc/self/statm")  # Linux
    pages = int(statm.read_text().split()[1]) if statm.exists() else None
    in_use = [stats["bytes_in_use"] for device in jax.local_devices() if (stats := device.memory_stats())]
    return {
        "rss_mb": pages and round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
        "device_mb": round(sum(in_use) / 1e6, 1) if in_use else None,
    }


class Silence:
    """No progress: of the processes of a job only the first tells."""

    def start(self, stage: str) -> None:
        """A stage begins."""

    def scored(self, done: int, total: int) -> None:
        """`done` of `total` architectures have scores."""

    def damaged(self, name: str, message: str) -> None:
        """A file of the store was set aside."""


class JsonLines:
    """Progress of scoring as one JSON object per line on stdout."""

    def __init__(self) -> None:
        self.pace: Pace | None = None
        self.last_line = 0.0

    def start(self, stage: str) -> None:
        """A stage begins."""

    def scored(self, done: int, total: int) -> None:
        """`done` of `total` architectures have scores; the first call tells how many were found in the store."""
        if self.pace is None:
            self.pace = Pace()
            emit("start", total=total, found=done)
            return
        measured = self.pace(done, total)
        if done == total or time.monotonic() - self.last_line > JSON_INTERVAL:
            self.last_line = time.monotonic()
            emit("progress", **measured)

    def damaged(self, name: str, message: str) -> None:
        """A file of the store was set aside."""
        emit("damaged", part=name.rpartition("/")[2], message=message)


def emit(event: str, **fields: Any) -> None:
    """Print one event as JSON, at once."""
    print(json.dumps({"event": event, **fields}), flush=True)


class Bars:
    """Progress of a command: bars in a terminal, else a line at most every ten seconds; queries always get a line."""

    def __init__(self, bars: Progress):
        self.bars = bars
        self.tasks: dict[str, TaskID] = {}
        self.waiting: TaskID | None = None
        self.last_line = self.started = time.monotonic()
        self.pace = Pace()
        self.cost = 0.0  # seconds of the queries so far

    def events(self):
        """The callbacks of a search."""
        from jaxnas.pipeline import Events

        return Events(
            on_stage=self.start,
            on_scored=self.scored,
            on_damaged=self.damaged,
            on_progress=self.trained,
            on_query=self.queried,
        )

    def start(self, stage: str) -> None:
        """A stage begins; its program compiles until something advances."""
        self._stop_waiting()
        self.started = time.monotonic()
        if status.is_terminal:
            self.waiting = self.bars.add_task(f"{stage}: compiling", total=None, detail="")
        else:
            status.print(f"{stage}: the program compiles first", highlight=False)

    def _task(self, name, total):
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=total, detail="")
        return self.tasks[name]

    def _stop_waiting(self):
        if self.waiting is not None:
            self.bars.remove_task(self.waiting)
            self.waiting = None

    def advance(self, name: str, done: float, total: float | None, detail: str = "") -> None:
        """Show that `done` of `total` is reached."""
        self._stop_waiting()
        self.bars.update(self._task(name, total), completed=done, total=total, detail=detail)
        due = time.monotonic() - self.last_line > QUIET_INTERVAL
        if not status.is_terminal and due:
            self.last_line = time.monotonic()
            reached = f"{done:,} of {total:,}" if total else f"{done:,}"
            status.print(f"{name}: " + ", ".join(filter(None, [reached, detail])), highlight=False, soft_wrap=True)

    def scored(self, done: int, total: int) -> None:
        """`done` of `total` architectures have scores; the first call tells how many were found in the store."""
        if "architectures scored" not in self.tasks:
            self.bars.update(self._task("architectures scored", total), completed=done)
            if done:
                status.print(f"{done:,} of {total:,} architectures were scored before", highlight=False)
            return
        if self.pace.first is None and not status.is_terminal:
            status.print(f"first scores after {time.monotonic() - self.started:.1f} s", highlight=False)
        measured = self.pace(done, total)
        self.advance("architectures scored", done, total, self._describe(measured))

    def _describe(self, measured):
        texts = {
            "rate": lambda rate: f"{rate:.1f}/s",
            "eta_s": lambda seconds: "" if status.is_terminal else f"{timedelta(seconds=round(seconds))} to go",
            "rss_mb": lambda size: f"{size:,.0f} MB",
            "device_mb": lambda size: f"{size:,.0f} MB on the device",
        }
        return ", ".join(
            filter(None, (text(measured[key]) for key, text in texts.items() if measured[key] is not None))
        )

    def damaged(self, name: str, message: str) -> None:
        """A file of the store was set aside."""
        warn(message)

    def trained(self, indices: Sequence[int], at) -> None:
        """How far the training of these candidates has come."""
        name = f"training {len(indices)} together" if len(indices) > 1 else "training"
        done, total = (at.epoch - 1) * at.steps + at.step, at.epochs * at.steps
        losses, accuracies = (
            "/".join(f"{value:{form}}" for value in values) for values, form in ((at.loss, ".3f"), (at.accuracy, ".1f"))
        )
        left = "" if status.is_terminal else f"{timedelta(seconds=round(at.seconds_left))} to go"
        detail = [f"epoch {at.epoch} of {at.epochs}", f"loss {losses}", f"training accuracy {accuracies} %", left]
        self.advance(f"{name}: steps", done, total, ", ".join(filter(None, detail)))

    def queried(self, query) -> None:
        """A query was answered."""
        self._stop_waiting()
        outcome = f"{query.objective:6.2f} %" if math.isfinite(query.objective) else "diverged, the search goes on"
        cost = f"   {query.cost:.1f} s" if math.isfinite(query.cost) else ""
        line = f"query {query.number:2d}/{query.budget} ({query.phase}): {outcome}   best {query.best:.2f} %{cost}"
        if math.isfinite(query.cost) and query.number < query.budget:
            self.cost = self.cost + query.cost if query.number > 1 else query.cost
            left = (query.budget - query.number) * self.cost / query.number
            line += f"   about {timedelta(seconds=round(left))} to go"
        status.print(line, highlight=False)

    def downloaded(self, done: int, total: int | None) -> None:
        """`done` bytes of `total` have arrived."""
        self.advance("bytes", done, total)


@contextmanager
def progress() -> Iterator[Bars]:
    """Show bars while the body runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=status, disable=not status.is_terminal, transient=True) as bars:
        yield Bars(bars)
