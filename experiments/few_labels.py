"""Measure how well a few labels and the proxies together rank all architectures of NAS-Bench-201.

    JAXNAS_DATA=folder python experiments/few_labels.py [--seeds 10]

`jaxnas.predict_ranking` observes the test accuracies (200 epochs, mean of the benchmark's seeds) of architectures drawn
at random, and ranks all 15,625 cells. Without labels it also ranks the 9,445 without dead edges. The measure is
Kendall's tau with the same accuracies over the whole pool; its interval (95 %) is a bootstrap over the draws. The
scores are those that the package contains, by RoBoT's six proxies and by all that it has for the data set: nwot, flops,
params, l2_norm and num_layers too, on CIFAR-10 also zen, zico, swap, and expressivity, progressivity and trainability
of AZ-NAS. Those of ImageNet16-120 are of other images of the same size.

Published for comparison: HyperNAS (arXiv:2509.18151) trains a predictor on the same numbers of labels; VKDNW
(arXiv:2502.04975) ranks the 9,445 cells without any.

The script takes a quarter of an hour on one core. A stopped run resumes. It writes results/few_labels.json and
results/few_labels.md.
"""

from functools import lru_cache
from typing import Annotated

import numpy as np
import typer
from correlations import TEST_COLUMNS
from rows import compute_rows

import jaxnas
from jaxnas.proxies import ROBOT_PROXIES, orient
from jaxnas.spaces import NASBENCH201
from jaxnas.table.evaluation import bootstrap_interval, kendall

LABELS = (0, 20, 39, 78, 156, 469)
DATA = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "ImageNet16-120": "tiny16"}
ALL, DISTINCT = "15,625", "9,445"
PROXIES = {"six": ROBOT_PROXIES, "all": (), "none": None}
PUBLISHED = {
    ("HyperNAS", "CIFAR-10"): {39: 0.667, 78: 0.677, 156: 0.765, 469: 0.836},
    ("VKDNW", "CIFAR-10"): {0: 0.750},
    ("VKDNW", "CIFAR-100"): {0: 0.753},
    ("VKDNW", "ImageNet16-120"): {0: 0.743},
}


@lru_cache
def load(data: str, pool: str) -> tuple[np.ndarray, dict[str, np.ndarray | None], np.ndarray]:
    """Return architectures, scores by set of proxies, and accuracies."""
    name = DATA[data]
    scores = {
        label: None if names is None else jaxnas.load_scores("nasbench201", name, names)
        for label, names in PROXIES.items()
    }
    archs = scores["all"].archs
    kept = np.ones(len(archs), bool) if pool == ALL else (NASBENCH201.canonicalize(archs) == archs).all(1)
    values = {
        label: None if found is None else orient(found.values, found.proxies)[kept] for label, found in scores.items()
    }
    accuracy = jaxnas.align(jaxnas.load_nasbench201(), NASBENCH201, archs[kept], TEST_COLUMNS[name])
    return archs[kept], values, accuracy


def run(data: str, pool: str, proxies: str, labels: int, seeds: list[int]) -> dict:
    """Rank the pool after labels drawn with each seed (the first and the last are given)."""
    archs, scores, accuracy = load(data, pool)
    taus = []
    for seed in range(seeds[0], seeds[1] + 1):
        rows = np.random.default_rng(seed).permutation(len(archs))[:labels]
        ranking = jaxnas.predict_ranking(scores[proxies], archs, (rows, accuracy[rows]))
        taus.append(round(float(kendall(ranking.mean, accuracy)), 6))
    return {"kendall": taus, "num_proxies": 0 if scores[proxies] is None else scores[proxies].shape[1]}


def plan(num_seeds: int) -> list[dict]:
    """Return the settings of all rows; without labels there is one ranking, and without proxies none."""
    return [
        {"data": data, "pool": pool, "proxies": proxies, "labels": labels, "seeds": [0, num_seeds - 1 if labels else 0]}
        for labels in LABELS
        for proxies in PROXIES
        for data in DATA
        for pool in ((ALL,) if labels else (ALL, DISTINCT))
        if labels or proxies != "none"
    ]


def to_markdown(rows: list[dict]) -> str:
    """Return a row for each data set, pool and set of proxies, and a column for each number of labels."""
    lines = [
        "Kendall's tau over the whole pool, with the interval of its mean over draws of the labels.",
        "",
        f"| data | cells | proxies | {' | '.join(f'{labels} labels' for labels in LABELS)} |",
        "|---" * (3 + len(LABELS)) + "|",
    ]
    found = {tuple(row["settings"][name] for name in ("data", "pool", "proxies", "labels")): row for row in rows}
    for data in DATA:
        for pool in (ALL, DISTINCT):
            for proxies in ("six", "all") if pool == DISTINCT else PROXIES:
                cells = [_cell(found.get((data, pool, proxies, labels))) for labels in LABELS]
                some = next((row for key, row in found.items() if key[:3] == (data, pool, proxies)), None)
                count = f" ({some['num_proxies']})" if some and some["num_proxies"] else ""
                lines.append(f"| {data} | {pool} | {proxies}{count} | {' | '.join(cells)} |")
        for (method, of_data), values in PUBLISHED.items():
            if of_data == data:
                pool = DISTINCT if method == "VKDNW" else ALL
                cells = [f"{values[labels]:.3f}" if labels in values else "-" for labels in LABELS]
                lines.append(f"| {data} | {pool} | {method}, published | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: dict | None) -> str:
    if row is None:
        return "-"
    taus = np.array(row["kendall"])
    if len(taus) == 1:
        return f"{taus[0]:.3f}"
    low, high = bootstrap_interval(taus)
    return f"{taus.mean():.3f} ({low:.3f} to {high:.3f})"


def main(seeds: Annotated[int, typer.Option(help="Draws of the labels per row.", min=1)] = 10) -> None:
    """Rank NAS-Bench-201 from few labels."""
    compute_rows("few_labels", plan(seeds), run, to_markdown)


if __name__ == "__main__":
    typer.run(main)
