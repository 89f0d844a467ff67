"""Reproduce table 3 of RoBoT (He et al. 2024, arXiv:2403.07591): ranks found on TransNAS-Bench-101 with T = 100.

    JAXNAS_DATA=folder python experiments/transnas101.py [--seeds 100]

The search observes the final validation metric. The result is the rank of the selected architecture by that metric over
the whole space, counted from 0. Methods that read scores run on two sources of scores, min-max normalised. The public
tables have RoBoT's proxies for every architecture only in the micro space on scene classification; where scores are
missing, the row says so. The scores that the package contains are those of six proxies with 16 channels on 32 CIFAR-10
images of 64 x 64 pixels, with labels made from the images or drawn at random (`jaxnas score transnas101-micro --task
jigsaw --data cifar10 --pixels 64 --channels 16 --cells 2 --batch-size 32 --all`).

The second table has the Spearman correlation of our scores with the published ones, over the random architectures that
NAS-Bench-Suite-Zero scored first, and for synflow over all architectures.

The script takes about 100 minutes on two cores; a stopped run resumes. It writes results/transnas101.json and
results/transnas101.md.
"""

from typing import Annotated

import numpy as np
import tasks
import typer
from rows import compute_rows
from scipy.stats import spearmanr

import jaxnas
from jaxnas.scoring.engine import DEFAULT_PROXIES
from jaxnas.search import PRESETS, SingleProxyConfig, get_method
from jaxnas.store.shipped import shipped_scores

BUDGET = 100
PROXIES = (*DEFAULT_PROXIES, "nwot", "flops", "params")
SPACES = ("micro", "macro")
MODEL_FREE = ("random", "rea", "reinforce", "local_search")
PUBLISHED = {
    ("micro", "robot"): ("2+-0", "1+-0", "17+-5", "17+-34", "4+-1", "8+-8", "66+-70"),
    ("micro", "rea"): ("26+-22", "23+-28", "24+-22", "28+-23", "22+-28", "22+-20", "18+-16"),
    ("micro", "random"): ("40+-35", "34+-32", "57+-67", "42+-43", "41+-40", "43+-41", "49+-51"),
    ("micro", "reinforce"): ("35+-28", "37+-31", "40+-37", "38+-32", "34+-35", "33+-40", "34+-32"),
    ("macro", "robot"): ("1+-0", "6+-3", "3+-1", "6+-6", "2+-2", "2+-0", "5+-1"),
    ("macro", "rea"): ("23+-24", "22+-21", "21+-16", "21+-20", "17+-20", "23+-22", "19+-17"),
    ("macro", "random"): ("35+-32", "26+-24", "33+-39", "29+-29", "33+-38", "26+-23", "31+-26"),
    ("macro", "reinforce"): ("49+-45", "37+-31", "20+-22", "27+-25", "51+-43", "48+-39", "32+-17"),
    ("micro", "single proxies, average"): tuple(
        ["75+-145", "441+-382", "260+-244", "325+-318", "718+-1417", "802+-1563", "1698+-125"]
    ),
    ("micro", "single proxies, best"): ("2", "1", "22", "18", "3", "14", "36"),
    ("macro", "single proxies, average"): ("346+-248", "291+-275", "110+-77", "53+-25", "32+-23", "7+-4", "24+-22"),
    ("macro", "single proxies, best"): ("1", "8", "5", "2", "2", "2", "5"),
}


def run(method: str, space: str, task: str, first_seed: int, num_seeds: int, scores: str = tasks.SUITE_ZERO) -> dict:
    """Return the rank and T0 of every seed, or the proxies whose scores are missing."""
    pool = tasks.load_transnas101(space, task, scores=scores)
    missing = [proxy for proxy, column in zip(pool.proxies, pool.scores.T, strict=True) if np.isnan(column).all()]
    if missing and method not in MODEL_FREE:
        return {"missing": missing}
    table = np.zeros((len(pool.archs), 1)) if missing else jaxnas.normalize(pool.scores)[0]
    rank = (pool.test[None, :] > pool.test[:, None]).sum(axis=1)

    def search(name, seeds, config=None):
        return get_method(name).run_seeds(
            table, pool.observation, budget=BUDGET, seeds=seeds, config=config, archs=pool.archs
        )

    if method == "single proxies":
        results = [search("single_proxy", [0], SingleProxyConfig(n))[0] for n in range(len(pool.proxies))]
    else:
        name, _, preset = method.partition(", ")
        seeds = range(first_seed, first_seed + num_seeds)
        results = search(name, seeds, PRESETS[preset] if preset else None)
    return {"rank": [int(rank[r.selected]) for r in results], "T0": [r.num_bo for r in results]}


