"""One draw of params for all architectures, or one for each: what it does to rank correlation and to its spread.

    JAXNAS_DATA=folder python experiments/initialisation.py [--seeds 3] [--num 1000]

1,000 NAS-Bench-201 cells drawn at random, CIFAR-10 images, batch 64, 16 channels and one cell per stage (a fifth of the
full size, for time). For every proxy and each init: Spearman and Kendall with CIFAR-10 test accuracy over the finite
scores, mean and standard deviation over the seeds. Resumes. Writes results/initialisation.json and .md beside this.
"""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy.stats import kendalltau, spearmanr

import jaxnas
from jaxnas.pipeline import load_standardized, make_batch, make_network
from jaxnas.report import save_results
from jaxnas.spaces import NASBENCH201
from jaxnas.store import make_environment, make_provenance
from jaxnas.terminal import configure_jax

DATA, COLUMN = "cifar10", "c10_full_test_200"


def correlate(scores: np.ndarray, accuracy: np.ndarray) -> list[tuple[float, float]]:
    """(Kendall, Spearman) of every column over its finite scores."""
    pairs = []
    for column in scores.T:
        finite = np.isfinite(column) & np.isfinite(accuracy)
        measures = (kendalltau, spearmanr)
        pairs.append(tuple(float(measure(column[finite], accuracy[finite]).statistic) for measure in measures))
    return pairs


def to_markdown(rows: list[dict]) -> str:
    """One line per proxy and init."""
    lines = ["| proxy | init | Kendall | Spearman |", "|---|---|---|---|"]
    for row in rows:
        cells = [f"{np.mean(row[name]):.3f}+-{np.std(row[name], ddof=1):.3f}" for name in ("kendall", "spearman")]
        lines.append(f"| {row['proxy']} | {row['init']} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def main(
    seeds: Annotated[int, typer.Option(help="Seeds of the params, from 0 on.")] = 3,
    num: Annotated[int, typer.Option(help="Architectures.")] = 1000,
    folder: Annotated[Path, typer.Option(help="Where scores are kept.")] = Path("runs/initialisation"),
) -> None:
    """Score with every init and seed, print the table, write JSON and Markdown."""
    configure_jax()
    started = time.perf_counter()
    images = load_standardized(DATA)
    network, batch = make_network("nasbench201", images, 16, 1), make_batch(images, 64, seed=0)
    archs = jaxnas.sample(NASBENCH201, num, seed=0)
    accuracy = jaxnas.align(jaxnas.load_nasbench201(), NASBENCH201, archs, COLUMN)
    rows = {}
    for init in ("shared", "independent"):
        for seed in range(seeds):
            config = jaxnas.ScoringConfig(seed=seed, init=init)
            store = folder / f"{init}-{seed}"
            scores = jaxnas.score_to_store(store, NASBENCH201, network, archs, batch, config=config, data_name=DATA)
            for proxy, pair in zip(scores.proxies, correlate(scores.values, accuracy), strict=True):
                row = rows.setdefault((proxy, init), {"proxy": proxy, "init": init, "kendall": [], "spearman": []})
                row["kendall"].append(pair[0])
                row["spearman"].append(pair[1])
            print(f"{init}, seed {seed}: done", flush=True)
    table = [rows[key] for key in sorted(rows)]
    markdown = to_markdown(table)
    print(markdown)
    provenance = make_provenance(NASBENCH201, network, DATA, batch, jaxnas.ScoringConfig())
    environment = make_environment(time.perf_counter() - started)
    record = {"num": num, "seeds": seeds, "environment": environment, "provenance": provenance, "rows": table}
    save_results(Path(__file__).parent / "results", "initialisation", record, markdown)


if __name__ == "__main__":
    typer.run(main)
