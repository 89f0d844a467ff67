"""Measure more methods on the tasks of `beyond.py`: `rank_weights`, `mcts` and `pretrained_predictor`, with T = 20.

    JAXNAS_DATA=folder python experiments/family.py [--seeds 100]

Tasks, scores, seeds and the share of random search's regret are those of `beyond.py`, whose rows the tests compare
with. `pretrained_predictor` learns the numbers of each op and RoBoT's proxies before any label; one variant learns
flops and params in place of the proxies, as published, and one is not pretrained. Its steps of both trainings, learning
rate and number of first queries were chosen among a few values on the tasks of `beyond.TUNING`, with seeds from 3000.

`MOST_SEEDS` has the seeds of methods that have fewer, and `ON_SUBSETS` the methods that also have the random subsets of
TransNAS-Bench-101. The script takes about an hour on one core. A stopped run resumes. It writes results/family.json and
results/family.md.
"""

import json
from typing import Annotated

import ablations
import beyond
import numpy as np
import tasks
import typer
from rows import RESULTS, compute_rows

import jaxnas
from jaxnas.search import PretrainedPredictorConfig
from jaxnas.spaces import get_space, to_index

PREDICTOR = "pretrained_predictor"
COSTS, PLAIN = f"{PREDICTOR}, flops and params", f"{PREDICTOR}, no pretraining"
METHODS = ("rank_weights", "mcts", PREDICTOR, COSTS, PLAIN)
AGAINST = {
    PREDICTOR: (PLAIN, COSTS, "predictor_bo", "rea", "robot", "proxy_gp"),
    COSTS: (PLAIN, "predictor_bo", "proxy_gp"),
}
TASKS, SUBSETS = beyond.TASKS, beyond.FAMILIES["subsets"]
WHOLE = [name for name in TASKS if name not in SUBSETS]
FAMILIES = {
    **beyond.FAMILIES,
    "all but those of tuning": [name for name in TASKS if name not in beyond.TUNING],
    "all whole spaces": WHOLE,
}
ON_SUBSETS = (PREDICTOR, PLAIN)
MOST_SEEDS = {PREDICTOR: 50, PLAIN: 50, COSTS: 50}


def plan(num_seeds: int) -> list[dict]:
    """Return the settings of all rows."""
    return [
        {"method": method, "task": task, "budget": 20, "seeds": [1000, 999 + min(num_seeds, most)]}
        for names in (WHOLE, SUBSETS)
        for method, most in {"rank_weights": num_seeds, "mcts": num_seeds, **MOST_SEEDS}.items()
        for task in names
        if names is WHOLE or method in ON_SUBSETS
    ]


def run(method: str, task: str, budget: int, seeds: list[int]) -> dict:
    """Search with every seed (the first and the last are given) and return results and ranks."""
    pool, config = beyond.load(task), None
    if method == COSTS:
        pool = with_costs(task, pool)
    if method == PLAIN:
        config = PretrainedPredictorConfig(pretraining=0)
    results = tasks.search(pool, method.split(",")[0], budget, seeds, config)
    return beyond.summarize(pool, results, budget)


def with_costs(name: str, pool: tasks.Task) -> tasks.Task:
    """Return a task whose scores are flops and params alone."""
    names = ("flops", "params")
    if not name.startswith("full "):
        return ablations.load(name, names)
    space, task = name.removeprefix("full ").split("/")
    space = f"transnas101-{space}"
    scores = jaxnas.load_scores(space, task, names).values[to_index(get_space(space), pool.archs.astype(np.int8))]
    return pool._replace(proxies=names, scores=scores)


def to_markdown(rows: list[dict]) -> str:
    """Return the mean share of each family, the share of each task with its interval, and the tests."""
    found = {(row["settings"]["method"], row["settings"]["task"]): row for row in rows}
    lines = [f"| T = 20 | {' | '.join(METHODS)} |", "|---" * (1 + len(METHODS)) + "|"]
    for family, names in FAMILIES.items():
        cells = []
        for method in METHODS:
            shares = [beyond.share(found[method, name]) for name in names if (method, name) in found]
            above = sum(value > 1 for value in shares)
            whole = len(shares) == len(names)
            cells.append(f"{np.mean(shares):.3f} ({max(shares):.2f}; {above})" if whole else "-")
        lines.append(f"| {family}, {len(names)} tasks: mean (worst; above 1) | {' | '.join(cells)} |")
    for name in TASKS:
        mark = " (tuning)" if name in beyond.TUNING else ""
        cells = [beyond.share_cell(found.get((method, name))) for method in METHODS]
        lines.append(f"| {name}{mark} | {' | '.join(cells)} |")
    return "\n".join([*lines, *verdicts(found)])


def verdicts(found: dict) -> list[str]:
    """Return the tests of `pretrained_predictor` against other methods, on the tasks that both have."""
    others = json.loads((RESULTS / "beyond.json").read_text())["rows"]
    settings = [row["settings"] for row in others]
    known = {(of["method"], of["task"]): row for of, row in zip(settings, others, strict=True) if of["budget"] == 20}
    rows, lines = {**known, **found}, []
    for new, methods in AGAINST.items():
        for method in methods:
            both = [name for name in TASKS if {(new, name), (method, name)} <= rows.keys()]
            lines += ["", beyond.verdict(rows, new, method, both)] if len(both) > 1 else []
    return lines


def main(seeds: Annotated[int, typer.Option(help="Number of seeds per row, starting at 1000.", min=1)] = 100) -> None:
    """Measure the methods on 22 tasks, and `pretrained_predictor` on 36."""
    compute_rows("family", plan(seeds), run, to_markdown)


if __name__ == "__main__":
    typer.run(main)
