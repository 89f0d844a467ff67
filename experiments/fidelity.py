"""Measure what a search on short trainings gains when its best candidates are trained for longer.

    JAXNAS_DATA=folder python experiments/fidelity.py

The pool is the 9,445 cells of NAS-Bench-201 without dead edges with the scores of RoBoT's proxies that the package
contains. A short training has 12 epochs, a long one 200, each of the data set itself; both are observed by their
validation accuracy, and the reported accuracy is that on the test images after 200 epochs. The account is in short
trainings: a long one costs 17. The rules:

- best: the best validation accuracy after 12 epochs; the search takes the whole account;
- posterior: after 20 short trainings, the queried cell of the highest posterior mean of `proxy_gp` (`predict_ranking`)
  given these trainings, and that of the whole pool;
- retrain k: after 20 short trainings the k best are trained for 200 epochs, and the best of these is chosen;
- retrain k by posterior: the same for the k queried cells of the highest posterior mean;
- long only: the search itself takes account / 17 long trainings, and none is short;
- hyperband, bohb: both lengths, chosen by the method.

The tables have one short training of each cell, so that a candidate cannot be trained for 12 epochs again, and the mean
of one to three long ones. "One seed" adds to a long training's accuracy a normal draw of the deviation of one seed from
this mean, as found where RoBoT's column of test accuracies has one seed. All rules are listed, so that none was chosen
on any data set; tests are paired over the seeds that both have.

The script takes about 20 minutes on one core. A stopped run resumes. It writes results/fidelity.json and
results/fidelity.md.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import tasks
from rows import compute_rows

import jaxnas
from jaxnas.search import SearchResult, get_method
from jaxnas.table.evaluation import compare

PRICE = 17  # of a long training
SHORT = 20
RETRAINED = (2, 3, 5)
ACCOUNTS = tuple(SHORT + PRICE * number for number in (3, 5))
LONG = {"cifar10": "c10_valid_val_200", "cifar100": "c100_val_200", "ImageNet16-120": "im120_val_200"}
MEAN_TEST = {"cifar10": "c10_full_test_200", "cifar100": "c100_test_200", "ImageNet16-120": "im120_test_200"}
METHODS = ("random", "robot", "proxy_gp")
OF_BOTH = ("hyperband", "bohb")
NUM_SEEDS = 100
SEED = "one seed"


class Columns(NamedTuple):
    """The trainings of every cell of a data set."""

    task: tasks.Task  # observed after 12 epochs
    long: np.ndarray  # validation accuracy after 200 epochs [A]
    noise: float  # standard deviation of one seed from the mean over seeds


@lru_cache
def load(data: str) -> Columns:
    """Load the cells with both lengths of training."""
    task = tasks.load_nasbench201(data, tasks.OWN, tasks.OWN_OBSERVATION[data])
    bench = jaxnas.load_nasbench201()
    long, mean = (jaxnas.align(bench, jaxnas.NASBENCH201, task.archs, column[data]) for column in (LONG, MEAN_TEST))
    best = np.argsort(-mean)[:1000]
    deviation = (task.test - mean)[best]
    return Columns(task, long, float(np.sqrt(np.mean(deviation[np.abs(deviation) > 0.006] ** 2))))


def run(data: str, method: str, trained: str, budget: int, seeds: list[int]) -> dict:
    """Search with every seed (the first and the last are given) and return the test accuracy by each rule."""
    task, long, noise = load(data)
    short = task.observation
    observed = {"short": short, "long": long, "both": np.stack([short, long], axis=1)}[trained]
    results = get_method(method).run_seeds(
        jaxnas.normalize(task.scores)[0],
        observed,
        budget=budget,
        seeds=range(seeds[0], seeds[1] + 1),
        archs=task.archs,
        prices=(1, PRICE) if trained == "both" else None,
    )
    if trained != "short" or budget > SHORT:
        chosen = {"best": [result.selected for result in results]}
    else:
        every = [choices(task, long, noise, result) for result in results]
        chosen = {rule: [choice[rule] for choice in every] for rule in every[0]}
    return {"found": {rule: task.test[rows].round(3).tolist() for rule, rows in chosen.items()}, "noise": noise}


def choices(task: tasks.Task, long: np.ndarray, noise: float, result: SearchResult) -> dict[str, int]:
    """Return the cell that each rule chooses after a search on short trainings."""
    queries = result.queries
    mean = jaxnas.predict_ranking(task.scores, task.archs, (queries, result.objective)).mean
    by_posterior = queries[np.argsort(-mean[queries], kind="stable")]
    chosen = {"best": result.selected, "posterior": by_posterior[0], "posterior of the pool": np.argmax(mean)}
    by_observed = queries[np.argsort(-result.objective, kind="stable")]
    one_seed = long + noise * np.random.default_rng(result.seed).standard_normal(len(long))
    for number in RETRAINED:
        for name, order in (("", by_observed), (" by posterior", by_posterior)):
            few = order[:number]
            chosen[f"retrain {number}{name}"] = few[np.argmax(long[few])]
            chosen[f"retrain {number}{name}, {SEED}"] = few[np.argmax(one_seed[few])]
    return {rule: int(row) for rule, row in chosen.items()}


def plan() -> list[dict]:
    """Return the settings of all rows."""
    rows = [(method, "short", SHORT) for method in METHODS]
    rows += [(method, "short", budget) for budget in ACCOUNTS for method in METHODS if method != "robot"]
    rows += [(method, "both", budget) for budget in ACCOUNTS for method in OF_BOTH]
    rows += [(method, "long", budget // PRICE) for budget in ACCOUNTS for method in METHODS]
    rows += [(method, "long", SHORT) for method in METHODS]
    return [
        {
            "data": data,
            "method": method,
            "trained": trained,
            "budget": budget,
            "seeds": [1000, 999 + (20 if (method, trained) == ("proxy_gp", "short") and budget > SHORT else NUM_SEEDS)],
        }
        for method, trained, budget in rows
        for data in LONG
    ]


def to_markdown(rows: list[dict]) -> str:
    """Return the mean test accuracies of all rules by account, and the tests against short trainings alone."""
    found = {}
    for row in rows:
        settings = row["settings"]
        data, method, trained, budget = (settings[name] for name in ("data", "method", "trained", "budget"))
        for rule, values in row["found"].items():
            number = int(rule.split()[1].rstrip(",")) if rule.startswith("retrain") else 0
            label = {"long": "long only", "both": method}.get(trained, rule)
            account = budget * (PRICE if trained == "long" else 1) + PRICE * number
            account = next((some for some in ACCOUNTS if 0 <= some - account < PRICE and trained == "long"), account)
            found[account, label, method if trained != "both" else "-", data] = np.array(values)
    header = "| account | rule | method | " + " | ".join(LONG) + " |"
    lines = ["Test accuracy in percent after 200 epochs: mean +- standard deviation of the seeds.", ""]
    lines += [header, "|---" * (3 + len(LONG)) + "|"]
    for key in sorted(dict.fromkeys(key[:3] for key in found), key=lambda key: key[0]):
        cells = [found.get((*key, data)) for data in LONG]
        shown = ["-" if cell is None else f"{cell.mean():.2f}+-{cell.std(ddof=1):.2f}" for cell in cells]
        lines.append(f"| {' | '.join(map(str, key))} | {' | '.join(shown)} |")
    lines += ["", *_tests(found), ""]
    noise = {row["settings"]["data"]: row["noise"] for row in rows}
    shown = ", ".join(f"{data} {value:.2f}" for data, value in noise.items())
    return "\n".join([*lines, f"Deviation of one seed, in points: {shown}."])


def _tests(found: dict) -> list[str]:
    """Return the difference of each rule to the best of as many short trainings as the account pays for."""
    lines = ["| account | rule against best of short trainings alone | method | " + " | ".join(LONG) + " |"]
    lines += ["|---" * (3 + len(LONG)) + "|"]
    for account, label, method in sorted(dict.fromkeys(key[:3] for key in found), key=lambda key: key[0]):
        if label == "best" or method == "-":
            continue
        cells = []
        for data in LONG:
            pair = [found.get((account, rule, method, data)) for rule in (label, "best")]
            if any(values is None for values in pair):
                cells.append("-")
                continue
            number = min(map(len, pair))
            test = compare(pair[0][:number], pair[1][:number])
            cells.append(f"{test.difference:+.2f} ({test.low:+.2f} to {test.high:+.2f}), p = {test.p_value:.2g}")
        if set(cells) != {"-"}:
            lines.append(f"| {account} | {label} | {method} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    compute_rows("fidelity", plan(), run, to_markdown)
