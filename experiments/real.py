"""Compare search methods on accuracies of real trainings: NAS-Bench-201 cells on digits and on CIFAR-10.

    JAXNAS_DATA=folder python experiments/real.py [--seeds 100]

For each data set a pool of architectures is drawn as `jaxnas search` draws it, scored by the six default proxies on one
minibatch of 64 images, and every architecture is trained once, by the default schedule of a search, with validation
images split off the training images. All methods and seeds then search in the validation accuracies of these
trainings, so that they share them, and report the test accuracy of the architecture that they select. The networks are
small (8 channels, one cell per stage) and CIFAR-10 is the part of 10,000 training and 2,000 test images in the data
folder, at 16 x 16 pixels.

Regret is the best test accuracy of the pool minus that of the selected architecture; that of random search is computed
exactly. Differences are paired over seeds, with a bootstrap interval (95 %) and a sign-flip test. All seeds search in
one pool of one seed of training, so that intervals say how methods differ on this pool, not on others.

A training takes one to four seconds of a core, all of them about ten minutes. A stopped run resumes. The script writes
results/real_trainings.json (every training, and the scores) and results/real.json, with tables.
"""

from functools import lru_cache
from typing import Annotated, NamedTuple

import numpy as np
import tasks
import typer
from rows import compute_rows
from scipy.stats import spearmanr

import jaxnas
from jaxnas.cli.terminal import configure_jax
from jaxnas.data.images import ImageData
from jaxnas.networks import SearchNetwork
from jaxnas.objectives.config import TrainingConfig
from jaxnas.objectives.fit import fit_training
from jaxnas.objectives.programs import chunks
from jaxnas.objectives.split import split_images
from jaxnas.objectives.trainer import Trainer
from jaxnas.run.inputs import load_standardized, make_batch, make_network
from jaxnas.scoring.engine import DEFAULT_PROXIES
from jaxnas.table.evaluation import compare

SPACE, SEED, BUDGET = jaxnas.NASBENCH201, 0, 20
NEW = "proxy_gp"
METHODS = (NEW, "robot", "robot, paper", "predictor_bo", "rea", "random")


class Setting(NamedTuple):
    """What is trained: side of the images, number of architectures, epochs (0 for the rule of a search)."""

    pixels: int
    pool: int
    epochs: int


SETTINGS = {"digits": Setting(8, 150, 8), "cifar10": Setting(8, 120, 3)}


class Bench(NamedTuple):
    """What trains and tests the architectures of a pool."""

    data: ImageData
    network: SearchNetwork
    archs: np.ndarray
    trainer: Trainer
    validation: list
    test: list


@lru_cache
def bench(name: str) -> Bench:
    """Load images, draw the pool, and split off the images that validate, all as a search does."""
    setting = SETTINGS[name]
    data = load_standardized(name, pixels=setting.pixels)
    network = make_network(SPACE.name, data, 8, 1)
    archs = jaxnas.sample(SPACE, setting.pool, SEED)
    counts = np.bincount(data.train_labels).tolist()
    config = fit_training(TrainingConfig(epochs=setting.epochs, seed=SEED), network, counts)
    split = split_images(data, config)
    trainer = Trainer(network, config, split.data, archs.shape[1])
    parts = chunks(*split.validation[0]), chunks(data.test_images, data.test_labels)
    return Bench(data, network, archs, trainer, *parts)


def train(data: str, arch: str) -> dict:
    """Train one architecture and return its accuracies, or the scores of the pool for the text "scores"."""
    made = bench(data)
    if arch == "scores":
        scores = jaxnas.score_archs(made.network, made.archs, make_batch(made.data, 64, SEED))
        return {
            "proxies": DEFAULT_PROXIES,
            "scores": [[float(f"{value:.7g}") for value in row] for row in np.asarray(scores, float)],
        }
    vector = SPACE.parse(arch)
    fitted = made.trainer.fit(vector[None])
    accuracies = (made.trainer.accuracy(fitted.states, vector, [part]) for part in (made.validation, made.test))
    validation, test = (None if np.isnan(value) else round(value, 4) for value in accuracies)
    config = made.trainer.config
    return {
        "validation": validation,
        "test": test,
        "epochs": config.epochs,
        "images": {"training": len(made.trainer.data.labels), "in a step": config.batch_size},
        "seconds": round(fitted.seconds, 2),
    }


