"""Reproduce figure 2 of RoBoT (He et al. 2024, arXiv:2403.07591): best accuracy found against number of queries.

    JAXNAS_DATA=folder python experiments/figures.py [--seeds 100]    (extra: plot)

The figure has one panel per task, with the mean and the standard deviation over seeds of the best observation so far,
for RoBoT (default and published protocol), evolution and random search. A vertical line marks where RoBoT's greedy
phase begins on average (T0).

The script takes about three minutes. It writes results/figure2.png, and the plotted numbers to results/figure2.json and
results/figure2.md.
"""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import tasks
import typer

import jaxnas
from jaxnas.report import save_results
from jaxnas.runtime.files import atomic_write
from jaxnas.search import PRESETS, get_method
from jaxnas.store.store import make_environment

PANELS = {
    "NAS-Bench-201, CIFAR-10": (20, lambda: tasks.load_nasbench201("cifar10")),
    "NAS-Bench-201, CIFAR-100": (
        20,
        lambda: tasks.load_nasbench201("cifar100", tasks.OWN, tasks.OWN_OBSERVATION["cifar100"]),
    ),
    "NAS-Bench-201, ImageNet16-120": (
        20,
        lambda: tasks.load_nasbench201("ImageNet16-120", observation=tasks.OWN_OBSERVATION["ImageNet16-120"]),
    ),
    "TransNAS-Bench-101 micro, scene": (100, lambda: tasks.load_transnas101("micro", "class_scene")),
}
LINES = {
    "robot": ("robot", "default"),
    "robot, paper preset": ("robot", "paper"),
    "rea": ("rea", "default"),
    "random": ("random", "default"),
}


def run(panel: str, line: str, seeds: range) -> dict:
    """Return the best observation after every query, averaged over the seeds, and the mean T0."""
    budget, load = PANELS[panel]
    task, (method, name) = load(), LINES[line]
    table = jaxnas.normalize(task.scores)[0]
    config = PRESETS[name] if method == "robot" else None
    results = get_method(method).run_seeds(
        table, task.observation, budget=budget, seeds=seeds, config=config, archs=task.archs
    )
    best = np.maximum.accumulate([result.objective for result in results], axis=1)
    return {
        "panel": panel,
        "line": line,
        "mean": best.mean(axis=0).round(4).tolist(),
        "std": best.std(axis=0).round(4).tolist(),
        "T0": float(np.mean([result.num_bo for result in results])),
        "optimum": float(task.observation.max()),
    }


def draw(rows: list[dict], path: Path) -> None:
    """Draw a panel per task with a line per method."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(4 * len(PANELS), 3.6), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        shown = [row for row in rows if row["panel"] == panel]
        for row in shown:
            queries, mean, std = np.arange(1, len(row["mean"]) + 1), np.array(row["mean"]), np.array(row["std"])
            (line,) = axes.plot(queries, mean, label=row["line"])
            axes.fill_between(queries, mean - std, mean + std, color=line.get_color(), alpha=0.12, linewidth=0)
            if row["T0"]:
                axes.axvline(row["T0"], color=line.get_color(), linestyle=":", linewidth=1)
        axes.axhline(shown[0]["optimum"], color="black", linewidth=0.6)
        middle = [row["mean"][len(row["mean"]) // 10] for row in shown]
        top = shown[0]["optimum"]
        axes.set(
            xlabel="queries",
            title=panel,
            ylim=(min(middle) - 0.5 * (top - min(middle)), top + 0.1 * (top - min(middle))),
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    figure.axes[0].set_ylabel("best observed accuracy %")
    figure.supxlabel(
        "mean and deviation over seeds; dotted: the greedy phase begins (mean T0); black: the pool's best", fontsize=9
    )
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=130)


def main(seeds: Annotated[int, typer.Option(help="Number of seeds, starting at 1000.", min=1)] = 100) -> None:
    """Reproduce figure 2 of RoBoT: the best accuracy found against the number of queries."""
    started = time.perf_counter()
    rows = [run(panel, line, range(1000, 1000 + seeds)) for panel in PANELS for line in LINES]
    lines = ["| task | method | best observation after T / 4 | T / 2 | T | T0 |", "|---|---|---|---|---|---|"]
    for row in rows:
        budget = len(row["mean"])
        cells = [f"{row['mean'][n - 1]:.2f}+-{row['std'][n - 1]:.2f}" for n in (budget // 4, budget // 2, budget)]
        lines.append(f"| {row['panel']} | {row['line']} | {' | '.join(cells)} | {row['T0']:.1f} |")
    markdown = "\n".join(lines) + "\n"
    print(markdown)
    folder = Path(__file__).parent / "results"
    record = {"seeds": seeds, "environment": make_environment(time.perf_counter() - started), "rows": rows}
    save_results(folder, "figure2", record, markdown)
    draw(rows, folder / "figure2.png")


if __name__ == "__main__":
    typer.run(main)
