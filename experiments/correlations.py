"""Rank correlation of every proxy with test accuracy on NAS-Bench-201, beside the published one.

    JAXNAS_DATA=folder python experiments/correlations.py

Scores are the tables shipped with the package (`jaxnas.load_scores`): real images, batch 64, one seed. Test accuracy
after 200 epochs, mean over the benchmark's seeds. Two sets of architectures: all with a finite score, and of these the
9,445 without dead edges. Published: VKDNW (CVPR 2025), table 1, mean of 5 runs over all with finite scores.
Writes results/correlations.json and results/correlations.md beside this file.
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
    alive = (NASBENCH201.canonicalize(scores.archs) == scores.archs).all(axis=1)
    rows = []
    for proxy, column in zip(scores.proxies, scores.values.T, strict=True):
        for name, chosen in (("all finite", np.full(len(alive), True)), ("no dead edge", alive)):
            finite = chosen & np.isfinite(column) & np.isfinite(accuracy)
            published = PUBLISHED.get(proxy, {}).get(data) if name == "all finite" else None
            rows.append(
                {
                    "data": data,
                    "proxy": proxy,
                    "set": name,
                    "architectures": int(finite.sum()),
                    "kendall": float(kendalltau(column[finite], accuracy[finite]).statistic),
                    "spearman": float(spearmanr(column[finite], accuracy[finite]).statistic),
                    "published": published,
                }
            )
    return rows


def to_markdown(rows: list[dict]) -> str:
    """Kendall / Spearman, and the published pair."""
    lines = [
        "| data | proxy | architectures | Kendall / Spearman | published | difference |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours = (row["kendall"], row["spearman"])
        published, difference = "-", "-"
        if row["published"]:
            published = " / ".join(f"{value:.3f}" for value in row["published"])
            difference = " / ".join(f"{a - b:+.3f}" for a, b in zip(ours, row["published"], strict=True))
        kind = f"{row['architectures']:,} ({row['set']})"
        pair = " / ".join(f"{value:.3f}" for value in ours)
        lines.append(f"| {row['data']} | {row['proxy']} | {kind} | {pair} | {published} | {difference} |")
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
