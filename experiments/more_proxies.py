"""Measure whether RoBoT and `proxy_gp` find better architectures with more proxies than RoBoT's six.

    JAXNAS_DATA=folder python experiments/more_proxies.py [--seeds 100]

The budgets are 20 and 100 queries, and RoBoT has its default settings or the published protocol. `proxy_gp` has the six
and every proxy that is known, with T = 100 by 10 seeds. "proxy_gp, weighted" is a variant whose consensus counts
proxies that agree with each other less, by 50 seeds with T = 20. On NAS-Bench-201 the pool is either the 1,000 cells
that `zoo.py` scored, or all 9,445 cells without dead edges with the scores that the package contains (more proxies on
CIFAR-10 than on the other data sets). The observation (CIFAR-10, 12 epochs) and the test accuracy are the published
ones. On TransNAS-Bench-101 the architectures and scores are those that the package contains; nwot, flops and params are
the only proxies there in addition to the six. The share is the regret of the mean over all seeds divided by the regret
of random search with the same budget: 0 is the optimum of the pool, 1 equals random search.

The script takes about six hours, mostly on one core. A stopped run resumes. It writes results/more_proxies.json and
results/more_proxies.md.
"""

from functools import lru_cache
from typing import Annotated
from unittest.mock import patch

import jax.numpy as jnp
import numpy as np
import tasks
import typer
from rows import compute_rows
from zoo import load_zoo

import jaxnas
from jaxnas.proxies import PROXY_SETS, ROBOT_PROXIES, orient
from jaxnas.search import Method, proxy_gp
from jaxnas.search.pool import Pool
from jaxnas.search.proxy_gp import Features, describe
from jaxnas.spaces import NASBENCH201, get_space, to_index
from jaxnas.store.shipped import shipped_scores
from jaxnas.table.evaluation import compare
from jaxnas.table.normalize import normal_quantiles

CHOICES: dict[str, tuple[str, ...]] = {
    "six": ROBOT_PROXIES,
    "six, nwot": (*ROBOT_PROXIES, "nwot"),
    "six, flops": (*ROBOT_PROXIES, "flops"),
    "six, zen": (*ROBOT_PROXIES, "zen"),
    "six, zico": (*ROBOT_PROXIES, "zico"),
    "six, swap": (*ROBOT_PROXIES, "swap"),
    "six, AZ-NAS's four": (*ROBOT_PROXIES, *PROXY_SETS["az_nas"]),
    "six, nwot, flops": (*ROBOT_PROXIES, "nwot", "flops"),
    "all of these": (*ROBOT_PROXIES, "nwot", "zen", "zico", "swap", *PROXY_SETS["az_nas"]),
    "AZ-NAS's four": PROXY_SETS["az_nas"],
    "synflow, nwot, flops": ("synflow", "nwot", "flops"),
    "every": (),  # all that the pool has
}
WEIGHTED = "proxy_gp, weighted"
METHODS = ("robot", "robot, paper", "proxy_gp", WEIGHTED)
MOST_SEEDS = {("proxy_gp", 100): 10, (WEIGHTED, 20): 50}
MODULE = "jaxnas.search.proxy_gp"
SAMPLE, WHOLE = "NAS-Bench-201", "NAS-Bench-201, all"
SMALL_BUDGET_ONLY = ("six, nwot, flops", "AZ-NAS's four", "synflow, nwot, flops")  # a row of 100 queries takes a minute
FOUND_WITHOUT = (
    "six, zen",
    "six, zico",
    "six, swap",
    "six, AZ-NAS's four",
    "all of these",
)  # not run: WHOLE, T = 100


