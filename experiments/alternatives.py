"""Compare each ambiguous proxy definition with the other possible reading.

    JAXNAS_DATA=folder python experiments/alternatives.py [--num 100]

A definition is ambiguous where paper and public code differ, or where the paper leaves a choice open. Every alternative
is a function of `Quantities`, like a proxy that a user writes: it replaces one quantity and calls our proxy. The cells
are drawn at random from the NAS-Bench-201 cells without dead edges; the networks have 16 channels and 5 cells per
stage; there are 64 CIFAR-10 images and one seed. The script reports the Spearman correlation of our reading and of the
alternative with test accuracy after 200 epochs, and of the two with each other.

It takes about 65 minutes on two cores. A stopped run resumes. It writes results/alternatives.json and
results/alternatives.md.
"""

import copy
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rows import compute_rows
from zoo import ranks, sample_cells

import jaxnas
from jaxnas import Quantities
from jaxnas.cli.progress import progress
from jaxnas.cli.terminal import configure_jax
from jaxnas.proxies import PROXIES, Batch, Proxy, draws, orient, passes
from jaxnas.run.inputs import load_standardized, make_batch, make_network
from jaxnas.runtime.events import StageStarted
from jaxnas.spaces import NASBENCH201
from jaxnas.table.evaluation import spearman


def with_quantity(q: Quantities, name: str, value) -> Quantities:
    """Return a copy of `q` with another value of one quantity."""
    changed = copy.copy(q)
    changed.__dict__[name] = value
    return changed


def zico_accumulating(q: Quantities):
    """Use the sum of both gradients as the second gradient, as in the public code."""
    summed = {path: jnp.stack([g[0], g[0] + g[1]]) for path, g in q.half_gradients.items()}
    return PROXIES["zico"](with_quantity(q, "half_gradients", summed))


def grad_sign_mean(q: Quantities):
    """Take the mean over the kernel entries of the architecture, as in copies of the public code."""
    sizes = [passes.spread(q.in_use[path], w).sum() for path, w in q.kernels.items()]
    return PROXIES["grad_sign"](q) / sum(sizes)


def ntk_condition_of_eight(q: Quantities):
    """Compute the kernel matrix of 8 of the 16 images."""
    few = {path: jacobian[:8] for path, jacobian in q.image_jacobians.items()}
    return PROXIES["ntk_condition"](with_quantity(q, "image_jacobians", few))


def ntk_trace_of_label(q: Quantities):
    """Differentiate the logit of the image's class, as published, instead of the sum of all logits."""
    labels = q.batch.labels

    def cotangent(outputs, image):
        return jnp.zeros_like(outputs).at[image, labels[image]].set(1)

    images = q.batch.images[:16]
    jacobians = passes.backward_by_image(q.network, q.params, q.kernels, q.arch, images, cotangent)
    return PROXIES["ntk_trace"](with_quantity(q, "image_jacobians", jacobians))


def vkdnw_reversed(q: Quantities):
    """Transpose the triangular root L of diag p - pp': J'L L'J becomes J'L'L J, as in the public code."""
    images, stats = q.noise.images[:16], draws.fresh_statistics(q.shapes["batch_stats"], q.noise.images.dtype)
    entries = draws.entries_of(q.network, q.batch.images.shape[1:], q.arch)
    rows = draws.fisher_rows(q.key, q.network, q._kaiming, stats, images, q.arch, entries, triangular_root)
    return PROXIES["vkdnw"](with_quantity(q, "fisher_rows", (rows, q.fisher_rows[1])))


def triangular_root(logits):
    """Return L with LL' = diag p - pp', by Gaussian elimination in closed form."""
    shares = (1 - draws.SMOOTHING) * jax.nn.softmax(logits) + draws.SMOOTHING / len(logits)
    left = jnp.maximum(jnp.cumsum(shares[::-1])[::-1] - shares, 0)  # sum over the later classes
    before = left + shares
    column = jnp.where(left > 0, jnp.sqrt(shares / (jnp.where(left > 0, left, 1) * before)), 0)
    below = -shares[:, None] * column[None, :]
    return jnp.tril(below, -1) + jnp.diag(jnp.sqrt(shares * left / before))


def swap_by_itself(q: Quantities):
    """Normalise over a minibatch of the 16 images only, as published."""
    few = Batch(q.batch.images[:16], q.batch.labels[:16])
    return PROXIES["swap"](Quantities(q.network, q.params, q.arch, few, q.key))


def near_at_random(q: Quantities):
    """Draw positions at random, as published, instead of evenly spaced ones."""

    def shuffle(x):
        n, height, width = x.shape[-4:-1]
        order = np.random.default_rng(0).permutation(n * height * width)
        rows = x.reshape(*x.shape[:-4], -1, x.shape[-1])[..., order, :]
        return rows.reshape(x.shape)

    return PROXIES["near"](with_quantity(q, "activations", [one._replace(x=shuffle(one.x)) for one in q.activations]))


ALTERNATIVES: dict[str, tuple[str, Proxy]] = {  # name: (our proxy, the alternative)
    "zico_accumulating": ("zico", zico_accumulating),
    "grad_sign_mean": ("grad_sign", grad_sign_mean),
    "ntk_condition_of_eight": ("ntk_condition", ntk_condition_of_eight),
    "ntk_trace_of_label": ("ntk_trace", ntk_trace_of_label),
    "vkdnw_reversed": ("vkdnw", vkdnw_reversed),
    "swap_by_itself": ("swap", swap_by_itself),
    "near_at_random": ("near", near_at_random),
}


def compare(name: str, num: int) -> dict:
    """Return the Spearman correlations of our proxy and the alternative with test accuracy and with each other."""
    ours, function = ALTERNATIVES[name]
    images, archs = load_standardized("cifar10"), sample_cells(num)
    network, batch = make_network("nasbench201", images, 16, 5), make_batch(images, 64, 0)
    functions, store = {ours: PROXIES[ours], name: function}, Path("runs", "alternatives")
    with progress() as bars:
        bars(StageStarted("scoring"))
        scores = jaxnas.score_to_store(
            store, NASBENCH201, network, archs, batch, functions, data_name="cifar10", on_event=bars
        )
    accuracy = jaxnas.align(jaxnas.load_nasbench201(), NASBENCH201, archs, "c10_full_test_200")
    one, other = (ranks(column) for column in orient(scores.values, [ours, ours]).T)
    return {
        "proxy": ours,
        "about": " ".join((function.__doc__ or "").split()),
        "ours": float(spearman(one, accuracy)),
        "other": float(spearman(other, accuracy)),
        "together": float(spearman(one, other)),
        "provenance": scores.provenance,
    }


def to_markdown(rows: list[dict]) -> str:
    """Return a table with a row for each alternative."""
    lines = ["| proxy | ours with accuracy | the other | with accuracy | ours with the other |", "|---" * 5 + "|"]
    for row in rows:
        pair = f"{row['ours']:.3f} | {row['about']} | {row['other']:.3f} | {row['together']:.3f}"
        lines.append(f"| {row['proxy']} | {pair} |")
    return "\n".join(lines) + "\n"


def main(num: Annotated[int, typer.Option(help="Number of architectures to score.", min=3)] = 100) -> None:
    """Compare each ambiguous proxy definition with the other possible reading."""
    configure_jax()
    compute_rows("alternatives", [{"name": name, "num": num} for name in ALTERNATIVES], compare, to_markdown)


if __name__ == "__main__":
    typer.run(main)
