"""Measure what the accuracies of earlier tasks on the same space give a search by `proxy_gp`.

    JAXNAS_DATA=folder python experiments/warm_start.py [--seeds 50]

Each task of a family is searched while the observations of all other tasks of the family are known: two data sets of
NAS-Bench-201, six tasks of TransNAS-Bench-101 micro or macro. The budget is T = 20, on NAS-Bench-201 also T = 5, as 20
queries find the best of the observed column there without help. The rows differ in what is known:

- nothing: no warm start;
- all: the whole tables of the other tasks;
- 20 each: 20 random architectures of each other task (one draw for every 25 seeds);
- shuffled: the whole tables, each in another random order;
- reversed: the whole tables with the sign turned, so that what is best elsewhere is named the worst.

The last two show what earlier tasks that mislead cost. The share is the regret of the mean result divided by that of
random search with the same budget (0 is the optimum, 1 equals random search); its interval (95 %) is a bootstrap over
seeds. The observation is that of the task itself (on NAS-Bench-201 after 12 epochs), and the scores of RoBoT's proxies
are those that the package contains. The form of the prior mean was chosen among five on the tasks of
TransNAS-Bench-101 with 20 other seeds.

The script takes about 40 minutes on a busy core. A stopped run resumes. It writes results/warm_start.json and
results/warm_start.md.
"""

from functools import lru_cache
from typing import Annotated

import numpy as np
import tasks
import typer
from beyond import share, share_cell
from rows import compute_rows

import jaxnas
from jaxnas.search import carry_over
from jaxnas.table.evaluation import compare

FAMILIES = {
    "NAS-Bench-201": tuple(tasks.OWN_OBSERVATION),
    "micro": tasks.TRANSNAS_TASKS,
    "macro": tasks.TRANSNAS_TASKS,
}
BUDGETS = {"NAS-Bench-201": (5, 20), "micro": (20,), "macro": (20,)}
KNOWN = ("nothing", "all", "reversed", "shuffled", "20 each")
GROUP = 25  # seeds that share a draw


@lru_cache
def load(family: str, task: str) -> tasks.Task:
    """Load a task with the observation of its own data set."""
    if family == "NAS-Bench-201":
        return tasks.load_nasbench201(task, tasks.OWN, tasks.OWN_OBSERVATION[task])
    return tasks.load_transnas101(family, task, scores=tasks.OWN)


def earlier(family: str, task: str, known: str, draw: int) -> np.ndarray | None:
    """Return what is known of the other tasks [A E]."""
    if known == "nothing":
        return None
    archs = load(family, task).archs.astype(np.int8)
    others = [load(family, other).observation for other in FAMILIES[family] if other != task]
    rng = np.random.default_rng(draw)
    if known == "20 each":
        rows = [rng.permutation(len(archs))[:20] for _ in others]
        others = [carry_over(archs[few], values[few], archs) for few, values in zip(rows, others, strict=True)]
    if known == "shuffled":
        others = [rng.permutation(values) for values in others]
    return np.stack([-values if known == "reversed" else values for values in others], axis=1)


def run(family: str, task: str, known: str, budget: int, seeds: list[int]) -> dict:
    """Search with every seed (the first and the last are given) and return the results."""
    pool = load(family, task)
    table = jaxnas.normalize(pool.scores)[0]
    found = []
    for first in range(seeds[0], seeds[1] + 1, GROUP):
        results = jaxnas.proxy_gp.run_seeds(
            table,
            pool.observation,
            budget=budget,
            seeds=range(first, min(first + GROUP, seeds[1] + 1)),
            archs=pool.archs,
            earlier=earlier(family, task, known, draw=first),
        )
        found += [float(pool.test[result.selected]) for result in results]
    optimum = float(pool.test.max())
    return {
        "found": np.round(found, 6).tolist(),
        "optimum": optimum,
        "random_regret": tasks.expected_regret(pool, budget),
    }


def plan(num_seeds: int) -> list[dict]:
    """Return the settings of all rows."""
    return [
        {"family": family, "task": task, "known": known, "budget": budget, "seeds": [3000, 2999 + num_seeds]}
        for known in KNOWN
        for family, names in FAMILIES.items()
        for budget in BUDGETS[family]
        for task in names
    ]


def to_markdown(rows: list[dict]) -> str:
    """Return the mean shares of each family, then the share of each task with its interval."""
    found = {tuple(row["settings"][name] for name in ("family", "budget", "known", "task")): row for row in rows}
    lines = ["Shares of random search's regret; by family: mean (worst task; tasks above 1).", ""]
    lines += [f"| family | T | {' | '.join(KNOWN)} |", "|---" * (2 + len(KNOWN)) + "|"]
    for family, budgets in BUDGETS.items():
        for budget in budgets:
            cells = [_family(found, family, budget, known) for known in KNOWN]
            lines.append(f"| {family}, {len(FAMILIES[family])} tasks | {budget} | {' | '.join(cells)} |")
    lines += ["", *_verdicts(found), ""]
    lines += [f"| task | T | {' | '.join(KNOWN)} |", "|---" * (2 + len(KNOWN)) + "|"]
    for family, budgets in BUDGETS.items():
        for budget in budgets:
            for task in FAMILIES[family]:
                cells = [share_cell(found.get((family, budget, known, task))) for known in KNOWN]
                lines.append(f"| {family}/{task} | {budget} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _family(found: dict, family: str, budget: int, known: str) -> str:
    shares = [share(row) for key, row in found.items() if key[:3] == (family, budget, known)]
    if len(shares) < len(FAMILIES[family]):
        return "-"
    return f"{np.mean(shares):.3f} ({max(shares):.2f}; {sum(value > 1 for value in shares)})"


def _verdicts(found: dict) -> list[str]:
    """Return for each kind of knowledge on how many tasks it differs from nothing."""
    lines = []
    for known in KNOWN[1:]:
        pairs = [(row, found.get((*key[:2], known, key[3]))) for key, row in found.items() if key[2] == KNOWN[0]]
        tests = [compare(after["found"], before["found"]) for before, after in pairs if after]
        if tests:
            better, worse = (
                sum(test.p_value < 0.05 and sign * test.difference > 0 for test in tests) for sign in (1, -1)
            )
            lines += [f"- {known} against nothing: better on {better}, worse on {worse} of {len(tests)} (p < 0.05)."]
    return lines


def main(seeds: Annotated[int, typer.Option(help="Number of seeds per row, starting at 3000.", min=1)] = 50) -> None:
    """Compare searches that know earlier tasks with those that do not."""
    compute_rows("warm_start", plan(seeds), run, to_markdown)


if __name__ == "__main__":
    typer.run(main)
