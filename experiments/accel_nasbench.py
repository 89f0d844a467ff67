"""Search the MnasNet-like ImageNet space of Accel-NASBench, with its network in blocks of jaxnas, on its public table.

    JAXNAS_DATA=folder python experiments/accel_nasbench.py [--seeds 100] [--scored 600] [--scores FOLDER]

The table (accel_nasbench/accel_nasbench.npz in the folder) has the ImageNet top-1 accuracy of 5,138 networks (5,125
architectures) after a shortened training, and their throughput on six devices. A network has seven stages of inverted
residual blocks, of which expansion, kernel size, number of blocks and gate are decided. The script

1. compares the parameters and the multiply-adds of our networks with those of the table, for all of them;
2. scores them at initialisation by proxies of our engine, on 16 images of CIFAR-10 enlarged to 64 pixels, in
   networks of half the width, and correlates scores and counts with the accuracies;
3. searches the table for the best accuracy with 20 queries, with proxies, with counts alone and without both;
4. looks for the front of accuracy and throughput with 50 queries: ten in each of five searches, among the networks that
   reach a throughput, which is known before any training. The five limits are evenly spaced from the slowest network to
   the fastest: shares of the networks would leave out the fast ones, of which A100 has few.

Searches without proxies and fronts are among all networks. Searches with proxies are among the scored ones, which are
600 drawn at random by default, and other methods are repeated on these. Width, images and minibatch are those that one
core can score in ten minutes, after ten of compiling; `--scored 0` scores all in an hour. The published networks have
224 pixels, and the images of the table are others. Scores are kept in the folder `--scores`, so that a second call
resumes. It writes results/accel_nasbench.json and .md.

Source: Ahmad, Du, Xie and Zhang 2024 (arXiv:2404.08005); blocks and widths as in its public code of 2024.
"""

from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tasks
import typer
from jaxtyping import Array, Float, Int8, PyTree
from rows import compute_rows

import jaxnas
from jaxnas.networks.declared.network import Activation, Conv, DeclaredNetwork, InvertedResidual, Repeat, choice
from jaxnas.proxies import ROBOT_PROXIES, orient
from jaxnas.run.inputs import make_batch
from jaxnas.table.evaluation import bootstrap_interval, compare, spearman
from jaxnas.table.front import hypervolume

WIDTHS, STRIDES = (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 2, 1, 2, 1)
MOST_LAYERS = (3, 3, 3, 3, 3, 4, 3)
STEM = 32
HEAD = 1280
PIXELS, IMAGES, CHANNELS = 64, 16, 16  # of the scored networks; the published have 224 pixels and 32 channels
FORWARD = ("nwot", "zen", "l2_norm")  # a program of its own, which compiles in a shorter time
PROXIES = (*ROBOT_PROXIES, *FORWARD)
COUNTS = ("params", "MACs")
SETS = {"six": ROBOT_PROXIES, "all proxies": PROXIES, "counts": COUNTS, "proxies and counts": (*PROXIES, *COUNTS)}
SETS |= {"none": ()}
ALL, SCORED = "all", "scored"  # pools
SEARCHES = (
    *(("random", "none"), ("largest", "params"), ("largest", "MACs"), ("robot", "counts")),
    *(("proxy_gp", "none"), ("proxy_gp", "counts")),
)
BY_PROXIES = (("robot", "six"), ("proxy_gp", "six"), ("proxy_gp", "all proxies"), ("proxy_gp", "proxies and counts"))
FRONTS = (("random", "none"), ("random, limits", "none"), ("largest, limits", "MACs"), ("proxy_gp, limits", "none"))
FRONTS += (("proxy_gp, limits", "counts"),)
DEVICES = {"TPUv3": "tpuv3", "A100": "a100"}
LIMITS, EACH = (
    (0.0, 0.2, 0.4, 0.6, 0.8),
    10,
)  # least throughputs, 0 to 1 from slowest to fastest; queries of each search


