"""A warm start: what runs and tables of earlier tasks on the same space say of the pool of a search."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int8

from jaxnas.errors import InputError
from jaxnas.objectives.tabular import align
from jaxnas.run.config import RunConfig
from jaxnas.run.find import split_column
from jaxnas.run.load import load_run, load_selected
from jaxnas.run.tables import load_accuracies
from jaxnas.runtime.events import Listener, Noted
from jaxnas.search import carry_over, get_method
from jaxnas.search.result import sign_of
from jaxnas.spaces import SPACES, SearchSpace, find_rows
from jaxnas.spaces.ids import IDS


def load_earlier(
    config: RunConfig,
    methods: tuple[str, ...],
    space: SearchSpace,
    pool: Int8[np.ndarray, "A D"],
    data_folder: Path | None,
    on_event: Listener,
) -> Float[np.ndarray, "A E"] | None:
    """Return the objectives of the earlier tasks of a search for its pool, in its direction; None without any.

    Raises:
      InputError: no method reads them, or an earlier task is of another space or has no values.
    """
    sources = config.search.warm_start
    if not sources:
        return None
    if not any(get_method(name).reads_earlier for name in methods):
        raise InputError(
            f"no method of this search reads earlier tasks ({', '.join(methods)}): choose proxy_gp, or leave "
            "`warm_start` out"
        )
    if space.name == IDS:
        raise InputError("ids have no decisions by which earlier tasks compare: leave `warm_start` out")
    columns, sign = [], sign_of(config.problem.direction)
    for source in sources:
        table, column = split_column(source)
        if table:
            archs, values = _read_table(table, column, space, data_folder)
            values = sign * values
        else:
            archs, values = _read_run(source, space)
        columns.append(sign * carry_over(archs, values, pool))
        shared = int((find_rows(archs, pool) >= 0).sum())
        on_event(
            Noted(
                f"warm start: {source} evaluated {len(archs):,} architectures, {shared:,} of the pool of {len(pool):,}"
            )
        )
    return np.stack(columns, axis=1)


def _read_table(
    table: str, column: str, space: SearchSpace, data_folder: Path | None
) -> tuple[Int8[np.ndarray, "B D"], Float[np.ndarray, " B"]]:
    """Return the architectures of a table that have a value in the column, and the values."""
    try:
        found = load_accuracies(table, space, data_folder)
        values = align(found, space, found.archs, column)
    except InputError as error:
        raise InputError(f"warm start by architectures of {space.name}: {error}") from error
    known = ~np.isnan(values)
    if not np.isfinite(values).any():
        raise InputError(f"warm start: column {column!r} of {table} has no finite value")
    return found.archs[known], values[known]


def _read_run(folder: str, space: SearchSpace) -> tuple[Int8[np.ndarray, "B D"], Float[np.ndarray, " B"]]:
    """Return the architectures that the methods of a run evaluated, and their objectives, higher is better."""
    of_run = load_selected(folder).space
    if of_run != space.name:
        raise InputError(
            f"warm start: {folder} is a search of {of_run}, this one is of {space.name}: give a run of the same space"
        )
    run = load_run(folder, None if space.name in SPACES else space)
    found: dict[int, tuple[int, float]] = {}
    for outcome in run.outcomes.values():
        result = outcome.result
        for row, fidelity, value in zip(result.queries, result.fidelity, result.objective, strict=True):
            found[int(row)] = max(found.get(int(row), (-1, 0.0)), (int(fidelity), float(value)))
    values = sign_of(run.config.problem.direction) * np.array([value for _, value in found.values()])
    return run.scores.archs[list(found)], values
