"""Seconds by stage, with JAX's tracing and compiling as a separate stage, part of which a thread can do ahead."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import jax

COMPILING = "/jax/core/compile/"  # where the names of JAX's events of tracing and compiling begin
WAITING = f"{COMPILING}jaxnas_ahead"


class Ahead:
    """Compiles programs one after another in a thread, while the caller needs others first.

    XLA lets other threads of Python run while it compiles. A task that raises is left to the caller, who meets the same
    error where the program is needed.
    """

    def __init__(self, *tasks: Callable[[], object]) -> None:
        """Begin with the first task."""
        self._thread = ThreadPoolExecutor(1, "jaxnas-compile")
        self._tasks = [self._thread.submit(task) for task in tasks]
        self._thread.shutdown(wait=False)

    def wait(self) -> None:
        """Wait until all are compiled, which a `Stopwatch` counts as compiling."""
        started = time.time()
        if any(not task.done() for task in self._tasks):
            wait(self._tasks)
            jax.monitoring.record_event_time_span(WAITING, started, time.time())

    def cancel(self) -> None:
        """Leave out the tasks that have not begun."""
        for task in self._tasks:
            task.cancel()


class Stopwatch:
    """Measures the seconds of each stage, without the tracing and compiling that this thread did or waited for.

    Attributes:
      seconds: seconds by stage; "compiling" is the sum of all tracing and compiling.
    """

    def __init__(self) -> None:
        """Start with no stage."""
        self.seconds: dict[str, float] = {"compiling": 0.0}
        self._spans: list[tuple[float, float]] = []
        self._thread = threading.get_ident()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body as part of stage `name`."""
        started, compiled = time.perf_counter(), self._compiled()
        jax.monitoring.register_event_time_span_listener(self._listen)
        try:
            yield
        finally:
            jax.monitoring.unregister_event_time_span_listener(self._listen)
            compiling = self._compiled() - compiled
            self.seconds["compiling"] += compiling
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started - compiling

    def _listen(self, event: str, start_time: float, end_time: float, **_: str | int) -> None:
        """Record a span, which is reported when it ends: it replaces those that it contains, which ended before."""
        if event.startswith(COMPILING) and threading.get_ident() == self._thread:
            self._spans = [span for span in self._spans if span[0] < start_time] + [(start_time, end_time)]

    def _compiled(self) -> float:
        return sum((end - start for start, end in self._spans), 0.0)
