"""Compute the rank correlation of every proxy with test accuracy on NAS-Bench-201 and compare it with published values.

    JAXNAS_DATA=folder python experiments/correlations.py    (extra: plot)

The first table uses the scores that the package contains (`jaxnas.load_scores`): real images, batch 64, one seed. The
accuracy is the test accuracy after 200 epochs, averaged over the seeds of the benchmark. The choice of architectures
changes a correlation more than most other choices, so the table has four sets of architectures with a finite score: all
of them; the 9,445 without dead edges; one of each of the 5,260 network classes; those with a convolution on a path to
the output. The second table has all proxies on the cells that `zoo.py` scored, none of which has dead edges. Rankings
by several proxies have a row where the scores of all their proxies exist.

The measures are Kendall and Spearman correlation, nDCG, and the fraction of the top 10% by score that is among the top
10% by accuracy. The second table also has the public scores of NAS-Bench-Suite-Zero on the same cells, with their
Spearman correlation with accuracy and with our scores. The published values are those of VKDNW (CVPR 2025), table 1:
the mean of 5 runs on the cells without dead edges (`published.py` explains the differences).

The script takes about one minute. It writes results/correlations.json and results/correlations.md, and
results/proxies.png with the correlation of the proxies with each other.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from zoo import RESULTS, load_zoo, ranks

import jaxnas
from jaxnas.errors import InputError
from jaxnas.proxies import PROXY_SETS, orient
from jaxnas.report import save_results
from jaxnas.spaces import NASBENCH201, to_index
from jaxnas.store.store import make_environment
from jaxnas.table.evaluation import kendall, ndcg, precision_at, spearman

TEST_COLUMNS = {"cifar10": "c10_full_test_200", "cifar100": "c100_test_200", "tiny16": "im120_test_200"}
SETS = ("all finite", "no dead edge", "one of each class", "a live convolution")
OF_PUBLISHED = SETS[1]
PUBLISHED = {  # Kendall / Spearman
    "grad_norm": {"cifar10": (0.328, 0.438), "cifar100": (0.341, 0.451), "tiny16": (0.310, 0.418)},
    "grasp": {"cifar10": (0.352, 0.505), "cifar100": (0.349, 0.498), "tiny16": (0.359, 0.502)},
    "snip": {"cifar10": (0.431, 0.591), "cifar100": (0.440, 0.597), "tiny16": (0.389, 0.521)},
    "synflow": {"cifar10": (0.561, 0.758), "cifar100": (0.553, 0.750), "tiny16": (0.531, 0.719)},
    "jacob_cov": {"cifar10": (0.616, 0.800), "cifar100": (0.639, 0.820), "tiny16": (0.602, 0.779)},
    "flops": {"cifar10": (0.623, 0.799), "cifar100": (0.586, 0.763), "tiny16": (0.545, 0.718)},
    "nwot": {"cifar10": (0.571, 0.762), "cifar100": (0.607, 0.799), "tiny16": (0.605, 0.794)},
    "zen": {"cifar10": (0.102, 0.103), "cifar100": (0.079, 0.072), "tiny16": (0.091, 0.109)},
    "zico": {"cifar10": (0.607, 0.802), "cifar100": (0.614, 0.809), "tiny16": (0.587, 0.779)},
    "TE-NAS, sum of ranks": {"cifar10": (0.536, 0.722), "cifar100": (0.537, 0.723), "tiny16": (0.523, 0.709)},
    "AZ-NAS, sum of log ranks": {"cifar10": (0.712, 0.892), "cifar100": (0.696, 0.880), "tiny16": (0.673, 0.859)},
    "VKDNW, sum of log ranks": {"cifar10": (0.750, 0.919), "cifar100": (0.753, 0.919), "tiny16": (0.743, 0.906)},
}
PUBLIC = {  # our name: the column of NAS-Bench-Suite-Zero, whose synflow has no batch normalisation
    **{name: name for name in PROXY_SETS["nbsz"] if name not in ("jacob_cov", "synflow_no_bn")},
    "jacob_cov": "jacov",
    "synflow_no_bn": "synflow",
}
PUBLIC_DATA = {"cifar10": "cifar10", "cifar100": "cifar100", "tiny16": "ImageNet16-120"}
CONVOLUTIONS = "flops of convolutions alone"
KERNELS = {NASBENCH201.op_names.index("nor_conv_1x1"): 1, NASBENCH201.op_names.index("nor_conv_3x3"): 9}
AGGREGATES: dict[str, tuple[str, Callable]] = {  # name: (set of proxies, function applied to their ranks)
    "TE-NAS, sum of ranks": ("te_nas", np.asarray),
    "AZ-NAS, sum of log ranks": ("az_nas", np.log),
    "VKDNW, sum of log ranks": ("vkdnw_agg", np.log),
}


def correlate(data: str) -> list[dict]:
    """Return a row for each proxy or aggregated ranking and each set of architectures."""
    scores = jaxnas.load_scores("nasbench201", data)
    accuracy = jaxnas.align(jaxnas.load_nasbench201(), NASBENCH201, scores.archs, TEST_COLUMNS[data])
    sets, rows = make_sets(scores.archs), []
    columns = {name: add_rankings(scores.proxies, scores.values[chosen]) for name, chosen in sets.items()}
    for proxy in columns[OF_PUBLISHED]:
        for name, chosen in sets.items():
            published = PUBLISHED.get(proxy, {}).get(data) if name == OF_PUBLISHED else None
            found = measure(columns[name][proxy], accuracy[chosen])
            rows.append({"data": data, "proxy": proxy, "set": name, "published": published, **found})
    return rows


def add_rankings(proxies: tuple[str, ...], scores: np.ndarray) -> dict[str, np.ndarray]:
    """Return columns where higher is better, followed by those of `AGGREGATES` whose proxies all exist."""
    columns = dict(zip(proxies, orient(scores, proxies).T, strict=True))
    for name, (members, scale) in AGGREGATES.items():
        if columns.keys() >= set(PROXY_SETS[members]):
            columns[name] = sum(scale(ranks(columns[proxy])) for proxy in PROXY_SETS[members])
    return columns


def correlate_zoo(data: str) -> list[dict]:
    """Return a row for each proxy or aggregated ranking on the cells that `zoo.py` scored."""
    zoo = load_zoo(data)
    if zoo is None:
        return []
    accuracy = jaxnas.align(jaxnas.load_nasbench201(), NASBENCH201, zoo.archs, TEST_COLUMNS[data])
    columns = {**add_rankings(zoo.proxies, zoo.scores), CONVOLUTIONS: count_convolutions(zoo.archs)}
    _, public = jaxnas.load_proxy_scores(None, PUBLIC_DATA[data], tuple(PUBLIC.values()))
    public_columns = dict(zip(PUBLIC, public[to_index(NASBENCH201, zoo.archs)].T, strict=True))
    rows = []
    for name, column in columns.items():
        if not np.isfinite(column).any():
            continue  # epe_nas, if no class has two images
        row = {"data": data, "proxy": name, "published": PUBLISHED.get(name, {}).get(data), **measure(column, accuracy)}
        if name in public_columns and np.isfinite(public_columns[name]).mean() > 0.5:  # CIFAR-100 has few
            with_accuracy, agreement = measure(public_columns[name], accuracy), measure(column, public_columns[name])
            row["public"] = {"spearman": with_accuracy["spearman"], "agreement": agreement["spearman"]}
        rows.append(row)
    return rows


def count_convolutions(archs: np.ndarray) -> np.ndarray:
    """Return the flops of the convolutions in the cells, in units of those of a 1x1 convolution."""
    return sum(times * (archs == op).sum(axis=1) for op, times in KERNELS.items())


def measure(column: np.ndarray, accuracy: np.ndarray) -> dict[str, float]:
    """Measure how well the finite scores rank the architectures by accuracy."""
    finite = np.isfinite(column) & np.isfinite(accuracy)
    column, accuracy = column[finite], accuracy[finite]
    return {
        "architectures": int(finite.sum()),
        "kendall": float(kendall(column, accuracy)),
        "spearman": float(spearman(column, accuracy)),
        "ndcg": float(ndcg(column, accuracy)),
        "top_tenth": float(precision_at(column, accuracy, top=max(1, len(column) // 10))),
    }


def draw_matrix(data: str, path: Path) -> None:
    """Draw the Spearman correlations between proxies, ordered so that similar proxies are adjacent."""
    from matplotlib import pyplot
    from scipy.cluster.hierarchy import leaves_list, linkage

    zoo = load_zoo(data)
    if zoo is None:
        return
    columns = np.stack([ranks(column) for column in orient(zoo.scores, zoo.proxies).T])
    matrix = np.corrcoef(columns)
    order = leaves_list(linkage(columns - columns.mean(1, keepdims=True), "average", "correlation"))
    figure, axes = pyplot.subplots(figsize=(9, 8), layout="constrained")
    picture = axes.imshow(matrix[np.ix_(order, order)], vmin=-1, vmax=1, cmap="RdBu")
    names = [zoo.proxies[number] for number in order]
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_title(f"Spearman between proxies, {len(zoo.archs)} NAS-Bench-201 cells, {data}")
    figure.colorbar(picture, shrink=0.6)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def make_sets(archs: np.ndarray) -> dict[str, np.ndarray]:
    """Return a mask of the rows that belong to each set."""
    canonical = NASBENCH201.canonicalize(archs)
    first = np.zeros(len(archs), bool)
    first[np.unique(NASBENCH201.network_class(archs), return_index=True)[1]] = True
    convolves = np.isin(canonical, [NASBENCH201.op_names.index(name) for name in ("nor_conv_1x1", "nor_conv_3x3")])
    members = (np.full(len(archs), True), (canonical == archs).all(axis=1), first, convolves.any(axis=1))
    return dict(zip(SETS, members, strict=True))


def to_markdown(rows: list[dict]) -> str:
    """Return a table of Kendall / Spearman in every set, and of the other measures in the published set."""
    others = f"nDCG, {OF_PUBLISHED} | best tenth, {OF_PUBLISHED}"
    lines = [f"| data | proxy | published, {OF_PUBLISHED} | {' | '.join(SETS)} | {others} |"]
    lines += ["|---" * (5 + len(SETS)) + "|"]
    for start in range(0, len(rows), len(SETS)):
        of_sets = rows[start : start + len(SETS)]
        pairs = [f"{row['kendall']:.3f} / {row['spearman']:.3f}" for row in of_sets]
        row = of_sets[SETS.index(OF_PUBLISHED)]
        published = " / ".join(f"{value:.3f}" for value in row["published"]) if row["published"] else "-"
        others = f"{row['ndcg']:.3f} | {row['top_tenth']:.2f}"
        lines.append(f"| {row['data']} | {row['proxy']} | {published} | {' | '.join(pairs)} | {others} |")
    return "\n".join(lines) + "\n"


def zoo_markdown(rows: list[dict]) -> str:
    """Return a table of every measure of every proxy, sorted by Spearman correlation."""
    lines = [
        "| data | proxy | Kendall / Spearman | published | public scores, same cells / with ours | nDCG | best tenth "
        "| architectures |",
        "|---" * 8 + "|",
    ]
    for row in sorted(rows, key=lambda row: (list(TEST_COLUMNS).index(row["data"]), -row["spearman"])):
        published = " / ".join(f"{value:.3f}" for value in row["published"]) if row["published"] else "-"
        public = "{spearman:.3f} / {agreement:.3f}".format(**row["public"]) if "public" in row else "-"
        lines.append(
            f"| {row['data']} | {row['proxy']} | {row['kendall']:.3f} / {row['spearman']:.3f} | {published} | {public} "
            f"| {row['ndcg']:.3f} | {row['top_tenth']:.2f} | {row['architectures']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compute the rank correlation of every proxy with test accuracy on NAS-Bench-201."""
    started = time.perf_counter()
    rows, provenance = [], {}
    for data in TEST_COLUMNS:
        try:
            provenance[data] = jaxnas.load_scores("nasbench201", data).provenance
        except InputError as error:
            print(error)
            continue
        rows += correlate(data)
    of_zoo = [row for data in TEST_COLUMNS for row in correlate_zoo(data)]
    markdown = to_markdown(rows) + "\n" + zoo_markdown(of_zoo)
    print(markdown)
    environment = make_environment(time.perf_counter() - started)
    record = {"environment": environment, "provenance": provenance, "rows": rows, "zoo": of_zoo}
    save_results(RESULTS, "correlations", record, markdown)
    draw_matrix("cifar10", RESULTS / "proxies.png")


if __name__ == "__main__":
    main()
