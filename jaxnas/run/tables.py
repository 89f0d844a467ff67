"""A search in tables: the architectures that have scores and an objective, and the columns that are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float, Int8

from jaxnas.errors import InputError
from jaxnas.objectives.find import PICKLES, matching_images
from jaxnas.objectives.table_files import listed
from jaxnas.objectives.tabular import (
    Table,
    TabularObjective,
    align,
    load_ids,
    load_nasbench201,
    load_table,
    tabular_objective,
)
from jaxnas.run.inputs import is_table, load_pool_scores
from jaxnas.run.sections import SIZE_NAMES, LimitConfig
from jaxnas.run.sizes import PROXIES_OF_SIZES, SIZE_PROXIES, Sizes, sizes_of_scores, within_limits
from jaxnas.search import get_method
from jaxnas.spaces import SPACES, SearchSpace, check_archs, enumerate_archs, find_rows, get_space
from jaxnas.spaces.ids import IDS, id_space
from jaxnas.store.scores import Scores

UNLIMITED = LimitConfig()


class LookUp(NamedTuple):
    """What a search in tables needs, for the architectures that have scores and an objective.

    Attributes:
      space: their search space; of unknown ids the space of these ids.
      scores: their raw scores.
      table: their rows of the table.
      objective: objective and test accuracy of each.
      sizes: sizes of each that the table or the scores contain.
      notes: lines that name the columns that are read and the architectures that are left out.
    """

    space: SearchSpace
    scores: Scores
    table: Table
    objective: TabularObjective
    sizes: Sizes
    notes: tuple[str, ...]


def guess_space(table: str, default: str) -> str:
    """Return the name of the space that reads all architectures of a table, "ids" if there is none.

    Args:
      table: a table by name, or a file.
      default: the space of tables whose name or form defines it.

    Raises:
      InputError: see `load_ids`.
    """
    if table == "nasbench201" or Path(table).suffix.lower() in PICKLES:
        return default
    ids = load_ids(table)
    return next((name for name, space in SPACES.items() if _reads(space, ids)), IDS)


def matching_scores(table: str | None, column: str) -> str | None:
    """Return the name of the shipped scores on the images that a column of a table by name was measured on.

    Returns:
      None for a file, whose images are unknown.

    Raises:
      InputError: the package has no scores on these images.
    """
    return matching_images(column) if table == "nasbench201" else None


def look_up(
    space: str,
    table: str,
    columns: tuple[str, str],
    scores: Path | str,
    proxies: tuple[str, ...] = (),
    folder: Path | None = None,
    limits: LimitConfig = UNLIMITED,
) -> LookUp:
    """Read scores and accuracies, and keep the architectures that have both.

    Args:
      space: name of the search space, or "ids" for architectures that are known by any ids.
      table: table by name, or a file.
      columns: the column of the objective, and that of the test accuracy or "".
      scores: a store or a file, or the name of shipped scores.
      proxies: names of columns of the scores; empty for all.
      folder: the data folder, see `jaxnas.data_folder`.
      limits: limits of architectures, whose columns have the names of the sizes.

    Returns:
      The architectures in the order of the scores. Those without an objective or beyond a limit are left out; an
      objective of inf is a failed evaluation, which stays.

    Raises:
      InputError: a file cannot be read, a column is unknown, or no architecture has both.
    """
    within = _union(table, scores) if space == IDS else get_space(space)
    column, test_column = columns
    found = load_pool_scores(within, scores, proxies, without=tuple(filter(None, columns)))
    accuracies = load_accuracies(table, within, folder)
    shared = find_rows(accuracies.archs, found.archs) >= 0
    if not shared.any():
        first, other = (within.format(archs[0]) for archs in (found.archs, accuracies.archs))
        raise InputError(
            f"table {table} and scores {scores} have no architecture in common: the first of the scores is "
            f"{first!r:.80}, that of the table {other!r:.80}"
        )
    values = align(accuracies, within, found.archs[shared], column)
    measured = ~np.isnan(values)
    if not np.isfinite(values).any():
        raise InputError(f"column {column!r} of {table} has no finite value for the {len(values)} scored architectures")
    shared[shared] = measured
    notes = _notes(accuracies, found, (str(table), str(scores)), columns, shared, int((~measured).sum()))
    sizes = _sizes(accuracies, within, scores, found.archs, limits.latency_column)
    check_latency_column(limits, sizes, f"{table} or {scores}")
    if limits.limited:
        fits, note = within_limits(limits, {name: size[shared] for name, size in sizes.items()})
        shared[shared] = fits
        notes = (*notes, note)
    archs, sizes = found.archs[shared], {name: size[shared] for name, size in sizes.items()}
    aligned = {name: align(accuracies, within, archs, name) for name in accuracies.columns}
    if space == IDS:
        within = id_space([within.format(arch) for arch in archs])
        archs = enumerate_archs(within)
    pool = Table(archs, aligned, accuracies.texts)
    objective = tabular_objective(pool, within, archs, column, test_column)
    return LookUp(within, found._replace(archs=archs, values=found.values[shared]), pool, objective, sizes, notes)


def _sizes(
    table: Table, space: SearchSpace, scores: Path | str, archs: Int8[np.ndarray, "A D"], latency: str
) -> dict[str, Float[np.ndarray, " A"]]:
    """Return the sizes of architectures that columns of the table, or else of the scores, contain."""
    found = size_columns(scores, space, archs, latency)
    rows = find_rows(table.archs, archs)
    for name in SIZE_NAMES:
        column = table.columns.get(latency if name == "latency" else name)
        if column is not None:
            found[name] = np.where(rows >= 0, column[rows], np.nan)
    return found


def size_columns(
    scores: Path | str, space: SearchSpace, archs: Int8[np.ndarray, "A D"], latency: str
) -> dict[str, Float[np.ndarray, " A"]]:
    """Return the sizes of architectures that columns of scores contain, whichever proxies are read of them."""
    is_own = is_table(Path(scores))
    columns = (*SIZE_PROXIES, latency) if is_own else PROXIES_OF_SIZES
    found: dict[str, Float[np.ndarray, " A"]] = {}
    for column in columns:
        try:
            read = load_pool_scores(space, scores, (column,))
        except InputError:  # it has no such column
            continue
        rows = find_rows(read.archs, archs)
        values = np.where(rows >= 0, read.values[rows, 0], np.nan)
        name = "latency" if column == latency else column
        found |= {name: values} if is_own else sizes_of_scores(Scores(archs, values[:, None], (column,), {}, {}))
    return found


def check_latency_column(limits: LimitConfig, sizes: Sizes, source: str) -> None:
    """Check that a column of latencies that the user names is there.

    Raises:
      InputError: it is not.
    """
    if limits.latency_column != UNLIMITED.latency_column and "latency" not in sizes:
        raise InputError(f"no column {limits.latency_column!r} in {source}: name the one that has the latency")


def load_accuracies(table: str, space: SearchSpace, folder: Path | None = None) -> Table:
    """Read NAS-Bench-201's accuracies by name, or a table in a file."""
    return load_nasbench201(folder) if table == "nasbench201" else load_table(table, space)


