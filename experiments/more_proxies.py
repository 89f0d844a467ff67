"""Measure whether RoBoT finds better architectures with more proxies than its six.

    JAXNAS_DATA=folder python experiments/more_proxies.py [--seeds 100]

The budgets are 20 and 100 queries, and the settings are the default and the published protocol. On NAS-Bench-201 the
pool is either the 1,000 cells that `zoo.py` scored, or all 9,445 cells without dead edges with the scores that the
package contains (more proxies on CIFAR-10 than on the other data sets). The observation (CIFAR-10, 12 epochs) and the
test accuracy are the published ones. On TransNAS-Bench-101 the architectures and scores are those that the package
contains; nwot, flops and params are the only proxies there in addition to the six. The share is the regret of the mean
over all seeds divided by the regret of random search with the same budget: 0 is the optimum of the pool, 1 equals
random search.

The script takes about six hours, mostly on one core. A stopped run resumes. It writes results/more_proxies.json and
results/more_proxies.md.
"""

from functools import lru_cache
from typing import Annotated

import numpy as np
import tasks
import typer
from rows import compute_rows
from zoo import load_zoo

import jaxnas
from jaxnas.proxies import PROXY_SETS, ROBOT_PROXIES, orient
from jaxnas.search import PRESETS, get_method
from jaxnas.spaces import NASBENCH201, get_space, to_index
from jaxnas.store.shipped import shipped_scores

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
}
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


def run(space: str, task: str, choice: str, preset: str, budget: int, seeds: int) -> dict:
    """Search with every seed and return the test results of the selected architectures."""
    pool = load_pool(space, task)
    names = CHOICES[choice]
    scores = orient(pool.scores[:, [pool.proxies.index(name) for name in names]], names)
    results = get_method("robot").run_seeds(
        jaxnas.normalize(scores)[0],
        pool.observation,
        budget=budget,
        seeds=range(seeds),
        config=PRESETS[preset],
        archs=pool.archs,
    )
    found = np.array([pool.test[result.selected] for result in results])
    regret = pool.test.max() - found.mean()
    return {
        "found": found.round(4).tolist(),
        "optimum": float(pool.test.max()),
        "share": float(regret / random_regret(space, task, budget)),
        "T0": float(np.mean([result.num_bo for result in results])),
    }


@lru_cache
def random_regret(space: str, task: str, budget: int) -> float:
    """Return the regret of the mean of 5,000 random searches."""
    return tasks.random_regret(load_pool(space, task), budget)


def to_markdown(rows: list[dict]) -> str:
    """Return a table of shares with a row per task, preset and budget and a column per choice of proxies."""
    by_key: dict[tuple, dict[str, float]] = {}
    for row in rows:
        settings = row["settings"]
        key = (settings["space"], settings["task"], settings["preset"], settings["budget"])
        by_key.setdefault(key, {})[settings["choice"]] = row["share"]
    lines = [f"| space | task | preset | T | {' | '.join(CHOICES)} |", "|---" * (4 + len(CHOICES)) + "|"]
    for key, shares in by_key.items():
        best = min(shares.values())
        cells = [
            "-" if name not in shares else f"**{shares[name]:.2f}**" if shares[name] == best else f"{shares[name]:.2f}"
            for name in CHOICES
        ]
        lines.append(f"| {' | '.join(map(str, key))} | {' | '.join(cells)} |")
    for space, preset, budget in dict.fromkeys((key[0], *key[2:]) for key in by_key):
        chosen = [shares for key, shares in by_key.items() if (key[0], *key[2:]) == (space, preset, budget)]
        means = [np.mean([shares.get(name, np.nan) for shares in chosen]) for name in CHOICES]  # NaN: not run
        shown = " | ".join("-" if np.isnan(mean) else f"{mean:.2f}" for mean in means)
        lines.append(f"| {space} | mean | {preset} | {budget} | {shown} |")
    return "\n".join(lines) + "\n"


def sort_key(row: dict) -> tuple:
    """Return a sort key: fast rows first, then the default preset, ImageNet16-120 last."""
    if row["budget"] == 20:
        return (20,)
    return (row["budget"], row["preset"] != "default", row["task"] == "ImageNet16-120")


def main(seeds: Annotated[int, typer.Option(help="Number of seeds per row, starting at 0.", min=1)] = 100) -> None:
    """Measure whether RoBoT finds better architectures with more proxies than its six."""
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
                dict(space=space, task=name, choice=choice, preset=preset, budget=budget, seeds=seeds)
                for choice in known
                for preset in PRESETS
                for budget in (20, 100)
                if budget == 20 or choice not in (*SMALL_BUDGET_ONLY, *(FOUND_WITHOUT if space == WHOLE else ()))
            ]
    todo.sort(key=sort_key)
    compute_rows("more_proxies", todo, run, to_markdown)


if __name__ == "__main__":
    typer.run(main)