def plan(num_seeds: int) -> list[dict]:
    """Return the settings of all rows: every method on every task of both spaces."""
    rows = []
    for space in SPACES:
        for task in tasks.TRANSNAS_TASKS:
            for method in ("robot, default", "robot, paper"):
                rows += [(method, space, task, 10, 10), (method, space, task, 1000, num_seeds)]
            rows += [(method, space, task, 0, 1) for method in ("rank_aggregation", "single proxies")]
            rows += [(method, space, task, 1000, num_seeds) for method in MODEL_FREE]
    names = ("method", "space", "task", "first_seed", "num_seeds")
    todo = [dict(zip(names, row, strict=True)) for row in rows if row[-1]]
    shipped = [(f"transnas101-{row['space']}", row["task"]) in shipped_scores() for row in todo]
    with_own_scores = [row | {"scores": tasks.OWN} for row, is_shipped in zip(todo, shipped, strict=True) if is_shipped]
    return todo + [row for row in with_own_scores if row["method"] not in MODEL_FREE]


def to_markdown(rows: list[dict]) -> str:
    """Return a table of ranks found (published) with a row per space, method and first seed and a column per task."""
    header = f"| space | method | scores | seeds | {' | '.join(tasks.TRANSNAS_TASKS)} |"
    lines = [header, "|---" * (4 + len(tasks.TRANSNAS_TASKS)) + "|"]
    found = {}
    for row in rows:
        space, method, task, first = (row["settings"][name] for name in ("space", "method", "task", "first_seed"))
        scores = row["settings"].get("scores", "-" if method in MODEL_FREE else tasks.SUITE_ZERO)
        found[space, method, scores, first, task] = row
    for key in dict.fromkeys(key[:-1] for key in found):
        rows_of_tasks = [found.get((*key, task), {}) for task in tasks.TRANSNAS_TASKS]
        space, method, scores, first = key
        if method == "single proxies":
            lines.append(_line(space, "single proxies, average", scores, first, rows_of_tasks))
            lowest = [row | ({"rank": [min(row["rank"])]} if "rank" in row else {}) for row in rows_of_tasks]
            lines.append(_line(space, "single proxies, best", scores, first, lowest))
        else:
            lines.append(_line(space, method, scores, first, rows_of_tasks))
    return "\n".join(lines) + "\n\n" + _agreement()


def _agreement() -> str:
    """Return a table of the Spearman correlation of our scores with published ones (number of architectures)."""
    lines = [f"| space | task | {' | '.join(PROXIES)} |", "|---" * (2 + len(PROXIES)) + "|"]
    for space in SPACES:
        for task in tasks.TRANSNAS_TASKS:
            if (f"transnas101-{space}", task) in shipped_scores():
                shipped_proxies = jaxnas.load_scores(f"transnas101-{space}", task).proxies
                pairs = [
                    tasks.published_and_own(space, task, proxy) if proxy in shipped_proxies else ([], [])
                    for proxy in PROXIES
                ]
                cells = [
                    f"{spearmanr(*pair).statistic:.3f} ({len(pair[0])})" if len(pair[0]) else "-" for pair in pairs
                ]
                lines.append(f"| {space} | {task} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _line(space, method, scores, first, rows_of_tasks):
    published = PUBLISHED.get((space, method.replace(", paper", "")), ("-",) * len(rows_of_tasks))
    cells = []
    for row, published_rank in zip(rows_of_tasks, published, strict=True):
        ours = "scores missing" if "missing" in row else "-"
        if "rank" in row:
            ours = f"{np.mean(row['rank']):.0f}" + (f"+-{np.std(row['rank']):.0f}" if len(row["rank"]) > 1 else "")
        cells.append(f"{ours} ({published_rank})")
    return f"| {space} | {method} | {scores} | {f'from {first}' if first else '-'} | {' | '.join(cells)} |"


def main(
    seeds: Annotated[int, typer.Option(help="Number of additional seeds, starting at 1000.")] = 100,
) -> None:
    """Reproduce table 3 of RoBoT: ranks found on TransNAS-Bench-101 with 100 queries."""
    compute_rows("transnas101", plan(seeds), run, to_markdown)


if __name__ == "__main__":
    typer.run(main)
