"""Why own and published scores of TransNAS-Bench-101's decoder tasks agree less: draws of params, labels, layers.

    JAXNAS_DATA=folder python experiments/decoders.py

Of the architectures that NAS-Bench-Suite-Zero scored first 150 micro, with labels made from CIFAR-10 images or replaced
by others, all params or the encoder's alone, and two draws of params for each architecture; 60 macro at the published
256 x 256 pixels, shared params and two draws for each: Spearman with the published scores and with each other. Writes
results/decoders.md and .json beside this file.
"""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tasks
import typer
from scipy.stats import spearmanr

import jaxnas
from jaxnas.proxies import Quantities
from jaxnas.report import save_results
from jaxnas.run.search import load_standardized, make_batch, make_network
from jaxnas.runtime.host import num_cores
from jaxnas.scoring.engine import ScoringConfig
from jaxnas.store.store import make_environment

DECODED = ("segmentsemantic", "normal", "autoencoder")
PROXIES = ("grad_norm", "snip", "fisher")
CHANNELS, CELLS = 16, 2


class Setting(NamedTuple):
    """Architectures of a space, and the images that they are scored on."""

    num: int
    pixels: int
    batch: int


SETTINGS = {"micro": Setting(150, 64, 32), "macro": Setting(60, 256, 2)}


def of_encoder(name: str):
    """The proxy of the layers before the decoder alone."""

    def proxy(q: Quantities):
        parts = {what: getattr(q, what) for what in ("weights", "gradient", "channel_gradient")}
        own = {what: {p: v for p, v in of.items() if not p.startswith("head")} for what, of in parts.items()}
        part: Any = SimpleNamespace(**own)
        return jaxnas.PROXIES[name](part)

    return proxy


def agreement(space: str, task: str) -> dict[str, dict[str, float]]:
    """{what is compared: {proxy: Spearman}}."""
    data, (num, pixels, size) = load_standardized("cifar10"), SETTINGS[space]
    network = make_network(f"transnas101-{space}", data, CHANNELS, CELLS, task)
    batch = make_batch(data, size, 0, task, pixels)
    pool = tasks.load_transnas101(space, task, preliminary=True)
    rows = np.random.default_rng(0).permutation(len(pool.archs))[:num]
    archs, published = pool.archs[rows].astype(np.int8), pool.scores[rows][:, [pool.proxies.index(p) for p in PROXIES]]

    def score(labels=batch.labels, proxies=PROXIES, **config):
        return jaxnas.score_archs(network, archs, jaxnas.Batch(batch.images, labels), proxies, ScoringConfig(**config))

    draws = [score(init="independent", seed=seed) for seed in (0, 1)]
    found = {
        "published, own": (published, score()),
        "published, a draw for each": (published, draws[0]),
        "a draw for each, another": (draws[0], draws[1]),
    }
    if space == "micro":
        encoder = score(proxies={name: of_encoder(name) for name in PROXIES})
        found["published, encoder alone"] = published, encoder
        for name, values in other_labels(task, np.asarray(batch.labels)).items():
            found[f"published, {name}"] = published, score(jnp.asarray(values.astype(batch.labels.dtype)))
    return {
        what: {name: float(spearmanr(a[:, n], b[:, n]).statistic) for n, name in enumerate(PROXIES)}
        for what, (a, b) in found.items()
    }


def other_labels(task: str, labels: np.ndarray) -> dict[str, np.ndarray]:
    """In the place of those made from the images."""
    rng = np.random.default_rng(0)
    if task == "segmentsemantic":
        times = labels.shape[1] // 4
        blocks = rng.integers(0, 17, (len(labels), 4, 4)).repeat(times, 1).repeat(times, 2)
        return {"labels of blocks": blocks, "labels of noise": rng.integers(0, 17, labels.shape)}
    return {"labels 0": np.zeros_like(labels), "labels of noise": rng.uniform(-1, 1, labels.shape)}


def main() -> None:
    """Compare, print the table, write it."""
    jax.config.update("jax_num_cpu_devices", num_cores())
    start = time.perf_counter()
    rows = {f"{space} {task}": agreement(space, task) for space in SETTINGS for task in DECODED}
    lines = [f"| space and task | between | {' | '.join(PROXIES)} |", "|---|---|---|---|---|"]
    for task, found in rows.items():
        lines += [f"| {task} | {what} | {' | '.join(f'{v:.3f}' for v in of.values())} |" for what, of in found.items()]
    config = {"channels": CHANNELS, "cells": CELLS} | {space: at._asdict() for space, at in SETTINGS.items()}
    record = {"config": config, "environment": make_environment(time.perf_counter() - start), "rows": rows}
    table = "\n".join(lines) + "\n"
    save_results(Path(__file__).parent / "results", "decoders", record, table)
    print(table)


if __name__ == "__main__":
    typer.run(main)
