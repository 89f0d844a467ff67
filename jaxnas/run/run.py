"""A search from its settings to what it found, and its files: the run folder can be read back."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jaxnas.errors import InputError
from jaxnas.run.config import RunConfig, from_record
from jaxnas.runtime.files import atomic_write, read_bytes
from jaxnas.runtime.frames import Frame, html_table, to_pandas
from jaxnas.search import SearchResult
from jaxnas.spaces import SPACES, SearchSpace, check_archs, from_index, to_index
from jaxnas.store.scores import Scores
from jaxnas.store.store import read_score_table, read_scores, write_scores
from jaxnas.table.normalize import TableReport

RESULT, POOL = "result.json", "pool.parquet"  # files of a run folder


class Outcome(NamedTuple):
    """What one method found."""

    result: SearchResult
    test_accuracy: float  # of the selected architecture, percent; NaN where the table has none


class Run(NamedTuple):
    """A finished search: the first outcome is that of config.method, a second that of config.compare."""

    config: RunConfig
    space: SearchSpace
    scores: Scores
    masked: TableReport
    outcomes: dict[str, Outcome]
    seconds: dict[str, float]  # by stage; tracing and compiling are not in the stages but apart
    environment: dict[str, Any]  # library versions and device
    command: str = ""  # that made it, where one did

    @property
    def selected(self) -> str:
        """The architecture that config.method selects, as text."""
        return self.space.format(self.scores.archs[self.outcomes[self.config.search.method].result.selected])

    @property
    def test_accuracy(self) -> float:
        """Of the selected architecture, percent."""
        return self.outcomes[self.config.search.method].test_accuracy

    def rows(self) -> list[dict[str, Any]]:
        """One record per query of every method, in order.

        Method, number, phase, index in the space, architecture, objective (percent), seconds.
        """
        rows = []
        for method, outcome in self.outcomes.items():
            result, chosen = outcome.result, self.scores.archs[outcome.result.queries]
            columns = zip(
                result.phase,
                to_index(self.space, chosen).tolist(),
                map(self.space.format, chosen),
                result.objective.tolist(),
                result.cost.tolist(),
                strict=True,
            )
            for number, values in enumerate(columns, start=1):
                names = ("phase", "index", "arch", "objective", "seconds")
                rows.append({"method": method, "query": number, **dict(zip(names, values, strict=True))})
        return rows

    def to_pandas(self) -> Frame:
        """`rows` as a data frame."""
        return to_pandas(pa.Table.from_pylist(self.rows()).to_pydict())

    def save(self, folder: Path | str) -> None:
        """Write pool.parquet, queries.parquet and result.json, each atomically; `load_run` reads them."""
        folder = Path(folder)
        write_scores(folder / POOL, self.scores, self.space)
        with atomic_write(folder / "queries.parquet") as partial:
            pq.write_table(pa.Table.from_pylist(self.rows()), partial)
        with atomic_write(folder / RESULT) as partial:
            partial.write_text(json.dumps(run_record(self), indent=1, allow_nan=False) + "\n")

    def __repr__(self) -> str:
        return f"<Run {self._title()}: {self.selected}>"

    def _repr_html_(self) -> str:
        shown = ("query", "phase", "arch", "objective", "seconds")
        rows = [
            {name: row[name] for name in shown} for row in self.rows() if row["method"] == self.config.search.method
        ]
        return html_table(f"{self._title()}: {self.selected}", rows)

    def _title(self):
        outcome = self.outcomes[self.config.search.method]
        found = f"validation {outcome.result.best:.2f} %, test {outcome.test_accuracy:.2f} %"
        return (
            f"{self.config.search.method} on {self.config.measured_on}, {len(outcome.result.queries)} queries, {found}"
        )


def run_record(run: Run) -> dict[str, Any]:
    """Everything about a run but its scores as plain JSON values, None for NaN."""
    return {
        "command": run.command,
        "config": run.config.record(),
        "environment": run.environment,
        "seconds": {stage: round(seconds, 3) for stage, seconds in run.seconds.items()},
        "pool": len(run.scores.archs),
        "space": describe_space(run.space),
        "scores": run.scores.provenance,
        "masked": {name: column.tolist() for name, column in run.masked._asdict().items()},
        "outcomes": {
            method: {
                **outcome.result.to_dict(),
                "selected": run.space.format(run.scores.archs[outcome.result.selected]),
                "test_accuracy": outcome.test_accuracy if np.isfinite(outcome.test_accuracy) else None,
            }
            for method, outcome in run.outcomes.items()
        },
    }


def load_run(folder: Path | str, space: SearchSpace | None = None) -> Run:
    """The run whose files are in a folder. `space` is needed for one of your own with an index order of its own.

    Raises: InputError where the folder has no finished search, or a file that is damaged or does not fit the others.
    """
    folder = Path(folder)
    if not (folder / RESULT).exists():
        raise InputError(f"{folder} is no finished search: it has no {RESULT}")
    try:
        record = json.loads(read_bytes(folder / RESULT))
        space = space or _recorded_space(record["space"], folder)
        scores = read_scores(folder / POOL, space=space)
        row_of = {text: row for row, text in enumerate(map(space.format, scores.archs))}
        return Run(
            config=from_record(record["config"]),
            space=space,
            scores=scores,
            masked=TableReport(**{name: np.array(column) for name, column in record["masked"].items()}),
            outcomes={method: _read_outcome(found, row_of) for method, found in record["outcomes"].items()},
            seconds=record["seconds"],
            environment=record["environment"],
            command=record["command"],
        )
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(f"{folder / RESULT} is damaged or not of a search ({problem}): search again") from error


def _read_outcome(found: dict[str, Any], row_of: dict[str, int]) -> Outcome:
    values = {**found, "selected": row_of[found["selected"]]}
    test = values.pop("test_accuracy")
    return Outcome(SearchResult.from_dict(values), np.nan if test is None else test)


def describe_space(space: SearchSpace) -> dict[str, Any]:
    """What of a space is needed to read its architectures back, as plain JSON values."""
    return {
        "name": space.name,
        "op_names": list(space.op_names),
        "num_choices": list(space.num_choices),
        "has_order": space.index_order is not None,
    }


def _recorded_space(described: dict[str, Any], folder: Path) -> SearchSpace:
    """The space of that name; one of somebody's own knows the texts of the architectures of the pool alone."""
    name = described["name"]
    if name in SPACES:
        return SPACES[name]
    if described["has_order"]:
        raise InputError(f"{folder} is of {name!r}, a space of your own that orders its architectures: give the space")
    table = read_score_table(folder / POOL)
    texts = dict(zip(table["index"].to_pylist(), table["arch"].to_pylist(), strict=True))
    indices = {text: index for index, text in texts.items()}

    def parse(text):
        if text not in indices:
            raise InputError(f"architecture {text!r:.80} is not in the pool of {folder}, and the space is not known")
        return from_index(space, np.array(indices[text]))

    def as_it_is(archs):
        return check_archs(space, archs)

    space = SearchSpace(
        name,
        tuple(described["op_names"]),
        tuple(described["num_choices"]),
        parse=parse,
        format=lambda arch: texts[int(to_index(space, arch[None])[0])],
        canonicalize=as_it_is,
        network_class=lambda archs: to_index(space, archs),
    )
    return space
