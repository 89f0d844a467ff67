"""Searches on few small pictures, and whether their validation accuracies tell candidates apart.

    JAXNAS_DATA=folder python experiments/small_images.py [--part search] [--part folds] [--seeds 1]

The part `search` is what a first user would try: 7 classes of 60 pictures, 16x16 RGB, in a folder. The classes are
gratings of seven directions with random colours, phases and noise, so that neither a colour nor a pixel gives the class
away. It lists the accuracies of the default search of 3 trainings, and of the same search with the 6 epochs that were
the default before; guessing has 14.3 %.

The part `folds` trains 20 random candidates on images of 8x8 pixels, 30 of each class of gratings, digits or CIFAR-10,
and measures their validation accuracies in four ways. It compares them with test accuracies on up to 2,000 other
images after trainings on all of them, the mean of two seeds of training. Images, candidates and splits are drawn by
the seed. A stopped part resumes; it writes results/small_images.json or results/small_images_folds.json, and a table.
"""

import tempfile
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from rows import compute_rows
from scipy.stats import kendalltau, spearmanr

import jaxnas
from jaxnas.cli.terminal import configure_jax
from jaxnas.data.images import rank_in_class
from jaxnas.objectives.fit import fit_training
from jaxnas.objectives.programs import Labelled, chunks
from jaxnas.objectives.trainer import Trainer
from jaxnas.run.config import run_config
from jaxnas.run.inputs import make_network
from jaxnas.run.search import search_images

CLASSES, PICTURES, PIXELS = 7, 60, 16


def grating(rng, label):
    """A picture of one class [16 16 3], uint8."""
    angle = np.pi * (label + rng.uniform(-0.2, 0.2)) / CLASSES
    rows, columns = np.mgrid[:PIXELS, :PIXELS]
    wave = np.sin(rng.uniform(1.0, 1.4) * (np.cos(angle) * rows + np.sin(angle) * columns) + rng.uniform(0, 2 * np.pi))
    colour, background = rng.uniform(-80, 80, (2, 3))
    noise = rng.normal(0, 12, (PIXELS, PIXELS, 3))
    return np.clip(128 + background + wave[..., None] * (colour + np.sign(colour) * 40) + noise, 0, 255).astype(
        np.uint8
    )


def write_pictures(folder, seed=0):
    """Write the pictures as PNG files, a folder for each class."""
    rng = np.random.default_rng(seed)
    for label in range(CLASSES):
        place = Path(folder, f"direction-{label}")
        place.mkdir(parents=True, exist_ok=True)
        for number in range(PICTURES):
            Image.fromarray(grating(rng, label)).save(place / f"{number:02d}.png")


def search(epochs, seed):
    """Search among the gratings."""
    with tempfile.TemporaryDirectory() as temporary:
        pictures = Path(temporary, "gratings")
        write_pictures(pictures)
        config = run_config(data=str(pictures), pool=40, budget=3, seed=seed, epochs=epochs)
        run = search_images(config, Path(temporary, "run"))
    training, result = run.config.training, run.outcomes["robot"].result
    chosen = {name: getattr(training, name) for name in ("epochs", "batch_size")}
    found = {"validation": result.best, "test": run.test_accuracy, "selected": run.selected}
    return chosen | found | {"seconds": {stage: round(seconds, 1) for stage, seconds in run.seconds.items()}}


def search_table(rows):
    """Tabulate the searches."""
    lines = ["| epochs | images of a step | seed | validation % | test % |", "|---|---|---|---|---|"]
    form = "| {epochs} | {batch_size} | {seed} | {validation:.2f} | {test:.2f} |"
    return "\n".join([*lines, *(form.format(seed=row["settings"]["seed"], **row) for row in rows)]) + "\n"


CANDIDATES, EACH, SIDE, TESTS, SEEDS_OF_TEST = 20, 30, 8, 2000, 2
MEASURES = {  # folds, and the factor of the epochs
    "one split": (1, 1),
    "one split, 3 times longer": (1, 3),
    "3 folds of a third of the length": (3, 1 / 3),
    "3 folds": (3, 1),
}


