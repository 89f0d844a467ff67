"""Search a custom space for tabular data: multilayer perceptrons of two to five layers with one of eight widths.

    python experiments/tabular_space.py [--pool 300] [--budget 10] [--out runs/tabular-space]

The data are scikit-learn's breast cancer set: 569 rows of 30 features, two classes. The script scores a pool, trains
ten candidates of it and prints the best. It takes about two minutes on two cores. The results go to the run folder
`--out`.
"""

import argparse
from pathlib import Path

from sklearn.datasets import load_breast_cancer

import jaxnas
from jaxnas.networks.declared.network import Choose, DeclaredNetwork, Dense, Repeat, Residual, Skip, choice
from jaxnas.testing import check_space


def perceptron(num_classes: int) -> DeclaredNetwork:
    """Build the network: a first layer, zero to three residual layers of the same width or skips, and a last layer."""
    blocks = (
        Dense(choice(4, 8, 16, 24, 32, 48, 64, 96)),
        Repeat(choice(0, 1, 2, 3), Residual(Choose(Skip(), Dense()))),
        Dense(choice(4, 8, 16, 24, 32, 48, 64, 96)),
    )
    return DeclaredNetwork("perceptron", blocks, num_classes)


def main() -> None:
    """Search perceptrons for tabular data."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--pool", type=int, default=300, help="Architectures to score.")
    parser.add_argument("--budget", type=int, default=10, help="Architectures to train.")
    parser.add_argument("--out", type=Path, default=Path("runs", "tabular-space"), help="Folder of the run.")
    options = parser.parse_args()
    features, labels = load_breast_cancer(return_X_y=True)
    data = jaxnas.standardize(jaxnas.from_arrays(features, labels, name="breast-cancer"))
    network = perceptron(data.num_classes)
    check_space(network.space)
    training = jaxnas.TrainingConfig(epochs=20, batch_size=32)
    run = jaxnas.search_network(network, data, options.out, pool=options.pool, budget=options.budget, training=training)
    print(f"{network.space.size:,} architectures, {run.seconds}")
    print(f"{run.selected}: test accuracy {run.test_accuracy:.2f} %")


if __name__ == "__main__":
    main()
