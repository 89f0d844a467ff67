"""Rank correlation of every proxy with test accuracy on NAS-Bench-201, beside the published one.

    JAXNAS_DATA=folder python experiments/correlations.py

Scores are the tables shipped with the package (`jaxnas.load_scores`): real images, batch 64, one seed. Test accuracy
after 200 epochs, mean over the benchmark's seeds. Which architectures count moves a correlation more than most things
do, so there are four sets, of those with a finite score: all; the 9,445 without dead edges; one of each of the 5,260
network classes; those that have a convolution on a path to the output. Published: VKDNW (CVPR 2025), table 1, mean of 5
runs over all with finite scores. Writes results/correlations.json and results/correlations.md beside this file.
"""

import time
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, spearmanr

import jaxnas
from jaxnas.errors import InputError
from jaxnas.report import save_results
from jaxnas.spaces import NASBENCH201
from jaxnas.store import make_environment

TEST_COLUMNS = {"cifar10": "c10_full_test_200", "cifar100": "c100_test_200", "tiny16": "im120_test_200"}
SETS = ("all finite", "no dead edge", "one of each class", "a live convolution")
PUBLISHED = {  # Kendall / Spearman
    "grad_norm": {"cifar10": (0.328, 0.438), "cifar100": (0.341, 0.451), "tiny16": (0.310, 0.418)},
    "grasp": {"cifar10": (0.352, 0.505), "cifar100": (0.349, 0.498), "tiny16": (0.359, 0.502)},
    "snip": {"cifar10": (0.431, 0.591), "cifar100": (0.440, 0.597), "tiny16": (0.389, 0.521)},
    "synflow": {"cifar10": (0.561, 0.758), "cifar100": (0.553, 0.750), "tiny16": (0.531, 0.719)},
    "jacob_cov": {"cifar10": (0.616, 0.800), "cifar100": (0.639, 0.820), "tiny16": (0.602, 0.779)},
}


def correlate(data: str) -> list[dict]:
    """One row per proxy and set of architectures."""
    scores = jaxnas.load_scores("nasbench201", data)
    accuracy = jaxnas.align(jaxnas.load_nasbench201(), NASBENCH201, scores.archs, TEST_COLUMNS[data])
    rows = []
    for proxy, column in zip(scores.proxies, scores.values.T, strict=True):
        for name, chosen in make_sets(scores.archs).items():
            finite = chosen & np.isfinite(column) & np.isfinite(accuracy)
            rows.append(
                {
                    "data": data,
                    "proxy": proxy,
                    "set": name,
                    "architectures": int(finite.sum()),
                    "kendall": float(kendalltau(column[finite], accuracy[finite]).statistic),
                    "spearman": float(spearmanr(column[finite], accuracy[finite]).statistic),
                    "published": PUBLISHED.get(proxy, {}).get(data) if name == SETS[0] else None,
                }
            )
    return rows


def make_sets(archs: np.ndarray) -> dict[str, np.ndarray]:
    """Which rows belong to each set."""
    canonical = NASBENCH201.canonicalize(archs)
    first = np.zeros(len(archs), bool)
    first[np.unique(NASBENCH201.network_class(archs), return_index=True)[1]] = True
    convolves = np.isin(canonical, [NASBENCH201.op_names.index(name) for name in ("nor_conv_1x1", "nor_conv_3x3")])
    members = (np.full(len(archs), True), (canonical == archs).all(axis=1), first, convolves.any(axis=1))
    return dict(zip(SETS, members, strict=True))


def to_markdown(rows: list[dict]) -> str:
    """Kendall / Spearman in every set, and the published pair."""
    lines = [f"| data | proxy | published | {' | '.join(SETS)} |", "|---" * (3 + len(SETS)) + "|"]
    for start in range(0, len(rows), len(SETS)):
        of_sets = rows[start : start + len(SETS)]
        pairs = [f"{row['kendall']:.3f} / {row['spearman']:.3f}" for row in of_sets]
        published = of_sets[0]["published"]
        told = " / ".join(f"{value:.3f}" for value in published) if published else "-"
        lines.append(f"| {of_sets[0]['data']} | {of_sets[0]['proxy']} | {told} | {' | '.join(pairs)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Correlate every shipped table, print, write JSON and Markdown."""
    started = time.perf_counter()
    rows, provenance = [], {}
    for data in TEST_COLUMNS:
        try:
            provenance[data] = jaxnas.load_scores("nasbench201", data).provenance
        except InputError as error:
            print(error)
            continue
        rows += correlate(data)
    markdown = to_markdown(rows)
    print(markdown)
    record = {"environment": make_environment(time.perf_counter() - started), "provenance": provenance, "rows": rows}
    save_results(Path(__file__).parent / "results", "correlations", record, markdown)


if __name__ == "__main__":
    main()
