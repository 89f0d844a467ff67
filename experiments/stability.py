"""Measure how many draws of params and how many images a proxy needs for a stable ranking.

    JAXNAS_DATA=folder python experiments/stability.py [--num 40] [--seeds 10] [--cells 5]    (extra: plot)

The cells are drawn at random from the NAS-Bench-201 cells without dead edges; the networks have 16 channels and see
CIFAR-10 images. For each proxy the script computes two Spearman correlations over the cells. The first is between the
mean score of 1, 3 or 5 seeds (batch 64) and the mean of as many other seeds; from the value for 5 seeds the formula of
Spearman and Brown (1910), 2 r / (1 + r), gives the value for 10. The second is between the scores on one minibatch of
16, 64 or 128 images and those on another minibatch of the same size, with the same params.

The script takes about 55 minutes on two cores. It resumes from the scores in runs/stability. It writes
results/stability.json, results/stability.md and results/stability.png.
"""

import time
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from zoo import RESULTS, ranks, sample_cells

import jaxnas
from jaxnas import ScoringConfig
from jaxnas.cli.terminal import configure_jax
from jaxnas.proxies import EXACT, PROXIES
from jaxnas.report import save_results
from jaxnas.run.inputs import load_standardized, make_batch, make_network
from jaxnas.spaces import NASBENCH201
from jaxnas.store.store import make_environment

DATA, COUNTS, SIZES = "cifar10", (1, 3, 5), (16, 64, 128)
NAMES = tuple(name for name in PROXIES if name not in EXACT)


def agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Spearman correlation of two vectors of scores; values that are not finite rank lowest."""
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def agreement_of_seeds(tables: np.ndarray, count: int) -> list[float]:
    """Return for each proxy how far the mean of `count` tables [S A M] agrees with the mean of as many others.

    The value is the mean over all pairs of disjoint groups of tables.
    """
    groups = [np.arange(start, start + count) for start in range(0, len(tables) - count + 1, count)]
    pairs = list(combinations(groups, 2))
    return [
        float(np.mean([agreement(tables[a, :, m].mean(0), tables[b, :, m].mean(0)) for a, b in pairs]))
        for m in range(tables.shape[2])
    ]


def spearman_brown(agreement: float) -> float:
    """Predict the agreement for twice as many seeds by the formula of Spearman and Brown."""
    return 2 * agreement / (1 + agreement)


def to_markdown(rows: list[dict]) -> str:
    """Return a table with a row for each proxy."""
    seeds, images = (
        " | ".join(f"{number} {unit}" for number in numbers) for numbers, unit in ((COUNTS, "seeds"), (SIZES, "images"))
    )
    lines = [f"| proxy | {seeds} | {2 * COUNTS[-1]}, by formula | {images} |"]
    lines += ["|---" * (2 + len(COUNTS) + len(SIZES)) + "|"]
    for row in rows:
        found = (*row["seeds"], spearman_brown(row["seeds"][-1]), *row["images"])
        lines.append(f"| {row['proxy']} | {' | '.join(f'{x:.2f}' for x in found)} |")
    return "\n".join(lines) + "\n"


def draw(rows: list[dict], path: Path) -> None:
    """Draw the disagreement 1 - Spearman of each proxy against seeds and images, on a logarithmic axis."""
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 6), sharey=True, layout="constrained")
    for axes, key, values, label in ((left, "seeds", COUNTS, "seeds"), (right, "images", SIZES, "images")):
        for number, row in enumerate(rows):
            style = ("-", "--", ":", "-.")[number // 10]
            disagreement = np.maximum(1 - np.array(row[key]), 1e-4)
            axes.plot(range(len(values)), disagreement, style, color=f"C{number % 10}", label=row["proxy"], marker="o")
        axes.grid(alpha=0.3)
        axes.set_xticks(range(len(values)), values)
        axes.set_xlabel(label)
    left.set_yscale("log")
    left.set_ylabel("1 - Spearman with as many others: lower is steadier")
    right.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=4)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(
    num: Annotated[int, typer.Option(help="Number of architectures.", min=3)] = 40,
    seeds: Annotated[int, typer.Option(help="Number of draws of params.", min=2 * max(COUNTS))] = 10,
    cells: Annotated[int, typer.Option(help="Cells per stage.", min=1)] = 5,
) -> None:
    """Measure how many draws of params and how many images a proxy needs for a stable ranking."""
    configure_jax()
    started = time.perf_counter()
    images, archs = load_standardized(DATA), sample_cells(num)
    network = make_network("nasbench201", images, 16, cells)

    def score(seed, size, batch_seed):
        name, config = f"{cells}-{size}-{batch_seed}-{seed}", ScoringConfig(seed=seed)
        store, batch = Path("runs", "stability", name), make_batch(images, size, batch_seed)
        print(f"{size} images, minibatch {batch_seed}, seed {seed}", flush=True)
        return jaxnas.score_to_store(store, NASBENCH201, network, archs, batch, NAMES, config, data_name=DATA).values

    tables = np.stack([score(seed, 64, 0) for seed in range(seeds)])
    by_count = [agreement_of_seeds(tables, count) for count in COUNTS]
    by_size = []
    for size in SIZES:
        one, other = (score(0, size, batch_seed) for batch_seed in (0, 1))
        by_size.append([agreement(one[:, m], other[:, m]) for m in range(len(NAMES))])
    rows = [
        {"proxy": name, "seeds": [column[m] for column in by_count], "images": [column[m] for column in by_size]}
        for m, name in enumerate(NAMES)
    ]
    record = {"num": num, "seeds": seeds, "cells": cells, "rows": rows}
    record["environment"] = make_environment(time.perf_counter() - started)
    save_results(RESULTS, "stability", record, to_markdown(rows))
    draw(rows, RESULTS / "stability.png")
    print(to_markdown(rows))


if __name__ == "__main__":
    typer.run(main)
