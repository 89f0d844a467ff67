"""What a search costs: RoBoT's default protocol from a loaded table to the result, against the usual library loop.

    JAXNAS_DATA=folder python experiments/search_speed.py    (extra: bench)

15,625 x 6 scores that come with the package, the 12-epoch CIFAR-10 observation, seeds 10..19, T = 20 and T = 100. The
baseline is the published protocol on the package `bayesian-optimization`: its suggest (10,000 random points, 10 ascents
by L-BFGS-B) and a NumPy scorer that takes the argmax of table @ weights. Both run in this process, in turn, block by
block; compiling is apart, measured in fresh processes. Phases of ours are the same functions jitted one by one. Run it
on an idle machine. Writes results/search_speed.json and results/search_speed.md beside this file.
"""

import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer

import jaxnas
from jaxnas.precision import in_float64
from jaxnas.report import save_results
from jaxnas.search import RobotConfig, robot
from jaxnas.search import surrogate as gp
from jaxnas.search.acquisition import ACQUISITIONS, maximise
from jaxnas.store import make_environment
from jaxnas.table import combine

SEEDS, BUDGETS = list(range(10, 20)), (20, 100)
PHASES = ("GP fit", "acquisition", "scoring")


def load_task() -> tuple[np.ndarray, np.ndarray]:
    """Score table and observation."""
    scores = jaxnas.load_scores("nasbench201", "cifar10", tuple(jaxnas.PROXIES))
    bench = jaxnas.load_nasbench201()
    return jaxnas.normalize(scores.values)[0], jaxnas.align(bench, jaxnas.NASBENCH201, scores.archs, "c10_valid_val_12")


def compile_seconds(budget: int, cache: str) -> float:
    """Seconds of a first run of one seed in this process beyond those of a second."""
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    table, observation = load_task()
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        robot.run_seeds(table, observation, budget=budget, seeds=SEEDS)
        seconds.append(time.perf_counter() - started)
    return seconds[0] - seconds[1]


