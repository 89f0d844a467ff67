"""Find out why our scores of TransNAS-Bench-101's decoder tasks agree less with the published ones than on other tasks.

    JAXNAS_DATA=folder python experiments/decoders.py

Possible causes are the draw of params, the labels and the set of layers. The architectures are among those that
NAS-Bench-Suite-Zero scored first. The script scores 150 micro architectures with labels made from CIFAR-10 images or
with other labels, with all kernels or with those of the encoder only, and with two draws of params per architecture;
and 60 macro architectures at the published 256 x 256 pixels with shared params and two draws per architecture. It
reports the Spearman correlation with the published scores and between the draws.

The script takes about 16 minutes on two cores. It writes results/decoders.json and results/decoders.md.
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
from jaxnas.run.inputs import load_standardized, make_batch, make_network
from jaxnas.runtime.host import num_cores
from jaxnas.scoring.engine import ScoringConfig
from jaxnas.store.store import make_environment

DECODED = ("segmentsemantic", "normal", "autoencoder")
PROXIES = ("grad_norm", "snip", "fisher")
CHANNELS, CELLS = 16, 2


class Setting(NamedTuple):
    """Number of architectures of a space, size of the images and of the minibatch."""

    num: int
    pixels: int
    batch: int


SETTINGS = {"micro": Setting(150, 64, 32), "macro": Setting(60, 256, 2)}


def restrict_to_encoder(name: str):
    """Return the proxy restricted to the layers before the decoder."""

    def proxy(q: Quantities):
        quantities = {key: getattr(q, key) for key in ("kernels", "gradient", "channel_gradient")}
        encoder = {
            key: {path: value for path, value in by_path.items() if not path.startswith("head")}
            for key, by_path in quantities.items()
        }
        restricted: Any = SimpleNamespace(**encoder)
        return jaxnas.PROXIES[name](restricted)

    return proxy


def agreement(space: str, task: str) -> dict[str, dict[str, float]]:
    """Return {comparison: {proxy: Spearman correlation}}."""
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
        encoder = score(proxies={name: restrict_to_encoder(name) for name in PROXIES})
        found["published, encoder alone"] = published, encoder
        for name, values in other_labels(task, np.asarray(batch.labels)).items():
            found[f"published, {name}"] = published, score(jnp.asarray(values.astype(batch.labels.dtype)))
    return {
        comparison: {name: float(spearmanr(a[:, n], b[:, n]).statistic) for n, name in enumerate(PROXIES)}
        for comparison, (a, b) in found.items()
    }


def other_labels(task: str, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return labels that replace those made from the images, by description."""
    rng = np.random.default_rng(0)
    if task == "segmentsemantic":
        times = labels.shape[1] // 4
        blocks = rng.integers(0, 17, (len(labels), 4, 4)).repeat(times, 1).repeat(times, 2)
        return {"labels of blocks": blocks, "labels of noise": rng.integers(0, 17, labels.shape)}
    return {"labels 0": np.zeros_like(labels), "labels of noise": rng.uniform(-1, 1, labels.shape)}


def main() -> None:
    """Compare our scores of decoder tasks with the published ones, under several possible causes."""
    jax.config.update("jax_num_cpu_devices", num_cores())
    start = time.perf_counter()
    rows = {f"{space} {task}": agreement(space, task) for space in SETTINGS for task in DECODED}
    lines = [f"| space and task | between | {' | '.join(PROXIES)} |", "|---|---|---|---|---|"]
    for task, found in rows.items():
        for comparison, by_proxy in found.items():
            lines.append(f"| {task} | {comparison} | {' | '.join(f'{value:.3f}' for value in by_proxy.values())} |")
    config = {"channels": CHANNELS, "cells": CELLS} | {space: setting._asdict() for space, setting in SETTINGS.items()}
    record = {"config": config, "environment": make_environment(time.perf_counter() - start), "rows": rows}
    table = "\n".join(lines) + "\n"
    save_results(Path(__file__).parent / "results", "decoders", record, table)
    print(table)


if __name__ == "__main__":
    typer.run(main)
