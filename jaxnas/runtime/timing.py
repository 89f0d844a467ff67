"""Seconds by stage, with JAX's tracing and compiling as a separate stage, part of which a thread can do ahead."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import NamedTuple

import jax

COMPILING = "/jax/core/compile/"  # where the names of JAX's events of tracing and compiling begin
WAITING = f"{COMPILING}jaxnas_ahead"
TRACING, READING = f"{COMPILING}jaxnas_tracing", f"{COMPILING}jaxnas_reading"  # of `jaxnas.runtime.traces`


class Program(NamedTuple):
    """A program that JAX made ready.

    Attributes:
      name: the function.
      tracing: seconds of tracing it, or of reading a trace that was kept.
      lowering: seconds of translating it for XLA.
      compiling: seconds of compiling it, or of loading it from the cache.
      is_cached: whether the cache had it.
      is_read: whether the trace was kept by an earlier process.
      is_ahead: whether another thread than the main one did this, while other work went on.
    """

    name: str
    tracing: float
    lowering: float
    compiling: float
    is_cached: bool
    is_read: bool
    is_ahead: bool

    def __str__(self) -> str:
        """One line."""
        first, last = "reading the trace" if self.is_read else "tracing", "loading" if self.is_cached else "compiling"
        where = ", ahead of its use" if self.is_ahead else ""
        return (
            f"program {self.name}: {first} {self.tracing:.2f} s, lowering {self.lowering:.2f} s, "
            f"{last} {self.compiling:.2f} s{where}"
        )


def watch_programs(on_program: Callable[[Program], object]) -> None:
    """Call `on_program` with every program that this process makes ready from now on, in the thread that does it."""
    seconds: dict[tuple[int, str], float] = {}  # of the program under way in each thread, by event
    hits: set[int] = set()  # threads whose program comes from the cache

    def hear(event: str, **_: str | int) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            hits.add(threading.get_ident())

    def measure(event: str, duration_secs: float, **details: str | int) -> None:
        thread = threading.get_ident()
        seconds[thread, event] = duration_secs  # of nested functions the outermost ends last
        if event == f"{COMPILING}backend_compile_duration":
            steps = (f"{COMPILING}jaxpr_trace_duration", f"{COMPILING}jaxpr_to_mlir_module_duration", TRACING, READING)
            traced, lowering, exported, read = (seconds.pop((thread, name), 0.0) for name in steps)
            is_ahead = threading.current_thread() is not threading.main_thread()
            name = str(details.get("fun_name", "")).removeprefix("jit(").removesuffix(")")
            tracing = traced + exported + read
            on_program(Program(name, tracing, lowering, duration_secs, thread in hits, read > 0, is_ahead))
            hits.discard(thread)

    jax.monitoring.register_event_listener(hear)
    jax.monitoring.register_event_duration_secs_listener(measure)


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
