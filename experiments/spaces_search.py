"""Search a MobileNet-like space and vision transformers on CIFAR-10 with 20 trainings, against random search.

    JAXNAS_DATA=folder python experiments/spaces_search.py

Both spaces are declared below. A pool of architectures with at most one million parameters is drawn for each seed, as
`search_network(max_params=1e6)` does it, and scored by the six default proxies. The default method, `proxy_gp`, and
random search then train 20 architectures each, by the default recipe of the network (SGD, and AdamW where there is
attention) for a few epochs of minibatches of 32 images; an architecture that both want is trained once. Images are
those of CIFAR-10 in the data folder, at 16 x 16 pixels: 2,000 train, 2,000 validate and 2,000 test. The selected
architecture is tested after the same training.

All seeds train from the same seed, so that differences are those of searches. The interval of a mean difference is a
bootstrap over three seeds, which is often too narrow, and the least p-value of three seeds is 0.25; read the numbers of
all seeds.

A stopped run resumes, and the searches stay in the folder `--out`, of which `jaxnas report` makes pages.
"""

import time
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rows import compute_rows

import jaxnas
from jaxnas.cli.terminal import configure_jax
from jaxnas.data.images import ImageData
from jaxnas.networks.declared.network import (
    Activation,
    Attention,
    Conv,
    DeclaredNetwork,
    InvertedResidual,
    LayerNorm,
    Mlp,
    PatchEmbed,
    PatchMean,
    Repeat,
    Residual,
    choice,
)
from jaxnas.run.inputs import load_standardized
from jaxnas.table.evaluation import compare

MAX_PARAMS, PIXELS, IMAGES, BATCH, POOL, BUDGET = 1_000_000, 16, 4000, 32, 200, 20
METHODS = ("proxy_gp", "random")
SEEDS = (0, 1, 2)
RECORD = "training.jsonl"


def mobile(num_classes: int) -> DeclaredNetwork:
    """Three stages of inverted residual blocks with choices of width, kernel size, expansion and depth."""

    def stage(number: int, *widths: int) -> tuple:
        size, expansion = choice(3, 5, name=f"size {number}"), choice(2, 3, 4)
        first = InvertedResidual(choice(*widths), expansion, size, stride=1 + (number > 1), activation="relu6")
        return first, Repeat(choice(0, 1), InvertedResidual(None, expansion, size, activation="relu6"))

    blocks = (
        Conv(12, stride=2, activation=None),
        Activation("relu6"),
        *stage(1, 8, 12, 16),
        *stage(2, 16, 24, 32),
        *stage(3, 32, 48, 64),
    )
    return DeclaredNetwork("mobile", blocks, num_classes, activation=None)


def transformer(num_classes: int) -> DeclaredNetwork:
    """Vision transformers on patches of 4 x 4 pixels with choices of width, depth, heads and hidden channels."""
    block = (
        Residual(LayerNorm(), Attention(choice(1, 2, 4), head_width=8)),
        Residual(LayerNorm(), Mlp(choice(1, 2, 4))),
    )
    blocks = (PatchEmbed(choice(16, 32, 48, 64), 4), Repeat(choice(1, 2, 3, 4), *block), LayerNorm(), PatchMean())
    return DeclaredNetwork("transformer", blocks, num_classes, activation=None)


SPACES = {"mobile": (mobile, 4), "transformer": (transformer, 4)}
"""The network of each space, and the epochs of a training."""