def leave_out_unmeasured(table: Table, column: str) -> tuple[Table, tuple[str, ...]]:
    """Return the rows of a table that have a value in the column, and a line on the others.

    A cell that is empty, NA or NaN is an architecture that was not measured: a search cannot pay for it. A cell that
    is inf is one whose evaluation failed: it costs a query, and is never selected.
    """
    values = table.columns.get(column)
    if values is None or not np.isnan(values).any():
        return table, ()
    kept = ~np.isnan(values)
    columns = {name: measured[kept] for name, measured in table.columns.items()}
    note = f"architectures left out: {int((~kept).sum()):,} without {column}"
    return Table(table.archs[kept], columns, table.texts), (note,)


def check_methods(space: SearchSpace, methods: Sequence[str]) -> None:
    """Check that methods apply to a space.

    Raises:
      InputError: a method reads decisions, and the architectures are ids.
    """
    for name in methods:
        if space.name == IDS and get_method(name).needs_archs:
            raise InputError(f"{name} reads decisions of architectures, and ids have none: choose another method")


def _union(table: str, scores: Path | str) -> SearchSpace:
    """Return the space of the ids of both files."""
    return id_space(list(dict.fromkeys([*load_ids(scores), *load_ids(table)])))


def _reads(space: SearchSpace, ids: Sequence[str]) -> bool:
    try:
        for text in ids:
            check_archs(space, space.parse(text)[None])
    except InputError:
        return False
    return True


def _notes(
    table: Table,
    scores: Scores,
    files: tuple[str, str],
    columns: tuple[str, str],
    kept: Bool[np.ndarray, " A"],
    unmeasured: int,
) -> tuple[str, ...]:
    """Describe what is read and what is left out, one line each."""
    (table_file, scores_file), (column, test_column) = files, columns
    reported = f", reports {test_column}" if test_column else ""
    proxies = f"proxies {listed(scores.proxies)} of {scores_file}"
    read = f"{kept.sum():,} architectures; the search reads {column} of {table_file}{reported}; {proxies}"
    left = {
        "with scores alone": int((~kept).sum()) - unmeasured,
        "in the table alone": len(table.archs) - int(kept.sum()) - unmeasured,
        f"without {column}": unmeasured,
    }
    notes = [read]
    if counts := [f"{count:,} {what}" for what, count in left.items() if count]:
        notes.append(f"architectures left out: {', '.join(counts)}")
    if texts := [*table.texts, *set(cast(list[str], scores.provenance.get("texts", []))) - {*table.texts}]:
        notes.append(f"columns of text left out: {listed(texts)}")
    return tuple(notes)
