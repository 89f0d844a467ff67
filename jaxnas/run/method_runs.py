"""The result of a comparison of search methods: runs over seeds, their table, and paired tests."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxnas.run.config import CompareConfig
from jaxnas.runtime.frames import Frame, html_table, to_pandas
from jaxnas.runtime.records import Record
from jaxnas.store.scores import Environment
from jaxnas.table.evaluation import bootstrap_interval, compare


class MethodRuns(NamedTuple):
    """One method over S seeds; accuracies are in percent.

    Attributes:
      method: name of the method.
      seeds: the seeds.
      selected: row of the pool that each seed selected.
      num_bo: queries that Bayesian optimisation chose, T0.
      best: best objective so far for each query's worth spent; NaN while all failed.
      test: test accuracy of the selected architecture; NaN where the table has none.
    """

    method: str
    seeds: Int[np.ndarray, " S"]
    selected: Int[np.ndarray, " S"]
    num_bo: Int[np.ndarray, " S"]
    best: Float[np.ndarray, "S T"]
    test: Float[np.ndarray, " S"]

    @property
    def measured(self) -> Float[np.ndarray, " S"]:
        """The test accuracy, or the best objective where the table has no test accuracy [S]."""
        return self.test if np.isfinite(self.test).all() else self.best[:, -1]


class MethodComparison(NamedTuple):
    """All methods on the same seeds.

    Attributes:
      config: the settings.
      runs: runs by method.
      environment: versions of libraries, and the device.
    """

    config: CompareConfig
    runs: dict[str, MethodRuns]
    environment: Environment

    def rows(self) -> list[Record]:
        """Return `method_rows` of the runs."""
        return method_rows(self.runs)

    def to_pandas(self) -> Frame:
        """Return a data frame with a row per method and seed: selected row, T0, best objective and test accuracy."""
        names = ("seeds", "selected", "num_bo", "best", "test")
        frames = [
            dict(zip(names, (*runs[1:4], runs.best[:, -1], runs.test), strict=True)) for runs in self.runs.values()
        ]
        columns = {name: np.concatenate([frame[name] for frame in frames]) for name in names}
        methods = [name for name, runs in self.runs.items() for _ in runs.seeds]
        return to_pandas({"method": methods, **columns})

    def __repr__(self) -> str:
        """Return one line: number of seeds, mean and deviation of every method."""
        measure = self.config.reported or self.config.measured
        means = ", ".join(
            f"{row['method']} {measure.number(row['mean'])}+-{measure.show(row['std'])}" for row in self.rows()
        )
        return f"<MethodComparison of {self._seeds()} seeds: {means}>"

    def _repr_html_(self) -> str:
        measure = self.config.reported or self.config.measured
        rows = [
            {
                "method": row["method"],
                measure.title: f"{measure.number(row['mean'])}+-{measure.number(row['std'])}",
                "95 % interval": " to ".join(map(measure.number, row["interval"])),
                "T0": row["T0"],
                "vs first": row["against_first"]["difference"] if row["against_first"] else np.nan,
                "p": row["against_first"]["p_value"] if row["against_first"] else np.nan,
            }
            for row in self.rows()
        ]
        return html_table(f"{self._seeds()} seeds", rows)

    def _seeds(self) -> int:
        return len(next(iter(self.runs.values())).seeds)


def method_rows(runs: dict[str, MethodRuns]) -> list[Record]:
    """Return one record per method: mean, deviation, interval of the mean, T0, and the paired test against the first.

    The test is over the seeds that both methods have, None where they share none.
    """
    rows: list[Record] = []
    for name, method in runs.items():
        values = method.measured
        rows.append(
            {
                "method": name,
                "seeds": len(values),
                "observed": float(method.best[:, -1].mean()),
                "mean": float(values.mean()),
                "std": float(values.std()),
                "interval": bootstrap_interval(values),
                "median": float(np.median(values)),
                "T0": float(method.num_bo.mean()),
                "against_first": _paired(method, next(iter(runs.values()))) if rows else None,
            }
        )
    return rows


def _paired(runs: MethodRuns, first: MethodRuns) -> Record | None:
    """Compare a method with the first one, seed by seed."""
    _, ours, theirs = np.intersect1d(runs.seeds, first.seeds, return_indices=True)
    return compare(runs.measured[ours], first.measured[theirs])._asdict() if len(ours) else None
