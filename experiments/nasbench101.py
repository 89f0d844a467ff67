"""Correlate RoBoT's six proxies with the accuracies of a public sample of NAS-Bench-101.

    JAXNAS_DATA=folder python experiments/nasbench101.py [--channels 8] [--cells 1] [--scores runs/nasbench101-sample]

The sample of NAS-Bench-Suite-Zero (nb101/nb101_sample.npz in the folder) has 500 rows, which are 292 architectures
here: its cells were drawn at random, and several are the same graph. The accuracy of an architecture is the mean of
its rows. They are scored on one minibatch of 64 images of CIFAR-10; scores are kept in the folder `--scores`, so that a
second call resumes. The public scores of the same rows, of the published network, are correlated too.

Compiling takes one to two minutes and scoring three on two cores. It writes results/nasbench101_sample.json and .md.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import jaxnas
from jaxnas.networks import NASBench101Network
from jaxnas.proxies import PROXY_SETS
from jaxnas.report import save_results
from jaxnas.spaces import NASBENCH101
from jaxnas.store.store import make_environment
from jaxnas.table.evaluation import spearman

RESULTS = Path(__file__).parent / "results"
PUBLIC = {"grad_norm": "grad_norm", "snip": "snip", "grasp": "grasp", "fisher": "fisher", "synflow": "synflow"}
PUBLIC |= {"jacob_cov": "jacov"}


def main() -> None:
    """Score the sample, and print and write the correlations."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--channels", type=int, default=8, help="Channels of the first stack; published are 128.")
    parser.add_argument("--cells", type=int, default=1, help="Cells of each stack; published are 3.")
    parser.add_argument("--scores", type=Path, default=Path("runs", "nasbench101-sample"), help="Folder of the scores.")
    options, start = parser.parse_args(), time.perf_counter()
    with np.load(jaxnas.data_folder() / "nb101" / "nb101_sample.npz") as file:
        rows = np.stack([NASBENCH101.parse(str(tuple(row))) for row in file["encoding"].tolist()])
        accuracies, public = file["val_accuracy"], dict(zip(file["columns"].tolist(), file["scores"].T, strict=True))
    archs, place = np.unique(rows, axis=0, return_inverse=True)
    count = np.bincount(place)
    accuracy = np.bincount(place, accuracies) / count
    proxies = PROXY_SETS["robot"]
    data = jaxnas.standardize(jaxnas.load_images("cifar10"))
    network = NASBench101Network(data.num_classes, options.channels, options.cells)
    batch = jaxnas.Batch(*jaxnas.minibatch(data, 64, seed=0))
    scores = jaxnas.score_to_store(options.scores, NASBENCH101, network, archs, batch, proxies, data_name="cifar10")
    found = []
    for proxy, column in zip(scores.proxies, scores.values.T, strict=True):
        of_public = np.bincount(place, public[PUBLIC[proxy]]) / count if proxy in PUBLIC else None
        known = None if of_public is None else round(float(spearman(of_public, accuracy)), 3)
        found.append({"proxy": proxy, "spearman": round(float(spearman(column, accuracy)), 3), "public scores": known})
    shown = ("-" if row["public scores"] is None else f"{row['public scores']:.2f}" for row in found)
    lines = [f"| {row['proxy']} | {row['spearman']:.2f} | {known} |" for row, known in zip(found, shown, strict=True)]
    text = "\n".join(["| proxy | Spearman | of the public scores |", "|---|---|---|", *lines]) + "\n"
    print(text)
    record = {"channels": options.channels, "cells": options.cells, "architectures": len(archs), "rows": found}
    save_results(
        RESULTS, "nasbench101_sample", {"environment": make_environment(time.perf_counter() - start), **record}, text
    )


if __name__ == "__main__":
    main()
