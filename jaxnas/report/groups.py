"""Searches and comparisons of a report as groups of methods over seeds, and which of them won."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from jaxnas.run.method_runs import MethodComparison, MethodRuns, method_rows, verdict
from jaxnas.run.run import Run
from jaxnas.runtime.measures import OBJECTIVE, Measure
from jaxnas.runtime.records import Record

# Settings that may differ within a group of runs.
NOT_OF_METHOD = ("seed", "training seed", "training_seed", "method", "compare", "together")


def compare_groups(
    results: Sequence[Run | MethodComparison],
) -> tuple[dict[str, MethodRuns], list[Record], list[str]]:
    """Return the groups of `group_methods`, their rows and what won, a sentence for each problem.

    Methods on different spaces, data or columns are not compared with each other.
    """
    groups: dict[str, MethodRuns] = {}
    rows: list[Record] = []
    verdicts: list[str] = []
    problems = list(dict.fromkeys(map(_problem, sorted(results, key=lambda found: not isinstance(found, Run)))))
    for problem in problems:
        members = [found for found in results if _problem(found) == problem]
        own = group_methods(members, results)
        labels = {name: name if name not in groups else f"{name} on {problem[1]}" for name in own}
        groups |= {labels[name]: found._replace(method=labels[name]) for name, found in own.items()}
        of_problem = method_rows({labels[name]: groups[labels[name]] for name in own})
        rows += of_problem
        measure = shared_measure(found.config.reported or found.config.measured for found in members)
        minimize = any(isinstance(found, Run) and found.config.problem.minimize for found in members)
        if sentence := verdict(of_problem, measure, "minimize" if minimize else "maximize"):
            verdicts.append(sentence if len(problems) == 1 else f"{problem[0]} on {problem[1]}. {sentence}")
    return groups, rows, verdicts


def group_methods(
    results: Sequence[Run | MethodComparison], among: Sequence[Run | MethodComparison] | None = None
) -> dict[str, MethodRuns]:
    """Group searches that differ in their seed alone, and add the methods of comparisons.

    Groups that differ in settings too are labelled with those settings, without those that follow from the ones before.
    Of two searches with the same seed the first counts.

    Args:
      results: searches and comparisons.
      among: the results from which the labels distinguish them; None for these.
    """
    runs, others = ([found for found in of if isinstance(found, Run)] for of in (results, among or results))
    settings, all_settings = ([_texts(run) for run in of] for of in (runs, others))
    differing: list[str] = []
    for name in all_settings[0] if all_settings else ():
        names = [*differing, name]
        if name not in NOT_OF_METHOD and _count(all_settings, names) > _count(all_settings, differing):
            differing = names
    members_of: dict[str, dict[int, tuple[Run, str]]] = defaultdict(dict)
    for run, config in zip(runs, settings, strict=True):
        for method in run.outcomes:
            label = ", ".join([method, *(f"{name} {config[name]}" for name in differing)])
            members_of[label].setdefault(run.config.seed, (run, method))
    groups = {label: _stack(label, members) for label, members in members_of.items()}
    for comparison in (one for one in results if isinstance(one, MethodComparison)):
        for name, method_runs in comparison.runs.items():
            groups[name if name not in groups else f"{name} on {comparison.config.table}"] = method_runs
    return groups


def _texts(run: Run) -> dict[str, str]:
    """Return the flat configuration of a run and the images of its scores, as texts."""
    config = {**flat_settings(run), "scores": run.scores.provenance.get("data")}
    return {name: str(value) for name, value in config.items()}


def _count(settings: Sequence[dict[str, str]], names: Sequence[str]) -> int:
    """Return how many combinations of values the named settings have."""
    return len({tuple(config[name] for name in names) for config in settings})


def shared_measure(measures: Iterable[Measure]) -> Measure:
    """Return the measure of all results, or a general one where they differ."""
    different = set(measures)
    return different.pop() if len(different) == 1 else OBJECTIVE


def _problem(found: Run | MethodComparison) -> tuple[str, str]:
    """Return the space of a result, and what its accuracies are of."""
    if isinstance(found, Run):
        return found.config.problem.space, found.config.measured_on
    return found.config.space, f"{Path(found.config.table).stem} ({found.config.column})"


def flat_settings(found: Run | MethodComparison) -> Record:
    """Return the flat configuration, with the parts for scoring and training as prefixes of names."""
    config = found.config.record() if isinstance(found, Run) else asdict(found.config)
    parts = {name: config.pop(name, {}) for name in ("training", "scoring")}
    return {**config, **{f"{part} {name}": value for part, values in parts.items() for name, value in values.items()}}


def _stack(label: str, members: dict[int, tuple[Run, str]]) -> MethodRuns:
    outcomes = [run.outcomes[method] for run, method in members.values()]
    return MethodRuns(
        label,
        np.array(list(members)),
        np.array([outcome.result.selected for outcome in outcomes]),
        np.array([outcome.result.num_bo for outcome in outcomes]),
        np.stack([outcome.result.best_by_spending() for outcome in outcomes]),
        np.array([outcome.test_accuracy for outcome in outcomes]),
    )
