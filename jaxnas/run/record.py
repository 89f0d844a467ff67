"""The content of result.json: a run as plain JSON values."""

import numpy as np

from jaxnas.run.run import Run
from jaxnas.runtime.records import Record, to_plain
from jaxnas.spaces import SearchSpace


def run_record(run: Run) -> Record:
    """Return everything about a run except its scores as plain JSON values, None for NaN."""
    return {
        "command": run.command,
        "config": run.config.record(),
        "environment": run.environment,
        "seconds": {stage: round(seconds, 3) for stage, seconds in run.seconds.items()},
        "pool": len(run.scores.archs),
        "space": describe_space(run.space),
        "scores": run.scores.provenance,
        "masked": {name: column.tolist() for name, column in run.masked._asdict().items()},
        "origin": run.origin,
        "latency": run.latency,
        "images": run.images and run.images._asdict(),
        "notes": list(run.notes),
        "sizes": _size_record(run),
        **_front_record(run),
        "outcomes": {
            method: {
                **outcome.result.to_dict(),
                "selected": run.space.format(run.scores.archs[outcome.result.selected]),
                "test_accuracy": outcome.test_accuracy if np.isfinite(outcome.test_accuracy) else None,
                "confirmed": {
                    run.space.format(run.scores.archs[row]): value if np.isfinite(value) else None
                    for row, value in outcome.confirmed.items()
                },
                "intervals": {name: list(bounds) for name, bounds in run.intervals(method).items()},
            }
            for method, outcome in run.outcomes.items()
        },
    }


def _size_record(run: Run) -> Record:
    """Return the sizes of the queried architectures, and their rows in the pool."""
    if not run.sizes:
        return {}
    rows = np.unique(np.concatenate([outcome.result.queries for outcome in run.outcomes.values()]))
    return {"rows": rows.tolist(), **{name: to_plain(size[rows]) for name, size in run.sizes.items()}}


def _front_record(run: Run) -> Record:
    """Return the front of each method, if the settings trade objectives off."""
    if len(run.config.limits.objective) == 1:
        return {}
    fronts = {method: run.front(method) for method in run.outcomes}
    return {"fronts": {method: {"rows": rows, "hypervolume": volume} for method, (rows, volume) in fronts.items()}}


def describe_space(space: SearchSpace) -> Record:
    """Return what is needed of a space to read its architectures back, as plain JSON values."""
    return {
        "name": space.name,
        "op_names": list(map(str, space.op_names)),
        "num_choices": list(map(int, space.num_choices)),
        "has_order": space.index_order is not None,
    }
