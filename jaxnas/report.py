"""Results as files: a finished search, a comparison of methods, an experiment's table."""

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int8

from jaxnas.comparison import MethodComparison
from jaxnas.evaluation import bootstrap_interval
from jaxnas.files import atomic_write
from jaxnas.pipeline import Run
from jaxnas.search import SearchResult
from jaxnas.spaces import SearchSpace, to_index
from jaxnas.store import make_environment
from jaxnas.train import TrainedArch


def query_rows(result: SearchResult, space: SearchSpace, archs: Int8[np.ndarray, "A D"]) -> list[dict[str, Any]]:
    """One record per query, in order: number, phase, index in the space, architecture, objective, seconds."""
    chosen = archs[result.queries]
    columns = zip(result.phase, to_index(space, chosen).tolist(), chosen, result.objective, result.cost, strict=True)
    return [
        {
            "query": number,
            "phase": phase,
            "index": index,
            "arch": space.format(arch),
            "objective": float(objective),
            "seconds": float(cost),
        }
        for number, (phase, index, arch, objective, cost) in enumerate(columns, start=1)
    ]


def run_record(run: Run) -> dict[str, Any]:
    """Everything about a run as plain JSON values, None for NaN: settings, versions, device, scores, outcomes."""
    masked = run.masked._asdict()
    return {
        "config": asdict(run.config),
        "environment": make_environment(sum(run.seconds.values())),
        "seconds": {stage: round(seconds, 3) for stage, seconds in run.seconds.items()},
        "pool": len(run.scores.archs),
        "scores": run.scores.provenance,
        "masked": {name: column.tolist() for name, column in masked.items()},
        "outcomes": {
            method: {
                **outcome.result.to_dict(),
                "selected": run.space.format(run.scores.archs[outcome.result.selected]),
                "test_accuracy": outcome.test_accuracy if np.isfinite(outcome.test_accuracy) else None,
            }
            for method, outcome in run.outcomes.items()
        },
    }


def save_results(folder: Path | str, name: str, record: dict[str, Any], markdown: str) -> None:
    """Write an experiment's record as NAME.json and its table as NAME.md, each atomically."""
    for ending, text in (("json", json.dumps(record, indent=1) + "\n"), ("md", markdown)):
        with atomic_write(Path(folder) / f"{name}.{ending}") as partial:
            partial.write_text(text)


def save_run(folder: Path | str, run: Run) -> None:
    """Write result.json (`run_record`) and queries.parquet (one row per query of every method), atomically."""
    rows = [
        {"method": method, **row}
        for method, outcome in run.outcomes.items()
        for row in query_rows(outcome.result, run.space, run.scores.archs)
    ]
    with atomic_write(Path(folder) / "queries.parquet") as partial:
        pq.write_table(pa.Table.from_pylist(rows), partial)
    with atomic_write(Path(folder) / "result.json") as partial:
        partial.write_text(json.dumps(run_record(run), indent=1, allow_nan=False) + "\n")


def save_trained(folder: Path | str, trained: TrainedArch) -> None:
    """Write result.json of one trained architecture: settings, losses and accuracies, versions, device; atomically."""
    record = {**trained._asdict(), "config": asdict(trained.config), "environment": make_environment(trained.seconds)}
    record["config"]["network"] = dict(trained.config.network)
    for name in ("loss", "accuracy"):
        record[name] = [value if np.isfinite(value) else None for value in record[name]]
    record["test_accuracy"] = trained.test_accuracy if np.isfinite(trained.test_accuracy) else None
    with atomic_write(Path(folder) / "result.json") as partial:
        partial.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")


def comparison_rows(comparison: MethodComparison) -> list[dict[str, Any]]:
    """One record per method: mean, deviation, interval of the mean, T0, and the paired test against the first."""
    rows: list[dict[str, Any]] = []
    for name, runs in comparison.runs.items():
        values = comparison.measured(name)
        rows.append(
            {
                "method": name,
                "seeds": len(values),
                "observed": float(runs.best[:, -1].mean()),
                "mean": float(values.mean()),
                "std": float(values.std()),
                "interval": bootstrap_interval(values),
                "median": float(np.median(values)),
                "T0": float(runs.num_bo.mean()),
                "against_first": comparison.against_first(name)._asdict() if rows else None,
            }
        )
    return rows


def save_comparison(folder: Path | str, comparison: MethodComparison) -> Path | None:
    """Write comparison.json, and comparison.png if matplotlib is installed; the picture's path or None."""
    record = {
        "config": asdict(comparison.config),
        "environment": comparison.environment,
        "rows": comparison_rows(comparison),
        "curves": {name: np.nanmean(runs.best, axis=0).tolist() for name, runs in comparison.runs.items()},
    }
    with atomic_write(Path(folder) / "comparison.json") as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")
    if find_spec("matplotlib") is None:
        return None
    path = Path(folder) / "comparison.png"
    draw_curves({name: runs.best for name, runs in comparison.runs.items()}, path, comparison.config.column)
    return path


def draw_curves(best: dict[str, Float[np.ndarray, "S T"]], path: Path | str, label: str) -> None:
    """The best objective found after every query, mean over seeds with its deviation, as a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, values in best.items():
        queries = np.arange(1, values.shape[1] + 1)
        mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        (line,) = axes.plot(queries, mean, label=name)
        axes.fill_between(queries, mean - deviation, mean + deviation, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xlabel="queries", ylabel=f"best {label}", title="mean and deviation over seeds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