@lru_cache
def load_pool(space: str, name: str) -> tasks.Task | None:
    """Load the architectures of a task with all their proxies, or None if there are no scores."""
    if space == WHOLE:
        shipped = jaxnas.load_scores("nasbench201", tasks.SHIPPED[name]).proxies
        return tasks.load_nasbench201(name, tasks.OWN, proxies=shipped)
    if space == SAMPLE:
        zoo = load_zoo(tasks.SHIPPED[name])
        if zoo is None:
            return None
        bench = jaxnas.load_nasbench201()
        columns = [tasks.OBSERVATION, tasks.TEST_COLUMNS[name], tasks.COST]
        observed = (jaxnas.align(bench, NASBENCH201, zoo.archs, column) for column in columns)
        return tasks.Task(zoo.archs, zoo.proxies, zoo.scores, *observed)
    if (f"transnas101-{space}", name) not in shipped_scores():
        return None
    accuracy = tasks.load_transnas101(space, name, scores=tasks.OWN)
    scores = jaxnas.load_scores(f"transnas101-{space}", name)
    rows = to_index(get_space(f"transnas101-{space}"), accuracy.archs.astype(np.int8))
    return accuracy._replace(proxies=scores.proxies, scores=scores.values[rows])


def run(space: str, task: str, choice: str, method: str, budget: int, seeds: int) -> dict:
    """Search with every seed and return the test results of the selected architectures."""
    pool = load_pool(space, task)
    names = CHOICES[choice] or pool.proxies
    scores = orient(pool.scores[:, [pool.proxies.index(name) for name in names]], names)
    if method == WEIGHTED:
        with patch(f"{MODULE}.describe", describe_weighted):
            # A method of its own, as programs that were traced for proxy_gp hold its consensus.
            weighted = Method(WEIGHTED, proxy_gp.init, proxy_gp.ask, proxy_gp.tell, proxy_gp.config)
            results = weighted.run_seeds(
                jaxnas.normalize(scores)[0], pool.observation, budget=budget, seeds=range(seeds), archs=pool.archs
            )
    else:
        results = tasks.search(pool._replace(proxies=names, scores=scores), method, budget, [0, seeds - 1])
    found = np.array([pool.test[result.selected] for result in results])
    regret = pool.test.max() - found.mean()
    return {
        "found": found.round(4).tolist(),
        "optimum": float(pool.test.max()),
        "share": float(regret / random_regret(space, task, budget)),
        "T0": float(np.mean([result.num_bo for result in results])),
    }


def describe_weighted(pool: Pool) -> Features:
    """Return the features of `proxy_gp` with each proxy weighted by 1 / sum_q r_pq^2 in the consensus.

    r are the correlations of the normal scores: of k equal proxies each counts 1 / k.
    """
    scores = normal_quantiles(pool.table)
    scores = (scores - scores.mean(0)) / jnp.maximum(scores.std(0), 1e-9)
    shared = jnp.sum((scores.T @ scores / len(scores)) ** 2, axis=0)
    consensus = scores @ jnp.where(shared > 0, 1 / jnp.maximum(shared, 1e-9), 0)
    consensus = (consensus - consensus.mean()) / jnp.maximum(consensus.std(), 1e-9)
    features = describe(pool)
    return features._replace(means=features.means.at[:, 0].set(consensus))


@lru_cache
def random_regret(space: str, task: str, budget: int) -> float:
    """Return the regret of the mean of 5,000 random searches."""
    return tasks.random_regret(load_pool(space, task), budget)


