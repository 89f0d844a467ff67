"""Score NAS-Bench-201 cells by every proxy, for `correlations.py`, `more_proxies.py` and others to read.

    JAXNAS_DATA=folder python experiments/zoo.py [--data cifar10,cifar100,tiny16] [--num 1000] [--proxies all]

The networks have full size (16 channels, 5 cells per stage, batch 64), and there is one seed. The cells are drawn at
random from those without dead edges; a larger sample contains a smaller one. The scores by RoBoT's six proxies are
those that the package contains, which were computed with the same images and seed.

The script takes 40 minutes on two cores for each data set of 32x32 pixels. It resumes, also from the table of an
earlier run with the same proxies. It writes results/zoo-DATA.parquet.
"""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from scipy.stats import rankdata

import jaxnas
from jaxnas.cli.progress import progress
from jaxnas.cli.terminal import configure_jax
from jaxnas.proxies import PROXIES, ROBOT_PROXIES, expand_names
from jaxnas.run.inputs import load_standardized, make_batch, make_network
from jaxnas.runtime.events import StageStarted
from jaxnas.spaces import NASBENCH201, enumerate_archs, to_index
from jaxnas.store.folders import open_folder
from jaxnas.store.parts import write_part
from jaxnas.store.store import score_to_store
from jaxnas.store.tables import read_score_table, read_scores, write_scores

RESULTS = Path(__file__).parent / "results"


class Zoo(NamedTuple):
    """Scores of a sample of architectures by all scored proxies."""

    archs: np.ndarray
    proxies: tuple[str, ...]
    scores: np.ndarray  # [A M], raw


def sample_cells(num: int) -> np.ndarray:
    """Draw cells without dead edges; a larger sample begins with the smaller one."""
    archs = enumerate_archs(NASBENCH201)
    archs = archs[(NASBENCH201.canonicalize(archs) == archs).all(axis=1)]
    return archs[np.random.default_rng(0).permutation(len(archs))[:num]]


def load_zoo(data: str) -> Zoo | None:
    """Return the scores of the sample on images of `data`, or None if there are none."""
    path = RESULTS / f"zoo-{data}.parquet"
    if not path.exists():
        return None
    scores = read_scores(path)
    six = jaxnas.load_scores("nasbench201", data, ROBOT_PROXIES).values[to_index(NASBENCH201, scores.archs)]
    return Zoo(scores.archs, (*ROBOT_PROXIES, *scores.proxies), np.hstack([six, scores.values]))


def ranks(column: np.ndarray) -> np.ndarray:
    """Return the ranks of a column, from 1 (lowest); values that are not finite rank lowest."""
    return rankdata(np.where(np.isfinite(column), column, -np.inf))


def main(
    data: Annotated[str, typer.Option(help="Comma-separated data sets.")] = "cifar10,cifar100,tiny16",
    num: Annotated[int, typer.Option(help="Number of architectures.", min=2)] = 1000,
    proxies: Annotated[str, typer.Option(help="Comma-separated proxies or sets.")] = "all",
) -> None:
    """Score NAS-Bench-201 cells by every proxy and write one table per data set."""
    configure_jax()
    names = tuple(name for name in expand_names(proxies.split(",")) if name not in ROBOT_PROXIES)
    names = tuple(sorted(names, key=list(PROXIES).index))
    for name in data.split(","):
        images = load_standardized(name)
        network, batch = make_network("nasbench201", images, 16, 5), make_batch(images, 64, 0)
        store, table = Path("runs", f"zoo-{name}"), RESULTS / f"zoo-{name}.parquet"
        if table.exists():
            write_part(open_folder(store), read_score_table(table))
        with progress() as bars:
            bars(StageStarted("scoring"))
            scores = score_to_store(
                store,
                NASBENCH201,
                network,
                sample_cells(num),
                batch,
                names,
                data_name=name,
                on_event=bars,
            )
        write_scores(table, scores)
        print(f"{name}: {len(scores.archs)} architectures, {len(names)} proxies in addition to RoBoT's six", flush=True)


if __name__ == "__main__":
    typer.run(main)
