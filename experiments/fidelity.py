"""Measure when a few long trainings, or second trainings, are worth their price on NAS-Bench-201.

    JAXNAS_DATA=folder python experiments/fidelity.py [--seeds 50]

All searches are by `proxy_gp` with the scores of RoBoT's six proxies that the package contains, on the 9,445 cells
without dead edges. The budget counts short trainings.

Lengths: a short training has 12 epochs, and a long one 200 epochs at the price of 17 short ones. The search observes
the validation accuracy of its own data set. Reported is the test accuracy after 200 epochs, in percent.

- short: all of the budget is short trainings, and the best of them is selected.
- long: all of the budget is long trainings.
- k finalists: after short trainings for the rest of the budget, the best k are trained for long, and the best of these
  is selected.
- k long, warm: the same, but a second search of k long trainings begins with what the short ones say of all
  architectures (`earlier` of `proxy_gp`), so that it may train others.
- hyperband, bohb: both lengths, see `jaxnas.search.hyperband`.

Noise: a search observes the test accuracy on CIFAR-10 after 200 epochs from one seed of the training, and the mean of
all seeds is reported; the pool is the cells that have three seeds.

- one seed: all of the budget is distinct architectures, and the best observed is selected.
- k again: after a search with the rest of the budget, the best k are trained from a second seed, and the best mean is
  selected, as `jaxnas search --confirm k` does.
- posterior: all of the budget is distinct architectures, and the highest posterior mean among them is selected.

The interval (95 %) is a bootstrap over seeds, and a difference is paired over seeds. The script takes about half an
hour on one core. A stopped run resumes. It writes results/fidelity.json and results/fidelity.md.
"""

from functools import lru_cache
from typing import Annotated

import numpy as np
import tasks
import typer
from rows import compute_rows

import jaxnas
from jaxnas.data.catalogue import data_folder
from jaxnas.runtime.files import read_npz
from jaxnas.search import SearchResult, carry_over, get_method
from jaxnas.spaces import NASBENCH201, to_index
from jaxnas.table.evaluation import bootstrap_interval, compare

PRICE = 17  # of 200 epochs, in trainings of 12
LONG = {"cifar10": "c10_valid_val_200", "cifar100": "c100_val_200", "ImageNet16-120": "im120_val_200"}
BUDGETS = {20: (1,), 60: (1, 2, 3), 100: (2, 3, 5), 200: (2, 5, 9)}  # budget: numbers of long trainings
CURRENT, NOISY = "lengths", "noise"
AGAIN = {10: (2, 3), 20: (2, 3, 5), 50: (3, 5, 10)}  # budget: numbers of second trainings
BASES = {CURRENT: "short", NOISY: "one seed"}


@lru_cache
def load(data: str) -> tuple[tasks.Task, np.ndarray]:
    """Load a task that observes short trainings, and the validation accuracy of the long ones."""
    task = tasks.load_nasbench201(data, tasks.OWN, tasks.OWN_OBSERVATION[data])
    bench = jaxnas.load_nasbench201()
    return task, jaxnas.align(bench, NASBENCH201, task.archs, LONG[data])


