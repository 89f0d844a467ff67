"""Measure what changes the rank correlation of a proxy with test accuracy.

    JAXNAS_DATA=folder python experiments/variants.py [--cells 1] [--seeds 3] [--num 1000]

The variants are initialisation and its seed, the minibatch, normalisation, precision, and scoring with dead edges.
There are 1,000 NAS-Bench-201 cells drawn at random, CIFAR-10 images, batch 64 and 16 channels. Each variant changes one
setting of the first; the two ways to initialise are repeated over seeds. For each proxy the table has the Spearman and
Kendall correlation with CIFAR-10 test accuracy, over all finite scores and over the cells without dead edges (mean and
standard deviation over seeds), and the Spearman correlation with the scores of the first variant.

One cell per stage takes 20 minutes on two cores. Five cells, the full size, take two hours; the first scores are then
those that the package contains. A stopped run resumes. After every variant the script writes
results/variants-CELLS.json and results/variants-CELLS.md.
"""

import time
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from scipy.stats import kendalltau, spearmanr

import jaxnas
from jaxnas import ScoringConfig
from jaxnas.cli.terminal import configure_jax
from jaxnas.data.images import ImageData
from jaxnas.report import save_results
from jaxnas.run.inputs import load_standardized, make_batch, make_network
from jaxnas.scoring.engine import DEFAULT_PROXIES
from jaxnas.spaces import NASBENCH201, to_index
from jaxnas.store.store import make_environment, make_provenance

DATA, COLUMN = "cifar10", "c10_full_test_200"


class Variant(NamedTuple):
    """Settings of one table of scores."""

    config: ScoringConfig = ScoringConfig()
    affine: bool = False
    batch_seed: int = 0


def make_variants(seeds: int) -> dict[str, list[Variant]]:
    """Return the repetitions of each variant by name."""
    return {
        "shared": [Variant(ScoringConfig(seed=seed)) for seed in range(seeds)],
        "independent": [Variant(ScoringConfig(seed=seed, init="independent")) for seed in range(seeds)],
        "dead edges scored": [Variant(ScoringConfig(one_per_class=False))],
        "another minibatch": [Variant(batch_seed=1)],
        "affine normalisation": [Variant(affine=True)],
        "bfloat16": [Variant(ScoringConfig(precision="bfloat16"))],
    }


def score(variant: Variant, archs: np.ndarray, images: ImageData, cells: int, store: Path) -> np.ndarray:
    """Return the scores [A M] of the variant, which are kept in `store`."""
    if variant == Variant() and cells == 5:
        scores = jaxnas.load_scores("nasbench201", DATA, DEFAULT_PROXIES)
        return scores.values[to_index(NASBENCH201, archs)]
    network = make_network("nasbench201", images, 16, cells).clone(affine=variant.affine)
    batch = make_batch(images, 64, variant.batch_seed)
    return jaxnas.score_to_store(
        store, NASBENCH201, network, archs, batch, config=variant.config, data_name=DATA
    ).values


def correlate(column: np.ndarray, accuracy: np.ndarray, chosen: np.ndarray) -> dict[str, float]:
    """Return Spearman and Kendall correlation over the chosen finite scores."""
    finite = chosen & np.isfinite(column) & np.isfinite(accuracy)
    return {
        "spearman": float(spearmanr(column[finite], accuracy[finite]).statistic),
        "kendall": float(kendalltau(column[finite], accuracy[finite]).statistic),
    }


def to_rows(name: str, tables: list[np.ndarray], first: np.ndarray, accuracy: np.ndarray, alive: np.ndarray) -> list:
    """Return a row per proxy with every correlation over the repetitions of a variant."""
    rows = []
    for number, proxy in enumerate(DEFAULT_PROXIES):
        row: dict = {"proxy": proxy, "variant": name}
        for subset, chosen in (("all", np.full(len(alive), True)), ("alive", alive)):
            pairs = [correlate(table[:, number], accuracy, chosen) for table in tables]
            row |= {f"{measure}_{subset}": [pair[measure] for pair in pairs] for measure in ("spearman", "kendall")}
        row["spearman_with_first"] = correlate(tables[-1][:, number], first[:, number], np.isfinite(first[:, number]))[
            "spearman"
        ]
        rows.append(row)
    return rows


def to_markdown(rows: list[dict]) -> str:
    """Return a table with a row per proxy and variant."""
    lines = [
        "| proxy | variant | Spearman, all finite | Kendall | Spearman, no dead edge | Kendall | with the first |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: DEFAULT_PROXIES.index(row["proxy"])):
        cells = []
        for name in ("spearman_all", "kendall_all", "spearman_alive", "kendall_alive"):
            spread = f"+-{np.std(row[name], ddof=1):.3f}" if len(row[name]) > 1 else ""
            cells.append(f"{np.mean(row[name]):.3f}{spread}")
        cells.append(f"{row['spearman_with_first']:.3f}")
        lines.append(f"| {row['proxy']} | {row['variant']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds of the params.")] = 3,
    num: Annotated[int, typer.Option(help="Number of architectures.")] = 1000,
    cells: Annotated[int, typer.Option(help="Cells per stage.")] = 1,
    folder: Annotated[Path | None, typer.Option(help="Folder of the scores. Default: runs/variants-CELLS.")] = None,
) -> None:
    """Measure what changes the rank correlation of a proxy with test accuracy."""
    configure_jax()
    started = time.perf_counter()
    folder = folder or Path("runs", f"variants-{cells}")
    images = load_standardized(DATA)
    archs = jaxnas.sample(NASBENCH201, num, seed=0)
    accuracy = jaxnas.align(jaxnas.load_nasbench201(), NASBENCH201, archs, COLUMN)
    alive = (NASBENCH201.canonicalize(archs) == archs).all(axis=1)
    network, batch = make_network("nasbench201", images, 16, cells), make_batch(images, 64, 0)
    provenance = make_provenance(NASBENCH201, network, DATA, batch, ScoringConfig())  # of the first variant
    rows: list[dict] = []
    first = None
    for name, repetitions in make_variants(seeds).items():
        tables = []
        for variant in repetitions:
            tables.append(
                score(variant, archs, images, cells, folder / f"{name.replace(' ', '-')}-{variant.config.seed}")
            )
            print(f"{name}, seed {variant.config.seed}: done", flush=True)
        first = tables[0] if first is None else first
        rows += to_rows(name, tables, first, accuracy, alive)
        environment = make_environment(time.perf_counter() - started)
        record = {
            "num": num,
            "seeds": seeds,
            "cells": cells,
            "environment": environment,
            "provenance": provenance,
            "rows": rows,
        }
        save_results(Path(__file__).parent / "results", f"variants-{cells}", record, to_markdown(rows))
    print(to_markdown(rows))


if __name__ == "__main__":
    typer.run(main)
