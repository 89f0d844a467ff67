"""Sizes of architectures: the limits that filter a pool, and the second objectives of a front."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxnas.errors import InputError
from jaxnas.run.sections import LimitConfig
from jaxnas.search import SearchResult
from jaxnas.search.result import sign_of
from jaxnas.store.scores import Scores
from jaxnas.table.front import hypervolume, pareto_front

Sizes: TypeAlias = Mapping[str, Float[np.ndarray, " A"]]
"""Sizes of the pool by name: params, flops of one image, depth in layers, latency; NaN where one is unknown."""

SIZE_PROXIES = {"params": ("params", 1e6), "flops": ("flops", 1e6), "depth": ("num_layers", 1.0)}
"""The proxy of each size, and the size in which it counts."""

PROXIES_OF_SIZES = tuple(proxy for proxy, _ in SIZE_PROXIES.values())


FAR_ABOVE = 1_000  # times the largest size: a limit that is in another unit than the sizes


def sizes_of_scores(scores: Scores) -> dict[str, Float[np.ndarray, " A"]]:
    """Return the sizes that scores of jaxnas contain."""
    columns = dict(zip(scores.proxies, scores.values.T, strict=True))
    return {name: np.round(unit * columns[proxy]) for name, (proxy, unit) in SIZE_PROXIES.items() if proxy in columns}


def within_limits(limits: LimitConfig, sizes: Sizes) -> tuple[Bool[np.ndarray, " A"], str]:
    """Return which architectures of a pool are within all limits, and a line that states how many.

    An architecture of unknown size is not.

    Raises:
      InputError: a size is not known of any architecture, or none is within the limits; the message has the least size.
    """
    bounds = {name: bound for name, bound in limits.bounds().items() if bound is not None}
    for name in bounds:
        if name not in sizes or not np.isfinite(sizes[name]).any():
            hint = "; name it by --latency-column" if name == "latency" else ""
            raise InputError(f"--max-{name} needs the {name} of architectures, a column of the table or scores{hint}")
    masks = [sizes[name] <= bound for name, bound in bounds.items()]
    within = np.logical_and.reduce(masks)
    if not within.any():
        least = [f"{name} {_least(name, sizes, bounds):,.6g}" for name in bounds]
        asked = ", ".join(f"{name} {bound:,.6g}" for name, bound in bounds.items())
        raise InputError(
            f"none of the {len(within):,} architectures is within {asked}: the least within the other limits is "
            f"{', '.join(least)}"
        )
    stated = ", ".join(f"at most {bound:,.6g} {name}" for name, bound in bounds.items())
    loose = [name for name, bound in bounds.items() if bound >= FAR_ABOVE * np.nanmax(sizes[name]) > 0]
    hint = "".join(
        f"; --max-{name} is {FAR_ABOVE:,} times the largest value, {np.nanmax(sizes[name]):,.6g}, or more: give it in "
        "the unit of the table"
        for name in loose
    )
    return within, f"{within.sum():,} of {len(within):,} architectures are within the limits: {stated}{hint}"


def _least(name: str, sizes: Sizes, bounds: Mapping[str, float]) -> float:
    """Return the least size of the architectures that are within the other limits, or of all if none is."""
    others = [sizes[other] <= bound for other, bound in bounds.items() if other != name]
    left = np.logical_and.reduce([np.isfinite(sizes[name]), *others])
    return float(sizes[name][left].min() if left.any() else np.nanmin(sizes[name]))


def filter_texts(texts: list[str], keep: Callable[[str], object]) -> Bool[np.ndarray, " A"]:
    """Return which architectures a function of the caller keeps.

    Raises:
      InputError: it keeps none, or returns something else than True or False.
    """
    kept = np.zeros(len(texts), bool)
    for row, text in enumerate(texts):
        answer = keep(text)
        if not isinstance(answer, bool | np.bool_):
            raise InputError(f"`keep` must return True or False, got {answer!r:.80} for {text}")
        kept[row] = answer
    if not kept.any():
        raise InputError(f"`keep` keeps none of the {len(texts):,} architectures of the pool: keep at least one")
    return kept


def front(result: SearchResult, sizes: Sizes, names: tuple[str, ...]) -> tuple[Int[np.ndarray, " F"], float]:
    """Return the front of the queried architectures between the objective and some sizes, and its hypervolume.

    Args:
      result: a search.
      sizes: sizes of the pool; smaller is better.
      names: the sizes that are objectives.

    Returns:
      Numbers of the queries on the front, from the best objective on, and the hypervolume in [0, 1], see `hypervolume`.
    """
    values = [
        sign_of(result.direction) * result.objective,
        *(-np.asarray(sizes[name])[result.queries] for name in names),
    ]
    points = np.stack(values, axis=1)
    if not np.isfinite(points).all(axis=1).any():  # no queried architecture has all of them
        return np.zeros(0, np.intp), 0.0
    on_front = np.flatnonzero(pareto_front(points))
    return on_front[np.argsort(-points[on_front, 0], kind="stable")], hypervolume(points)
