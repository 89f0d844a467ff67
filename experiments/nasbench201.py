"""Table 2 of RoBoT (He et al. 2024, arXiv:2403.07591), the searched methods: T = 20 on NAS-Bench-201.

    JAXNAS_DATA=folder python experiments/nasbench201.py [--seeds 1000]

The search sees the 12-epoch CIFAR-10 validation accuracy whatever the data set, as published; the report is the
200-epoch test accuracy. Scores of the 9,445 architectures without dead edges are those of NAS-Bench-Suite-Zero (nobody
published the gradient proxies on CIFAR-100) and those that come with this package (for ImageNet16-120: tiny16, other
images of the same size). RoBoT, by its default and by the published protocol, runs the published seeds 10..19, searches
that draw at random 50 seeds, and all of them many more from 1000 on. The published searches other than RoBoT had a cost
of 12,000 s, about ninety queries; hyperband and bohb, which train some for 200 epochs (17 queries), have 100 queries
here. Writes results/nasbench201.json and results/nasbench201.md beside this file.
"""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import tasks
import typer

import jaxnas
from jaxnas.report import save_results
from jaxnas.search import PRESETS, SingleProxyConfig, get_method
from jaxnas.spaces import NASBENCH201, to_index
from jaxnas.store import make_environment

BUDGET = 20
BEST_OF_OBSERVATION = 13714  # index of the architecture
MODEL_FREE = ("random", "rea", "reinforce", "local_search")  # they read no scores
MULTI_FIDELITY = ("hyperband", "bohb")
LONG_OBSERVATION = "c10_valid_val_200"
LONG_BUDGET = 100  # theirs, in trainings of 12 epochs: 100 of them take 13,000 s
PRICES = (1, 17)  # of 12 and of 200 epochs
PUBLISHED = {
    "robot": ("94.36+-0.00", "73.51+-0.00", "46.34+-0.00"),
    "random": ("93.70+-0.36", "71.04+-1.07", "44.57+-1.25"),
    "rea": ("93.92+-0.30", "71.84+-0.99", "45.15+-0.89"),
    "reinforce": ("93.85+-0.37", "71.71+-1.09", "45.24+-1.18"),
    "bohb": ("93.61+-0.52", "70.85+-1.28", "44.42+-1.49"),
    "single proxies, average": ("91.71+-2.37", "66.48+-4.94", "35.46+-9.90"),
    "single proxies, best": ("94.36", "73.51", "46.34"),
}


def run(method: str, data: str, scores: str, seeds: list[int], preset: str = "default", config=None) -> dict:
    """One row: every seed's test accuracy, T0 and cost in seconds of training that the table states."""
    task = tasks.load_nasbench201(data, scores)
    config = PRESETS[preset] if method == "robot" else config
    given = dict(budget=BUDGET, seeds=seeds, config=config, costs=task.cost, archs=task.archs)
    observation = task.observation
    if method in MULTI_FIDELITY:
        observation = np.stack(
            [observation, tasks.load_nasbench201(data, scores, LONG_OBSERVATION).observation], axis=1
        )
        given |= dict(budget=LONG_BUDGET, prices=PRICES)
    started = time.perf_counter()
    results = get_method(method).run_seeds(jaxnas.normalize(task.scores)[0], observation, **given)
    selected = [result.selected for result in results]
    prices = np.array(PRICES)
    return {
        "method": f"robot, {preset}" if method == "robot" else method,
        "data": data,
        "scores": "-" if method in MODEL_FREE + MULTI_FIDELITY else scores,
        "seeds": seeds,
        "seconds": round(time.perf_counter() - started, 2),
        "test_accuracy": task.test[selected].round(3).tolist(),
        "selected": to_index(NASBENCH201, task.archs[selected]).tolist(),
        "T0": [result.num_bo for result in results],
        "cost_seconds": [round(float(result.cost @ prices[result.fidelity]), 1) for result in results],
        "config": results[0].config,
    }


def run_single_proxies(data: str, scores: str) -> list[dict]:
    """The top T of each proxy: a row of their average, the row of the best."""
    rows = [
        run("single_proxy", data, scores, [0], config=SingleProxyConfig(number))
        for number in range(len(jaxnas.PROXIES))
    ]
    best = max(rows, key=lambda row: row["test_accuracy"][0])
    lists = ("seeds", "test_accuracy", "selected", "T0", "cost_seconds")
    together = rows[0] | {name: [row[name][0] for row in rows] for name in lists}
    return [together | {"method": "single proxies, average"}, best | {"method": "single proxies, best"}]


def make_rows(num_seeds: int) -> list[dict]:
    """Every method on every data set, with all scores that there are for those that read scores."""
    more, published, fifty = range(1000, 1000 + num_seeds), range(10, 20), range(10, 60)
    rows = []
    for data in tasks.TEST_COLUMNS:
        for scores in filter(lambda name, data=data: tasks.load_nasbench201(data, name), (tasks.SUITE_ZERO, tasks.OWN)):
            for preset in PRESETS:
                rows += [run("robot", data, scores, list(seeds), preset) for seeds in (published, more) if seeds]
            rows += [run("rank_aggregation", data, scores, [0]), *run_single_proxies(data, scores)]
        for method in MODEL_FREE + MULTI_FIDELITY:
            rows += [run(method, data, tasks.OWN, list(seeds)) for seeds in (fifty, more) if seeds]
    return rows


def to_markdown(rows: list[dict]) -> str:
    """One line per method, data set, scores and seed range."""
    header = (
        "method, data set, scores, seeds, test accuracy %, 5 / 50 / 95 %, published, best of observation, T0, cost s"
    )
    lines = [f"| {header.replace(', ', ' | ')} |", "|---" * 10 + "|"]
    for row in rows:
        accuracy, seeds = np.array(row["test_accuracy"]), row["seeds"]
        several = len(set(seeds)) > 1
        deviation = f"+-{accuracy.std():.2f}" if len(accuracy) > 1 else ""
        cells = [
            row["method"],
            row["data"],
            row["scores"],
            f"{seeds[0]}..{seeds[-1]}" if several else "-",
            f"{accuracy.mean():.2f}{deviation}",
            " / ".join(f"{value:.2f}" for value in np.quantile(accuracy, [0.05, 0.5, 0.95])) if several else "-",
            PUBLISHED.get(row["method"].replace(", paper", ""), ("-",) * 3)[
                list(tasks.TEST_COLUMNS).index(row["data"])
            ],
            f"{sum(index == BEST_OF_OBSERVATION for index in row['selected'])} of {len(accuracy)}",
            f"{np.mean(row['T0']):.1f}" if row["method"].startswith("robot") else "-",
            f"{np.mean(row['cost_seconds']):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(
    seeds: Annotated[int, typer.Option(help="Also run this many seeds from 1000 on.")] = 1000,
) -> None:
    """Run every row, print the table, write JSON and Markdown."""
    started = time.perf_counter()
    rows = make_rows(seeds)
    markdown = to_markdown(rows)
    print(markdown)
    record = {"budget": BUDGET, "environment": make_environment(time.perf_counter() - started), "rows": rows}
    save_results(Path(__file__).parent / "results", "nasbench201", record, markdown)


if __name__ == "__main__":
    typer.run(main)
