"""Searches whose candidates are evaluated elsewhere: ask for an architecture, tell its objective, in any process.

A study is a folder, where all processes that evaluate candidates meet:

    study = jaxnas.create_study("runs/mine", table, archs, budget=20)  # once
    study = jaxnas.load_study("runs/mine")  # in every other process
    while trial := study.ask():
        study.tell(trial, train(trial.arch))
    print(study.result().best)
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import SupportsFloat

import numpy as np
from jaxtyping import Float

from jaxnas.errors import InputError, NothingToSelect
from jaxnas.objectives.call import describe_failure, to_objective
from jaxnas.run.trials import Log, Trial, to_proposal
from jaxnas.runtime.calls import OutOfTime, time_limit
from jaxnas.runtime.events import Event, Listener, QueryAnswered, ignore
from jaxnas.runtime.records import Record
from jaxnas.runtime.settings import LAST_SEED, Whole, check_whole, parse_seconds
from jaxnas.search import SearchResult, get_method, get_preset
from jaxnas.search.inputs import make_pool, method_settings
from jaxnas.search.ledger import Ledger, open_ledger
from jaxnas.search.result import sign_of
from jaxnas.search.stepped import SteppedSearch, to_choice


class Study:
    """A search in a folder; several processes may ask and tell at the same time.

    With one process the search is that of the method's `__call__`. A pending trial counts as failed for the proposals
    that follow, which for a surrogate is the worst value so far: a constant liar (Ginsbourger et al. 2010).
    `create_study` and `load_study` make it.
    """

    def __init__(self, folder: Path, table: Float[np.ndarray, "A M"], archs: Sequence[str], settings: Record) -> None:
        """Keep what is in the file of a study; `vectors` of the settings are the architectures, or None."""
        self.folder, self.archs, self.settings = folder, list(archs), settings
        self._method = get_method(settings["method"])
        self._config = get_preset(settings["preset"]) if settings["method"] == "robot" else self._method.config
        vectors = None if settings["vectors"] is None else np.array(settings["vectors"], np.int8)
        self._pool = make_pool(self._method, table, vectors, (1,))
        self._log, self._applied = Log(folder, self.archs, table.shape[1]), list[tuple[int, float | None]]()
        self._search = self._start()

    @property
    def table(self) -> Float[np.ndarray, "A M"]:
        """The normalised scores of the architectures [A M]."""
        return np.asarray(self._pool.table)

    @property
    def trials(self) -> list[Trial]:
        """All trials so far, in the order in which they were asked for."""
        self._log.refresh()
        return list(self._log.trials)

    @property
    def is_finished(self) -> bool:
        """Whether the whole budget, or every architecture, was told."""
        trials = self.trials
        return self._is_spent(trials) and all(trial.is_told for trial in trials)

    def ask(self, timeout: SupportsFloat | None = None) -> Trial | None:
        """Return an architecture to evaluate, None once the whole budget has been asked for.

        Args:
          timeout: seconds after which a pending trial is given out again, as its process may have died; None never.
        """
        limit = None if timeout is None else _to_seconds("timeout", timeout)
        with self._log.locked():
            pending = [trial for trial in self._log.trials if not trial.is_told]
            if stale := [trial for trial in pending if limit is not None and time.time() - trial.asked_at >= limit]:
                self._log.again(stale[0].number)
                return self._log.trials[stale[0].number]
            if self._is_spent(self._log.trials):
                return None
            self._catch_up()
            while True:
                (proposal,) = self._search.propose(1)
                known = len(self._log.trials)
                self._log.ask(proposal, self.archs[int(proposal.item)])
                if len(self._log.trials) > known:
                    return self._log.trials[-1]
                self._catch_up()

    def tell(
        self,
        trial: Trial | Whole,
        objective: object = None,
        *,
        error: str | BaseException = "",
        seconds: SupportsFloat = np.nan,
    ) -> None:
        """Record the objective of a trial, or why it failed.

        Args:
          trial: a trial, or its number.
          objective: a number, see `jaxnas.objectives.call.to_objective`; NaN or inf for a failed candidate.
          error: why the candidate failed, in place of an objective; a text or an exception.
          seconds: seconds of the evaluation.

        Raises:
          InputError: there is no such trial, it was told another objective, or the objective is not a number.
        """
        error = describe_failure(error, None) if isinstance(error, BaseException) else str(error)
        value = np.nan if error else to_objective(objective)
        value, spent = value if np.isfinite(value) else np.nan, _to_seconds("seconds", seconds)
        with self._log.locked():
            number = trial.number if isinstance(trial, Trial) else check_whole("trial", trial, 0, LAST_SEED)
            if number >= len(self._log.trials):
                raise InputError(f"trial {number} was not asked for; there are {len(self._log.trials)}")
            before = self._log.trials[number]
            if isinstance(trial, Trial) and (trial.arch, trial.row) != (before.arch, before.row):
                raise InputError(
                    f"trial {number} of {self.folder} is of {before.arch}, and this one of {trial.arch}: tell it to "
                    "the study that asked for it"
                )
            if not before.is_told:
                self._log.tell(number, value, error, spent)
            elif not np.array_equal(before.objective, value, equal_nan=True):
                raise InputError(
                    f"trial {number} was told {before.objective:g} before, and now {value:g}: tell it once"
                )

    def run(
        self,
        objective: Callable[[str], object],
        *,
        catch: type[Exception] | tuple[type[Exception], ...] = (),
        query_time: SupportsFloat | str | None = None,
        on_event: Listener = ignore,
    ) -> SearchResult:
        """Evaluate candidates in this process until the budget is spent; those pending of a killed process first.

        Args:
          objective: function of the text of an architecture.
          catch: exceptions by which a candidate fails and the search continues; any other one stops it, after which the
            same call resumes.
          query_time: seconds after which a candidate fails, or a text such as "30m".
          on_event: receives a `QueryAnswered` after each candidate.

        Raises:
          InputError: what the objective returned is not a number, unless `catch` has it.
          NothingToSelect: every candidate failed.
        """
        if not callable(objective):
            raise InputError(f"`objective` must be a function of the text of an architecture, got {objective!r:.60}")
        if wrong := [kind for kind in _several(catch) if not (isinstance(kind, type) and issubclass(kind, Exception))]:
            raise InputError(f"`catch` must be exceptions, such as MemoryError, got {wrong[0]!r:.60}")
        limit = None if query_time is None else parse_seconds(query_time)
        for trial in self.trials:
            if not trial.is_told:
                self._evaluate(trial, objective, catch, limit)
                self._report(trial, on_event)
        while trial_to_run := self.ask():
            self._evaluate(trial_to_run, objective, catch, limit)
            self._report(trial_to_run, on_event)
        return self.result()

    def result(self) -> SearchResult:
        """Return the search so far, of the trials that were told and count.

        Raises:
          NothingToSelect: no trial has a finite objective.
        """
        if all(trial.failed or not trial.is_told for trial in self.trials):
            failed = sum(trial.failed for trial in self.trials)
            state = f"all {failed} evaluated architectures failed" if failed else "no architecture is evaluated yet"
            raise NothingToSelect(f"{state}: there is nothing to select")
        ledger = self._ledger(ignore)
        weights = self._search.best_weights()
        return ledger.result(self._method.name, weights, self.settings["seed"], method_settings(self._config))

    def _ledger(self, on_event: Listener) -> Ledger:
        """Return the ledger of the trials that were told and count, in the order in which the method proposed them."""
        self._log.refresh()
        self._catch_up()
        told = [trial for trial in self._log.trials if trial.is_told and self._counts(trial)]
        found = {trial.row: trial for trial in told}
        budget = max(len(told), 1)
        ledger = open_ledger(
            len(self.archs),
            lambda row: found[row].objective,
            budget,
            lambda row: found[row].seconds,
            on_event,
            direction=self.settings["direction"],
        )
        for record in self._log.proposals:
            if (row := int(record["ask"]["item"])) in found:
                ledger.query(row, to_choice(to_proposal(record)))
        return ledger

    def __repr__(self) -> str:
        """Return one line: method, folder as seen from here, and how many trials were told, failed and are pending."""
        trials, here = self.trials, Path.cwd()
        folder = self.folder.relative_to(here) if self.folder.is_relative_to(here) else self.folder
        told, failed = (sum(getattr(trial, name) for trial in trials) for name in ("is_told", "failed"))
        state = f"{told} of {self.settings['budget']} told, {failed} failed, {len(trials) - told} pending"
        return f"<Study {self._method.name} in {folder}: {state}>"

    def _evaluate(
        self,
        trial: Trial,
        objective: Callable[[str], object],
        catch: type[Exception] | tuple[type[Exception], ...],
        query_time: float | None,
    ) -> None:
        began = time.perf_counter()
        caught: tuple[type[BaseException], ...] = (OutOfTime, *_several(catch))
        try:
            with time_limit(query_time):
                value = to_objective(objective(trial.arch))
        except caught as error:
            seconds = time.perf_counter() - began
            return self.tell(trial, error=describe_failure(error, query_time), seconds=seconds)
        self.tell(trial, value, seconds=time.perf_counter() - began)

    def _report(self, trial: Trial, on_event: Listener) -> None:
        """Send the event of a trial, unless it does not count."""
        if on_event is ignore:
            return

        def send(event: Event) -> None:
            if isinstance(event, QueryAnswered) and event.arch == trial.row:
                on_event(event._replace(budget=self.settings["budget"]))

        self._ledger(send)

    def _start(self) -> SteppedSearch:
        settings = self.settings
        return SteppedSearch(self._method, self._pool, settings["budget"], settings["seed"], self._config)

    def _counts(self, trial: Trial) -> bool:
        return bool(self.settings["count_failures"]) or not trial.failed

    def _is_spent(self, trials: Sequence[Trial]) -> bool:
        return sum(map(self._counts, trials)) >= self.settings["budget"] or len(trials) == len(self.archs)

    def _catch_up(self) -> None:
        """Bring the method to the state after all proposals, from the start where an earlier trial was told since."""
        trial_of = {trial.row: trial for trial in self._log.trials}
        rows = [int(record["ask"]["item"]) for record in self._log.proposals]
        wanted = [(row, self._value(trial_of[row])) for row in rows]
        if wanted[: len(self._applied)] != self._applied:
            self._search, self._applied = self._start(), []
        for record, (row, value) in list(zip(self._log.proposals, wanted, strict=True))[len(self._applied) :]:
            if value is None:
                self._search.skip(row)
            else:
                self._search.record(to_proposal(record), np.nan if value == -np.inf else value)
            self._applied.append((row, value))

    def _value(self, trial: Trial) -> float | None:
        """Return what the method learns, larger is better: -inf of a pending or failed trial, None if uncounted."""
        if not self._counts(trial):
            return None
        value = sign_of(self.settings["direction"]) * trial.objective
        return value if np.isfinite(value) else -np.inf


def _several(catch: type[Exception] | tuple[type[Exception], ...]) -> tuple[type[Exception], ...]:
    return catch if isinstance(catch, tuple) else (catch,)


def _to_seconds(name: str, seconds: SupportsFloat) -> float:
    try:
        return float(seconds)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"`{name}` must be a number, got {seconds!r:.40}") from None
