"""Table 3 of RoBoT (He et al. 2024, arXiv:2403.07591): T = 100 on TransNAS-Bench-101, ranks counted from 0.

    JAXNAS_DATA=folder python experiments/transnas101.py [--seeds 100]

The search sees the final validation metric; the report is the rank by it of the architecture found, over the whole
space. Methods that read scores run where the public tables have RoBoT's proxies for every architecture, which is the
micro space on scene classification; elsewhere the row is marked missing. Scores min-max normalised. Writes
results/transnas101.json and results/transnas101.md beside this file.
"""

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import tasks
import typer

import jaxnas
from jaxnas.report import save_results
from jaxnas.search import PRESETS, SingleProxyConfig, get_method
from jaxnas.store import make_environment

BUDGET = 100
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
}


def run(space: str, name: str, seeds: list[int], more: list[int]) -> list[dict]:
    """A row per method and seed range."""
    task = tasks.load_transnas101(space, name)
    rank = (task.test[None, :] > task.test[:, None]).sum(axis=1)
    missing = [proxy for proxy, column in zip(task.proxies, task.scores.T, strict=True) if np.isnan(column).all()]
    common = {"space": space, "task": name, "budget": BUDGET}

    def search(method, some, preset="default", config=None):
        table = np.zeros((len(rank), 1)) if missing else jaxnas.normalize(task.scores)[0]
        config = PRESETS[preset] if method == "robot" else config
        given = dict(budget=BUDGET, seeds=some, config=config, archs=task.archs)
        results = get_method(method).run_seeds(table, task.observation, **given)
        return {
            **common,
            "method": f"robot, {preset}" if method == "robot" else method,
            "seeds": some,
            "rank": [int(rank[result.selected]) for result in results],
            "T0": [result.num_bo for result in results],
        }

    rows = [search(method, more) for method in MODEL_FREE]
    if missing:
        return [
            *({**common, "method": f"robot, {preset}", "seeds": seeds, "missing": missing} for preset in PRESETS),
            *rows,
        ]
    for preset in PRESETS:
        rows += [search("robot", some, preset) for some in (seeds, more) if some]
    ranks = [search("single_proxy", [0], config=SingleProxyConfig(n))["rank"][0] for n in range(len(task.proxies))]
    rows.append({**common, "method": "single proxies, average", "rank": ranks})
    rows.append({**common, "method": "single proxies, best", "rank": [min(ranks)]})
    return [*rows, {**search("rank_aggregation", [0]), "seeds": []}]


def to_markdown(rows: list[dict]) -> str:
    """A line per space, method and seed range, a column per task: rank found (published)."""
    lines = [
        f"| space | method | seeds | {' | '.join(tasks.TRANSNAS_TASKS)} |",
        "|---" * (3 + len(tasks.TRANSNAS_TASKS)) + "|",
    ]
    keys = dict.fromkeys((row["space"], row["method"], tuple(row.get("seeds", ()))[:1]) for row in rows)
    for space, method, start in keys:
        cells = []
        for number, task in enumerate(tasks.TRANSNAS_TASKS):
            found = [row for row in rows if (row["space"], row["method"], row["task"]) == (space, method, task)]
            found = [row for row in found if tuple(row.get("seeds", ()))[:1] == start]
            published = PUBLISHED.get((space, method.replace(", paper", "")), ("-",) * len(tasks.TRANSNAS_TASKS))[
                number
            ]
            ours = "-"
            if found and "rank" in found[0]:
                ranks = found[0]["rank"]
                ours = f"{np.mean(ranks):.0f}" + (f"+-{np.std(ranks):.0f}" if len(ranks) > 1 else "")
            elif found:
                ours = "scores missing"
            cells.append(f"{ours} ({published})")
        seeds = f"from {start[0]}" if start else "-"
        lines.append(f"| {space} | {method} | {seeds} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(
    seeds: Annotated[int, typer.Option(help="Seeds from 1000 on, beside the published 10..19 of RoBoT.")] = 100,
) -> None:
    """Run every row, print the table, write JSON and Markdown."""
    started = time.perf_counter()
    more = list(range(1000, 1000 + seeds))
    rows = [
        row for space in SPACES for task in tasks.TRANSNAS_TASKS for row in run(space, task, list(range(10, 20)), more)
    ]
    markdown = to_markdown(rows)
    print(markdown)
    record = {"budget": BUDGET, "environment": make_environment(time.perf_counter() - started), "rows": rows}
    save_results(Path(__file__).parent / "results", "transnas101", record, markdown)


if __name__ == "__main__":
    typer.run(main)