def trainings_table(rows: list[dict]) -> str:
    """Summarise for each data set the accuracies and how well validation and proxies rank the test accuracies."""
    lines = [
        "| data | trainings | failed | epochs | s of a training | test % of all: mean, best | guessing | "
        "Spearman of validation with test | of the proxies with test |",
        "|" + "---|" * 9,
    ]
    for name in SETTINGS:
        trained = [row for row in rows if row["settings"]["data"] == name and "test" in row]
        good = [row for row in trained if row["test"] is not None]
        if not good:
            continue
        validation, test = (np.array([row[column] for row in good]) for column in ("validation", "test"))
        scores = next((row for row in rows if row["settings"] == {"data": name, "arch": "scores"}), None)
        ranked = "-"
        if scores and len(trained) == SETTINGS[name].pool:
            columns = np.array(scores["scores"])[[row["test"] is not None for row in trained]].T
            ranked = ", ".join(
                f"{proxy} {spearmanr(column, test, nan_policy='omit').statistic:.2f}"
                for proxy, column in zip(scores["proxies"], columns, strict=True)
            )
        seconds = np.mean([row["seconds"] for row in trained])
        agree = spearmanr(validation, test).statistic if len(good) > 1 else np.nan
        lines.append(
            f"| {name}, {SETTINGS[name].pixels} pixels | {len(trained)} | {len(trained) - len(good)} | "
            f"{trained[0]['epochs']} | {seconds:.1f} | {test.mean():.2f}, {test.max():.2f} | "
            f"10.00 | {agree:.3f} | {ranked} |"
        )
    return "\n".join(lines)


@lru_cache
def pools() -> dict[str, tasks.Task]:
    """Return each pool with the accuracies of its trainings; those that failed are NaN."""
    texts = {data: ["scores", *(SPACE.format(arch) for arch in bench(data).archs)] for data in SETTINGS}
    todo = [{"data": data, "arch": text} for data, names in texts.items() for text in names]
    rows = compute_rows("real_trainings", todo, train, trainings_table)
    found = {}
    for data, names in texts.items():
        (first, *trained), rows = rows[: len(names)], rows[len(names) :]
        values = np.array([[row["validation"], row["test"]] for row in trained], float).T
        scores = np.array(first["scores"], float)
        found[data] = tasks.Task(bench(data).archs, DEFAULT_PROXIES, scores, *values, np.nan * values[0])
    return found


def search(data: str, method: str, budget: int, seeds: list[int]) -> dict:
    """Search with every seed (the first and the last are given) and return what was found."""
    task = pools()[data]
    selected = [result.selected for result in tasks.search(task, method, budget, seeds)]
    return {
        "validation": task.observation[selected].tolist(),
        "test": task.test[selected].tolist(),
        "best validation": float(np.nanmax(task.observation)),
        "best test": float(np.nanmax(task.test)),
        "random_regret": tasks.expected_regret(task, budget),
    }


def searches_table(rows: list[dict]) -> str:
    """Tabulate for each data set what every method found, and the differences of the first method to it."""
    lines = [
        "| data | method | seeds | validation % | test % | regret | share of random's | "
        f"{NEW} minus this: validation | test |",
        "|" + "---|" * 9,
    ]
    for data in dict.fromkeys(row["settings"]["data"] for row in rows):
        of_data = {row["settings"]["method"]: row for row in rows if row["settings"]["data"] == data}
        for method, row in of_data.items():
            validation, test = np.mean(row["validation"]), np.mean(row["test"])
            regret = row["best test"] - test
            against = "- | -"
            if method != NEW:
                against = " | ".join(
                    _difference(of_data[NEW][column], row[column]) for column in ("validation", "test")
                )
            lines.append(
                f"| {data} | {method} | {len(row['test'])} | {validation:.2f} | {test:.2f} | {regret:.2f} | "
                f"{regret / row['random_regret']:.2f} | {against} |"
            )
        best = next(iter(of_data.values()))
        lines.append(
            f"| {data} | best of the pool | | {best['best validation']:.2f} | {best['best test']:.2f} | 0 | | | |"
        )
    return "\n".join(lines)


def _difference(first: list[float], second: list[float]) -> str:
    pair = compare(first, second)
    return f"{pair.difference:+.2f} ({pair.low:+.2f} to {pair.high:+.2f}), p = {pair.p_value:.2g}"


def main(
    seeds: Annotated[int, typer.Option(help="Number of searches per method, starting at seed 1000.", min=1)] = 100,
) -> None:
    """Train the pools, each architecture once, and compare the methods on the accuracies."""
    configure_jax()
    todo = [
        {"data": data, "method": method, "budget": BUDGET, "seeds": [1000, 999 + seeds]}
        for data in SETTINGS
        for method in METHODS
    ]
    compute_rows("real", todo, search, searches_table)


if __name__ == "__main__":
    typer.run(main)