def in_fresh_process(function, *args):
    """function(*args), computed by a new Python process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def run_library(table: np.ndarray, observation: np.ndarray, budget: int, seeds: list[int]) -> dict[str, float]:
    """Seconds of the usual loop: T steps of suggest, score, register, then the rest of the budget down the ranking."""
    from bayes_opt import BayesianOptimization
    from bayes_opt.acquisition import UpperConfidenceBound

    spent = dict.fromkeys((*PHASES, "total"), 0.0)
    for seed in seeds:
        started = time.perf_counter()
        bounds = {f"w{number}": (-1.0, 1.0) for number in range(table.shape[1])}
        optimizer = BayesianOptimization(
            None, bounds, acquisition_function=UpperConfidenceBound(kappa=2.576), random_state=seed, verbose=0
        )
        optimizer.set_gp_params(alpha=1e-6, normalize_y=True)
        optimizer._gp.fit = partial(_timed_fit, optimizer._gp.fit, spent)
        queried, best = {}, (-np.inf, None)
        for _ in range(budget):
            start, fitting = time.perf_counter(), spent["GP fit"]
            point = optimizer.suggest()
            spent["acquisition"] += time.perf_counter() - start - (spent["GP fit"] - fitting)
            start = time.perf_counter()
            weights = np.array([point[name] for name in bounds])
            arch = int(np.argmax(table @ weights))
            spent["scoring"] += time.perf_counter() - start
            queried[arch] = observation[arch]
            best = max(best, (observation[arch], tuple(weights)), key=lambda pair: pair[0])
            optimizer.register(point, observation[arch])
        for arch in np.argsort(-(table @ np.array(best[1]))):
            if len(queried) < budget:
                queried.setdefault(int(arch), observation[arch])
        spent["total"] += time.perf_counter() - started
    return spent


def _timed_fit(fit, spent, *args):
    started = time.perf_counter()
    result = fit(*args)
    spent["GP fit"] += time.perf_counter() - started
    return result


def run_ours(table: np.ndarray, observation: np.ndarray, budget: int, seeds: list[int]) -> float:
    """Seconds from the table to the results."""
    started = time.perf_counter()
    robot.run_seeds(table, observation, budget=budget, seeds=seeds)
    return time.perf_counter() - started


def phases_of_ours(table: np.ndarray, observation: np.ndarray, budget: int) -> dict[str, float]:
    """Seconds of each phase over the T steps of one seed, each function jitted by itself."""
    config = RobotConfig()
    state = robot.run_seeds(table, observation, budget=budget, seeds=[10])[0]
    weights = np.nan_to_num(state.query_weights)
    settings = dict(num_candidates=config.num_candidates, num_ascents=config.num_ascents)

    @in_float64
    @jax.jit
    def fit(count):
        return gp.fit(weights, state.objective, count, kernel=config.kernel, noise=config.noise)

    @in_float64
    @jax.jit
    def acquire(surrogate, key):
        utility = ACQUISITIONS["ucb"](surrogate, 0.0, key, config.kappa)
        return maximise(utility, key, weights.shape[1], **settings)

    @in_float64
    @jax.jit
    def score(point):
        return combine(table, point).argmax()

    spent = dict.fromkeys(PHASES, 0.0)

    def timed(phase, counts, function, *args):
        started = time.perf_counter()
        out = jax.block_until_ready(function(*args))
        spent[phase] += (time.perf_counter() - started) * counts
        return out

    for step in range(-1, budget):  # the first compiles
        counts = step >= 0
        surrogate = timed("GP fit", counts, fit, max(step, 1))
        point = timed("acquisition", counts, acquire, surrogate, jax.random.key(step + 1))
        timed("scoring", counts, score, point)
    return spent


def measure_rows(num: int, budget: int = 20) -> dict[str, float]:
    """Seconds of one seed on a pool of random scores, after compiling, and peak memory of the process."""
    import resource

    rng = np.random.default_rng(0)
    table = rng.random((num, 6))
    observation = table @ rng.normal(size=6)
    seconds = [run_ours(table, observation, budget, [10]) for _ in range(2)]
    return {"rows": num, "seconds": seconds[1], "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def to_markdown(record: dict) -> str:
    """Three tables: end to end, by phase, by size of the pool."""
    lines = [
        "| ten seeds, seconds | jaxnas | bayesian-optimization | ratio | compiling, cold | from the cache |",
        "|---|---|---|---|---|---|",
    ]
    for row in record["budgets"]:
        ours, theirs = (float(np.median(row[name])) for name in ("jaxnas", "library"))
        cells = (
            f"{ours:.2f}",
            f"{theirs:.1f}",
            f"{theirs / ours:.1f} x",
            f"{row['cold']:.1f} s",
            f"{row['cached']:.1f} s",
        )
        lines.append(f"| T = {row['budget']} | {' | '.join(cells)} |")
    lines += ["", "| one seed, seconds | jaxnas | bayesian-optimization | ratio |", "|---|---|---|---|"]
    for row in record["budgets"]:
        for phase in PHASES:
            ours, theirs = row["phases"][phase], row["library_phases"][phase]
            lines.append(f"| T = {row['budget']}, {phase} | {ours:.3f} | {theirs:.3f} | {theirs / ours:.1f} x |")
    lines += ["", "| rows of the pool | seconds of one seed, T = 20 | peak memory MB |", "|---|---|---|"]
    lines += [f"| {row['rows']:,} | {row['seconds']:.2f} | {row['peak_mb']:.0f} |" for row in record["rows"]]
    return "\n".join(lines) + f"\n\n1,000 seeds of T = 20: {record['thousand_seeds']:.0f} s.\n"


def main(
    blocks: Annotated[int, typer.Option(min=1, help="Times that each is measured.")] = 3,
    library_seeds: Annotated[
        int, typer.Option(help="Seeds that the library loop runs; its time is scaled to ten.")
    ] = 2,
) -> None:
    """Measure, print the tables, write JSON and Markdown."""
    started = time.perf_counter()
    if os.getloadavg()[0] > 0.5:
        print(f"load average {os.getloadavg()[0]:.1f}: not an idle machine")
    table, observation = load_task()
    budgets = []
    for budget in BUDGETS:
        with tempfile.TemporaryDirectory() as cache:
            cold, cached = (in_fresh_process(compile_seconds, budget, cache) for _ in range(2))
        run_ours(table, observation, budget, SEEDS)  # compiles
        row: dict = {"budget": budget, "cold": cold, "cached": cached, "jaxnas": [], "library": []}
        for _ in range(blocks):
            row["jaxnas"].append(run_ours(table, observation, budget, SEEDS))
            spent = run_library(table, observation, budget, SEEDS[:library_seeds])
            row["library"].append(spent["total"] * len(SEEDS) / library_seeds)
            print(f"T = {budget}: {row['jaxnas'][-1]:.2f} s, {row['library'][-1]:.1f} s", flush=True)
        row["library_phases"] = {phase: spent[phase] / library_seeds for phase in PHASES}
        row["phases"] = phases_of_ours(table, observation, budget)
        budgets.append(row)
    record = {
        "budgets": budgets,
        "thousand_seeds": run_ours(table, observation, 20, list(range(1000))),
        "rows": [in_fresh_process(measure_rows, num) for num in (100_000, 1_000_000, 10_000_000)],
        "environment": make_environment(time.perf_counter() - started),
    }
    markdown = to_markdown(record)
    print(markdown)
    save_results(Path(__file__).parent / "results", "search_speed", record, markdown)


if __name__ == "__main__":
    typer.run(main)
