"""Measure what each choice of RoBoT contributes, by changing one choice at a time.

    JAXNAS_DATA=folder python experiments/ablations.py [--seeds 100]    (extra: plot)

Every variant changes one setting of the default preset, or of the published protocol where its name begins with
"paper". The measure is the `share`: the regret of the mean result (the best possible result minus the mean result)
divided by the regret of random search with the same budget. A share of 0 is the optimum, a share of 1 equals random
search. The tasks are NAS-Bench-201, with the published observation and with the observation of the data set itself, and
the random subsets of TransNAS-Bench-101 for which NAS-Bench-Suite-Zero has scores of five of the proxies. The defaults
were chosen on NAS-Bench-201 and on the micro space; the macro space tests them on other tasks.

The script takes about 40 minutes on two cores. It saves each row when it is computed, so a stopped run resumes. It
writes results/ablations.json, results/ablations.md and results/ablations.png.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tasks
import typer
from rows import RESULTS, compute_rows

import jaxnas
from jaxnas.runtime.files import atomic_write
from jaxnas.runtime.session import in_float64
from jaxnas.scoring.engine import DEFAULT_PROXIES
from jaxnas.search import PRESETS, RobotConfig, SearchResult, get_method
from jaxnas.search import surrogate as gp

DEFAULT, PAPER = PRESETS["default"], PRESETS["paper"]
EVERY_PROXY = tuple(
    "epe_nas fisher flops grad_norm grasp jacob_cov l2_norm nwot params plain snip synflow zen".split()  # noqa: SIM905
)


class Variant(NamedTuple):
    """Settings of one way to search."""

    normalization: str = "minmax"
    config: RobotConfig = DEFAULT
    method: str = "robot"
    proxies: tuple[str, ...] = ()  # empty: all proxies of the task
    budget: int = 20
    final: str = "best"  # how the result is chosen from the queries: a name in `FINAL_CHOICES`


def changed(**changes) -> Variant:
    """Return the default preset with some fields of its config changed."""
    return Variant(config=replace(DEFAULT, **changes))


def paper(**changes) -> Variant:
    """Return the published protocol with some fields of its config changed."""
    return Variant(config=replace(PAPER, **changes))


SIX = DEFAULT_PROXIES
GROUPS: dict[str, dict[str, Variant]] = {
    "preset": {
        "default": Variant(),
        "paper": paper(),
        "random": Variant(method="random"),
        "rank_aggregation": Variant(method="rank_aggregation"),
    },
    "acquisition": {
        **{f"paper, UCB kappa {kappa:g}": paper(kappa=kappa) for kappa in (0.5, 1.0, 5.0, 10.0, 30.0)},
        "paper, EI": paper(acquisition="ei"),
        "paper, Thompson": paper(acquisition="thompson", num_candidates=1000),
        "paper, IDS": paper(acquisition="ids"),
        **{f"UCB kappa {kappa:g}": changed(kappa=kappa) for kappa in (1.0, 2.576, 5.0, 30.0)},
        "EI": changed(acquisition="ei"),
    },
    "kernel": {
        "paper, Matern-3/2": paper(kernel="matern32"),
        "paper, RBF": paper(kernel="rbf"),
        "paper, ARD": paper(ard=True),
        "paper, noise 0.01": paper(noise=1e-2),
    },
    "normalisation": {
        **{f"paper, {name}": Variant(name, PAPER) for name in ("rank", "zrank", "clip", "log")},
        **{f"default, {name}": Variant(name) for name in ("rank", "zrank", "clip", "log")},
    },
    "domain": {"paper, sphere": paper(domain="sphere"), "default, sphere": changed(domain="sphere")},
    "proposals": {"paper, distinct": paper(distinct=True), "default, not distinct": changed(distinct=False)},
    "T0": {
        f"default, T0 = {int(20 * part)} of 20": changed(explore=part) for part in (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
    },
    "proxies": {
        **{f"without {name}": Variant(proxies=tuple(proxy for proxy in SIX if proxy != name)) for name in SIX},
        "synflow, jacob_cov": Variant(proxies=("synflow", "jacob_cov")),
        "synflow, jacob_cov, snip": Variant(proxies=("synflow", "jacob_cov", "snip")),
        "thirteen of Suite-Zero": Variant(proxies=EVERY_PROXY),
    },
    "final choice": {
        "default, posterior of the scores": Variant(final="posterior of scores"),
        "default, posterior of scores and encoding": Variant(final="posterior of scores and encoding"),
        "default, hindsight": Variant(final="hindsight"),
    },
    "budget": {
        f"{name}, T = {budget}": Variant(config=preset, budget=budget)
        for budget in (5, 10, 40, 100)
        for name, preset in (("default", DEFAULT), ("paper", PAPER))
    },
}


@lru_cache
def load(name: str, proxies: tuple[str, ...] = ()) -> tasks.Task:
    """Load a task by name, with the given proxies instead of the default ones."""
    space, *parts = name.split("/")
    if space == "NAS-Bench-201":
        data, scores, observation = parts
        column = tasks.OBSERVATION if observation == "published" else tasks.OWN_OBSERVATION[data]
        return tasks.load_nasbench201(data, scores, column, proxies)
    task = tasks.load_transnas101(space, parts[0], preliminary=True)
    columns = [
        number
        for number, proxy in enumerate(task.proxies)
        if not proxies or proxy.replace("jacov", "jacob_cov") in proxies
    ]
    return task._replace(scores=task.scores[:, columns])


NASBENCH201 = [
    "NAS-Bench-201/cifar10/Suite-Zero/own",
    "NAS-Bench-201/cifar10/jaxnas/own",
    "NAS-Bench-201/cifar100/jaxnas/own",
    "NAS-Bench-201/cifar100/jaxnas/published",
    "NAS-Bench-201/ImageNet16-120/Suite-Zero/own",
    "NAS-Bench-201/ImageNet16-120/Suite-Zero/published",
    "NAS-Bench-201/ImageNet16-120/jaxnas/own",
    "NAS-Bench-201/ImageNet16-120/jaxnas/published",
]
MICRO = [f"micro/{task}" for task in tasks.TRANSNAS_TASKS]
MACRO = [f"macro/{task}" for task in tasks.TRANSNAS_TASKS]
ALL = [*NASBENCH201, *MICRO, *MACRO]
SOME = (
    [NASBENCH201[number] for number in (0, 2, 4)]
    + [MICRO[number] for number in (0, 1)]
    + [MACRO[number] for number in (1, 5)]
)


def runs_on(group: str, name: str) -> list[str]:
    """Return the names of the tasks on which a variant runs."""
    if name == "thirteen of Suite-Zero":
        return [NASBENCH201[0], NASBENCH201[4]]
    if group in ("proxies", "budget"):
        return SOME[:3]
    if group == "final choice":
        return NASBENCH201
    return ALL if group == "preset" or name == "default, log" else SOME


@lru_cache
def random_regret(name: str, budget: int) -> float:
    """Return the regret of the mean of 5,000 random searches."""
    return tasks.random_regret(load(name), budget)


def run(group: str, variant: str, task: str, search: dict, seeds: list[int]) -> dict:
    """Search with every seed and return the test results.

    `search` (the settings of the variant) and `seeds` (the first and the last) identify the row in the results.
    """
    chosen, pool = GROUPS[group][variant], load(task, tuple(search["proxies"]))
    results = get_method(chosen.method).run_seeds(
        jaxnas.normalize(pool.scores, chosen.normalization)[0],
        pool.observation,
        budget=chosen.budget,
        seeds=range(seeds[0], seeds[1] + 1),
        config=chosen.config if chosen.method == "robot" else None,
        archs=pool.archs,
    )
    choose = FINAL_CHOICES[chosen.final]
    report = np.array([pool.test[choose(pool, result)] for result in results])
    return {
        "report": report.round(4).tolist(),
        "share": float((pool.test.max() - report.mean()) / random_regret(task, chosen.budget)),
        "T0": float(np.mean([result.num_bo for result in results])),
        "hits": float(np.mean([_is_best(pool, result) for result in results])),
    }


def _by_posterior(encoded: bool, task: tasks.Task, result: SearchResult) -> int:
    """Return the queried architecture with the highest posterior mean given its scores and noisy observations."""
    features = jaxnas.normalize(task.scores, "zrank")[0]
    if encoded:
        features = np.hstack([features, np.eye(1 + task.archs.max())[task.archs].reshape(len(features), -1)])
    return int(result.queries[np.argmax(_posterior_mean(features[result.queries], result.objective))])


@in_float64
@jax.jit
def _posterior_mean(features: jax.Array, objective: jax.Array) -> jax.Array:
    """Return the posterior mean of a Gaussian process; the evidence selects its length scale and noise.

    Outliers far below the other observations are clipped.
    """
    low, high = jnp.quantile(objective, jnp.array([0.25, 0.75]))
    values = jnp.maximum(objective, low - 1.5 * (high - low))
    fits = [gp.fit(features, values, len(values), noise=noise) for noise in (1e-3, 1e-2, 0.1, 0.3, 1.0)]
    evidence = jnp.stack([fit.posterior.log_marginal_likelihood for fit in fits])
    return jnp.stack([gp.predict(fit, features)[0] for fit in fits])[jnp.argmax(evidence)]


FINAL_CHOICES: dict[str, Callable[[tasks.Task, SearchResult], int]] = {
    "best": lambda task, result: result.selected,
    "posterior of scores": partial(_by_posterior, False),
    "posterior of scores and encoding": partial(_by_posterior, True),
    "hindsight": lambda task, result: int(result.queries[np.argmax(task.test[result.queries])]),
}


def _is_best(task: tasks.Task, result: SearchResult) -> bool:
    return bool(task.observation[result.selected] == np.nanmax(task.observation))


def plan(num_seeds: int) -> list[dict]:
    """Every variant on its tasks."""
    return [
        {
            "group": group,
            "variant": name,
            "task": task,
            "search": {**variant._asdict(), "config": asdict(variant.config), "proxies": list(variant.proxies)},
            "seeds": [1000, 999 + num_seeds],
        }
        for group, variants in GROUPS.items()
        for name, variant in variants.items()
        for task in runs_on(group, name)
    ]


def to_markdown(rows: list[dict]) -> str:
    """A table per group: share on each family of tasks and over all, hits, T0."""
    lines = []
    families = {"NAS-Bench-201": "NAS-Bench-201", "micro": "TransNAS micro", "macro": "TransNAS macro"}
    for group, variants in GROUPS.items():
        header = [group, *families.values(), "all", "worst task", "best of the observation", "T0"]
        lines += ["", f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
        for name in variants:
            some = _of(rows, group, name)
            if not some:
                continue
            cells = [
                _mean_share([row for row in some if row["settings"]["task"].startswith(family)]) for family in families
            ]
            worst = max(some, key=lambda row: row["share"])
            cells += [
                _mean_share(some),
                f"{worst['share']:.2f} ({worst['settings']['task']})",
                f"{100 * np.mean([row['hits'] for row in some]):.0f} %",
                f"{np.mean([row['T0'] for row in some]):.1f}",
            ]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| task | " + " | ".join(GROUPS["preset"]) + " |", "|---" * (1 + len(GROUPS["preset"])) + "|"]
    for task in ALL:
        some = {name: row for name in GROUPS["preset"] for row in _of(rows, "preset", name, task)}
        cells = [
            f"{np.mean(some[name]['report']):.2f}+-{np.std(some[name]['report']):.2f} ({some[name]['share']:.2f})"
            if name in some
            else "-"
            for name in GROUPS["preset"]
        ]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _of(rows, group, variant, task=""):
    wanted = {"group": group, "variant": variant, **({"task": task} if task else {})}
    return [row for row in rows if wanted.items() <= row["settings"].items()]


def _mean_share(rows: list[dict]) -> str:
    return f"{np.mean([row['share'] for row in rows]):.2f}" if rows else "-"


def draw(rows: list[dict], path: Path) -> None:
    """Draw a panel per group of variants, with the share of every task and their mean."""
    from matplotlib.figure import Figure

    groups = list(GROUPS)
    num_rows = -(-len(groups) // 3)
    figure = Figure(figsize=(15, 4 * num_rows), layout="constrained")
    panels = list(figure.subplots(num_rows, 3, squeeze=False).flat)
    for axes, group in zip(panels, groups, strict=False):
        for number, name in enumerate(GROUPS[group]):
            shares = np.array([row["share"] for row in _of(rows, group, name)])
            if len(shares):
                inside, mean = shares[shares <= 2], shares.mean()
                axes.plot(inside, np.full(len(inside), number), "o", color="tab:blue", alpha=0.35, markersize=4)
                axes.plot(min(mean, 2), number, "|" if mean <= 2 else ">", color="black", ms=10, markeredgewidth=2)
        axes.set_yticks(range(len(GROUPS[group])), list(GROUPS[group]))
        axes.set(title=group, xlim=(-0.05, 2.05))
        axes.axvline(1.0, color="grey", linewidth=0.6)
        axes.invert_yaxis()
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    figure.supxlabel(
        "regret over that of random search: 0 = optimum, 1 = random search; "
        "a dot per task, a bar for their mean (an arrow where it is above 2)"
    )
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def main(
    seeds: Annotated[int, typer.Option(help="Number of seeds, starting at 1000.", min=1)] = 100,
) -> None:
    """Measure what each choice of RoBoT contributes, by changing one choice at a time."""
    rows = compute_rows("ablations", plan(seeds), run, to_markdown)
    draw(rows, RESULTS / "ablations.png")


if __name__ == "__main__":
    typer.run(main)
