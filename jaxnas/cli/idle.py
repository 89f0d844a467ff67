"""Refuse options that have no effect on a search or a comparison because of others."""

from collections.abc import Sequence
from dataclasses import fields
from typing import NamedTuple

from jaxnas.cli.command import Given
from jaxnas.errors import InputError
from jaxnas.objectives.recipes import PAPER_SEARCHES
from jaxnas.run.config import RunConfig
from jaxnas.run.sections import NetworkConfig, ProblemConfig, SearchConfig
from jaxnas.runtime.settings import settings_of
from jaxnas.scoring.config import ScoringConfig

_SCORING = ("pool", "batch_size", *(one.name for one in fields(ScoringConfig) if one.name != "seed"))
_TRAINING = ("epochs", "folds", "time", "confirm", "together", "at_once")
_IMAGES = ("data", "pixels", *(one.name for one in fields(NetworkConfig)))
_OWN = ("on_failure", "query_time")
_TABLE = ("column", "test_column", "minimize", "latency_column")


class _Idle(NamedTuple):
    """Options that have no effect, why, and what to do."""

    names: tuple[str, ...]
    reason: str
    remedy: str = "leave out"


def refuse_idle(settings: Given, config: RunConfig, scores: object) -> None:
    """Check that every option of a search that the user gave has an effect.

    The proxies of a search have one whatever its methods read: the run and its report contain their scores.

    Args:
      settings: options that the user gave.
      config: the settings that they make.
      scores: scores that are given; None where a pool is scored.

    Raises:
      InputError: some have none; the message names them.
    """
    table, own, search = config.problem.table, config.own_objective, config.search
    rules = _rules_of_methods((search.method, *search.compare))
    if config.problem.space in PAPER_SEARCHES:  # whose preset has a recipe for trainings too
        rules = [rule for rule in rules if "preset" not in rule.names]
    if scores is not None:
        rules.append(_Idle(_SCORING, f"scores are given ({scores})"))
    if table is not None:
        rules.append(_Idle(_TRAINING, f"accuracies are looked up in {table}"))
    if own:
        rules.append(_Idle(_TRAINING, f"the objective is {own}"))
    if own and scores is not None:
        rules.append(_Idle(_IMAGES, f"scores are given ({scores}) and the objective is {own}"))
    if not own:
        rules.append(_Idle(_OWN, "candidates are not evaluated by an objective of yours"))
    if table is None and not own:
        rules.append(_Idle(_TABLE, "candidates are trained", "give --table, or leave out"))
    elif scores is None:
        rules.append(_Idle(("latency_column",), "a pool is scored", "give --scores, or leave out"))
    if table is not None and scores is not None:
        rules.append(_Idle(_IMAGES, f"scores are given ({scores}) and accuracies looked up in {table}"))
    _refuse(settings, rules)


def refuse_idle_in_comparison(settings: Given, methods: Sequence[str]) -> None:
    """Check that every option of a comparison that the user gave has an effect.

    Args:
      settings: options that the user gave.
      methods: names of the methods.

    Raises:
      InputError: some have none; the message names them.
    """
    rules = _rules_of_methods(methods)
    if not _any_reads_scores(methods):
        rules.append(_Idle(("proxies",), "no method reads scores"))
    _refuse(settings, rules)


def _rules_of_methods(methods: Sequence[str]) -> list[_Idle]:
    """Return the options that none of the methods reads."""
    from jaxnas.search import get_method

    rules = []
    if "robot" not in methods:
        rules.append(_Idle(("preset",), "no method is robot"))
    if not _any_reads_scores(methods):
        rules.append(_Idle(("normalization",), "no method reads scores"))
    if not any(get_method(name).reads_earlier for name in methods):
        rules.append(_Idle(("warm_start",), "no method reads earlier tasks", "choose --method proxy_gp, or leave out"))
    if not any(get_method(name).multi_fidelity for name in methods):
        rules.append(_Idle(("longer", "prices"), "no method is hyperband or bohb"))
    return rules


def _any_reads_scores(methods: Sequence[str]) -> bool:
    from jaxnas.search import get_method

    return any(get_method(name).reads_scores for name in methods)


def _refuse(settings: Given, rules: Sequence[_Idle]) -> None:
    for rule in rules:
        if idle := [_flag(name) for name in rule.names if name in settings]:
            verb = "have" if len(idle) > 1 else "has"
            raise InputError(f"{', '.join(idle)} {verb} no effect where {rule.reason}: {rule.remedy} {', '.join(idle)}")


def _flag(name: str) -> str:
    declared = {
        key: about.flag
        for config in (ProblemConfig, SearchConfig, NetworkConfig, ScoringConfig)
        for key, (_, about) in settings_of(config).items()
    }
    return declared.get(name) or f"--{name.replace('_', '-')}"
