"""An objective of the user's in a whole search: a function, a command or a plugin, kept in a study for each method."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int8

from jaxnas.errors import InputError, unknown_name
from jaxnas.objectives.call import command_objective
from jaxnas.objectives.named import OBJECTIVES
from jaxnas.run.config import RunConfig
from jaxnas.run.study_file import STUDY, create_study, load_study
from jaxnas.runtime.calls import CommandFailed
from jaxnas.runtime.code import code_fingerprint, command_fingerprint
from jaxnas.runtime.events import Listener
from jaxnas.search import SearchResult
from jaxnas.spaces import SearchSpace
from jaxnas.spaces.ids import IDS


@dataclass(frozen=True)
class OwnObjective:
    """A function of the text of an architecture, and the folder of its studies.

    Attributes:
      function: returns the objective.
      name: the command or the name of a function, and a fingerprint of the code; studies record it.
      folder: folder of the run; study-METHOD in it has the candidates of a method.
      known: objectives by architecture, which a second method does not evaluate again.
    """

    function: Callable[[str], object]
    name: str
    folder: Path
    known: dict[str, float] = field(default_factory=dict)

    def run(
        self,
        method: str,
        config: RunConfig,
        space: SearchSpace,
        pool: Int8[np.ndarray, "A D"],
        table: Float[np.ndarray, "A M"],
        on_event: Listener,
    ) -> SearchResult:
        """Search by a method; see `Study.run`.

        Raises:
          InputError: a candidate of a command failed and failures stop the search.
        """
        evaluation = config.evaluation
        study = create_study(
            self.folder / f"study-{method}",
            table,
            [space.format(arch) for arch in pool],
            budget=config.search.budget,
            method=method,
            preset=config.search.preset,
            direction=config.problem.direction,
            count_failures=evaluation.on_failure != "skip",
            seed=config.seed,
            vectors=None if space.name == IDS else pool,
            objective=self.name,
            on_event=on_event,
        )
        catch = () if evaluation.on_failure == "stop" else (Exception,)
        try:
            result = study.run(self._evaluate, catch=catch, query_time=self._limit(config), on_event=on_event)
        except CommandFailed as error:
            raise InputError(
                f"the objective command {error}: mend it and run the same command again, which resumes, or give "
                "--on-failure count or skip"
            ) from error
        self.known.update({trial.arch: trial.objective for trial in study.trials if np.isfinite(trial.objective)})
        return result

    def test_accuracy(self, index: int) -> float:
        """Return NaN: what the user measures has no test."""
        return np.nan

    def _evaluate(self, arch: str) -> object:
        return self.known[arch] if arch in self.known else self.function(arch)

    def _limit(self, config: RunConfig) -> float | None:
        """Return the time of a query; a command keeps it itself."""
        return None if config.evaluation.objective_command is not None else config.evaluation.seconds


def own_objective(
    config: RunConfig, folder: Path, function: Callable[[str], object] | None = None
) -> OwnObjective | None:
    """Return the objective of the settings, or of a function; None where candidates are trained or looked up.

    Raises:
      InputError: the command cannot be read, or no plugin has an objective of that name.
    """
    evaluation, name, folder = config.evaluation, config.own_objective, folder.resolve()
    if not name:
        return None
    others = {path.parent for path in folder.glob(f"study-*/{STUDY}")}
    others -= {folder / f"study-{method}" for method in (config.search.method, *config.search.compare)}
    if function is None and evaluation.objective_command is not None:
        command = evaluation.objective_command
        function = command_objective(command, evaluation.seconds)
        return _with_known(function, f"{command} {command_fingerprint(command)}".strip(), folder, others)
    if function is None and name not in OBJECTIVES:
        raise unknown_name("objective", name, ["accuracy", *OBJECTIVES])
    function = OBJECTIVES[name] if function is None else function
    return _with_known(function, f"{name} {code_fingerprint(function)}".strip(), folder, others)


def _with_known(function: Callable[[str], object], name: str, folder: Path, studies: set[Path]) -> OwnObjective:
    """Return an objective that knows what studies of other methods have evaluated by it."""
    known: dict[str, float] = {}
    for study in map(load_study, sorted(studies)):
        if study.settings.get("objective") == name:
            known.update({trial.arch: trial.objective for trial in study.trials if np.isfinite(trial.objective)})
    return OwnObjective(function, name, folder, known)
