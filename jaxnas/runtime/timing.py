"""Seconds by stage, with JAX's tracing and compiling as a separate stage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import jax


class Stopwatch:
    """Measures the seconds of each stage, without the tracing and compiling done in it.

    Attributes:
      seconds: seconds by stage; "compiling" is the sum of all tracing and compiling.
    """

    def __init__(self) -> None:
        """Start with no stage."""
        self.seconds: dict[str, float] = {"compiling": 0.0}
        self._spans: list[tuple[float, float]] = []

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
        if event.startswith("/jax/core/compile/"):
            self._spans = [span for span in self._spans if span[0] < start_time] + [(start_time, end_time)]

    def _compiled(self) -> float:
        return sum((end - start for start, end in self._spans), 0.0)
