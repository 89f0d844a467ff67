"""Results as files: a trained architecture, a comparison of methods, an experiment's table."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxnas.run.find import COMPARISON
from jaxnas.run.method_runs import MethodComparison, mean_curve
from jaxnas.runtime.files import atomic_write
from jaxnas.runtime.records import Record, to_plain, with_check


def save_results(folder: Path | str, name: str, record: Mapping[str, object], markdown: str) -> None:
    """Write an experiment's record as NAME.json and its table as NAME.md, each atomically."""
    for ending, text in (("json", json.dumps(record, indent=1) + "\n"), ("md", markdown)):
        with atomic_write(Path(folder) / f"{name}.{ending}") as partial:
            partial.write_text(text)


def save_comparison(folder: Path | str, comparison: MethodComparison) -> Path | None:
    """Write comparison.json, and comparison.png if matplotlib is installed; return the picture's path or None.

    The file has a checksum of its content, which `load_comparison` checks.
    """
    record: Record = {
        "config": asdict(comparison.config),
        "environment": comparison.environment,
        "rows": comparison.rows(),
        "curves": {name: mean_curve(runs.best)[0] for name, runs in comparison.runs.items()},
    }
    with atomic_write(Path(folder) / COMPARISON) as partial:
        plain: Record = {name: to_plain(value) for name, value in record.items()}
        partial.write_text(json.dumps(with_check(plain), indent=1, allow_nan=False) + "\n")
    if find_spec("matplotlib") is None:
        return None
    path = Path(folder) / "comparison.png"
    draw_curves({name: runs.best for name, runs in comparison.runs.items()}, path, comparison.config.column)
    return path


def draw_curves(best: dict[str, Float[np.ndarray, "S T"]], path: Path | str, label: str) -> None:
    """Draw the best objective after every query, mean over seeds with its deviation, as a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, values in best.items():
        queries = np.arange(1, values.shape[1] + 1)
        mean, deviation = mean_curve(values)
        (line,) = axes.plot(queries, mean, label=name)
        axes.fill_between(queries, mean - deviation, mean + deviation, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xlabel="queries", ylabel=f"best {label}", title="mean and deviation over seeds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
