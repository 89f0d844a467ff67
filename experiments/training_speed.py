"""Measure the seconds of training candidates at once, compared with training them one by one.

    python experiments/training_speed.py [--data digits] [--candidates 8]

The candidates are random NAS-Bench-201 and DARTS architectures with small networks and a few steps each; compiling is
not counted. A block runs all ways in turn, so that other load on the machine affects all of them equally. "devices"
trains one candidate on each device, as `jaxnas search` does; "vmapped" trains two on one device, where each computes
every op.

The script takes about three minutes on two cores. It writes results/training_speed.json and results/training_speed.md.
"""

import time
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer

import jaxnas
from jaxnas.networks import NETWORKS
from jaxnas.objectives.fit import fit_to_network
from jaxnas.objectives.programs import Labelled
from jaxnas.objectives.trainer import Trainer
from jaxnas.report import save_results
from jaxnas.runtime.host import num_cores
from jaxnas.store.store import make_environment

SPACES = {"nasbench201": dict(channels=8, cells_per_stage=1), "darts": dict(channels=4, cells_per_stage=1)}
WAYS: dict[str, dict] = {
    "one by one": {"together": 1},
    "devices": {},
    "vmapped": {"together": 2, "num_devices": 1, "strategy": "vmapped"},
}


def measure(space: str, data: jaxnas.ImageData, candidates: int, images: int, blocks: int) -> list[dict]:
    """Measure the seconds of all candidates by each way, one row per block, and the seconds of compiling."""
    network = NETWORKS[space](num_classes=data.num_classes, **SPACES[space])
    archs = jaxnas.sample(network.space, candidates, seed=0)
    train = Labelled(data.train_images[:images], data.train_labels[:images])
    config = fit_to_network(jaxnas.TrainingConfig(epochs=1, batch_size=64), network)
    trainers = {}
    for way, options in WAYS.items():
        arguments = {"together": jax.local_device_count(), **options}
        trainers[way] = Trainer(network, config, train, archs.shape[1], **arguments)
    rows = []
    for block in range(blocks):
        for way, trainer in trainers.items():
            if block == 0:
                trainer.fit(archs[: trainer.together])  # compiles
            start = time.perf_counter()
            for first in range(0, candidates, trainer.together):
                trainer.fit(archs[first : first + trainer.together])
            rows.append({"space": space, "way": way, "block": block, "seconds": time.perf_counter() - start})
    for way, trainer in trainers.items():
        rows.append({"space": space, "way": way, "compile_seconds": trainer.compile_seconds})
    return rows


def to_markdown(rows: list[dict]) -> str:
    """Return a table of each way: median seconds, speedup over one by one, seconds of compiling."""
    lines = ["| space | way | s, median of blocks | against one by one | compiling s |", "|---|---|---|---|---|"]
    for space in SPACES:
        rows_of_space = [row for row in rows if row["space"] == space]
        compiling = {row["way"]: row["compile_seconds"] for row in rows_of_space if "compile_seconds" in row}
        laps = [row for row in rows_of_space if "seconds" in row]
        median = {way: np.median([row["seconds"] for row in laps if row["way"] == way]) for way in WAYS}
        for way, seconds in median.items():
            ratio = median["one by one"] / seconds
            lines.append(f"| {space} | {way} | {seconds:.1f} | {ratio:.2f} x | {compiling[way]:.1f} |")
    return "\n".join(lines) + "\n"


def main(
    data: Annotated[str, typer.Option(help="Name of the image set.")] = "digits",
    candidates: Annotated[int, typer.Option(help="Number of architectures per space.")] = 8,
    images: Annotated[int, typer.Option(help="Number of training images.")] = 1280,
    blocks: Annotated[int, typer.Option(help="Number of measurements of each way.")] = 3,
) -> None:
    """Measure the seconds of training candidates at once, compared with training them one by one."""
    jax.config.update("jax_num_cpu_devices", num_cores())
    loaded = jaxnas.standardize(jaxnas.load_images(data))
    start = time.perf_counter()
    rows = [row for space in SPACES for row in measure(space, loaded, candidates, images, blocks)]
    config = {"data": data, "candidates": candidates, "images": images, "blocks": blocks, **SPACES}
    environment = make_environment(time.perf_counter() - start)
    record = {"config": config, "environment": environment, "rows": rows}
    table = to_markdown(rows)
    save_results(Path(__file__).parent / "results", "training_speed", record, table)
    print(table)


if __name__ == "__main__":
    typer.run(main)
