"""Measure the speed of scoring on the accelerator of this machine and the agreement of its scores with those of CPUs.

    python experiments/accelerator.py [--proxies robot] [--num 384] [--chunk 48] [--precision float32] [--data cifar10]

The script scores NAS-Bench-201 cells without dead edges at full size (16 channels, 5 cells per stage, batch 64), one
cell of each network class. The first chunk includes compiling, or loading the program from the cache; the speed is the
median over the other chunks. The CPU scores are those that `zoo.py` computed in float32 for the same cells, params and
images.

Scoring does not need gpjax, so the script also runs with versions of JAX that gpjax does not support yet. It takes
about five minutes on one GPU with the default options. It adds a row to results/accelerator.json and
results/accelerator.md; if the files have a row with the same settings, nothing is measured again.
"""

import json
import time
from itertools import pairwise
from typing import Annotated

import jax
import numpy as np
import typer
from rows import compute_rows
from zoo import RESULTS, load_zoo, sample_cells

from jaxnas.cli.terminal import configure_jax
from jaxnas.proxies import expand_names
from jaxnas.run.inputs import load_standardized, make_batch, make_network
from jaxnas.scoring.engine import ScoringConfig, iter_scores
from jaxnas.spaces import NASBENCH201, to_index
from jaxnas.store.store import make_environment
from jaxnas.table.evaluation import spearman


def measure(proxies: str, data: str, num: int, chunk: int, precision: str, device: str) -> dict:
    """Measure the seconds of the first chunk, the networks per second after it, and the agreement with CPUs."""
    del device  # part of the settings only to distinguish the rows of different devices
    names = expand_names(proxies.split(","))
    images, archs = load_standardized(data), sample_cells(num)
    network, batch = make_network("nasbench201", images, 16, 5), make_batch(images, 64, 0)
    config = ScoringConfig(precision=precision, chunk_size=chunk)
    scores, laps, started = np.empty((len(archs), len(names))), [], time.perf_counter()
    for rows, values in iter_scores(network, archs, batch, names, config):
        laps.append((time.perf_counter() - started, len(np.unique(NASBENCH201.network_class(archs[rows])))))
        scores[rows] = values
        print(f"{laps[-1][0]:.1f} s: {laps[-1][1]} networks", flush=True)
    paces = [networks / (end - start) for (start, _), (end, networks) in pairwise(laps)]
    return {
        "first_chunk_seconds": laps[0][0],
        "networks_per_second": float(np.median(paces)) if paces else None,
        "networks": sum(networks for _, networks in laps),
        "agreement": compare(archs, dict(zip(names, scores.T, strict=True)), data),
        "environment": make_environment(time.perf_counter() - started),
    }


def compare(archs: np.ndarray, scores: dict[str, np.ndarray], data: str) -> dict[str, dict]:
    """Return relative differences and Spearman correlation of each proxy, over the cells scored by both devices."""
    zoo = load_zoo(data)
    if zoo is None:
        return {}
    both = (to_index(NASBENCH201, cells) for cells in (archs, zoo.archs))
    _, rows, rows_of_zoo = np.intersect1d(*both, return_indices=True)
    agreement = {}
    for name in [name for name in scores if name in zoo.proxies]:
        ours, theirs = scores[name][rows], zoo.scores[rows_of_zoo, zoo.proxies.index(name)]
        finite = np.isfinite(ours) & np.isfinite(theirs)
        ours, theirs = ours[finite], theirs[finite]
        with np.errstate(invalid="ignore"):
            difference = np.nan_to_num(np.abs(ours - theirs) / np.abs(theirs))  # 0 / 0
        agreement[name] = {
            "architectures": len(ours),
            "median": float(np.median(difference)),
            "p99": float(np.quantile(difference, 0.99)),
            "spearman": float(spearman(ours, theirs)),
        }
    return agreement


def to_markdown(rows: list[dict]) -> str:
    """Return a table with a row per run, and one with a row per proxy of each run."""
    lines = ["| device | proxies | precision | chunk | first chunk, s | networks a second |", "|---" * 6 + "|"]
    for row in rows:
        settings = row["settings"]
        names = ", ".join(settings["proxies"].split(","))
        pace = "-" if row["networks_per_second"] is None else f"{row['networks_per_second']:.1f}"
        seconds = f"{row['first_chunk_seconds']:.0f}"
        lines.append(
            f"| {settings['device']} | {names} | {settings['precision']} | {settings['chunk']} | {seconds} | {pace} |"
        )
    lines += ["", "| proxy | precision | relative difference, median | 99 % below | Spearman | cells |"]
    lines.append("|---" * 6 + "|")
    for row in rows:
        for name, found in row["agreement"].items():
            lines.append(
                f"| {name} | {row['settings']['precision']} | {found['median']:.0e} | {found['p99']:.0e} "
                f"| {found['spearman']:.4f} | {found['architectures']} |"
            )
    return "\n".join(lines) + "\n"


def main(
    proxies: Annotated[str, typer.Option(help="Comma-separated proxies or sets.")] = "robot",
    data: Annotated[str, typer.Option(help="Name of the image set.")] = "cifar10",
    num: Annotated[int, typer.Option(help="Number of cells to score.", min=2)] = 384,
    chunk: Annotated[int, typer.Option(help="Number of networks scored at once.", min=2)] = 48,
    precision: Annotated[str, typer.Option(help="Precision of convolutions.")] = "float32",
) -> None:
    """Measure the speed of scoring on this machine's accelerator and its agreement with CPUs."""
    configure_jax()
    settings = dict(proxies=proxies, data=data, num=num, chunk=chunk, precision=precision)
    path = RESULTS / "accelerator.json"
    known = [row["settings"] for row in json.loads(path.read_text())["rows"]] if path.exists() else []
    asked = settings | {"device": jax.devices()[0].device_kind}
    compute_rows("accelerator", [*known, *([] if asked in known else [asked])], measure, to_markdown)


if __name__ == "__main__":
    typer.run(main)
