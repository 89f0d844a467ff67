"""Table 2 of RoBoT (He et al. 2024, arXiv:2403.07591), searched methods: T = 20 on NAS-Bench-201, seeds 10..19.

    JAXNAS_DATA=folder python experiments/nasbench201.py [--seeds 100]

Scores are those of NAS-Bench-Suite-Zero, min-max normalised over the 9,445 architectures without dead edges; the search
sees the 12-epoch CIFAR-10 validation accuracy, the report is the 200-epoch test accuracy. CIFAR-100 is missing: nobody
published its gradient proxies. Writes results/nasbench201.json and results/nasbench201.md beside this file.
"""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import jaxnas
from jaxnas.report import save_results
from jaxnas.search import get_method
from jaxnas.spaces import NASBENCH201, to_index
from jaxnas.store import make_environment

BUDGET = 20
OBSERVATION, COST = "c10_valid_val_12", "c10_cost_12_sec"
TEST_COLUMNS = {"cifar10": "robot_c10_test", "ImageNet16-120": "robot_im120_test"}
PUBLISHED = {
    ("robot", "cifar10"): "94.36+-0.00",
    ("robot", "ImageNet16-120"): "46.34+-0.00",
    ("random", "cifar10"): "93.70+-0.36",  # at a cost of 12,000 s, not at T = 20
    ("random", "ImageNet16-120"): "44.57+-1.25",
}


def run(method: str, dataset: str, seeds: list[int]) -> dict:
    """One row: every seed's test accuracy, T0 and cost in seconds of training that the table states."""
    bench = jaxnas.load_nasbench201()
    archs, scores = jaxnas.load_proxy_scores(None, dataset, tuple(jaxnas.PROXIES))
    pool = np.flatnonzero((NASBENCH201.canonicalize(archs) == archs).all(1))
    table, _ = jaxnas.normalize(scores[pool])
    column = {
        name: jaxnas.align(bench, NASBENCH201, archs[pool], name) for name in (OBSERVATION, COST, TEST_COLUMNS[dataset])
    }
    started = time.perf_counter()
    common = {"budget": BUDGET, "costs": column[COST]}
    if method == "robot":
        results = jaxnas.robot_seeds(table, column[OBSERVATION], seeds=seeds, **common)
    else:
        results = [get_method(method)(table, column[OBSERVATION], seed=seed, **common) for seed in seeds]
    selected = [result.selected for result in results]
    return {
        "method": method,
        "dataset": dataset,
        "seeds": seeds,
        "seconds": round(time.perf_counter() - started, 2),
        "test_accuracy": column[TEST_COLUMNS[dataset]][selected].round(3).tolist(),
        "selected": to_index(NASBENCH201, archs[pool][selected]).tolist(),
        "T0": [result.num_bo for result in results],
        "cost_seconds": [round(float(result.cost.sum()), 1) for result in results],
        "config": results[0].config,
    }


def to_markdown(rows: list[dict]) -> str:
    """One line per method, data set and seed range."""
    lines = [
        "| method | data set | seeds | test accuracy % | published | best of the observation | T0 | cost s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        accuracy, seeds = np.array(row["test_accuracy"]), row["seeds"]
        cells = [
            row["method"],
            row["dataset"],
            f"{seeds[0]}..{seeds[-1]}",
            f"{accuracy.mean():.2f}+-{accuracy.std():.2f}",
            PUBLISHED[row["method"], row["dataset"]],
            f"{sum(index == 13714 for index in row['selected'])} of {len(seeds)}",
            f"{np.mean(row['T0']):.1f}" if row["method"] == "robot" else "-",
            f"{np.mean(row['cost_seconds']):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(
    seeds: Annotated[int, typer.Option(help="Also run this many seeds from 1000 on.")] = 100,
) -> None:
    """Run every row, print the table, write JSON and Markdown."""
    started = time.perf_counter()
    ranges = [list(range(10, 20)), list(range(1000, 1000 + seeds))]
    rows = [
        run(method, data, some) for method in ("robot", "random") for data in TEST_COLUMNS for some in ranges if some
    ]
    markdown = to_markdown(rows)
    print(markdown)
    record = {"budget": BUDGET, "environment": make_environment(time.perf_counter() - started), "rows": rows}
    save_results(Path(__file__).parent / "results", "nasbench201", record, markdown)


if __name__ == "__main__":
    typer.run(main)
