"""A space of one's own for tabular data: multilayer perceptrons of one to four layers with eight widths each.

    python experiments/tabular_space.py [--pool 300] [--budget 10]

The data are scikit-learn's breast cancer set: 569 rows of 30 features, two classes.
"""

import argparse
from pathlib import Path

from sklearn.datasets import load_breast_cancer

import jaxnas
from jaxnas.networks.declared.network import Choose, DeclaredNetwork, Dense, Repeat, Residual, Skip, choice
from jaxnas.testing import check_space


def perceptron(num_classes: int) -> DeclaredNetwork:
    """A layer, none to three more of the same width, each skipped, plain or around a residual, and a last one."""
    blocks = (
        Dense(choice(4, 8, 16, 24, 32, 48, 64, 96)),
        Repeat(choice(0, 1, 2, 3), Residual(Choose(Skip(), Dense()))),
        Dense(choice(4, 8, 16, 24, 32, 48, 64, 96)),
    )
    return DeclaredNetwork("perceptron", blocks, num_classes)


def main() -> None:
    """Score and search, as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pool", type=int, default=300)
    parser.add_argument("--budget", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs", "tabular-space"))
    given = parser.parse_args()
    features, labels = load_breast_cancer(return_X_y=True)
    data = jaxnas.standardize(jaxnas.from_arrays(features, labels, name="breast-cancer"))
    network = perceptron(data.num_classes)
    check_space(network.space)
    training = jaxnas.TrainingConfig(epochs=20, batch_size=32)
    run = jaxnas.search_network(network, data, given.out, pool=given.pool, budget=given.budget, training=training)
    print(f"{network.space.size:,} architectures, {run.seconds}")
    print(f"{run.selected}: test accuracy {run.test_accuracy:.2f} %")


if __name__ == "__main__":
    main()