def by_length(data: str, strategy: str, budget: int, seed: int) -> float:
    """Search with short and long trainings and return the test accuracy of what is selected."""
    task, long = load(data)
    number, _, kind = strategy.partition(" ")
    if strategy in ("hyperband", "bohb"):
        both = np.stack([task.observation, long], axis=1)
        result = _search(task, both, budget, seed, strategy, prices=(1, PRICE))
    elif strategy == "long":
        result = _search(task, long, budget // PRICE, seed)
    elif strategy == "short":
        result = _search(task, task.observation, budget, seed)
    else:
        result = _search(task, task.observation, budget - PRICE * int(number), seed)
        if kind == "finalists":
            best = result.queries[np.argsort(-result.objective, kind="stable")][: int(number)]
            return float(task.test[best[np.argmax(long[best])]])
        known = carry_over(task.archs[result.queries], result.objective, task.archs)
        result = _search(task, long, int(number), seed, earlier=known)
    return float(task.test[result.selected])


@lru_cache
def load_noisy() -> tuple[tasks.Task, np.ndarray]:
    """Load the cells with three seeds: the first is observed, the mean is reported; and the second."""
    task = tasks.load_nasbench201("cifar10", tasks.OWN)
    arrays = read_npz(data_folder(None) / "nb201" / "nb201_table.npz")
    seeds = arrays["c10_full_test_200_seeds"].astype(float)[to_index(NASBENCH201, task.archs.astype(np.int8))]
    kept = np.isfinite(seeds).all(axis=1)
    seeds = seeds[kept]
    columns = task.archs[kept], task.proxies, task.scores[kept], seeds[:, 0], seeds.mean(axis=1), task.cost[kept]
    return tasks.Task(*columns), seeds[:, 1]


def with_noise(strategy: str, budget: int, seed: int) -> float:
    """Search in accuracies of one seed and return the mean accuracy of what is selected."""
    task, second = load_noisy()
    number = int(strategy.split()[0]) if strategy.endswith("again") else 0
    result = _search(task, task.observation, budget - number, seed)
    selected = result.selected
    if number:
        best = result.queries[np.argsort(-result.objective, kind="stable")][:number]
        selected = best[np.argmax(task.observation[best] + second[best])]
    if strategy == "posterior":
        ranking = jaxnas.predict_ranking(task.scores, task.archs, (result.queries, result.objective))
        selected = result.queries[np.argmax(ranking.mean[result.queries])]
    return float(task.test[selected])


def _search(
    task: tasks.Task, objective: np.ndarray, budget: int, seed: int, method: str = "proxy_gp", **options: object
) -> SearchResult:
    table = _table(task)
    (result,) = get_method(method).run_seeds(table, objective, budget=budget, seeds=[seed], archs=task.archs, **options)
    return result


def _table(task: tasks.Task) -> np.ndarray:
    return jaxnas.normalize(task.scores)[0]


def run(experiment: str, data: str, strategy: str, budget: int, seeds: list[int]) -> dict:
    """Search with every seed (the first and the last are given) and return the reported accuracies."""
    numbers = range(seeds[0], seeds[1] + 1)
    if experiment == NOISY:
        found = [with_noise(strategy, budget, seed) for seed in numbers]
        optimum = load_noisy()[0].test.max()
    else:
        found = [by_length(data, strategy, budget, seed) for seed in numbers]
        optimum = load(data)[0].test.max()
    return {"found": np.round(found, 4).tolist(), "optimum": round(float(optimum), 4)}


def plan(num_seeds: int) -> list[dict]:
    """Return the settings of all rows."""
    lengths = [
        {"experiment": CURRENT, "data": data, "strategy": strategy, "budget": budget}
        for budget, numbers in BUDGETS.items()
        for data in LONG
        for strategy in (
            *("short", "long", "hyperband", "bohb"),
            *(f"{number} {kind}" for kind in ("finalists", "long, warm") for number in numbers),
        )
    ]
    noise = [
        {"experiment": NOISY, "data": "cifar10", "strategy": strategy, "budget": budget}
        for budget, numbers in AGAIN.items()
        for strategy in ("one seed", "posterior", *(f"{number} again" for number in numbers))
    ]
    return [{**row, "seeds": [4000, 3999 + num_seeds]} for row in (*noise, *lengths)]


def to_markdown(rows: list[dict]) -> str:
    """Return for both experiments the accuracies by budget and strategy, with the difference to the first strategy."""
    titles = {CURRENT: "Lengths: test accuracy, percent", NOISY: "Noise: mean test accuracy of three seeds, percent"}
    lines = []
    for experiment, title in titles.items():
        found = {
            tuple(row["settings"][name] for name in ("budget", "strategy", "data")): row
            for row in rows
            if row["settings"]["experiment"] == experiment
        }
        data = list(dict.fromkeys(key[2] for key in found))
        base = BASES[experiment]
        lines += [f'{title}; in brackets the difference to "{base}" with its interval.', ""]
        lines += [f"| budget | strategy | {' | '.join(data)} |", "|---" * (2 + len(data)) + "|"]
        for budget, strategy in dict.fromkeys(key[:2] for key in found):
            cells = [_cell(found.get((budget, strategy, name)), found.get((budget, base, name))) for name in data]
            lines.append(f"| {budget} | {strategy} | {' | '.join(cells)} |")
        best = [f"{next(row for key, row in found.items() if key[2] == name)['optimum']:.2f}" for name in data]
        lines += [f"| | best of the pool | {' | '.join(best)} |", ""]
    return "\n".join(lines)


def _cell(row: dict | None, base: dict | None) -> str:
    if row is None:
        return "-"
    mean = f"{np.mean(row['found']):.2f}"
    if base is None or base is row:
        low, high = bootstrap_interval(np.array(row["found"]))
        return f"{mean} ({low:.2f} to {high:.2f})"
    pair = compare(row["found"], base["found"])
    return f"{mean} [{pair.difference:+.2f}, {pair.low:+.2f} to {pair.high:+.2f}]"


def main(seeds: Annotated[int, typer.Option(help="Number of seeds per row, starting at 4000.", min=2)] = 50) -> None:
    """Measure when long or second trainings are worth their price."""
    compute_rows("fidelity", plan(seeds), run, to_markdown)


if __name__ == "__main__":
    typer.run(main)
