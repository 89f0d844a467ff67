"""Refuse options that have no effect on a search because of others."""

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
    remedy: str


def refuse_idle(settings: Given, config: RunConfig, scores: object) -> None:
    """Check that every option that the user gave has an effect.

    Args:
      settings: options that the user gave.
      config: the settings that they make.
      scores: scores that are given; None where a pool is scored.

    Raises:
      InputError: some have none; the message names them.
    """
    table, own, search = config.problem.table, config.own_objective, config.search
    rules = []
    if "robot" not in (search.method, *search.compare) and config.problem.space not in PAPER_SEARCHES:
        rules.append(_Idle(("preset",), "no method is robot", "leave out"))
    if scores is not None:
        rules.append(_Idle(_SCORING, f"scores are given ({scores})", "leave out"))
    if table is not None:
        rules.append(_Idle(_TRAINING, f"accuracies are looked up in {table}", "leave out"))
    if own:
        rules.append(_Idle(_TRAINING, f"the objective is {own}", "leave out"))
    if own and scores is not None:
        rules.append(_Idle(_IMAGES, f"scores are given ({scores}) and the objective is {own}", "leave out"))
    if not own:
        rules.append(_Idle(_OWN, "candidates are not evaluated by an objective of yours", "leave out"))
    if table is None and not own:
        rules.append(_Idle(_TABLE, "candidates are trained", "give --table, or leave out"))
    elif scores is None:
        rules.append(_Idle(("latency_column",), "a pool is scored", "give --scores, or leave out"))
    if table is not None and scores is not None:
        rules.append(_Idle(_IMAGES, f"scores are given ({scores}) and accuracies looked up in {table}", "leave out"))
    for rule in rules:
        if idle := [_flag(name) for name in settings if name in rule.names]:
            verb = "have" if len(idle) > 1 else "has"
            raise InputError(f"{', '.join(idle)} {verb} no effect where {rule.reason}: {rule.remedy} {', '.join(idle)}")


def _flag(name: str) -> str:
    declared = {
        key: about.flag
        for config in (ProblemConfig, SearchConfig, NetworkConfig, ScoringConfig)
        for key, (_, about) in settings_of(config).items()
    }
    return declared.get(name) or f"--{name.replace('_', '-')}"
