"""Search methods compared on a table, many seeds each: seeds are kept as they come, a stopped comparison goes on."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int

from jaxnas.data.images import fingerprint
from jaxnas.errors import InputError
from jaxnas.objectives.tabular import tabular_objective
from jaxnas.proxies import orient
from jaxnas.run.config import CompareConfig
from jaxnas.run.search import load_accuracies, load_pool_scores
from jaxnas.runtime.events import Listener, SeedsFinished, ignore
from jaxnas.runtime.files import atomic_write, check_same, read_bytes
from jaxnas.runtime.frames import Frame, html_table, to_pandas
from jaxnas.runtime.workers import Here, Workers
from jaxnas.search import SearchResult, get_method, get_preset
from jaxnas.spaces import get_space, to_index
from jaxnas.store.parts import read_header, with_header
from jaxnas.store.store import make_environment
from jaxnas.table.evaluation import bootstrap_interval, compare
from jaxnas.table.normalize import normalize

COMPARISON = "comparison.json"
SEEDS_AT_ONCE = 10  # between two looks at progress; what a kill can cost


class MethodRuns(NamedTuple):
    """One method over S seeds. Accuracies in percent."""

    method: str
    seeds: Int[np.ndarray, " S"]
    selected: Int[np.ndarray, " S"]  # index in the pool
    num_bo: Int[np.ndarray, " S"]  # T0
    best: Float[np.ndarray, "S T"]  # best objective so far for every query's worth spent; NaN while all failed
    test: Float[np.ndarray, " S"]  # test accuracy of the selected architecture; NaN where the table has none

    @property
    def measured(self) -> Float[np.ndarray, " S"]:
        """Test accuracy, or the best objective where the table has no test accuracy."""
        return self.test if np.isfinite(self.test).all() else self.best[:, -1]


class MethodComparison(NamedTuple):
    """All methods on the same seeds."""

    config: CompareConfig
    runs: dict[str, MethodRuns]
    environment: dict[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """See `method_rows`."""
        return method_rows(self.runs)

    def to_pandas(self) -> Frame:
        """One row per method and seed: index of what was selected, T0, best objective, test accuracy."""
        names = ("seeds", "selected", "num_bo", "best", "test")
        frames = [
            dict(zip(names, (*runs[1:4], runs.best[:, -1], runs.test), strict=True)) for runs in self.runs.values()
        ]
        columns = {name: np.concatenate([frame[name] for frame in frames]) for name in names}
        methods = [name for name, runs in self.runs.items() for _ in runs.seeds]
        return to_pandas({"method": methods, **columns})

    def __repr__(self) -> str:
        means = ", ".join(f"{row['method']} {row['mean']:.2f}+-{row['std']:.2f} %" for row in self.rows())
        return f"<MethodComparison of {self._seeds()} seeds: {means}>"

    def _repr_html_(self) -> str:
        rows = [
            {
                "method": row["method"],
                "accuracy %": f"{row['mean']:.2f}+-{row['std']:.2f}",
                "95 % interval": "{:.2f} to {:.2f}".format(*row["interval"]),
                "T0": row["T0"],
                "vs first": row["against_first"]["difference"] if row["against_first"] else np.nan,
                "p": row["against_first"]["p_value"] if row["against_first"] else np.nan,
            }
            for row in self.rows()
        ]
        return html_table(f"{self._seeds()} seeds", rows)

    def _seeds(self):
        return len(next(iter(self.runs.values())).seeds)


def method_rows(runs: dict[str, MethodRuns]) -> list[dict[str, Any]]:
    """One record per method: mean, deviation, interval of the mean, T0, and the paired test against the first.

    The test is over the seeds that both have; None where they share none.
    """
    rows: list[dict[str, Any]] = []
    for name, of_method in runs.items():
        values = of_method.measured
        rows.append(
            {
                "method": name,
                "seeds": len(values),
                "observed": float(of_method.best[:, -1].mean()),
                "mean": float(values.mean()),
                "std": float(values.std()),
                "interval": bootstrap_interval(values),
                "median": float(np.median(values)),
                "T0": float(of_method.num_bo.mean()),
                "against_first": _paired(of_method, next(iter(runs.values()))) if rows else None,
            }
        )
    return rows


def _paired(runs: MethodRuns, first: MethodRuns) -> dict[str, Any] | None:
    """The method minus the first one, seed by seed."""
    _, ours, theirs = np.intersect1d(runs.seeds, first.seeds, return_indices=True)
    return compare(runs.measured[ours], first.measured[theirs])._asdict() if len(ours) else None


def compare_methods(
    methods: tuple[str, ...],
    config: CompareConfig,
    seeds: range,
    folder: Path,
    *,
    data_folder: Path | None = None,
    workers: Workers | None = None,
    on_event: Listener = ignore,
) -> MethodComparison:
    """Run every method with its defaults on every seed; what the folder has from before is not run again.

    The pool are the architectures that have both scores and accuracies.

    Args: methods, names; seeds, the same for all; folder, where METHOD.parquet is kept with a row per seed; on_event,
      given `SeedsFinished` of each method after every few seeds; workers, which run seeds instead of this process.
    Raises: InputError for what does not fit, and for a file in the folder that other settings made.
    """
    started = time.perf_counter()
    for name in methods:
        get_method(name)
    if not methods or not len(seeds):
        raise InputError("nothing to compare: name at least one method and one seed")
    space = get_space(config.space)
    scores = load_pool_scores(config.space, config.scores, config.proxies)
    accuracies = load_accuracies(config.table, space, data_folder)
    shared = np.isin(to_index(space, scores.archs), to_index(space, accuracies.archs))
    if not shared.any():
        raise InputError(f"table {config.table} and scores {config.scores} have no architecture in common")
    archs = scores.archs[shared]
    objective = tabular_objective(accuracies, space, archs, config.column, config.test_column)
    trained_longer = [tabular_objective(accuracies, space, archs, column).values for column in config.longer]
    observed = np.stack([objective.values, *trained_longer], axis=1)
    table, _ = normalize(orient(scores.values[shared], scores.proxies), config.normalization)
    settings = {**asdict(config), "data.fingerprint": fingerprint(table, observed, objective.test)}
    runs: dict[str, MethodRuns | None] = {}
    pieces: list[tuple[str, list[int]]] = []
    for name in dict.fromkeys(methods):
        known = runs[name] = _read(folder / f"{name}.parquet", name, {"method": name, **settings})
        missing = [seed for seed in seeds if known is None or seed not in known.seeds]
        on_event(SeedsFinished(name, len(seeds) - len(missing), len(seeds)))
        starts = range(0, len(missing), SEEDS_AT_ONCE)
        pieces += [(name, missing[start : start + SEEDS_AT_ONCE]) for start in starts]
    left = Counter({name: sum(len(chosen) for other, chosen in pieces if other == name) for name in runs})
    workers = workers or Here()
    call = workers.share(_run_piece, (table, observed, archs, config))
    for number, results in workers.map(call, pieces):
        name, chosen = pieces[number]
        joined = runs[name] = _join(runs[name], _to_runs(name, chosen, results, objective.test))
        made_in = make_environment(time.perf_counter() - started)
        _write(folder / f"{name}.parquet", joined, {"method": name, **settings}, made_in)
        left[name] -= len(chosen)
        on_event(SeedsFinished(name, len(seeds) - left[name], len(seeds)))
    complete = {name: _choose(known, seeds) for name, known in runs.items()}
    return MethodComparison(config, complete, make_environment(time.perf_counter() - started))


def _run_piece(shared, piece) -> list[SearchResult]:
    """Searches by one method from some seeds."""
    table, observed, archs, config = shared
    name, seeds = piece
    method = get_method(name)
    given: dict[str, Any] = dict(budget=config.budget, seeds=seeds, archs=archs)
    if name == "robot":
        given["config"] = get_preset(config.preset)
    if method.multi_fidelity and config.longer:
        return method.run_seeds(table, observed, prices=(1, *config.prices), **given)
    return method.run_seeds(table, observed[:, 0], **given)


def _to_runs(method: str, seeds: list[int], results: list[SearchResult], test: Float[np.ndarray, " A"]) -> MethodRuns:
    selected = np.array([result.selected for result in results])
    num_bo = np.array([result.num_bo for result in results])
    best = np.stack([result.best_by_spending() for result in results])
    return MethodRuns(method, np.array(seeds), selected, num_bo, best, test[selected])


def load_comparison(folder: Path | str) -> MethodComparison:
    """What `jaxnas compare` left in a folder: its methods, on the seeds that all of them have.

    Raises: InputError where there is no comparison, or a file of it is missing or damaged.
    """
    path = Path(folder, COMPARISON)
    if not path.exists():
        raise InputError(f"{folder} is no finished comparison: it has no {COMPARISON}")
    try:
        record = json.loads(read_bytes(path))
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record["config"].items()
        }
        config, environment = CompareConfig(**fields), dict(record["environment"])
        tables = {row["method"]: Path(folder, f"{row['method']}.parquet") for row in record["rows"]}
        runs = {name: _to_columns(pq.read_table(table), name) for name, table in tables.items()}
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{folder} is no comparison that can be read ({error}): compare again") from error
    shared = set.intersection(*(set(found.seeds.tolist()) for found in runs.values()))
    if not shared:
        raise InputError(f"the methods of {folder} have no seed in common: compare again")
    return MethodComparison(config, {name: _choose(found, sorted(shared)) for name, found in runs.items()}, environment)


def _join(known: MethodRuns | None, new: MethodRuns) -> MethodRuns:
    if known is None:
        return new
    return MethodRuns(new.method, *(np.concatenate(pair) for pair in zip(known[1:], new[1:], strict=True)))


def _choose(runs: MethodRuns | None, seeds: Iterable[int]) -> MethodRuns:
    assert runs is not None
    rows = [int(np.flatnonzero(runs.seeds == seed)[0]) for seed in seeds]
    return MethodRuns(runs.method, *(column[rows] for column in runs[1:]))


def _write(path: Path, runs: MethodRuns, settings: dict[str, Any], environment: dict[str, Any]) -> None:
    columns = {name: list(column) for name, column in zip(runs._fields[1:], runs[1:], strict=True)}
    table = with_header(pa.table(columns), json.loads(json.dumps(settings)), environment)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        pq.write_table(table, partial, write_page_checksum=True)


def _read(path: Path, method: str, settings: dict[str, Any]) -> MethodRuns | None:
    """What an earlier comparison left; a file that cannot be read is made anew."""
    if not path.exists():
        return None
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        provenance, _ = read_header(table)
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return None
    check_same(path, provenance, json.loads(json.dumps(settings)))
    return _to_columns(table, method)


def _to_columns(table: pa.Table, method: str) -> MethodRuns:
    return MethodRuns(method, *(np.array(table[name].to_pylist()) for name in MethodRuns._fields[1:]))
