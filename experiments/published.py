"""Find out why some correlations differ from the published ones.

    JAXNAS_DATA=folder python experiments/published.py [--data cifar10,cifar100,tiny16] [--num 500]

The published table (VKDNW, CVPR 2025, table 1) uses the 9,445 cells without dead edges and the flops of convolutions
only. Its gradient norm and ReLU patterns are those of AZ-NAS's code (CVPR 2024): kernels drawn from N(0, 2 / fan-in),
noise images, random labels, affine normalisation, and one L2 norm over the gradient of all params. The script computes
both proxies in that way, as functions of `Quantities`, on cells that `zoo.py` scored, and compares them with ours. For
all 9,445 cells it uses what is known: flops, and the public scores of NAS-Bench-Suite-Zero. It reports Spearman
correlations with test accuracy after 200 epochs.

The script takes 10 to 25 minutes on two cores. It resumes from the scores in runs/published-DATA. It writes
results/published.json and results/published.md.
"""

import time
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import typer
from correlations import (
    CONVOLUTIONS,
    PUBLIC,
    PUBLIC_DATA,
    PUBLISHED,
    TEST_COLUMNS,
    count_convolutions,
    make_sets,
    measure,
)
from zoo import RESULTS, load_zoo

import jaxnas
from jaxnas import Quantities
from jaxnas.cli.progress import progress
from jaxnas.cli.terminal import configure_jax
from jaxnas.proxies import PROXIES, Batch, passes
from jaxnas.proxies.loss import loss_of
from jaxnas.report import save_results
from jaxnas.run.inputs import load_standardized, make_batch, make_network
from jaxnas.runtime.events import StageStarted
from jaxnas.spaces import NASBENCH201, enumerate_archs
from jaxnas.store.store import make_environment

DIFFERENT = (
    "flops",
    "nwot",
    "grad_norm",
    "zen",
)  # by more than 0.03 in results/correlations.md, without grasp


def with_noise(q: Quantities) -> Quantities:
    """Return the architecture with kernels from N(0, 2 / fan-in), noise images and random labels."""
    images = q.noise.images
    labels = jax.random.randint(jax.random.fold_in(q.key, 4), (len(images),), 0, q.network.num_classes)
    return Quantities(q.network, q._kaiming, q.arch, Batch(images, labels), q.key)


def nwot_of_noise(q: Quantities):
    """ReLU patterns on noise images."""
    return PROXIES["nwot"](with_noise(q))


def grad_norm_of_noise(q: Quantities):
    """One L2 norm over the gradient of all params, including normalisation, on noise images with random labels."""
    noise = with_noise(q)

    def loss(params):
        outputs = passes.backwards(noise.network).apply({"params": params}, noise.batch.images, noise.arch)
        return loss_of(outputs, noise.batch.labels)

    gradient = jax.grad(loss)(noise.params)
    return jnp.sqrt(sum(jnp.square(g).sum() for g in jax.tree.leaves(gradient)))


REBUILT = {"nwot": nwot_of_noise, "grad_norm": grad_norm_of_noise}  # by the name of our proxy


def score(data: str, archs: np.ndarray) -> dict[str, np.ndarray]:
    """Score each architecture by the proxies as the code of the published table computes them."""
    images = load_standardized(data)
    network = make_network("nasbench201", images, 16, 5).clone(affine=True)
    store = Path("runs", f"published-{data}")
    functions = {f"{name}_of_noise": function for name, function in REBUILT.items()}
    with progress() as bars:
        bars(StageStarted("scoring"))
        batch = make_batch(images, 64, 0)
        scores = jaxnas.score_to_store(
            store, NASBENCH201, network, archs, batch, functions, data_name=data, on_event=bars
        )
    return dict(zip(REBUILT, scores.values.T, strict=True))


def compare(data: str, num: int) -> list[dict]:
    """Return a row per proxy: published, ours, as in the published table's code, and what is known of all cells."""
    zoo, bench = load_zoo(data), jaxnas.load_nasbench201()
    archs = enumerate_archs(NASBENCH201)
    accuracy_of_all = jaxnas.align(bench, NASBENCH201, archs, TEST_COLUMNS[data])
    alive = make_sets(archs)["no dead edge"]
    _, public = jaxnas.load_proxy_scores(None, PUBLIC_DATA[data], tuple(PUBLIC.values()))
    cells, ours = zoo.archs[:num], dict(zip(zoo.proxies, zoo.scores[:num].T, strict=True))
    rebuilt = score(data, cells) | {"flops": count_convolutions(cells)}
    accuracy = jaxnas.align(bench, NASBENCH201, cells, TEST_COLUMNS[data])
    rows = []
    for name in DIFFERENT:
        row = {"data": data, "proxy": name, "published": PUBLISHED[name][data][1]}
        row["ours"] = measure(ours[name], accuracy)["spearman"]
        if name in rebuilt:
            row["rebuilt"] = measure(rebuilt[name], accuracy)["spearman"]
        public_scores = public[:, list(PUBLIC).index(name)]
        if np.isfinite(public_scores[alive]).mean() > 0.99:
            row["public_of_all"] = measure(public_scores[alive], accuracy_of_all[alive])["spearman"]
        if name == "flops":
            row["rebuilt_of_all"] = measure(count_convolutions(archs[alive]), accuracy_of_all[alive])["spearman"]
        rows.append(row)
    return rows


def to_markdown(rows: list[dict]) -> str:
    """Return a table with a row for each proxy and data set."""
    lines = [
        "| data | proxy | published | ours, sample | as in its code | public scores, all 9,445 | as in its code, all |",
        "|---" * 7 + "|",
    ]
    for row in rows:
        names = ("published", "ours", "rebuilt", "public_of_all", "rebuilt_of_all")
        shown = (f"{row[name]:.3f}" if name in row else "-" for name in names)
        lines.append(f"| {row['data']} | {row['proxy']} | {' | '.join(shown)} |")
    notes = [f"- {name}: {function.__doc__}" for name, function in REBUILT.items()]
    return "\n".join([*lines, "", f"- flops: {CONVOLUTIONS}.", *notes]) + "\n"


def main(
    data: Annotated[str, typer.Option(help="Comma-separated data sets.")] = ",".join(TEST_COLUMNS),
    num: Annotated[int, typer.Option(help="Number of cells to score, starting with the first.", min=3)] = 500,
) -> None:
    """Find out why some correlations differ from the published ones."""
    configure_jax()
    started = time.perf_counter()
    rows = [row for name in data.split(",") for row in compare(name, num)]
    record = {"num": num, "rows": rows, "environment": make_environment(time.perf_counter() - started)}
    save_results(RESULTS, "published", record, to_markdown(rows))
    print(to_markdown(rows))


if __name__ == "__main__":
    typer.run(main)
