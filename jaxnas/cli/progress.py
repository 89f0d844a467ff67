"""Progress of a command: on stderr bars in a terminal and lines elsewhere, or JSON lines on stdout."""

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column

status = Console(stderr=True)

QUIET_INTERVAL = 10.0  # seconds between progress lines where there is no terminal
JSON_INTERVAL = 1.0  # seconds between progress objects


def warn(message: str) -> None:
    """One line that needs a look."""
    status.print(f"warning: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def emit(event: str, file: IO[str] | None = None, **fields: Any) -> None:
    """Print one event as JSON, at once; NaN and inf are null."""
    print(json.dumps(_plain({"event": event, **fields}), allow_nan=False), file=file, flush=True)


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Pace:
    """How fast a stage goes, from the first piece on: what came before was compiling."""

    def __init__(self) -> None:
        self.first: tuple[float, int] | None = None

    def __call__(self, done: int, total: int | None) -> dict[str, Any]:
        """How many a second, seconds to go and megabytes in use; None for what is not known (yet)."""
        now = time.monotonic()
        if self.first is None or done < self.first[1]:  # it begins anew
            self.first = now, done
        since, before = self.first
        rate = (done - before) / (now - since) if done > before and now > since else None
        return {
            "done": done,
            "total": total,
            "rate": rate and round(rate, 3),
            "eta_s": round((total - done) / rate, 1) if rate and total else None,
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
    """No progress, as of all but the first process of a job. `Bars` and `JsonLines` say something of each event."""

    def events(self):
        """The callbacks of a search."""
        from jaxnas.run.search import Events

        return Events(
            on_stage=self.start,
            on_scored=self.scored,
            on_damaged=self.damaged,
            on_progress=self.trained,
            on_query=self.queried,
        )

    def start(self, stage: str) -> None:
        """A stage begins; its program compiles until something advances."""

    def scored(self, done: int, total: int) -> None:
        """`done` of `total` architectures have scores; the first call tells how many were found in the store."""

    def damaged(self, name: str, message: str) -> None:
        """A file of the store was set aside."""

    def trained(self, indices: Sequence[int], at) -> None:
        """How far the training of these candidates has come."""

    def queried(self, query) -> None:
        """A query was answered."""

    def compared(self, method: str, done: int, total: int) -> None:
        """`done` of `total` seeds of a method are finished; the first call tells how many were kept from before."""

    def downloaded(self, done: int, total: int | None) -> None:
        """`done` bytes of `total` have arrived."""


class JsonLines(Silence):
    """One JSON object per line."""

    def __init__(self, file: IO[str] | None = None):
        self.file = file
        self.paces: dict[str, Pace] = {}
        self.last_line = 0.0

    def start(self, stage: str) -> None:
        """See `Silence`; the start of scoring is told when it is known how much there is."""
        if stage != "scoring":
            emit("start", self.file, stage=stage)

    def _advance(self, stage, done, total, **more):
        pace = self.paces.setdefault(stage, Pace())
        measured = {**pace(done, total), **more}
        if done == total or time.monotonic() - self.last_line > JSON_INTERVAL:
            self.last_line = time.monotonic()
            emit("progress", self.file, stage=stage, **measured)

    def _advance_known(self, stage, done, total):
        """The first call tells what there was before."""
        if stage in self.paces:
            return self._advance(stage, done, total)
        self.paces[stage] = Pace()
        emit("start", self.file, stage=stage, total=total, found=done)

    def scored(self, done: int, total: int) -> None:
        """See `Silence`."""
        self._advance_known("scoring", done, total)

    def damaged(self, name: str, message: str) -> None:
        """See `Silence`."""
        emit("damaged", self.file, part=name.rpartition("/")[2], message=message)

    def trained(self, indices: Sequence[int], at) -> None:
        """See `Silence`; losses and accuracies are of each candidate."""
        done, total, rate = _steps(at)
        measured = {"rate": rate and round(rate, 3), "eta_s": round(at.seconds_left, 1), "epoch": at.epoch}
        values = {"loss": at.loss.tolist(), "accuracy": at.accuracy.tolist()}
        self._advance("training", done, total, candidates=list(map(int, indices)), **measured, **values)

    def queried(self, query) -> None:
        """See `Silence`."""
        emit("query", self.file, **query._asdict())

    def compared(self, method: str, done: int, total: int) -> None:
        """See `Silence`."""
        self._advance_known(method, done, total)

    def downloaded(self, done: int, total: int | None) -> None:
        """See `Silence`."""
        self._advance("download", done, total)


def _steps(at):
    """Steps done, in all, and a second; None at the end."""
    done, total = (at.epoch - 1) * at.steps + at.step, at.epochs * at.steps
    return done, total, (total - done) / at.seconds_left if at.seconds_left else None


class Bars(Silence):
    """Bars in a terminal, else a line at most every ten seconds; queries always get a line."""

    def __init__(self, bars: Progress):
        self.bars = bars
        self.tasks: dict[str, TaskID] = {}
        self.paces: dict[str, Pace] = {}
        self.waiting: TaskID | None = None
        self.last_line = self.started = time.monotonic()
        self.cost = 0.0  # seconds of the queries so far

    def start(self, stage: str) -> None:
        """See `Silence`. Bars of the stage before leave."""
        self._stop_waiting()
        self.started = time.monotonic()
        for task in self.tasks.values():
            self.bars.update(task, visible=False)
        if status.is_terminal:
            self.waiting = self.bars.add_task(f"{stage}: compiling", total=None, pace="", detail="")
        else:
            status.print(f"{stage}: the program compiles first", highlight=False)

    def _task(self, name, total):
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=total, pace="", detail="")
            self.paces[name] = Pace()
        return self.tasks[name]

    def _stop_waiting(self):
        if self.waiting is not None:
            self.bars.remove_task(self.waiting)
            self.waiting = None

    def advance(self, name: str, done: float, total: float | None, detail: str = "", pace: str = "") -> None:
        """Show that `done` of `total` is reached."""
        self._stop_waiting()
        task = self._task(name, total)
        self.bars.update(task, completed=done, total=total, detail=detail, pace=pace, visible=True)
        due = time.monotonic() - self.last_line > QUIET_INTERVAL
        if not status.is_terminal and due:
            self.last_line = time.monotonic()
            reached = f"{done:,} of {total:,}" if total else f"{done:,}"
            line = ", ".join(filter(None, [reached, pace, detail]))
            status.print(f"{name}: {line}", highlight=False, soft_wrap=True)

    def scored(self, done: int, total: int) -> None:
        """See `Silence`."""
        name = "architectures scored"
        if name not in self.tasks:
            self.bars.update(self._task(name, total), completed=done)
            if done:
                status.print(f"{done:,} of {total:,} architectures were scored before", highlight=False)
            return
        if self.paces[name].first is None and not status.is_terminal:
            status.print(f"first scores after {time.monotonic() - self.started:.1f} s", highlight=False)
        measured = self.paces[name](done, total)
        texts = [
            f"{measured['rss_mb']:,.0f} MB" if measured["rss_mb"] else "",
            f"{measured['device_mb']:,.0f} MB on the device" if measured["device_mb"] else "",
        ]
        self.advance(name, done, total, ", ".join(filter(None, texts)), _pace(measured["rate"], measured["eta_s"]))

    def damaged(self, name: str, message: str) -> None:
        """See `Silence`."""
        warn(message)

    def trained(self, indices: Sequence[int], at) -> None:
        """See `Silence`."""
        name = f"training {len(indices)} together" if len(indices) > 1 else "training"
        losses, accuracies = (
            "/".join(f"{value:{form}}" for value in values) for values, form in ((at.loss, ".3f"), (at.accuracy, ".1f"))
        )
        epoch = f"epoch {at.epoch} of {at.epochs}"
        if status.is_terminal:  # where the end may be cropped
            detail = f"loss {losses}, {accuracies} %, {epoch}"
        else:
            detail = f"{epoch}, loss {losses}, training accuracy {accuracies} %"
        done, total, rate = _steps(at)
        self.advance(f"{name}: steps", done, total, detail, _pace(rate, at.seconds_left))

    def queried(self, query) -> None:
        """See `Silence`."""
        self._stop_waiting()
        outcome = f"{query.objective:6.2f} %" if math.isfinite(query.objective) else "diverged, the search goes on"
        cost = f"   {query.cost:.1f} s" if math.isfinite(query.cost) else ""
        line = f"query {query.number:2d}/{query.budget} ({query.phase}): {outcome}   best {query.best:.2f} %{cost}"
        if math.isfinite(query.cost) and query.number < query.budget:
            self.cost = self.cost + query.cost if query.number > 1 else query.cost
            left = (query.budget - query.number) * self.cost / query.number
            line += f"   about {timedelta(seconds=round(left))} to go"
        status.print(line, highlight=False)

    def compared(self, method: str, done: int, total: int) -> None:
        """See `Silence`."""
        self._advance_at_pace(f"{method}: seeds", done, total)

    def downloaded(self, done: int, total: int | None) -> None:
        """See `Silence`."""
        self._advance_at_pace("bytes", done, total)

    def _advance_at_pace(self, name, done, total):
        is_first = name not in self.tasks
        self._task(name, total)
        measured = {"rate": None, "eta_s": None} if is_first else self.paces[name](done, total)
        self.advance(name, done, total, pace=_pace(measured["rate"], measured["eta_s"]))


def _pace(rate, seconds):
    """Rate and time to go, as a bar shows them."""
    if not rate:
        return ""
    speed = f"{rate:,.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"
    return speed if seconds is None else f"{speed}, {timedelta(seconds=round(seconds))} to go"


@contextmanager
def progress(as_json: bool = False) -> Iterator[Silence]:
    """Show bars while the body runs; or print JSON lines, and what else comes to stdout goes to stderr."""
    if as_json:
        out = sys.stdout
        with redirect_stdout(sys.stderr):
            yield JsonLines(out)
        return
    left_over, cropped = Column(ratio=1), Column(ratio=3, no_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(None, table_column=left_over),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        TextColumn("{task.fields[detail]}", table_column=cropped),
    )
    disable = not status.is_terminal
    with Progress(*columns, console=status, disable=disable, transient=True, expand=True) as bars:
        yield Bars(bars)
