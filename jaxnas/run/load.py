"""Read the runs that `Run.save` wrote."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Float, Int8

from jaxnas.errors import InputError, describe_damage
from jaxnas.models.find import RESULT
from jaxnas.run.advice import read_summary
from jaxnas.run.config import from_record
from jaxnas.run.find import find_result
from jaxnas.run.run import POOL, Outcome, Run
from jaxnas.runtime.files import read_bytes
from jaxnas.runtime.places import to_path
from jaxnas.runtime.records import Record, check_intact
from jaxnas.search import SearchResult
from jaxnas.spaces import SPACES, SearchSpace, check_archs, equal_rows, from_index, to_index
from jaxnas.spaces.ids import IDS, id_space
from jaxnas.store.scores import Environment
from jaxnas.store.tables import read_score_table, read_scores
from jaxnas.table.normalize import TableReport


def load_run(folder: Path | str, space: SearchSpace | None = None) -> Run:
    """Read the run whose files are in a folder.

    A result.json without a checksum, as earlier versions wrote it, is read too.

    Args:
      folder: folder that `Run.save`, `search_network` or `jaxnas search` wrote.
      space: the search space, needed for a custom space with a custom index order.

    Raises:
      InputError: the folder has no finished search, or a file that is damaged or does not fit the others.
    """
    folder = to_path(folder)
    record = _read_record(folder)
    with refusing_damage(folder):
        space = space or _recorded_space(record["space"], folder)
        scores = read_scores(folder / POOL, space=space)
        if rows := equal_rows(scores.archs):
            first, second = (row + 1 for row in rows)
            raise InputError(f"{folder / POOL}, rows {first} and {second} are one architecture: search again")
        row_of = {text: row for row, text in enumerate(map(space.format, scores.archs))}
        config = from_record(record["config"])
        outcomes = {method: _read_outcome(outcome, row_of) for method, outcome in record["outcomes"].items()}
        if config.search.method not in outcomes:
            raise ValueError(f"`outcomes` has no {config.search.method!r}")
        return Run(
            config=config,
            space=space,
            scores=scores,
            masked=TableReport(**{name: np.array(column) for name, column in record["masked"].items()}),
            outcomes=outcomes,
            seconds={stage: float(seconds) for stage, seconds in record["seconds"].items()},
            environment=cast(Environment, dict(record["environment"])),
            command=str(record["command"]),
            origin=record.get("origin"),
            folder=folder,
            images=read_summary(record.get("images")),
            notes=tuple(map(str, record.get("notes", ()))),
            latency=record.get("latency"),
            sizes=_read_sizes(record.get("sizes", {}), len(scores.archs)),
        )


class Selected(NamedTuple):
    """What a final training takes from a search.

    Attributes:
      space: name of the search space.
      arch: the selected architecture, as text.
      config: settings of the search.
      origin: see `Run`.
    """

    space: str
    arch: str
    config: Record
    origin: Record | None


def load_selected(folder: Path | str) -> Selected:
    """Read the selected architecture of a finished search, and what it was made of, from its result.json alone.

    Raises:
      InputError: the folder has no finished search, or its result.json is damaged.
    """
    folder = to_path(folder)
    record = _read_record(folder)
    with refusing_damage(folder):
        first: Record = next(iter(record["outcomes"].values()), {})
        config = dict(record["config"])
        return Selected(str(config["space"]), str(first["selected"]), config, record.get("origin"))


def _read_record(folder: Path) -> Record:
    content = read_bytes(find_result(folder))
    with refusing_damage(folder):
        record: Record = dict(json.loads(content).items())
        check_intact(record)
        return record


@contextmanager
def refusing_damage(folder: Path) -> Iterator[None]:
    """Turn what unexpected content of result.json raises into an InputError that names the file."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        if isinstance(error, InputError) and str(folder) in str(error):
            raise
        problem = describe_damage(error)
        raise InputError(f"{folder / RESULT} is damaged or not of a search ({problem:.200}): search again") from error


def _read_outcome(outcome: Record, row_of: dict[str, int]) -> Outcome:
    values = {**outcome, "selected": row_of[outcome["selected"]]}
    test = values.pop("test_accuracy")
    values.pop("intervals", None)  # follow from the rest
    confirmed = values.pop("confirmed", {})
    rows = {row_of[arch]: np.nan if value is None else float(value) for arch, value in confirmed.items()}
    result = SearchResult.from_dict(values)
    if result.queries.max() >= len(row_of):
        raise ValueError(f"`queries` must be rows of the pool of {len(row_of)}, got {result.queries.max()}")
    return Outcome(result, np.nan if test is None else float(test), rows)


def _read_sizes(record: Record, num_archs: int) -> dict[str, Float[np.ndarray, " A"]]:
    """Return what `_size_record` wrote; NaN for architectures that were not queried."""
    sizes = {name: np.full(num_archs, np.nan) for name in record if name != "rows"}
    for name, size in sizes.items():
        size[record["rows"]] = np.array(record[name], float)
    return sizes


def _recorded_space(described: Record, folder: Path) -> SearchSpace:
    """Return the space of that name; of a custom one a space that knows the architectures of the pool alone."""
    name = described["name"]
    if name == IDS:
        return id_space(read_score_table(folder / POOL)["arch"].to_pylist())
    if name in SPACES:
        return SPACES[name]
    if described["has_order"]:
        raise InputError(f"{folder} is of {name!r}, a custom space with a custom index order; give `space`")
    return _space_of_pool(described, folder)


def _space_of_pool(described: Record, folder: Path) -> SearchSpace:
    table = read_score_table(folder / POOL)
    texts = dict(zip(table["index"].to_pylist(), table["arch"].to_pylist(), strict=True))
    indices = {text: index for index, text in texts.items()}

    def parse(text: str) -> Int8[np.ndarray, " D"]:
        if text not in indices:
            raise InputError(f"architecture {text!r:.80} is not in the pool of {folder}, and its space is unknown")
        return from_index(space, np.array(indices[text]))

    space = SearchSpace(
        described["name"],
        tuple(described["op_names"]),
        tuple(described["num_choices"]),
        parse=parse,
        format=lambda arch: texts[int(to_index(space, arch[None])[0])],
        canonicalize=lambda archs: check_archs(space, archs),
        network_class=lambda archs: to_index(space, archs),
    )
    return space
