"""Measure what other settings of `proxy_gp` and mixtures of it with RoBoT give on the tasks that chose its settings.

    JAXNAS_DATA=folder python experiments/proxy_gp_variants.py [--seeds 50]

Every variant changes one setting of `proxy_gp`, or leaves every second or fourth query to RoBoT, where both methods
learn from what they can: the process from all queries, RoBoT from those that its weights picked. The measure is the
share of random search's regret with T = 20, as in `beyond.py`. The tasks are those of `beyond.TUNING` and NAS-Bench-201
with the scores of the package; the seeds, from 2000, are not those of `beyond.py`, whose other tasks confirm a choice.

The script takes about 30 minutes on one core. A stopped run resumes. It writes results/proxy_gp_variants.json and
results/proxy_gp_variants.md.
"""

import itertools
from contextlib import ExitStack
from typing import Annotated
from unittest.mock import patch

import beyond
import jax.numpy as jnp
import numpy as np
import tasks
import typer
from jax import lax
from rows import compute_rows

import jaxnas
from jaxnas.search import Method, Phase, Proposal, ProxyGPConfig, RobotConfig, bo, proxy_gp, unweighted
from jaxnas.search.pool import next_in_ranking
from jaxnas.table.normalize import combine

TASKS = [*beyond.TUNING, "NAS-Bench-201/cifar10/jaxnas/own"]
MODULE = "jaxnas.search.proxy_gp"
VARIANCES = {"linear": (0.3, 3.0), "op counts": (0.1, 0.5), "local": (0.2,)}
NOISES = (0.03, 0.2)


def grid(**changes):
    """Return the constants of the module for other variances of its components."""
    points = np.array(list(itertools.product(*{**VARIANCES, **changes}.values(), NOISES)))
    return {"GRID": points, "VARIANCE": points[:, :-1], "NOISE": points[:, -1]}


CONSTANTS = {
    "as it is": {},
    "slopes -1/2, 0, 1/2, 1": {"SLOPES": (-0.5, 0.0, 0.5, 1.0)},
    "slopes 0, 1/2": {"SLOPES": (0.0, 0.5)},
    "linear variance 0.3, 3, 10": grid(linear=(0.3, 3.0, 10.0)),
    "linear variance 0.03, 0.3, 3": grid(linear=(0.03, 0.3, 3.0)),
    "local variance 0.05, 0.2, 1": grid(local=(0.05, 0.2, 1.0)),
}
CONFIGS = {"kappa 3": ProxyGPConfig(kappa=3.0), "four random queries": ProxyGPConfig(initial=4)}
MIXTURES = {"every second query by RoBoT": 2, "every fourth query by RoBoT": 4}
VARIANTS = (*CONSTANTS, *CONFIGS, *MIXTURES)


def mixture(every: int) -> Method:
    """Return the method whose every n-th query is RoBoT's."""
    config = RobotConfig()

    def init(pool, budget, key, _):
        weights = bo.init(num_proxies=pool.num_proxies, budget=budget)
        return proxy_gp.init(pool, budget, key, proxy_gp.config), weights

    def ask(state, history, pool, key, _):
        def by_robot():
            weights, arch, info = bo.ask(state[1], pool.table, history.queried, key, config=config)
            following = next_in_ranking(combine(pool.table, bo.best_weights(state[1])), history.queried)
            is_known = history.queried[arch]
            return Proposal(
                jnp.where(is_known, following, arch),
                jnp.where(is_known, Phase.GREEDY, Phase.BO).astype(jnp.int32),
                jnp.where(is_known, jnp.nan, weights),
                info,
            )

        def by_process():
            proposal = proxy_gp.ask(state[0], history, pool, key, proxy_gp.config)
            return proposal._replace(weights=unweighted(pool))

        return lax.cond(history.count % every == every - 1, by_robot, by_process)

    def tell(state, proposal, objective, pool, _):
        process = proxy_gp.tell(state[0], proposal, objective, pool, proxy_gp.config)
        weights = jnp.nan_to_num(proposal.weights)
        updated = bo.tell(state[1], weights, proposal.item, objective)
        return process, lax.cond(jnp.isfinite(proposal.weights).all(), lambda: updated, lambda: state[1])

    return Method(f"mixture of {every}", init, ask, tell)


def run(variant: str, task: str, budget: int, seeds: list[int]) -> dict:
    """Search with every seed (the first and the last are given) and return the share of random search's regret."""
    pool, config = beyond.load(task), CONFIGS.get(variant, proxy_gp.config)
    # A method of another name is traced with the constants that are patched.
    method = Method(variant, proxy_gp.init, proxy_gp.ask, proxy_gp.tell, config)
    if variant in MIXTURES:
        method, config = mixture(MIXTURES[variant]), None
    with ExitStack() as stack:
        for name, value in CONSTANTS.get(variant, {}).items():
            stack.enter_context(patch(f"{MODULE}.{name}", value))
        results = method.run_seeds(
            jaxnas.normalize(pool.scores)[0],
            pool.observation,
            budget=budget,
            seeds=range(seeds[0], seeds[1] + 1),
            config=config,
            archs=pool.archs,
        )
    found = pool.test[[result.selected for result in results]]
    regret = pool.test.max() - found
    shares = regret / tasks.expected_regret(pool, budget)
    return {"share": float(shares.mean()), "error": float(shares.std(ddof=1) / np.sqrt(len(shares)))}


def to_markdown(rows: list[dict]) -> str:
    """Tabulate the share of each variant on each task, with its standard error, and the mean."""
    lines = [f"| T = 20 | {' | '.join(TASKS)} | mean |", "|---" * (2 + len(TASKS)) + "|"]
    found = {(row["settings"]["variant"], row["settings"]["task"]): row for row in rows}
    for variant in VARIANTS:
        some = [found[variant, task] for task in TASKS if (variant, task) in found]
        if len(some) == len(TASKS):
            cells = [f"{row['share']:z.3f}+-{row['error']:.3f}" for row in some]
            lines.append(f"| {variant} | {' | '.join(cells)} | {np.mean([row['share'] for row in some]):.3f} |")
    return "\n".join(lines)


def main(seeds: Annotated[int, typer.Option(help="Number of seeds, starting at 2000.", min=2)] = 50) -> None:
    """Compare variants of `proxy_gp` on the tasks that chose its settings."""
    todo = [
        {"variant": variant, "task": task, "budget": 20, "seeds": [2000, 1999 + seeds]}
        for variant in VARIANTS
        for task in TASKS
    ]
    compute_rows("proxy_gp_variants", todo, run, to_markdown)


if __name__ == "__main__":
    typer.run(main)
