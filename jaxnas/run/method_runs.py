"""The result of a comparison of search methods: runs over seeds, their table, and paired tests."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxnas.run.config import CompareConfig
from jaxnas.runtime.frames import Frame, html_table, to_pandas
from jaxnas.runtime.measures import Measure
from jaxnas.runtime.names import Direction
from jaxnas.runtime.records import Record
from jaxnas.store.scores import Environment
from jaxnas.table.evaluation import bootstrap_interval, compare

SIGNIFICANT = 0.05  # p-values above may be chance


class MethodRuns(NamedTuple):
    """One method over S seeds; accuracies are in percent.

    Attributes:
      method: name of the method.
      seeds: the seeds.
      selected: row of the pool that each seed selected; -1 where all of its queries failed.
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


def mean_curve(best: Float[np.ndarray, "S T"]) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, " T"]]:
    """Return the mean and the deviation over the seeds that have a value [T]; NaN where none has."""
    found = np.ma.masked_invalid(best)
    return np.ma.filled(found.mean(axis=0), np.nan), np.ma.filled(found.std(axis=0), np.nan)


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

    All methods are compared by the test accuracy of what they selected, or by the best objective where no seed of any
    method has a test accuracy. A seed without that value is left out, and counted. The test is over the seeds that both
    methods have, None where they share none.
    """
    tested = any(np.isfinite(method.test).any() for method in runs.values())
    by_seed = {name: _by_seed(method, tested) for name, method in runs.items()}
    rows: list[Record] = []
    for name, method in runs.items():
        values = np.array(list(by_seed[name].values()))
        observed = method.best[np.isfinite(method.best[:, -1]), -1]
        rows.append(
            {
                "method": name,
                "seeds": len(method.seeds),
                "seeds_without_value": len(method.seeds) - len(values),
                "observed": float(observed.mean()) if len(observed) else math.nan,
                "mean": float(values.mean()) if len(values) else math.nan,
                "std": _deviation(values),
                "interval": bootstrap_interval(values) if len(values) else (math.nan, math.nan),
                "median": float(np.median(values)) if len(values) else math.nan,
                "T0": float(method.num_bo.mean()),
                "against_first": _paired(by_seed[name], next(iter(by_seed.values()))) if rows else None,
            }
        )
    return rows


def verdict(rows: list[Record], measure: Measure, direction: Direction = "maximize") -> str:
    """Return in a sentence which method has the best mean, and whether the difference may be chance.

    The best is compared with the first method, or with the next best if it is the first, by the paired test of
    `method_rows`.

    Args:
      rows: rows of `method_rows`.
      measure: what their means measure.
      direction: whether the largest or the smallest mean is the best.

    Returns:
      The sentence; an empty text where fewer than two methods have a value, or those two share no seed.
    """
    sign = 1 if direction == "maximize" else -1
    ranked = sorted((row for row in rows if math.isfinite(row["mean"])), key=lambda row: -sign * row["mean"])
    if len(ranked) < 2:
        return ""
    best, first = ranked[0], rows[0]
    other = ranked[1] if best is first else first
    pair = other["against_first"] if best is first else best["against_first"]
    if pair is None:
        return ""
    gain = sign * pair["difference"] * (-1 if best is first else 1)
    seeds = "one shared seed" if pair["pairs"] == 1 else f"{pair['pairs']} shared seeds"
    if not gain:
        return f"{best['method']} and {other['method']} are equally good on {seeds}: the {measure.name} is the same."
    points = f"{measure.number(abs(gain))}{' points' if measure.unit == '%' else ''}"
    chance = "; one seed does not show whether that is more than chance"
    if pair["pairs"] > 1:
        chance = f" (p = {pair['p_value']:.2g}{', which may be chance' if pair['p_value'] > SIGNIFICANT else ''})"
    return (
        f"Best: {best['method']}, mean {measure.name} {measure.show(best['mean'])}, "
        f"{points} {'better' if gain > 0 else 'worse'} than {other['method']} on {seeds}{chance}."
    )


def _by_seed(method: MethodRuns, tested: bool) -> dict[int, float]:
    """Return the finite test accuracies of the seeds, or their best objectives."""
    values = method.test if tested else method.best[:, -1]
    return {int(seed): float(value) for seed, value in zip(method.seeds, values, strict=True) if np.isfinite(value)}


def _deviation(values: Float[np.ndarray, " S"]) -> float:
    """Return the standard deviation, exactly 0 of equal values; NaN of none."""
    if not len(values):
        return math.nan
    return float(values.std()) if np.ptp(values) else 0.0


def _paired(values: dict[int, float], first: dict[int, float]) -> Record | None:
    """Compare a method with the first one by the seeds that both have; `pairs` counts them."""
    shared = sorted(values.keys() & first.keys())
    if not shared:
        return None
    found = compare(np.array([values[seed] for seed in shared]), np.array([first[seed] for seed in shared]))
    return {**found._asdict(), "pairs": len(shared)}
