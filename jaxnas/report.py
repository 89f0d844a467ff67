"""A finished search as files: result.json and queries.parquet in the run folder."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int8

from jaxnas.files import atomic_write
from jaxnas.pipeline import Run
from jaxnas.search import SearchResult
from jaxnas.spaces import SearchSpace, to_index
from jaxnas.store import make_environment


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
                "selected": run.space.format(run.scores.archs[outcome.result.selected]),
                "test_accuracy": outcome.test_accuracy if np.isfinite(outcome.test_accuracy) else None,
                **outcome.result.to_dict(),
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
