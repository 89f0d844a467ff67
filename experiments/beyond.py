"""Compare `proxy_gp`, a Gaussian process over architectures, with RoBoT and searches without proxies.

    JAXNAS_DATA=folder python experiments/beyond.py

The 36 tasks are NAS-Bench-201 with scores of NAS-Bench-Suite-Zero and of the package, with the published observation
(CIFAR-10, 12 epochs) and that of the data set itself; TransNAS-Bench-101 micro and macro with the scores that the
package contains; and the random subsets of TransNAS-Bench-101 that NAS-Bench-Suite-Zero scored first. All methods have
the same seeds and the same min-max normalised scores of RoBoT's proxies.

The share is the regret of the mean result (the best possible result minus the mean result) divided by the regret of
random search with the same budget, which is computed exactly: 0 is the optimum, 1 equals random search. Its interval
(95 %) is a bootstrap over seeds. The rank is that of the selected architecture in the pool by the reported accuracy,
counted from 0. `TUNING` has the tasks on which the settings of `proxy_gp` were chosen, with T = 20; the others confirm
them, of which the random subsets have some of the same architectures and accuracies.

`SEEDS` has the number of seeds of each budget. All rows take several hours on one core, of which `robot` with T = 200
takes the most. A stopped run resumes. The script writes results/beyond.json and results/beyond.md.
"""

from functools import lru_cache

import ablations
import numpy as np
import tasks
from rows import compute_rows

from jaxnas.search import SearchResult
from jaxnas.search.history import HORIZON
from jaxnas.table.evaluation import bootstrap_interval, compare

FULL = [f"full {space}/{task}" for space in ("micro", "macro") for task in tasks.TRANSNAS_TASKS]
TASKS = [*ablations.NASBENCH201, *FULL, *ablations.MICRO, *ablations.MACRO]
FAMILIES = {
    "NAS-Bench-201": ablations.NASBENCH201,
    "TransNAS micro": FULL[:7],
    "TransNAS macro": FULL[7:],
    "subsets": [*ablations.MICRO, *ablations.MACRO],
    "all": TASKS,
}
TUNING = (
    "NAS-Bench-201/cifar10/Suite-Zero/own",
    *("full micro/class_scene", "full micro/class_object", "full micro/normal"),
)
NEW = "proxy_gp"
METHODS = (NEW, "robot", "rea", "predictor_bo", "robot, paper")
SEEDS = {5: 100, 10: 100, 20: 100, 50: 20, 100: 20, 200: 10}
SEEDS_OF_ROBOT = {**SEEDS, 50: 10, 100: 10, 200: 6}
interval, test = lru_cache(None)(bootstrap_interval), lru_cache(None)(compare)  # the tables are written after every row
GAINS = (10, 20, 40)  # queries after which a gain is predicted


@lru_cache
def load(name: str) -> tasks.Task:
    """Load a task by name."""
    if name.startswith("full "):
        return tasks.load_transnas101(*name.removeprefix("full ").split("/"), scores=tasks.OWN)
    return ablations.load(name)


def run(method: str, task: str, budget: int, seeds: list[int]) -> dict:
    """Search with every seed (the first and the last are given) and return results and ranks."""
    pool = load(task)
    return summarize(pool, tasks.search(pool, method, budget, seeds), budget)


def summarize(pool: tasks.Task, results: list[SearchResult], budget: int) -> dict:
    """Return what the searches of all seeds found, with the optimum and the regret of random search."""
    found = pool.test[[result.selected for result in results]]
    rank = (pool.test[None, :] > found[:, None]).sum(axis=1)
    return {
        "found": found.round(6).tolist(),
        "rank": rank.tolist(),
        "gain": {str(after): gain_after(after, results) for after in GAINS if after + HORIZON <= budget},
        "optimum": float(pool.test.max()),
        "random_regret": tasks.expected_regret(pool, budget),
    }


def gain_after(after: int, results: list[SearchResult]) -> list[float] | None:
    """Return how much the next queries were expected to raise the best observed, and how much they did."""
    expected = np.mean([result.info.gain[after] for result in results])
    best = np.array([result.best_by_spending() for result in results])
    found = np.mean(best[:, after + HORIZON - 1] - best[:, after - 1])
    return None if np.isnan(expected) else [float(f"{value:.4g}") for value in (expected, found)]


def share(row: dict) -> float:
    """Return the regret of the mean result over that of random search."""
    return (row["optimum"] - float(np.mean(row["found"]))) / row["random_regret"]


def plan() -> list[dict]:
    """Return the settings of all rows: methods on every task with every budget, the published protocol with T = 20."""
    rows = [
        {"method": method, "task": task, "budget": budget, "seeds": [1000, 999 + number]}
        for budget in SEEDS
        for method in METHODS
        for number in [(SEEDS_OF_ROBOT if method == "robot" else SEEDS)[budget]]
        for task in TASKS
        if method != "robot, paper" or budget == 20
    ]
    return sorted(rows, key=_comes_late)