@lru_cache
def images() -> ImageData:
    """Return CIFAR-10 with as many training images of each class."""
    data = load_standardized("cifar10", pixels=PIXELS)
    chosen = np.sort(np.concatenate([np.flatnonzero(data.train_labels == k)[: IMAGES // 10] for k in range(10)]))
    return data._replace(train_images=data.train_images[chosen], train_labels=data.train_labels[chosen])


def search(space: str, seed: int, epochs: int, *, out: str) -> dict:
    """Search a space with both methods in a folder below `out`, and return what they found."""
    data, folder = images(), Path(out, f"{space}-seed{seed}")
    network = SPACES[space][0](data.num_classes)
    earlier = Path(out, f"{space}-seed{seed - 1}", RECORD)
    if earlier.exists() and not (folder / RECORD).exists():  # another seed may want the same architecture
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).write_bytes(earlier.read_bytes())
    began, cpu = time.perf_counter(), time.process_time()
    run = jaxnas.search_network(
        network,
        data,
        folder,
        pool=POOL,
        budget=BUDGET,
        seed=seed,
        training_seed=0,
        training=jaxnas.TrainingConfig(epochs=epochs, batch_size=BATCH),
        method=METHODS[0],
        compare=METHODS[1:],
        max_params=MAX_PARAMS,
        together=1,
    )
    found = {
        method: {
            "selected": network.space.format(run.scores.archs[outcome.result.selected]),
            "params": float(run.sizes["params"][outcome.result.selected]),
            "validation": round(float(np.nanmax(outcome.result.objective)), 3),
            "test": round(float(outcome.test_accuracy), 3),
            "observed": [round(float(value), 3) for value in outcome.result.objective],
        }
        for method, outcome in run.outcomes.items()
    }
    params = run.sizes["params"]
    return {
        "methods": found,
        "pool": len(params),
        "params": [float(params.min()), float(params.max())],
        "optimizer": run.config.training.optimizer,
        "learning_rate": run.config.training.learning_rate,
        "seconds": {name: round(seconds, 1) for name, seconds in run.seconds.items()},
        "wall": round(time.perf_counter() - began, 1),
        "cpu": round(time.process_time() - cpu, 1),
    }


def to_table(rows: list[dict]) -> str:
    """Tabulate what both methods found with each seed, and their mean difference."""
    lines = [
        "| space | seed | method | validation % of the best of 20 | its test % | its parameters | mean of the 20 |",
        "|" + "---|" * 7,
    ]
    for row in rows:
        for method, found in row["methods"].items():
            lines.append(
                f"| {row['settings']['space']} | {row['settings']['seed']} | {method} | {found['validation']:.2f} | "
                f"{found['test']:.2f} | {found['params']:,.0f} | {np.nanmean(np.array(found['observed'], float)):.2f} |"
            )
    new, old = METHODS
    lines += [
        "",
        "| space | measure | "
        + " | ".join(METHODS)
        + f" | {new} minus {old} (95 % over seeds) | seeds won | p | higher mean |",
        "|" + "---|" * 8,
    ]
    for space in dict.fromkeys(row["settings"]["space"] for row in rows):
        of_space = [row["methods"] for row in rows if row["settings"]["space"] == space]
        for measure in ("validation", "test"):
            first, second = (np.array([row[method][measure] for row in of_space]) for method in METHODS)
            pair = compare(first, second)
            winner = "neither" if pair.difference == 0 else METHODS[int(pair.difference < 0)]
            winner += ", may be chance" * (winner != "neither" and pair.p_value > 0.05)
            lines.append(
                f"| {space} | {measure} % | {first.mean():.2f} | {second.mean():.2f} | {pair.difference:+.2f} "
                f"({pair.low:+.2f} to {pair.high:+.2f}) | {pair.wins} of {len(first)} | {pair.p_value:.2g} | {winner} |"
            )
    lines += [
        "",
        "| space | optimizer | architectures of the pools | their parameters | epochs | CPU s of a seed, median | "
        "wall s of its trainings, on shared cores |",
        "|" + "---|" * 7,
    ]
    for space in dict.fromkeys(row["settings"]["space"] for row in rows):
        of_space = [row for row in rows if row["settings"]["space"] == space]
        low, high = min(row["params"][0] for row in of_space), max(row["params"][1] for row in of_space)
        pools = ", ".join(str(row["pool"]) for row in of_space)
        lines.append(
            f"| {space} | {of_space[0]['optimizer']} | {pools} | {low:,.0f} to {high:,.0f} | "
            f"{of_space[0]['settings']['epochs']} | {np.median([row['cpu'] for row in of_space]):,.0f} | "
            f"{np.median([row['seconds']['training'] for row in of_space]):,.0f} |"
        )
    return "\n".join(lines) + "\n"


def main(out: Annotated[str, typer.Option(help="Folder of the searches.")] = "runs/spaces-search") -> None:
    """Search both spaces with every seed, and compare the methods."""
    configure_jax()
    todo = [{"space": space, "seed": seed, "epochs": epochs} for seed in SEEDS for space, (_, epochs) in SPACES.items()]
    compute_rows("spaces_search", todo, partial(search, out=out), to_table)


if __name__ == "__main__":
    typer.run(main)
