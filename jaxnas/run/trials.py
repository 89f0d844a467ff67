"""The log of a study: what was asked and told, a JSON line each, appended under a lock by any number of processes."""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxnas.errors import InputError
from jaxnas.runtime.records import Record, to_plain
from jaxnas.search.history import Phase, Proposal, SurrogateInfo

LOG, LOCK = "trials.jsonl", "trials.lock"


class Trial(NamedTuple):
    """One architecture that was asked for.

    Attributes:
      number: number of the trial, from 0.
      row: row of the pool.
      arch: text of the architecture.
      objective: what was told; NaN while it is pending and for a failed candidate.
      error: why the candidate failed, "" if it did not.
      seconds: seconds of the evaluation, NaN if unknown.
      is_told: whether it was told; a pending trial was not.
      asked_at: when it was asked for last, in seconds since 1970.
    """

    number: int
    row: int
    arch: str
    objective: float = np.nan
    error: str = ""
    seconds: float = np.nan
    is_told: bool = False
    asked_at: float = np.nan

    @property
    def failed(self) -> bool:
        """Whether it was told without a finite objective."""
        return self.is_told and not np.isfinite(self.objective)


class Log:
    """The lines of a study's log, read once each."""

    def __init__(self, folder: Path, archs: Sequence[str], num_proxies: int) -> None:
        """Name the folder, which exists, and the rows and proxies of the table, which lines must fit."""
        self._archs, self._num_proxies = archs, num_proxies
        self.path, self._lock = folder / LOG, folder / LOCK
        self.proposals: list[Record] = []  # new ones and repetitions, in order
        self.trials: list[Trial] = []
        self._read = 0  # bytes

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder, and read what other processes have added."""
        with open(self._lock, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.refresh()
            yield

    def refresh(self) -> None:
        """Read the lines that were added; the rest of a line whose writer was killed is left out."""
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            file.seek(self._read)
            content = file.read()
        complete = content[: content.rfind(b"\n") + 1]
        self._read += len(complete)
        for line in complete.splitlines():
            self._apply(line)

    def append(self, record: Record) -> None:
        """Add a line that survives a crash from here on; the lock is held."""
        with open(self.path, "ab") as file:
            file.truncate(self._read)  # the rest of a line whose writer was killed
            file.write(json.dumps(to_plain(record), allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.refresh()

    def ask(self, proposal: Proposal, arch: str) -> None:
        """Add a proposal; a new item becomes a pending trial."""
        info = {} if proposal.info is None else proposal.info._asdict()
        asked = {"item": proposal.item, "phase": int(proposal.phase), "weights": proposal.weights, "info": info}
        self.append({"ask": asked, "arch": arch, "at": time.time()})

    def tell(self, number: int, objective: float, error: str, seconds: float) -> None:
        """Add the result of a trial."""
        self.append({"tell": number, "objective": objective, "error": error, "seconds": seconds})

    def again(self, number: int) -> None:
        """Note that a pending trial is asked for again."""
        self.append({"again": number, "at": time.time()})

    def _apply(self, line: bytes) -> None:
        try:
            record: Record = json.loads(line)
            if "ask" in record:
                row = self._check_proposal(record)
                self.proposals.append(record)
                if all(trial.row != row for trial in self.trials):
                    self.trials.append(Trial(len(self.trials), row, record["arch"], asked_at=float(record["at"])))
            elif "again" in record:
                number = int(record["again"])
                self.trials[number] = self.trials[number]._replace(asked_at=float(record["at"]))
            else:
                number = int(record["tell"])
                objective, seconds = (
                    np.nan if record[name] is None else float(record[name]) for name in ("objective", "seconds")
                )
                told = self.trials[number]._replace(objective=objective, error=str(record["error"]), seconds=seconds)
                self.trials[number] = told._replace(is_told=True)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise InputError(f"{self.path} has a damaged line ({line[:60]!r}); remove it") from error

    def _check_proposal(self, record: Record) -> int:
        """Return the row of a proposal.

        Raises:
          LookupError, TypeError, ValueError: it does not fit the table of the study.
        """
        proposal, row = to_proposal(record), int(record["ask"]["item"])
        Phase(int(record["ask"]["phase"]))
        if not 0 <= row < len(self._archs) or record["arch"] != self._archs[row]:
            raise ValueError(f"row {row} is not of {record['arch']!r:.40}")
        shapes = {name: np.shape(value) for name, value in proposal.info._asdict().items()}  # type: ignore[union-attr]  # it has one
        if proposal.weights.shape != (self._num_proxies,) or shapes != SurrogateInfo.shapes(self._num_proxies):
            raise ValueError("weights or surrogate of another shape")
        return row


def to_proposal(record: Record) -> Proposal:
    """Return the proposal of a line of the log."""
    asked = record["ask"]
    weights = _numbers(asked["weights"])
    unknown = {name: np.full(shape, np.nan) for name, shape in SurrogateInfo.shapes(weights.size).items()}
    info = SurrogateInfo(**{**unknown, **{name: _numbers(value) for name, value in asked["info"].items()}})
    return Proposal(jnp.int32(asked["item"]), jnp.int32(asked["phase"]), weights, info)  # type: ignore[arg-type]  # NumPy's arrays serve


def _numbers(values: object) -> np.ndarray:
    return np.array(values, np.float64)