def _comes_late(row: dict) -> bool:
    """Return whether a row is one of those that matter least or take longest."""
    slow = {"robot": 100, "predictor_bo": 20}
    return row["budget"] == 5 or row["budget"] > slow.get(row["method"], np.inf)


def to_markdown(rows: list[dict]) -> str:
    """Return for each budget the shares by family and by task, the tests, and the ranks on whole spaces."""
    found = {tuple(row["settings"][name] for name in ("budget", "method", "task")): row for row in rows}
    lines = ["Shares of random search's regret; below, by family: mean (worst task; tasks above 1).", ""]
    for budget in sorted({key[0] for key in found}):
        at_budget = {key[1:]: row for key, row in found.items() if key[0] == budget}
        methods = [method for method in METHODS if any(key[0] == method for key in at_budget)]
        lines += [*_families(at_budget, budget, methods), "", *_by_task(at_budget, budget, methods), ""]
        lines += [*_ranks(at_budget, budget, methods), "", *_gains(at_budget, budget)]
    return "\n".join(lines)


def _families(rows: dict, budget: int, methods: list[str]) -> list[str]:
    lines = [f"| T = {budget} | {' | '.join(methods)} |", "|---" * (1 + len(methods)) + "|"]
    for family, names in FAMILIES.items():
        cells = []
        for method in methods:
            shares = [share(rows[method, name]) for name in names if (method, name) in rows]
            above = sum(value > 1 for value in shares)
            complete = len(shares) == len(names)
            cells.append(f"{np.mean(shares):.3f} ({max(shares):.2f}; {above})" if complete else "-")
        lines.append(f"| {family}, {len(names)} tasks | {' | '.join(cells)} |")
    for method in methods[1:]:
        both = [name for name in TASKS if {(NEW, name), (method, name)} <= rows.keys()]
        if both:
            lines.append("")
            lines.append(verdict(rows, NEW, method, both))
    return lines


def verdict(rows: dict, new: str, method: str, names: list[str]) -> str:
    """Return in words on how many tasks two methods differ, and the test of the mean share over tasks."""
    against = {name: test(*_paired(rows[new, name]["found"], rows[method, name]["found"])) for name in names}
    better, worse = (
        [name for name, found in against.items() if found.p_value < 0.05 and sign * found.difference > 0]
        for sign in (1, -1)
    )
    shares = test(*(tuple(share(rows[some, name]) for name in names) for some in (new, method)))
    listed = f" ({', '.join(worse)})" if worse else ""
    return (
        f"{new} against {method}: better on {len(better)} and worse on {len(worse)} of {len(names)} tasks{listed} "
        f"(paired over seeds, p < 0.05); mean share {shares.difference:+.3f} "
        f"({shares.low:+.3f} to {shares.high:+.3f}), "
        f"p = {shares.p_value:.2g} over tasks."
    )


def _paired(first: list[float], second: list[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the results of the seeds that both have, which all begin with the same one."""
    number = min(len(first), len(second))
    return tuple(first[:number]), tuple(second[:number])


def share_cell(row: dict | None) -> str:
    """Return a row's share of random's regret with its interval over the seeds, "-" without a row."""
    if row is None:
        return "-"
    low, high = interval(tuple((row["optimum"] - np.array(row["found"])) / row["random_regret"]))
    return f"{share(row):z.2f} ({low:z.2f} to {high:z.2f})"


def _by_task(rows: dict, budget: int, methods: list[str]) -> list[str]:
    lines = [f"| T = {budget}, task | {' | '.join(methods)} |", "|---" * (1 + len(methods)) + "|"]
    for name in TASKS:
        cells = [share_cell(rows.get((method, name))) for method in methods]
        mark = " (tuning)" if name in TUNING else ""
        lines.append(f"| {name}{mark} | {' | '.join(cells)} |")
    return lines


def _ranks(rows: dict, budget: int, methods: list[str]) -> list[str]:
    lines = [f"| T = {budget}, mean (median) rank found | {' | '.join(methods)} |", "|---" * (1 + len(methods)) + "|"]
    for name in FULL:
        some = [rows.get((method, name)) for method in methods]
        cells = [f"{np.mean(row['rank']):.1f} ({np.median(row['rank']):.0f})" if row else "-" for row in some]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _gains(rows: dict, budget: int) -> list[str]:
    """Return the gain of further queries that the method expects, and the actual one, by task."""
    known = {name: rows[NEW, name].get("gain") for name in TASKS if (NEW, name) in rows}
    if not any(known.values()):
        return []
    lines = [
        f"Gain of the best observed value by the next {HORIZON} queries of {NEW} (T = {budget}): expected, actual.",
        "",
        f"| task | {' | '.join(f'after {after} queries' for after in GAINS)} |",
        "|---" * (1 + len(GAINS)) + "|",
    ]
    for name, gains in known.items():
        if gains:
            cells = [", ".join(f"{value:.2g}" for value in gains.get(str(after), ())) for after in GAINS]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


if __name__ == "__main__":
    compute_rows("beyond", plan(), run, to_markdown)
