"""Measure two more methods on the whole spaces of `beyond.py`: `rank_weights` and `mcts`, with T = 20.

    JAXNAS_DATA=folder python experiments/family.py [--seeds 100]

Tasks, scores, seeds and the share of random search's regret are those of `beyond.py`, whose table has `proxy_gp`,
`robot` and others for comparison.

The script takes about ten minutes on one core. A stopped run resumes. It writes results/family.json and
results/family.md.
"""

from typing import Annotated

import beyond
import numpy as np
import typer
from rows import compute_rows

METHODS = ("rank_weights", "mcts")
FAMILIES = {name: beyond.FAMILIES[name] for name in ("NAS-Bench-201", "TransNAS micro", "TransNAS macro")}


def plan(num_seeds: int) -> list[dict]:
    """Return the settings of all rows."""
    return [
        {"method": method, "task": task, "budget": 20, "seeds": [1000, 999 + num_seeds]}
        for method in METHODS
        for names in FAMILIES.values()
        for task in names
    ]


def to_markdown(rows: list[dict]) -> str:
    """Return the mean share of each family, and the share of each task with its interval."""
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
    for name in [name for names in FAMILIES.values() for name in names]:
        lines.append(f"| {name} | {' | '.join(beyond.share_cell(found.get((method, name))) for method in METHODS)} |")
    return "\n".join(lines)


def main(seeds: Annotated[int, typer.Option(help="Number of seeds per row, starting at 1000.", min=1)] = 100) -> None:
    """Measure `rank_weights` and `mcts` on 22 tasks."""
    compute_rows("family", plan(seeds), beyond.run, to_markdown)


if __name__ == "__main__":
    typer.run(main)