def make_network(channels: int = STEM, num_classes: int = 1000) -> DeclaredNetwork:
    """Return the network of the space, with so many channels in the stem; all widths are in proportion."""
    blocks: list = [Conv(channels, stride=2, activation=None), Activation("relu")]
    coming = channels
    for number, (published, stride, most) in enumerate(zip(WIDTHS, STRIDES, MOST_LAYERS, strict=True), start=1):
        width = published * channels // STEM
        size, expansion = choice(3, 5, name=f"size {number}"), choice(1, 4, 6, name=f"expansion {number}")
        gate = choice(0, 1, name=f"gate {number}")
        first = InvertedResidual(width, expansion, size, stride, gate, squeezed=max(1, coming // 4))
        further = InvertedResidual(None, expansion, size, squeeze=gate, squeezed=max(1, width // 4))
        blocks += [first, Repeat(choice(*range(most)), further)]
        coming = width
    blocks.append(Conv(HEAD * channels // STEM, size=1, activation=None))
    return DeclaredNetwork("accel-nasbench", tuple(blocks), num_classes)


def to_archs(rows: Int8[np.ndarray, "A 7 4"]) -> Int8[np.ndarray, "A 28"]:
    """Return architectures of our space from rows (expansion, kernel size, layers, gate) of seven stages."""
    space = make_network().space
    texts = [":".join(f"k{k}:e{e}:se{int(gate)}:{layers - 1}" for e, k, layers, gate in row) for row in rows.tolist()]
    return np.stack([space.parse(text) for text in texts])


@lru_cache
def load() -> tuple[Int8[np.ndarray, "A 28"], dict[str, np.ndarray]]:
    """Return the architectures of the table, and its columns; 13 are there twice, and have the means of both rows.

    The column "place" is the architecture of each row of the table.
    """
    with np.load(jaxnas.data_folder() / "accel_nasbench" / "accel_nasbench.npz") as file:
        table = {name: file[name] for name in file.files}
    archs, place = np.unique(to_archs(table["arch"]), axis=0, return_inverse=True)
    columns = {"platforms": table["platforms"], "place": place}
    for name in ("val_top1", "params_M", "macs_M", "perf"):
        total = np.zeros((len(archs), *table[name].shape[1:]))
        np.add.at(total, place, table[name])
        columns[name] = total / np.bincount(place).reshape(-1, *[1] * (total.ndim - 1))
    return archs, columns


def count_all(archs: Int8[np.ndarray, "A 28"]) -> dict[str, Float[np.ndarray, " A"]]:
    """Return counts of the networks for one image of 224 x 224 pixels, in millions.

    "params" and "MACs", the multiply-adds of convolutions and linear layers, are sums over the elements of tensors that
    an architecture uses. "MACs of thop" are those of the package that counted the table: it adds 4 for each normalised
    number, and 1 for each number into and out of a mean.
    """
    network = make_network()
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((2, 224, 224, 3)), archs[0])["params"]

    def places_of(params: PyTree, arch: Array) -> dict[str, Array]:
        batch = jaxnas.Batch(jnp.zeros((2, 224, 224, 3)), jnp.zeros(2, int))
        return jaxnas.Quantities(network, params, arch, batch).places

    places = {path: float(number) for path, number in jax.jit(places_of)(zeros_of(shapes), archs[0]).items()}
    kernels = [path for path in places if path in shapes]
    last = f"block{len(network.blocks)}"
    found: dict[str, list[float]] = {name: [] for name in ("params", "MACs", "MACs of thop")}
    for arch in archs:
        used = {path: float(number) for path, number in sum_used(network, shape_items(shapes), arch).items()}
        macs = sum(places[path] * used[path] for path in kernels)
        means = (places[last] + 1) * shapes[last].shape[-1]
        for path in kernels:
            if path.endswith("_squeeze"):
                before = places[f"{path.removesuffix('squeeze')}depthwise"]
                means += (before + 1) * used[path] / shapes[path].shape[-1]
        norms = sum(number * used[f"{path}_gamma"] for path, number in places.items() if path not in shapes)
        for name, number in zip(found, (sum(used.values()), macs, macs + 4 * norms + means), strict=True):
            found[name].append(number / 1e6)
    return {name: np.array(numbers) for name, numbers in found.items()}


def zeros_of(shapes: PyTree) -> PyTree:
    """Return params that are 0."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def shape_items(shapes: PyTree) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return names and shapes as what a compiled program can depend on."""
    return tuple((path, leaf.shape) for path, leaf in shapes.items())


@partial(jax.jit, static_argnums=(0, 1))
def sum_used(
    network: DeclaredNetwork, shapes: tuple[tuple[str, tuple[int, ...]], ...], arch: Int8[Array, " 28"]
) -> dict[str, Array]:
    """Return how many elements of each tensor an architecture uses."""
    params = {path: jnp.zeros(shape) for path, shape in shapes}
    return jax.tree.map(jnp.sum, network.in_use(params, arch))


class Scored(NamedTuple):
    """Which networks are scored, and where.

    Attributes:
        num: How many, drawn at random; 0 for all.
        folder: The store of the scores.
    """

    num: int
    folder: Path


CHOSEN = [Scored(600, Path("runs", "accel-nasbench"))]  # what the options of the script change


@lru_cache
def score() -> tuple[np.ndarray, np.ndarray]:
    """Return the scored rows of the table, and their scores by `PROXIES`."""
    (archs, columns), (num, folder) = load(), CHOSEN[0]
    drawn = np.random.default_rng(0).permutation(len(columns["place"]))
    rows = np.unique(columns["place"][drawn[: num or len(drawn)]])
    data = jaxnas.standardize(jaxnas.load_images("cifar10"))
    network = make_network(CHANNELS, data.num_classes)
    batch = make_batch(data, IMAGES, 0, pixels=PIXELS)
    values = [
        jaxnas.score_to_store(folder, network.space, network, archs[rows], batch, names, data_name="cifar10").values
        for names in (ROBOT_PROXIES, FORWARD)
    ]
    return rows, orient(np.concatenate(values, axis=1), PROXIES)


def count() -> dict:
    """Compare the counts of our networks with those of the table."""
    archs, columns = load()
    found = {}
    for name, own in count_all(archs).items():
        ratio = own / columns["params_M" if name == "params" else "macs_M"]
        found[name] = {"least ratio": float(ratio.min()), "largest ratio": float(ratio.max())}
        found[name]["spearman"] = float(spearman(own, columns["val_top1"]))
    return {"networks": len(archs), "counts": found}


def correlate() -> dict:
    """Correlate scores, and the counts of the table, with the accuracies of the scored networks."""
    rows, values = score()
    columns = load()[1]
    top1, counts = columns["val_top1"][rows], np.stack([columns["params_M"], columns["macs_M"]])[:, rows]
    leading = top1 >= np.quantile(top1, 0.9)
    found = {}
    for name, scores in zip((*PROXIES, *COUNTS), (*values.T, *counts), strict=True):
        finite = np.isfinite(scores)
        found[name] = {
            "spearman": float(spearman(scores[finite], top1[finite])),
            "of the best tenth": float(spearman(scores[finite & leading], top1[finite & leading])),
            "with MACs": float(spearman(scores[finite], counts[1][finite])),
            "missing": int((~finite).sum()),
        }
    return {"networks": len(rows), "proxies": found}


def make_task(pool: str, proxies: str) -> tuple[tasks.Task, np.ndarray]:
    """Return the task of finding the best accuracy by a set of scores, or by one count, and its rows of the table."""
    archs, columns = load()
    names = SETS.get(proxies, (proxies,))
    rows, known = np.arange(len(archs)), {"params": columns["params_M"], "MACs": columns["macs_M"]}
    if pool == SCORED:
        rows, values = score()
        known = {name: column[rows] for name, column in known.items()} | dict(zip(PROXIES, values.T, strict=True))
    scores = np.stack([known[name] for name in names], axis=1) if names else np.empty((len(rows), 0))
    top1 = columns["val_top1"][rows].astype(float)
    return tasks.Task(archs[rows], names, scores, top1, top1, np.full(len(rows), np.nan)), rows


def search(task: tasks.Task, method: str, budget: int, seeds: range) -> list[np.ndarray]:
    """Return the queries of every seed."""
    if method == "largest":
        return [np.argsort(-task.scores[:, 0], kind="stable")[:budget]] * len(seeds)
    return [result.queries for result in tasks.search(task, method, budget, [seeds[0], seeds[-1]])]


def run_search(pool: str, method: str, proxies: str, budget: int, seeds: int) -> dict:
    """Search the table with every seed."""
    task, _ = make_task(pool, proxies)
    size = {"optimum": float(task.test.max()), "networks": len(task.test)}
    if method == "random":  # exactly
        return {"found": [float(task.test.max() - tasks.expected_regret(task, budget))], **size}
    queried = search(task, method, budget, range(1 if method == "largest" else seeds))
    return {"found": [float(task.test[rows].max()) for rows in queried], **size}


def run_front(pool: str, device: str, method: str, proxies: str, seeds: int) -> dict:
    """Look for the front of accuracy and throughput with every seed."""
    task, rows = make_task(pool, proxies)
    columns = load()[1]
    places = [columns["platforms"].tolist().index(f"throughput_{name}") for name in DEVICES.values()]
    kept = np.flatnonzero(np.isfinite(columns["perf"][rows][:, places]).all(1))  # one pool for both devices
    speed = columns["perf"][rows][kept, places[list(DEVICES).index(device)]]
    task = select(task, kept)
    name, _, limited = method.partition(", ")
    limits = LIMITS if limited else LIMITS[:1]
    each = EACH if limited else EACH * len(LIMITS)
    queried: list[list[np.ndarray]] = [[] for _ in range(seeds)]
    for limit in limits:
        among = np.flatnonzero(speed >= speed.min() + limit * (speed.max() - speed.min()))
        for own, found in zip(queried, search(select(task, among), name, each, range(seeds)), strict=True):
            own.append(among[found])
    volumes = [volume(task.test, speed, np.unique(np.concatenate(own))) for own in queried]
    return {"volumes": volumes, "whole": volume(task.test, speed, np.arange(len(speed))), "networks": len(speed)}


def select(task: tasks.Task, rows: np.ndarray) -> tasks.Task:
    """Return a task of some architectures."""
    return task._replace(
        archs=task.archs[rows],
        scores=task.scores[rows],
        observation=task.observation[rows],
        test=task.test[rows],
        cost=task.cost[rows],
    )


def volume(accuracy: np.ndarray, speed: np.ndarray, rows: np.ndarray) -> float:
    """Return the share of the box between the worst and the best of the pool that some architectures dominate."""
    corners = [[accuracy.max(), speed.min()], [accuracy.min(), speed.max()]]  # of no volume; they span the box
    return hypervolume(np.concatenate([np.stack([accuracy, speed], axis=1)[rows], corners]))


def compute(part: str, scored: int = 0, **settings: object) -> dict:
    """Compute one row; `scored` is how many networks of the table are scored."""
    parts = {"counts": count, "proxies": correlate, "search": run_search, "front": run_front}
    return parts[part](**settings)  # type: ignore[operator]


def to_markdown(rows: list[dict]) -> str:
    """Return a table for each of the four questions."""
    parts = {"counts": show_counts, "proxies": show_proxies, "search": show_searches, "front": show_fronts}
    by_part = {part: [row for row in rows if row["settings"]["part"] == part] for part in parts}
    return "\n".join(line for part, found in by_part.items() if found for line in [*parts[part](found), ""])


def show_counts(rows: list[dict]) -> list[str]:
    """Return the comparison of the counts."""
    (row,) = rows
    lines = [
        f"Our counts of the {row['networks']:,} networks at 224 x 224 pixels, divided by those of the table. The "
        "last row counts as thop, which made the table: 4 for each normalised number, 1 into and out of each mean.",
        "",
        "| count | least | largest | Spearman of ours with top-1 |",
        "|---|---|---|---|",
    ]
    for name, of in row["counts"].items():
        ratios = f"{of['least ratio']:.6f} | {of['largest ratio']:.6f}"
        lines.append(f"| {name} | {ratios} | {of['spearman']:.3f} |")
    return lines


def show_proxies(rows: list[dict]) -> list[str]:
    """Return the correlations."""
    (row,) = rows
    lines = [
        f"Spearman with ImageNet top-1 of {row['networks']:,} networks, and within the best tenth of them; proxies at "
        f"initialisation, {PIXELS} pixels, {IMAGES} images, half the width:",
        "",
        "| | all | best tenth | with the MACs |",
        "|---|---|---|---|",
    ]
    found = sorted(row["proxies"].items(), key=lambda item: -abs(item[1]["spearman"]))
    lines += [
        f"| {name} | {of['spearman']:.3f} | {of['of the best tenth']:.3f} | {of['with MACs']:.3f} |"
        for name, of in found
    ]
    return lines


def show_searches(rows: list[dict]) -> list[str]:
    """Return the best accuracies, and tests against the search by counts."""
    lines = [
        f"Best top-1 in percent of {rows[0]['settings']['budget']} queries, mean and deviation over seeds, and "
        "how many of the seeds found the optimum:",
        "",
        "| networks (optimum) | method | by | best top-1 | found | against counts |",
        "|---|---|---|---|---|---|",
    ]
    of_counts = {row["settings"]["pool"]: row["found"] for row in rows if _key(row) == ("proxy_gp", "counts")}
    for row in rows:
        found, (method, by), pool = np.array(row["found"]), _key(row), row["settings"]["pool"]
        spread = f"+-{found.std():.2f}" if len(found) > 1 else ""
        share = f"{np.mean(found >= row['optimum'] - 1e-6):.0%}" if method != "random" else "-"
        test = "-"
        if len(found) > 1 and (method, by) != ("proxy_gp", "counts") and len(of_counts.get(pool, ())) == len(found):
            against = compare(found, of_counts[pool])
            test = f"{against.difference:+.3f} (p = {against.p_value:.2g})"
        whole = f"{row['networks']:,} ({row['optimum']:.2f})"
        lines.append(f"| {whole} | {method} | {by} | {found.mean():.2f}{spread} | {share} | {test} |")
    return lines


def _key(row: dict) -> tuple[str, str]:
    return row["settings"]["method"], row["settings"]["proxies"]


def show_fronts(rows: list[dict]) -> list[str]:
    """Return the volumes, as a share of that of the front of the whole table."""
    lines = [
        f"Front of top-1 and throughput after {EACH * len(LIMITS)} queries: hypervolume as a share of that of the "
        "whole table, with the interval (95 %) of its mean over seeds; and the volume that is missing, as a share of "
        "that of random search:",
        "",
        "| networks | device | method | by | hypervolume | missing |",
        "|---|---|---|---|---|---|",
    ]
    found = {(row["settings"]["pool"], row["settings"]["device"], *_key(row)): row for row in rows}
    for (pool, device, method, by), row in found.items():
        shares = np.array(row["volumes"]) / row["whole"]
        of_random = found.get((pool, device, "random", "none"))
        missing = "-"
        if of_random is not None:
            missing = f"{(1 - shares.mean()) / (1 - np.mean(of_random['volumes']) / of_random['whole']):.2f}"
        low, high = bootstrap_interval(shares)
        shown = f"{shares.mean():.4f} ({low:.4f} to {high:.4f})"
        lines.append(f"| {row['networks']:,} | {device} | {method} | {by} | {shown} | {missing} |")
    return lines


def plan(seeds: int, scored: int) -> list[dict]:
    """Return the settings of all rows: those that need no scores first."""
    of_scores = {"scored": scored}

    def searches(pool: str, which: tuple[tuple[str, str], ...], **more: object) -> list[dict]:
        settings = {"part": "search", "pool": pool, "budget": 20, "seeds": seeds, **more}
        return [{**settings, "method": method, "proxies": proxies} for method, proxies in which]

    fronts = [
        {"part": "front", "pool": ALL, "seeds": min(seeds, 20), "device": device, "method": method, "proxies": proxies}
        for device in DEVICES
        for method, proxies in FRONTS
    ]
    todo = [*searches(ALL, SEARCHES), *fronts, {"part": "counts"}, {"part": "proxies", **of_scores}]
    return todo + searches(SCORED, SEARCHES + BY_PROXIES, **of_scores)


def main(
    seeds: Annotated[int, typer.Option(help="Seeds of each search; fronts have 20 at most.", min=1)] = 100,
    scored: Annotated[int, typer.Option(help="Networks that are scored, drawn at random; 0: all.", min=0)] = CHOSEN[
        0
    ].num,
    scores: Annotated[Path, typer.Option(help="Folder of the scores.")] = CHOSEN[0].folder,
) -> None:
    """Score and search Accel-NASBench."""
    CHOSEN[0] = Scored(scored, scores)
    compute_rows("accel_nasbench", plan(seeds, scored), compute, to_markdown)


if __name__ == "__main__":
    typer.run(main)