def to_markdown(rows: list[dict]) -> str:
    """Return a table of shares with a row per task, method and budget and a column per choice of proxies; tests."""
    by_key: dict[tuple, dict[str, dict]] = {}
    for row in rows:
        settings = row["settings"]
        key = (settings["space"], settings["task"], settings["method"], settings["budget"])
        by_key.setdefault(key, {})[settings["choice"]] = row
    lines = [f"| space | task | method | T | {' | '.join(CHOICES)} |", "|---" * (4 + len(CHOICES)) + "|"]
    for key, found in by_key.items():
        best = min(row["share"] for row in found.values())
        cells = [
            "-" if row is None else f"**{row['share']:.2f}**" if row["share"] == best else f"{row['share']:.2f}"
            for row in map(found.get, CHOICES)
        ]
        lines.append(f"| {' | '.join(map(str, key))} | {' | '.join(cells)} |")
    tests = ["", "Every proxy against the six, paired over seeds (p < 0.05):", ""]
    for space, method, budget in dict.fromkeys((key[0], *key[2:]) for key in by_key):
        chosen = {key[1]: found for key, found in by_key.items() if (key[0], *key[2:]) == (space, method, budget)}
        shown = []
        for name in CHOICES:
            shares = [found[name]["share"] for found in chosen.values() if name in found]
            shown.append(f"{np.mean(shares):.2f}" if len(shares) == len(chosen) else "-")
        lines.append(f"| {space} | mean | {method} | {budget} | {' | '.join(shown)} |")
        both = {task: (found["six"], found["every"]) for task, found in chosen.items() if {"six", "every"} <= {*found}}
        if both:
            tests.append(f"- {space}, {method}, T = {budget}: {_verdict(both, 'with the six and with every proxy')}")
        for name in ("six", "every") if method == WEIGHTED else ():
            plain = {task: by_key.get((space, task, "proxy_gp", budget), {}) for task in chosen}
            both = {
                task: (plain[task][name], row[name])
                for task, row in chosen.items()
                if name in row.keys() & plain[task].keys()
            }
            if both:
                tests.append(
                    f"- {space}, {method} against proxy_gp, {name}: {_verdict(both, 'without and with weights')}"
                )
    return "\n".join([*lines, *tests]) + "\n"


def _verdict(pairs: dict[str, tuple[dict, dict]], of_both: str) -> str:
    """Return on which tasks the second row of a pair is better and worse than the first, and both mean shares."""
    against = {}
    for task, (before, after) in pairs.items():
        number = min(len(before["found"]), len(after["found"]))
        against[task] = compare(after["found"][:number], before["found"][:number])
    better, worse = (
        [task for task, test in against.items() if test.p_value < 0.05 and sign * test.difference > 0]
        for sign in (1, -1)
    )
    before, after = (np.mean([pair[number]["share"] for pair in pairs.values()]) for number in (0, 1))
    return (
        f"better on {len(better)} and worse on {len(worse)} of {len(pairs)} tasks"
        f"{' (worse: ' + ', '.join(worse) + ')' if worse else ''}; mean share {before:.3f} and {after:.3f} {of_both}."
    )


def is_planned(space: str, choice: str, method: str, budget: int) -> bool:
    """Return whether a row is computed: those that take long or answer no question are not."""
    if method in ("proxy_gp", WEIGHTED):
        return choice in ("six", "every") and (budget == 20 or method == "proxy_gp")
    return choice != "every" and (
        budget == 20 or choice not in (*SMALL_BUDGET_ONLY, *(FOUND_WITHOUT if space == WHOLE else ()))
    )


def sort_key(row: dict) -> tuple:
    """Return a sort key: fast rows first, then RoBoT's default settings, ImageNet16-120 last."""
    if row["budget"] == 20:
        return 20, row["method"] == WEIGHTED, row["choice"] == "six"
    return (row["budget"], METHODS.index(row["method"]), row["task"] == "ImageNet16-120")


def main(seeds: Annotated[int, typer.Option(help="Number of seeds per row, starting at 0.", min=1)] = 100) -> None:
    """Measure whether RoBoT and `proxy_gp` find better architectures with more proxies than RoBoT's six."""
    spaces = dict.fromkeys((SAMPLE, WHOLE), tuple(tasks.TEST_COLUMNS))
    spaces |= dict.fromkeys(("micro", "macro"), tasks.TRANSNAS_TASKS)
    todo = []
    for space, names in spaces.items():
        for name in names:
            pool = load_pool(space, name)
            if pool is None:
                print(f"{space}, {name}: no scores, left out")
                continue
            known = [choice for choice, members in CHOICES.items() if set(members) <= set(pool.proxies)]
            todo += [
                dict(
                    space=space,
                    task=name,
                    choice=choice,
                    method=method,
                    budget=budget,
                    seeds=min(seeds, MOST_SEEDS.get((method, budget), seeds)),
                )
                for choice in known
                for method in METHODS
                for budget in (20, 100)
                if is_planned(space, choice, method, budget)
            ]
    todo.sort(key=sort_key)
    compute_rows("more_proxies", todo, run, to_markdown)


if __name__ == "__main__":
    typer.run(main)
