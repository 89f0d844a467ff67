"""What scoring costs: CPU and wall seconds per random NAS-Bench-201 architecture at full size, six proxies, batch 64.

    JAXNAS_DATA=folder python experiments/scoring_cost.py [--num 30]

16 channels, 5 cells per stage, CIFAR-10 images. Compile time is reported apart; a time is that of one architecture.
The eager PyTorch code that most people run takes 3.6 wall and 6.3 CPU seconds on two such cores, measured elsewhere.
Writes results/scoring_cost.json beside this file.
"""

import json
import resource
import time
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer

import jaxnas
from jaxnas.files import atomic_write
from jaxnas.pipeline import load_standardized, make_batch, make_network
from jaxnas.scoring import DEFAULT_PROXIES, iter_scores
from jaxnas.store import make_environment


def cpu_seconds() -> float:
    """User and system time of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(network, archs, batch, chunk_size: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Wall and CPU seconds per architecture of every chunk but the first, which compiles; seconds of the first."""
    walls, cpus = [], []
    wall, cpu = time.perf_counter(), cpu_seconds()
    for chunk in iter_scores(network, archs, batch, DEFAULT_PROXIES, chunk_size=chunk_size):
        walls.append((time.perf_counter() - wall) / len(chunk))
        cpus.append((cpu_seconds() - cpu) / len(chunk))
        wall, cpu = time.perf_counter(), cpu_seconds()
    return np.array(walls[1:]), np.array(cpus[1:]), walls[0] * chunk_size


def main(
    num: Annotated[int, typer.Option(help="Random architectures.")] = 30,
    data: Annotated[str, typer.Option(help="Images.")] = "cifar10",
    devices: Annotated[int, typer.Option(help="CPU devices.")] = 1,
) -> None:
    """Measure, print one line per quantity, write JSON."""
    jax.config.update("jax_num_cpu_devices", devices)
    images = load_standardized(data)
    network = make_network("nasbench201", images, 16, 5)
    batch = make_batch(images, 64, seed=0)
    chunk_size = 2 * devices
    archs = jaxnas.sample(jaxnas.NASBENCH201, num + chunk_size, seed=0)
    wall, cpu, first = measure(network, archs, batch, chunk_size)
    record = {
        "proxies": list(DEFAULT_PROXIES),
        "num": num,
        "data": data,
        "devices": devices,
        "first_chunk_with_compiling_seconds": round(first, 2),
        "wall_seconds": {"median": float(np.median(wall)), "mean": float(wall.mean())},
        "cpu_seconds": {"median": float(np.median(cpu)), "mean": float(cpu.mean())},
        "environment": make_environment(float(wall.sum() * chunk_size)),
    }
    print(f"first chunk, with compiling: {first:.1f} s")
    for name in ("wall_seconds", "cpu_seconds"):
        print(f"{name} per architecture: median {record[name]['median']:.2f}, mean {record[name]['mean']:.2f}")
    with atomic_write(Path(__file__).parent / "results" / "scoring_cost.json") as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
