"""The speed of the jobs of a command, measured by rich, and the bars that show it."""

import math
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TypedDict, Unpack

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text


class TaskFields(TypedDict, total=False):
    """The fields that jaxnas adds to a task of rich.

    Attributes:
      rate: steps per second that the job measured itself, or None.
      seconds_left: time to go that the job measured itself, or None.
      detail: text after the speed.
    """

    rate: float | None
    seconds_left: float | None
    detail: str


UNKNOWN: TaskFields = {"rate": None, "seconds_left": None, "detail": ""}  # of a new task


class PaceColumn(ProgressColumn):
    """Speed and time to go of a task."""

    def render(self, task: Task) -> Text:
        """Return them as text, empty while they are unknown."""
        return Text(pace(task))


def make_bars(console: Console, *, disable: bool) -> Progress:
    """Return bars whose speed is the mean since a job's first measured event.

    What is printed meanwhile appears above the bars, unless stdout is a file or a pipe, to which it goes as always.
    """
    left_over, cropped = Column(ratio=1), Column(ratio=3, no_wrap=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(None, table_column=left_over),
        MofNCompleteColumn(),
        PaceColumn(),
        TextColumn("{task.fields[detail]}", table_column=cropped),
        console=console,
        disable=disable,
        redirect_stdout=_prints_to_terminal(),
        transient=True,
        expand=True,
        speed_estimate_period=math.inf,
    )


def _prints_to_terminal() -> bool:
    """Return whether stdout, which users replace by anything that can be written to, is a terminal."""
    try:
        return sys.stdout is not None and sys.stdout.isatty()
    except (AttributeError, ValueError):  # no such method, or closed
        return False


class Jobs:
    """The counted jobs of a command as tasks of rich, which measures their speed.

    The first event of a job adds its task and is not measured: its program compiles until the second.
    """

    def __init__(self, bars: Progress):
        """Keep the tasks in `bars`, which need not be shown."""
        self.bars = bars
        self.numbers: dict[str, TaskID] = {}

    def __contains__(self, name: str) -> bool:
        """Return whether a job has had an event."""
        return name in self.numbers

    def add(self, name: str, done: int, total: int | None) -> Task:
        """Add a job of which `done` of `total` is there already."""
        self.numbers[name] = self.bars.add_task(name, total=total, completed=done, **UNKNOWN)
        return self._task(name)

    def advance(self, name: str, done: int, total: int | None, **fields: Unpack[TaskFields]) -> Task:
        """Record that `done` of `total` is reached; a job that falls back begins again."""
        if name not in self:
            self.add(name, done, total)
        if done < self._task(name).completed:
            self.bars.reset(self.numbers[name], completed=done)
        self.bars.update(self.numbers[name], completed=done, total=total, visible=True, **fields)
        return self._task(name)

    def hide(self) -> None:
        """Hide all jobs until they advance."""
        for number in self.numbers.values():
            self.bars.update(number, visible=False)

    def _task(self, name: str) -> Task:
        return next(task for task in self.bars.tasks if task.id == self.numbers[name])


def speed(task: Task) -> float | None:
    """Return the steps per second that the job or else rich measured; None while unknown."""
    return task.fields["rate"] or task.speed or None


def seconds_left(task: Task) -> float | None:
    """Return the time to go, None while unknown."""
    if task.fields["seconds_left"] is not None:
        return float(task.fields["seconds_left"])
    rate, remaining = speed(task), task.remaining
    return None if rate is None or remaining is None else remaining / rate


def pace(task: Task) -> str:
    """Return speed and time to go as a bar shows them."""
    rate, seconds = speed(task), seconds_left(task)
    if rate is None:
        return ""
    shown = f"{rate:,.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"
    return shown if seconds is None else f"{shown}, {timedelta(seconds=round(seconds))} to go"


def memory() -> dict[str, float | None]:
    """Return the megabytes that the process and its accelerators use now, None where the system does not tell."""
    import jax

    statm = Path("/proc/self/statm")  # Linux
    pages = int(statm.read_text().split()[1]) if statm.exists() else None
    in_use = [stats["bytes_in_use"] for device in jax.local_devices() if (stats := device.memory_stats())]
    return {
        "rss_mb": pages and round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
        "device_mb": round(sum(in_use) / 1e6, 1) if in_use else None,
    }
