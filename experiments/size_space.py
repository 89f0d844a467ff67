"""Search NATS-Bench's size space, a custom space of 32,768 architectures: one of eight widths for each of five layers.

    python experiments/size_space.py [--data cifar10] [--pool 300] [--budget 10] [--out runs/size-space]

The script scores a pool, trains ten candidates of it and prints the best. The cell is fixed, and the residual blocks
halve the image size. It takes about two minutes on two cores. The results go to the run folder `--out`.

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
    """Build the network: stem, cell, block, cell, block, cell. An architecture is written "8:64:16:32:8"."""
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
    """Search NATS-Bench's size space."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", default="digits", help="Images by name, or the path of an .npz file.")
    parser.add_argument("--pool", type=int, default=300, help="Architectures to score.")
    parser.add_argument("--budget", type=int, default=10, help="Architectures to train.")
    parser.add_argument("--out", type=Path, default=Path("runs", "size-space"), help="Folder of the run.")
    options = parser.parse_args()
    data = jaxnas.standardize(jaxnas.load_images(options.data))
    network = size_network(data.num_classes)
    check_space(network.space)
    run = jaxnas.search_network(network, data, options.out, pool=options.pool, budget=options.budget)
    print(f"{network.space.size:,} architectures, {run.seconds}")
    print(f"{run.selected}: test accuracy {run.test_accuracy:.2f} %")


if __name__ == "__main__":
    main()
