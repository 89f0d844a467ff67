"""A space of one's own: NATS-Bench's size space, 8 widths in each of 5 layers, 32,768 architectures.

    python experiments/size_space.py [--data cifar10] [--pool 300] [--budget 10]

Scores a pool, trains ten of it and prints the best. The cell is fixed, the residual blocks halve the image.
Source: Dong et al. 2021 (arXiv:2009.00437).
"""

import argparse
from pathlib import Path

import jaxnas
from jaxnas.networks.declared.network import Cell, Conv, DeclaredNetwork, Residual, Skip, choice
from jaxnas.testing import check_space

WIDTHS = (8, 16, 24, 32, 40, 48, 56, 64)
CELL = (Conv(), Conv(), Conv(), Skip(), Conv(), Conv())  # edges (0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)


def size_network(num_classes: int, widths: tuple[int, ...] = WIDTHS) -> DeclaredNetwork:
    """Stem and cell, block, cell, block, cell; an architecture is written "8:64:16:32:8"."""
    width = choice(*widths)
    blocks = (
        Conv(width),
        Cell(*CELL),
        Residual(Conv(width, stride=2), Conv()),
        Cell(*CELL, width=width),
        Residual(Conv(width, stride=2), Conv()),
        Cell(*CELL, width=width),
    )
    return DeclaredNetwork("nats-size", blocks, num_classes)


def main() -> None:
    """Score and search, as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="digits")
    parser.add_argument("--pool", type=int, default=300)
    parser.add_argument("--budget", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs", "size-space"))
    given = parser.parse_args()
    data = jaxnas.standardize(jaxnas.load_images(given.data))
    network = size_network(data.num_classes)
    check_space(network.space)
    run = jaxnas.search_network(network, data, given.out, pool=given.pool, budget=given.budget)
    print(f"{network.space.size:,} architectures, {run.seconds}")
    print(f"{run.selected}: test accuracy {run.test_accuracy:.2f} %")


if __name__ == "__main__":
    main()