@lru_cache
def few_images(name, seed):
    """Thirty standardised training images of each class, and other images of all classes to test."""
    if name == "gratings":
        rng, labels = np.random.default_rng(seed), np.arange(CLASSES * EACH + TESTS) % CLASSES
        pixels = np.stack([grating(rng, label) for label in labels]).astype(np.float32) / 255
        small = pixels.reshape(-1, SIDE, PIXELS // SIDE, SIDE, PIXELS // SIDE, 3).mean((2, 4))
        count = CLASSES * EACH
        arrays = small[:count], labels[:count], small[count:], labels[count:]
        return jaxnas.standardize(jaxnas.from_arrays(*arrays, name=name))
    data = jaxnas.load_images(name, pixels=SIDE)
    order = np.random.default_rng(seed).permutation(len(data.train_labels))
    chosen = rank_in_class(data.train_labels, order) < EACH
    train, test = (data.train_images[chosen], data.train_labels[chosen]), (data.test_images, data.test_labels)
    if name == "digits":  # which has few test images
        rest = data.train_images[~chosen], data.train_labels[~chosen]
        test = tuple(map(np.concatenate, zip(rest, test, strict=True)))
    names = dict(train_images=train[0], train_labels=train[1], test_images=test[0][:TESTS], test_labels=test[1][:TESTS])
    return jaxnas.standardize(data._replace(**names))


def evaluate(data, measure, seed):
    """Return the accuracies of the candidates by one measure, or their test accuracies."""
    images = few_images(data, seed)
    network = make_network("nasbench201", images, 8, 1)
    archs = jaxnas.sample(network.space, CANDIDATES, seed)
    counts = np.bincount(images.train_labels).tolist()
    started = time.perf_counter()
    if measure == "test":
        accuracies = [test_accuracies(network, archs, images, counts, SEEDS_OF_TEST * seed + n) for n in (0, 1)]
        return {"accuracy": np.mean(accuracies, axis=0).tolist(), "by_seed": np.array(accuracies).tolist()}
    folds, factor = MEASURES[measure]
    config = fit_training(
        jaxnas.TrainingConfig(validation_fraction=1 / 3 if folds == 1 else 0, folds=folds), network, counts
    )
    config = replace(config, epochs=round(factor * config.epochs), seed=seed)
    objective = jaxnas.TrainingObjective(network, archs, images, config)
    objective.prepare(range(CANDIDATES))
    accuracies = [objective(index) for index in range(CANDIDATES)]
    seconds = {"trained": round(objective.seconds_trained, 1), "all": round(time.perf_counter() - started, 1)}
    return {"accuracy": accuracies, "epochs": config.epochs, "batch_size": config.batch_size, "seconds": seconds}


def test_accuracies(network, archs, images, counts, seed):
    """Train all candidates on all images as long as a search would, and test them."""
    config = fit_training(jaxnas.TrainingConfig(folds=1), network, counts)
    steps = (sum(counts) - sum(counts) // 3) // config.batch_size * config.epochs
    epochs = round(steps / (sum(counts) // config.batch_size))
    train = Labelled(images.train_images, images.train_labels)
    trainer = Trainer(network, replace(config, epochs=epochs, seed=seed), train, archs.shape[1], together=len(archs))
    states = trainer.fit(archs).states
    test = chunks(images.test_images, images.test_labels)
    return [trainer.accuracy([state], arch, [test]) for state, arch in zip(states, archs, strict=True)]


def folds_table(rows):
    """Tabulate for each data set and measure the agreement with the test accuracies, the mean over seeds."""
    test = {(row["settings"]["data"], row["settings"]["seed"]): row for row in rows if "by_seed" in row}
    lines = [
        "| images | measure | seeds | Kendall tau | Spearman rho | test % of the selected | s of a candidate |",
        "|---|---|---|---|---|---|---|",
    ]
    for data in dict.fromkeys(name for name, _ in test):
        for measure in MEASURES:
            found = [row for row in rows if (row["settings"]["data"], row["settings"]["measure"]) == (data, measure)]
            pairs = [(row["accuracy"], test[data, row["settings"]["seed"]]["accuracy"]) for row in found]
            if pairs:
                taus = [kendalltau(*pair).statistic for pair in pairs]
                rhos = [spearmanr(*pair).statistic for pair in pairs]
                selected = np.mean([truth[int(np.argmax(values))] for values, truth in pairs])
                seconds = np.mean([row["seconds"]["trained"] for row in found]) / CANDIDATES
                numbers = f"{np.mean(taus):.3f} | {np.mean(rhos):.3f} | {selected:.2f} | {seconds:.2f}"
                lines.append(f"| {data} | {measure} | {len(pairs)} | {numbers} |")
        best = np.mean([max(row["accuracy"]) for (name, _), row in test.items() if name == data])
        taus = [kendalltau(*row["by_seed"]).statistic for (name, _), row in test.items() if name == data]
        lines.append(
            f"| {data} | the test accuracies of the two seeds | {len(taus)} | {np.mean(taus):.3f} | | {best:.2f} | |"
        )
    return "\n".join(lines) + "\n"


def main(
    part: Annotated[list[str], typer.Option(help="search or folds.")] = ["search", "folds"],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 1,
):
    """Run the parts."""
    configure_jax()
    if "search" in part:
        todo = [{"epochs": epochs, "seed": seed} for epochs in (None, 6) for seed in range(seeds)]
        compute_rows("small_images", todo, search, search_table)
    if "folds" in part:
        names = ["test", *MEASURES]
        todo = [
            {"data": data, "measure": name, "seed": seed}
            for data in ("gratings", "digits", "cifar10")
            for seed in range(seeds)
            for name in names
        ]
        compute_rows("small_images_folds", todo, evaluate, folds_table)


if __name__ == "__main__":
    typer.run(main)
