"""Show for every space which proxies are defined there, and how they rank architectures where accuracies are known.

    JAXNAS_DATA=folder python experiments/proxies_by_space.py

The spaces are the named ones; the two declared spaces of `spaces_search.py`, mobile networks of ReLU6 without gates and
vision transformers; and Accel-NASBench's mobile networks of ReLUs with gates (`accel_nasbench.py`). Whether a proxy is
defined is found by tracing it in a small network (`jaxnas.proxies.defined`), and the reasons are the messages of the
engine.

The correlations are those of the results of `correlations.py`, `nasbench101.py` and `accel_nasbench.py`, and of the
scores of TransNAS-Bench-101 that the package contains.

The script takes about 14 minutes on a busy core, and resumes. It writes results/proxies_by_space.json and .md.
"""

import json

import accel_nasbench
import numpy as np
import spaces_search
import tasks
from correlations import OF_PUBLISHED, measure
from rows import RESULTS, compute_rows

import jaxnas
from jaxnas.networks import NETWORKS, SearchNetwork
from jaxnas.proxies import PROXIES, orient
from jaxnas.proxies.defined import undefined_proxies
from jaxnas.spaces import SPACES, to_index

PIXELS, CLASSES, TASK = 32, 3, "class_scene"
DECLARED = {
    "declared: mobile, ReLU6": lambda: spaces_search.mobile(CLASSES),
    "declared: Accel-NASBench, ReLU and gates": lambda: accel_nasbench.make_network(8, CLASSES),
    "declared: transformer": lambda: spaces_search.transformer(CLASSES),
}
TABLES = {
    "nasbench201": "NAS-Bench-201",
    "nasbench101": "NAS-Bench-101",
    "transnas101-micro": "TransNAS-Bench-101",
    "transnas101-macro": "TransNAS-Bench-101",
    "declared: Accel-NASBench, ReLU and gates": "Accel-NASBench",
}


def small_network(space: str) -> SearchNetwork:
    """Return a small network of a space."""
    if space in DECLARED:
        return DECLARED[space]()
    return NETWORKS[space](num_classes=CLASSES, channels=4, cells_per_stage=1)


def find_undefined(space: str) -> dict:
    """Return the proxies that are not defined in a space, with the reasons."""
    return {"undefined": undefined_proxies(small_network(space), (PIXELS, PIXELS, 3))}


def read(name: str) -> dict:
    """Read the results of another script."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def correlate(table: str) -> dict:
    """Return (Spearman correlation, number of architectures) of each proxy whose scores are known, and the settings."""
    if table == "nasbench201":
        record = read("correlations")
        rows = [row for row in record["zoo"] if row["data"] == "cifar10"]
        rows += [row for row in record["rows"] if row["data"] == "cifar10" and row["set"] == OF_PUBLISHED]
        found = {row["proxy"]: (row["spearman"], row["architectures"]) for row in rows}  # the later replace the earlier
        of = record["provenance"]["cifar10"]
        settings = (
            f"test accuracy on CIFAR-10 after 200 epochs; cells without dead edges, all 9,445 or the 1,000 of zoo.py; "
            f"{of['network.channels']} channels, {of['network.cells_per_stage']} cells per stage, batch "
            f"{of['batch_size']}, seed {of['seed']} (correlations.py)"
        )
    elif table == "nasbench101":
        record = read("nasbench101_sample")
        found = {row["proxy"]: (row["spearman"], record["architectures"]) for row in record["rows"]}
        settings = (
            f"validation accuracy on CIFAR-10; a public sample; {record['channels']} channels, {record['cells']} cell "
            "per stack, batch 64, seed 0 (nasbench101.py)"
        )
    elif table in SPACES:
        task = tasks.load_transnas101(table.removeprefix("transnas101-"), TASK, scores=tasks.OWN)
        scores = jaxnas.load_scores(table, TASK)
        values = orient(scores.values[to_index(SPACES[table], task.archs.astype(np.int8))], scores.proxies)
        measured = {name: measure(column, task.test) for name, column in zip(scores.proxies, values.T, strict=True)}
        found = {name: (of["spearman"], of["architectures"]) for name, of in measured.items()}
        made = scores.provenance
        settings = (
            f"final validation metric of {TASK}; architectures with a finite score; {made['network.channels']} "
            f"channels, {made['network.cells_per_stage']} cells per stage, 64 pixels, batch {made['batch_size']}, seed "
            f"{made['seed']} (scores of the package)"
        )
    else:
        (record,) = (row for row in read("accel_nasbench")["rows"] if row["settings"]["part"] == "proxies")
        found = {name: (of["spearman"], record["networks"] - of["missing"]) for name, of in record["proxies"].items()}
        settings = (
            f"ImageNet top-1 after a shortened training; {accel_nasbench.CHANNELS} channels in the stem, "
            f"{accel_nasbench.PIXELS} pixels, batch {accel_nasbench.IMAGES}, seed 0 (accel_nasbench.py); params are "
            "those of the table"
        )
    return {"settings_of_scores": settings, "proxies": {name: of for name, of in found.items() if name in PROXIES}}


def compute(part: str, space: str) -> dict:
    """Compute one row."""
    return {"defined": find_undefined, "correlations": correlate}[part](space)


def plan() -> list[dict]:
    """Return the settings of all rows."""
    todo = [{"part": "correlations", "space": space} for space in TABLES]
    return todo + [{"part": "defined", "space": space} for space in (*DECLARED, *NETWORKS)]


def to_markdown(rows: list[dict]) -> str:
    """Return the table, the settings of its columns and the reasons."""
    known = {(row["settings"]["part"], row["settings"]["space"]): row for row in rows}
    spaces = [space for space in (*NETWORKS, *DECLARED) if ("defined", space) in known]
    reasons = dict.fromkeys(reason for space in spaces for reason in known["defined", space]["undefined"].values())
    marks = {reason: number for number, reason in enumerate(reasons, start=1)}
    lines = [f"| proxy | {' | '.join(spaces)} |", "|---" * (1 + len(spaces)) + "|"]
    for name in PROXIES:
        cells = []
        for space in spaces:
            reason = known["defined", space]["undefined"].get(name)
            value = known.get(("correlations", space), {"proxies": {}})["proxies"].get(name)
            measured = "-" if value is None else f"{value[0]:.2f} ({value[1]:,})"
            cells.append(measured if reason is None else f"no [{marks[reason]}]")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    legend = (
        "A number is Spearman's correlation with accuracy (of so many architectures); scores are oriented so that "
        'higher should be better. "-": defined, not measured. "no": not defined. Accuracies and scores:'
    )
    lines += ["", legend, ""]
    lines += [
        f"- {space}: {known['correlations', space]['settings_of_scores']}."
        for space in spaces
        if ("correlations", space) in known
    ]
    lines += ["", "Reasons, as a search prints them:", ""]
    lines += [f"- [{number}] {reason}." for reason, number in marks.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Find which proxies are defined in every space, and show their correlations."""
    compute_rows("proxies_by_space", plan(), compute, to_markdown)


if __name__ == "__main__":
    main()
