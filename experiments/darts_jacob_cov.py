"""Find out why jacob_cov of two programs ranks DARTS networks differently: is it noise, or are the networks different?

    JAXNAS_DATA=folder python experiments/darts_jacob_cov.py zc_nasbench301.json [--num 100]    (extra: torch)

The file is NAS-Bench-Suite-Zero's table of NAS-Bench-301, naslib/data/zc_nasbench301.json of a public copy of NASLib:
genotypes with the scores of networks of 32 channels and 8 layers on 32 images of CIFAR-10, and accuracies. The script
scores the first `--num` genotypes of the file with other initial params and other images in every draw. With
`--check` it compares the scores of the first four with a plain loop over exported PyTorch modules in float64.

A score is close to -N, N images: to second order it is -N minus the sum of squared correlations between the Jacobians
of all pairs of images. "above N" is the mean of that sum. Vectors of random numbers of the size of an image have one
too: the last rows have its mean and standard deviation, above which the spread of the architectures has to be seen.

The script takes about 10 minutes on two cores and resumes. It writes results/darts_jacob_cov.json and .md.
"""

import argparse
import json
from functools import lru_cache, partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from eager_torch import Exported, jacob_cov
from rows import compute_rows

import jaxnas
from jaxnas.models.export.torch_code import torch_code, torch_tensors
from jaxnas.models.model import make_model
from jaxnas.networks import DARTSNetwork, init_variables
from jaxnas.scoring import ScoringConfig
from jaxnas.spaces import DARTS
from jaxnas.table.evaluation import spearman

NETWORK = DARTSNetwork(num_classes=10, channels=32, cells_per_stage=2)
PIXELS = (32, 32, 3)
DRAWS = {16: 3, 32: 5}  # of each number of images
CHECKED = 4  # architectures


class Table(NamedTuple):
    """Public architectures.

    Attributes:
        archs: int8[A 24].
        jacob_cov: Public scores [A].
        accuracy: Public accuracies [A], %.
    """

    archs: np.ndarray
    jacob_cov: np.ndarray
    accuracy: np.ndarray


def read_table(path: Path, num: int) -> Table:
    """Read the first `num` architectures of the public file."""
    found = list(json.loads(path.read_text())["cifar10"].items())[:num]
    scores, accuracies = zip(*((row["jacov"]["score"], row["val_accuracy"]) for _, row in found), strict=True)
    return Table(np.stack([DARTS.parse(text) for text, _ in found]), np.array(scores), np.array(accuracies))


def images_of(batch: int, draw: int) -> jaxnas.Batch:
    """Return a minibatch of CIFAR-10."""
    return jaxnas.Batch(*jaxnas.minibatch(jaxnas.standardize(jaxnas.load_images("cifar10")), batch, seed=draw))


@lru_cache
def draw_variables(draw: int) -> dict:
    """Return the initial variables of a draw."""
    return jax.device_get(init_variables(NETWORK, PIXELS, len(DARTS.num_choices), draw))


def module(arch: np.ndarray, draw: int) -> Exported:
    """Return the PyTorch module of an architecture with the initial params of a draw."""
    variables = draw_variables(draw)
    params = jax.device_get(NETWORK.params_for(variables["params"], arch))
    model = make_model(NETWORK, arch, {**variables, "params": params}, PIXELS)
    return Exported(torch_code(model), torch_tensors(model))


def compute(archs: np.ndarray, batch: int, draw: int) -> list[float]:
    """Return the scores of one draw."""
    return jaxnas.score_archs(NETWORK, archs, images_of(batch, draw), ("jacob_cov",), ScoringConfig(seed=draw))[
        :, 0
    ].tolist()


def check(archs: np.ndarray) -> float:
    """Return the largest difference of the scores from those of a plain loop over PyTorch modules."""
    import torch

    inputs = images_of(32, 0)
    images = torch.from_numpy(np.asarray(inputs.images).transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(np.int64(inputs.labels))
    loop = [jacob_cov(module(arch, 0).double(), images.double(), labels) for arch in archs]
    return float(np.max(np.abs(np.array(loop) - compute(archs, 32, 0))))


def random_vectors(batch: int) -> tuple[float, float]:
    """Return mean and standard deviation over 50 draws of what random vectors have above N."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(50):
        values = np.linalg.eigvalsh(np.corrcoef(random.normal(size=(batch, int(np.prod(PIXELS)))))) + 1e-5
        found.append(np.sum(np.log(values) + 1 / values) - batch)
    return float(np.mean(found)), float(np.std(found))


def to_markdown(public: Table, rows: list[dict]) -> str:
    """Return the table of all numbers of images."""
    lines = [
        "| scores | images | draws | above N: mean, deviation over architectures | Spearman of two draws "
        "| of one draw with the public scores | of their mean | of one draw with accuracy | of their mean |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for batch in dict.fromkeys(row["settings"]["batch"] for row in rows):
        tables = np.array([row["scores"] for row in rows if row["settings"]["batch"] == batch])
        pairs = [spearman(tables[a], tables[b]) for a, b in combinations(range(len(tables)), 2)]
        cells = ["jaxnas", str(batch), str(len(tables)), f"{-tables.mean() - batch:.3f}, {tables.std(1).mean():.3f}"]
        cells.append(f"{np.mean(pairs):.2f}" if pairs else "-")
        for column in (public.jacob_cov, public.accuracy):
            cells += [f"{np.mean([spearman(table, column) for table in tables]):.2f}"]
            cells += [f"{spearman(tables.mean(0), column):.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(
        f"| public | 32 | 1 | {-public.jacob_cov.mean() - 32:.3f}, {public.jacob_cov.std():.3f} | - | - | - "
        f"| {spearman(public.jacob_cov, public.accuracy):.2f} | - |"
    )
    for batch in DRAWS:
        mean, deviation = random_vectors(batch)
        lines.append(
            f"| random vectors | {batch} | 50 | {mean:.3f}, {deviation:.3f} between draws | - | - | - | - | - |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compute all draws, and print and write the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("table", type=Path, help="NAS-Bench-Suite-Zero's zc_nasbench301.json.")
    parser.add_argument("--num", type=int, default=60, help="Genotypes.")
    parser.add_argument("--check", action="store_true", help="Compare with a plain loop.")
    options = parser.parse_args()
    public = read_table(options.table, options.num)
    if options.check:
        print(f"largest difference from a plain loop: {check(public.archs[:CHECKED]):.0e}")
        return
    draws = [(batch, draw) for batch, count in DRAWS.items() for draw in range(count)]
    todo = [{"num": options.num, "batch": batch, "draw": draw} for batch, draw in draws]

    def compute_row(num: int, batch: int, draw: int) -> dict:
        return {"scores": compute(public.archs[:num], batch, draw)}

    compute_rows("darts_jacob_cov", todo, compute_row, partial(to_markdown, public))


if __name__ == "__main__":
    main()
