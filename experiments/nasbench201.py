"""Reproduce table 2 of RoBoT (He et al. 2024, arXiv:2403.07591): search methods on NAS-Bench-201 with T = 20.

    JAXNAS_DATA=folder python experiments/nasbench201.py [--seeds 1000]

For all data sets the search observes the 12-epoch validation accuracy on CIFAR-10, as published, and the result is the
200-epoch test accuracy. The pool consists of the 9,445 architectures without dead edges. Its scores are those of
NAS-Bench-Suite-Zero, which has no gradient proxies on CIFAR-100, and those that the package contains (for
ImageNet16-120: scores on tiny16, other images of the same size). RoBoT runs with the default and with the published
protocol on the published seeds 10..19; methods that draw at random run on 50 seeds; all of them also run on many seeds
from 1000 on. The published searches other than RoBoT had a budget of 12,000 s of training, about ninety queries.
Hyperband and BOHB, which train some candidates for 200 epochs at the price of 17 queries, have 100 queries here.

The script takes about 15 minutes on two cores; a stopped run resumes. It writes results/nasbench201.json and
results/nasbench201.md. The rows there were computed on 23 November 2026 (commit a69acd2), before the surrogate with one
length scale per proxy was fitted by L-BFGS; that option, `ard`, is off in all of them.
"""

from typing import Annotated

import numpy as np
import tasks
import typer
from rows import compute_rows

import jaxnas
from jaxnas.scoring.engine import DEFAULT_PROXIES
from jaxnas.search import PRESETS, SingleProxyConfig, get_method
from jaxnas.spaces import NASBENCH201, to_index

BUDGET = 20
BEST_OF_OBSERVATION = 13714  # index of the architecture
MODEL_FREE = ("random", "rea", "reinforce", "local_search")  # methods that read no scores
MULTI_FIDELITY = ("hyperband", "bohb")
LONG_OBSERVATION = "c10_valid_val_200"
LONG_BUDGET = 100  # budget of MULTI_FIDELITY in trainings of 12 epochs: 100 of them take 13,000 s
PRICES = (1, 17)  # of a training of 12 and of 200 epochs
PUBLISHED = {
    "robot": ("94.36+-0.00", "73.51+-0.00", "46.34+-0.00"),
    "random": ("93.70+-0.36", "71.04+-1.07", "44.57+-1.25"),
    "rea": ("93.92+-0.30", "71.84+-0.99", "45.15+-0.89"),
    "reinforce": ("93.85+-0.37", "71.71+-1.09", "45.24+-1.18"),
    "bohb": ("93.61+-0.52", "70.85+-1.28", "44.42+-1.49"),
    "single proxies, average": ("91.71+-2.37", "66.48+-4.94", "35.46+-9.90"),
    "single proxies, best": ("94.36", "73.51", "46.34"),
}


def run(method: str, data: str, scores: str, first_seed: int, num_seeds: int) -> dict:
    """Return test accuracy, selected index, T0 and cost (seconds of training according to the table) of every seed."""
    if method == "single proxies":
        each = [_search("single_proxy", data, scores, [0], SingleProxyConfig(n)) for n in range(len(DEFAULT_PROXIES))]
        return {name: [value for outcome in each for value in outcome[name]] for name in each[0]}
    name, _, preset = method.partition(", ")
    seeds = list(range(first_seed, first_seed + num_seeds))
    return _search(name, data, scores, seeds, PRESETS[preset] if preset else None)


def _search(method, data, scores, seeds, config):
    task = tasks.load_nasbench201(data, tasks.OWN if scores == "-" else scores)
    observation, options = task.observation, dict(budget=BUDGET, seeds=seeds, config=config)
    if method in MULTI_FIDELITY:
        longer = tasks.load_nasbench201(data, tasks.OWN, LONG_OBSERVATION).observation
        observation = np.stack([observation, longer], axis=1)
        options |= dict(budget=LONG_BUDGET, prices=PRICES)
    table = jaxnas.normalize(task.scores)[0]
    results = get_method(method).run_seeds(table, observation, costs=task.cost, archs=task.archs, **options)
    selected, prices = [result.selected for result in results], np.array(PRICES)
    return {
        "test_accuracy": task.test[selected].round(3).tolist(),
        "selected": to_index(NASBENCH201, task.archs[selected]).tolist(),
        "T0": [result.num_bo for result in results],
        "cost_seconds": [round(float(result.cost @ prices[result.fidelity]), 1) for result in results],
    }


def plan(num_seeds: int) -> list[dict]:
    """Return the settings of all rows: every method, data set and, if the method reads scores, source of scores."""
    rows = []
    for data in tasks.TEST_COLUMNS:
        for scores in filter(lambda name, data=data: tasks.load_nasbench201(data, name), (tasks.SUITE_ZERO, tasks.OWN)):
            for method in ("robot, default", "robot, paper"):
                rows += [(method, data, scores, 10, 10), (method, data, scores, 1000, num_seeds)]
            rows += [(method, data, scores, 0, 1) for method in ("rank_aggregation", "single proxies")]
        for method in MODEL_FREE + MULTI_FIDELITY:
            rows += [(method, data, "-", 10, 50), (method, data, "-", 1000, num_seeds)]
    names = ("method", "data", "scores", "first_seed", "num_seeds")
    return [dict(zip(names, row, strict=True)) for row in rows if row[-1]]


def to_markdown(rows: list[dict]) -> str:
    """Return a table with a row per method, data set, source of scores and range of seeds."""
    header = "method, data set, scores, seeds, test accuracy %, 5 / 50 / 95 %, published, best of column, T0, cost s"
    lines = [f"| {header.replace(', ', ' | ')} |", "|---" * 10 + "|"]
    for row in rows:
        settings = row["settings"]
        if settings["method"] == "single proxies":
            best = int(np.argmax(row["test_accuracy"]))
            lines.append(_line("single proxies, average", settings, row))
            lines.append(
                _line("single proxies, best", settings, {name: row[name][best : best + 1] for name in list(row)[1:]})
            )
        else:
            lines.append(_line(settings["method"], settings, row))
    return "\n".join(lines) + "\n"


def _line(method, settings, row):
    accuracy, last = np.array(row["test_accuracy"]), settings["first_seed"] + settings["num_seeds"] - 1
    several = settings["num_seeds"] > 1
    published = PUBLISHED.get(method.replace(", paper", ""), ("-",) * 3)
    cells = [
        method,
        settings["data"],
        settings["scores"],
        f"{settings['first_seed']}..{last}" if several else "-",
        f"{accuracy.mean():.2f}" + (f"+-{accuracy.std():.2f}" if len(accuracy) > 1 else ""),
        " / ".join(f"{value:.2f}" for value in np.quantile(accuracy, [0.05, 0.5, 0.95])) if several else "-",
        published[list(tasks.TEST_COLUMNS).index(settings["data"])],
        f"{sum(index == BEST_OF_OBSERVATION for index in row['selected'])} of {len(accuracy)}",
        f"{np.mean(row['T0']):.1f}" if method.startswith("robot") else "-",
        f"{np.mean(row['cost_seconds']):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main(seeds: Annotated[int, typer.Option(help="Number of additional seeds, starting at 1000.")] = 1000) -> None:
    """Reproduce table 2 of RoBoT: search methods on NAS-Bench-201 with 20 queries."""
    compute_rows("nasbench201", plan(seeds), run, to_markdown)


if __name__ == "__main__":
    typer.run(main)
