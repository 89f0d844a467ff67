"""Table 3 of RoBoT (He et al. 2024, arXiv:2403.07591): T = 100 on TransNAS-Bench-101, ranks counted from 0.

    JAXNAS_DATA=folder python experiments/transnas101.py [--seeds 100]

The search sees the final validation metric; the report is the rank by it of the architecture found, over the whole
space. Methods that read scores run on those of the public tables, which have RoBoT's proxies for every architecture
in the micro space on scene classification alone, and on the package's own: six proxies at 16 channels on 32 CIFAR-10
images of 64 x 64 pixels, with labels made from the images or drawn (`jaxnas score transnas101-micro --task
jigsaw --data cifar10 --pixels 64 --channels 16 --cells 2 --batch-size 32 --all`). Where there are none the row is
marked missing. Scores min-max normalised. The second table holds own scores against published ones: Spearman over the
random architectures that NAS-Bench-Suite-Zero scored first, of synflow over all. Writes results/transnas101.json and
results/transnas101.md beside this file.
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
    """Rank found by every run and T0, or the proxies whose scores are missing."""
    pool = tasks.load_transnas101(space, task, scores=scores)
    missing = [proxy for proxy, column in zip(pool.proxies, pool.scores.T, strict=True) if np.isnan(column).all()]
    if missing and method not in MODEL_FREE:
        return {"missing": missing}
    table = np.zeros((len(pool.archs), 1)) if missing else jaxnas.normalize(pool.scores)[0]
    rank = (pool.test[None, :] > pool.test[:, None]).sum(axis=1)

    def search(name, seeds, config=None):
        given = dict(budget=BUDGET, seeds=seeds, config=config, archs=pool.archs)
        return get_method(name).run_seeds(table, pool.observation, **given)

    if method == "single proxies":
        results = [search("single_proxy", [0], SingleProxyConfig(n))[0] for n in range(len(pool.proxies))]
    else:
        name, _, preset = method.partition(", ")
        seeds = range(first_seed, first_seed + num_seeds)
        results = search(name, seeds, PRESETS[preset] if preset else None)
    return {"rank": [int(rank[r.selected]) for r in results], "T0": [r.num_bo for r in results]}


def plan(num_seeds: int) -> list[dict]:
    """Every method on every task of both spaces."""
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
    own = [row | {"scores": tasks.OWN} for row, is_shipped in zip(todo, shipped, strict=True) if is_shipped]
    return todo + [row for row in own if row["method"] not in MODEL_FREE]


def to_markdown(rows: list[dict]) -> str:
    """A line per space, method and first seed, a column per task: rank found (published)."""
    header = f"| space | method | scores | seeds | {' | '.join(tasks.TRANSNAS_TASKS)} |"
    lines = [header, "|---" * (4 + len(tasks.TRANSNAS_TASKS)) + "|"]
    found = {}
    for row in rows:
        space, method, task, first = (row["settings"][name] for name in ("space", "method", "task", "first_seed"))
        scores = row["settings"].get("scores", "-" if method in MODEL_FREE else tasks.SUITE_ZERO)
        found[space, method, scores, first, task] = row
    for key in dict.fromkeys(key[:-1] for key in found):
        of_tasks = [found.get((*key, task), {}) for task in tasks.TRANSNAS_TASKS]
        space, method, scores, first = key
        if method == "single proxies":
            lines.append(_line(space, "single proxies, average", scores, first, of_tasks))
            lowest = [row | ({"rank": [min(row["rank"])]} if "rank" in row else {}) for row in of_tasks]
            lines.append(_line(space, "single proxies, best", scores, first, lowest))
        else:
            lines.append(_line(space, method, scores, first, of_tasks))
    return "\n".join(lines) + "\n\n" + _agreement()


def _agreement() -> str:
    """Own scores against published ones: Spearman (architectures)."""
    lines = [f"| space | task | {' | '.join(PROXIES)} |", "|---" * (2 + len(PROXIES)) + "|"]
    for space in SPACES:
        for task in tasks.TRANSNAS_TASKS:
            if (f"transnas101-{space}", task) in shipped_scores():
                own = jaxnas.load_scores(f"transnas101-{space}", task).proxies
                pairs = [tasks.published_and_own(space, task, proxy) if proxy in own else ([], []) for proxy in PROXIES]
                cells = [
                    f"{spearmanr(*pair).statistic:.3f} ({len(pair[0])})" if len(pair[0]) else "-" for pair in pairs
                ]
                lines.append(f"| {space} | {task} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _line(space, method, scores, first, of_tasks):
    published = PUBLISHED.get((space, method.replace(", paper", "")), ("-",) * len(of_tasks))
    cells = []
    for row, theirs in zip(of_tasks, published, strict=True):
        ours = "scores missing" if "missing" in row else "-"
        if "rank" in row:
            ours = f"{np.mean(row['rank']):.0f}" + (f"+-{np.std(row['rank']):.0f}" if len(row["rank"]) > 1 else "")
        cells.append(f"{ours} ({theirs})")
    return f"| {space} | {method} | {scores} | {f'from {first}' if first else '-'} | {' | '.join(cells)} |"


def main(
    seeds: Annotated[int, typer.Option(help="Seeds from 1000 on, beside the published 10..19 of RoBoT.")] = 100,
) -> None:
    """Run what is missing, print the table, write JSON and Markdown."""
    compute_rows("transnas101", plan(seeds), run, to_markdown)


if __name__ == "__main__":
    typer.run(main)
