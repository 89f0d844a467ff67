"""Measure what one program for all MobileNet-like networks costs, compared with a program for each.

    python experiments/one_program.py [--data digits] [--archs 4]

One program has tensors of the largest expansion and as many blocks as the deepest architecture; the other way fixes the
choices of an architecture and compiles its network alone. Both compute RoBoT's six proxies on the same minibatch. The
two ways run in turn, so that other load on the machine affects both.

The script takes about ten minutes on two cores. It writes results/one_program.json and results/one_program.md.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import typer

import jaxnas
from jaxnas.networks import DeclaredNetwork, MobileNetNetwork, init_variables
from jaxnas.networks.declared.choices import Decisions
from jaxnas.networks.declared.network import Choose, InvertedResidual, Repeat, Skip
from jaxnas.proxies import PROXIES, ROBOT_PROXIES, Quantities
from jaxnas.report import save_results
from jaxnas.store.store import make_environment


def fix(network: MobileNetNetwork, arch: np.ndarray) -> DeclaredNetwork:
    """Return the network of one architecture alone; its space has one member."""
    decisions: Decisions[int] = Decisions(arch.tolist())
    blocks: list = []

    def fixed(block: InvertedResidual) -> InvertedResidual:
        if block.expansion == 1:
            return block
        size = block.size.numbers[decisions.take(block.size.name)]
        return replace(block, size=size, expansion=block.expansion.numbers[decisions.take(block.expansion.name)])

    for part in network.parts():
        if isinstance(part, InvertedResidual):
            blocks.append(fixed(part))
        elif isinstance(part, Repeat):
            times = part.times.numbers[decisions.take(part.times.name)]
            every = [fixed(part.blocks[0]) for _ in range(part.most)]
            blocks += every[:times]
        else:
            blocks.append(part)
    return DeclaredNetwork("fixed", (*blocks, Choose(Skip())), network.num_classes, "hardswish")


def program(network: jaxnas.SearchNetwork, batch: jaxnas.Batch) -> Callable:
    """Return the function of params and architecture that computes the proxies."""

    def scores(params, arch):
        q = Quantities(network, params, arch, batch)
        return [PROXIES[name](q) for name in ROBOT_PROXIES]

    return jax.jit(scores)


def measure(data: jaxnas.ImageData, archs: int, channels: int, images: int, blocks: int) -> list[dict]:
    """Measure the seconds of one architecture by both ways, and those of compiling."""
    network = MobileNetNetwork(num_classes=data.num_classes, channels=channels)
    batch = jaxnas.Batch(*jaxnas.minibatch(data, images, seed=0))
    shape = batch.images.shape[1:]
    rows, ways = [], []
    one = program(network, batch)
    common = init_variables(network, shape, len(network.space.num_choices), 0)["params"]
    for number, arch in enumerate(jaxnas.sample(network.space, archs, seed=0)):
        own = fix(network, arch)
        params = init_variables(own, shape, 1, 0)["params"]
        ways.append((number, "one program", one, common, jnp.asarray(arch)))
        ways.append((number, "a program for each", program(own, batch), params, jnp.zeros(1, jnp.int8)))
    for number, way, scores, params, arch in ways:
        start = time.perf_counter()
        jax.block_until_ready(scores(params, arch))
        rows.append({"arch": number, "way": way, "first": time.perf_counter() - start})
    for block in range(blocks):
        for number, way, scores, params, arch in ways:
            start = time.perf_counter()
            jax.block_until_ready(scores(params, arch))
            rows.append({"arch": number, "way": way, "block": block, "seconds": time.perf_counter() - start})
    return rows


def to_markdown(rows: list[dict]) -> str:
    """Return a table: seconds of the first call, which compiles, and of a later one, for each architecture."""
    lines = ["| architecture | way | first call s | later call s, median |", "|---|---|---|---|"]
    ways = list(dict.fromkeys((row["arch"], row["way"]) for row in rows))
    for number, way in ways:
        own = [row for row in rows if (row["arch"], row["way"]) == (number, way)]
        first = next(row["first"] for row in own if "first" in row)
        later = np.median([row["seconds"] for row in own if "seconds" in row])
        lines.append(f"| {number} | {way} | {first:.1f} | {later:.3f} |")
    return "\n".join(lines) + "\n"


def main(
    data: Annotated[str, typer.Option(help="Name of the image set.")] = "digits",
    archs: Annotated[int, typer.Option(help="Number of architectures.")] = 3,
    channels: Annotated[int, typer.Option(help="Channels of the stem.")] = 8,
    images: Annotated[int, typer.Option(help="Images of the minibatch.")] = 16,
    blocks: Annotated[int, typer.Option(help="Number of measurements of each way.")] = 5,
) -> None:
    """Measure what one program for all MobileNet-like networks costs, compared with a program for each."""
    loaded = jaxnas.standardize(jaxnas.load_images(data))
    start = time.perf_counter()
    rows = measure(loaded, archs, channels, images, blocks)
    config = {"data": data, "archs": archs, "channels": channels, "images": images, "blocks": blocks}
    record = {"config": config, "environment": make_environment(time.perf_counter() - start), "rows": rows}
    table = to_markdown(rows)
    save_results(Path(__file__).parent / "results", "one_program", record, table)
    print(table)


if __name__ == "__main__":
    typer.run(main)
