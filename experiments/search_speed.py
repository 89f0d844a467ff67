"""Measure the seconds of a RoBoT search, compared with the same search by the package bayesian-optimization.

    JAXNAS_DATA=folder python experiments/search_speed.py [--blocks 3]    (extra: bench)

The measured time runs from a loaded table of scores (15,625 x 6, those that the package contains) to the result. The
observation is the 12-epoch CIFAR-10 accuracy, the seeds are 10..19, T is 20 and 100, and the settings are the default
and the published protocol. The baseline is the published protocol: the package's `suggest` (10,000 random points, 10
ascents by L-BFGS-B) and a NumPy scorer that takes the argmax of table @ weights. All of them run in this process in
turn, block by block. Compiling is not included; it is measured separately in fresh processes. The seconds by phase are
those of the published protocol over T steps; for jaxnas each phase is a separately jitted function. The length scale of
the surrogate is compared with the best of a fine grid and five ascents of the same evidence in NumPy.

jaxnas uses one BLAS thread per seed, as `run_seeds` does by default. Run the script on an idle machine; it takes about
nine minutes. It writes results/search_speed.json and results/search_speed.md.
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
from scipy.linalg import solve_triangular
from scipy.optimize import minimize_scalar

import jaxnas
from jaxnas.report import save_results
from jaxnas.runtime.session import in_float64
from jaxnas.scoring.engine import DEFAULT_PROXIES
from jaxnas.search import PRESETS, RobotConfig, robot
from jaxnas.search import surrogate as gp
from jaxnas.search.acquisition import ACQUISITIONS, DOMAINS, maximise
from jaxnas.search.bo import buffer_sizes
from jaxnas.search.pool import leader
from jaxnas.store.store import make_environment
from jaxnas.table.normalize import combine

SEEDS, BUDGETS = list(range(10, 20)), (20, 100)
PHASES = ("GP fit", "acquisition", "scoring")


def load_task() -> tuple[np.ndarray, np.ndarray]:
    """Return the score table and the observation."""
    scores = jaxnas.load_scores("nasbench201", "cifar10", DEFAULT_PROXIES)
    bench = jaxnas.load_nasbench201()
    return jaxnas.normalize(scores.values)[0], jaxnas.align(bench, jaxnas.NASBENCH201, scores.archs, "c10_valid_val_12")


def compile_seconds(budget: int, preset: str, cache: str) -> float:
    """Return how many seconds longer the first run in this process takes than the second."""
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    table, observation = load_task()
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        run_ours(table, observation, budget, SEEDS, preset)
        seconds.append(time.perf_counter() - started)
    return seconds[0] - seconds[1]


def in_fresh_process(function, *args):
    """Return function(*args), computed by a new Python process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def run_library(table: np.ndarray, observation: np.ndarray, budget: int, seeds: list[int]) -> dict[str, float]:
    """Return the seconds of a search by the library: T steps of suggest, score and register, then the greedy phase."""
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


def run_ours(table: np.ndarray, observation: np.ndarray, budget: int, seeds: list[int], preset: str) -> float:
    """Return the seconds from the table to the results."""
    started = time.perf_counter()
    robot.run_seeds(table, observation, budget=budget, seeds=seeds, config=PRESETS[preset])
    return time.perf_counter() - started


def phases_of_ours(table: np.ndarray, observation: np.ndarray, budget: int) -> dict[str, float]:
    """Return the seconds of each phase over the T steps of one seed, with separately jitted functions."""
    config = PRESETS["paper"]
    rng = np.random.default_rng(0)
    weights = rng.uniform(-1, 1, (budget, table.shape[1]))
    objective = observation[(table @ weights.T).argmax(axis=0)]
    sizes = buffer_sizes(budget)

    @in_float64
    @partial(jax.jit, static_argnames="size")
    def fit(count, size):
        return gp.fit(weights[:size], objective[:size], count, kernel=config.kernel, noise=config.noise)

    @in_float64
    @jax.jit
    def acquire(surrogate, key):
        utility = ACQUISITIONS["ucb"](surrogate, 0.0, key, config.kappa)
        candidates = DOMAINS[config.domain].draw(key, config.num_candidates, weights.shape[1])
        return maximise(utility, candidates, num_ascents=config.num_ascents)[0]

    @in_float64
    @jax.jit
    def score(point):
        return leader(combine(scores, point))

    scores = in_float64(jax.device_put)(table)
    spent = dict.fromkeys(PHASES, 0.0)

    def timed(phase, counts, function, *args):
        started = time.perf_counter()
        out = jax.block_until_ready(function(*args))
        spent[phase] += (time.perf_counter() - started) * counts
        return out

    for counts in (False, True):  # the first pass compiles
        for step in range(1, budget):
            size = sizes[np.searchsorted(sizes, step)]
            surrogate = timed("GP fit", counts, fit, step, size)
            point = timed("acquisition", counts, acquire, surrogate, jax.random.key(step))
            timed("scoring", counts, score, point)
    return spent


def gp_gaps(table: np.ndarray, observation: np.ndarray, budget: int) -> np.ndarray:
    """Return by how many nats our length scale misses the best evidence times prior, at steps of ten seeds."""
    config, gaps = RobotConfig(), []

    @in_float64
    @jax.jit
    def lengthscale(weights, objective, count):
        return gp.fit(weights, objective, count, kernel=config.kernel, noise=config.noise).lengthscale[0]

    for result in robot.run_seeds(table, observation, budget=budget, seeds=SEEDS):
        weights, objective = np.nan_to_num(result.query_weights), result.objective
        for count in range(2, result.num_bo, 1 + budget // 40):
            ours = float(lengthscale(weights, objective, count))
            merit = partial(log_evidence, weights[:count], objective[:count], config.noise)
            grid = np.linspace(-8, 10, 400)
            values = np.array([merit(point) for point in grid])
            best = values.max()
            for start in grid[np.argsort(-values)[:5]]:
                bounds = (start - 0.1, start + 0.1)
                best = max(
                    best, -minimize_scalar(lambda x, merit=merit: -merit(x), bounds=bounds, method="bounded").fun
                )
            gaps.append(best - merit(np.log(ours)))
    return np.array(gaps)


def log_evidence(inputs: np.ndarray, objective: np.ndarray, noise: float, log_lengthscale: float) -> float:
    """Return log p(y) + log p(l) of a Matern-5/2 process on the standardised objective."""
    spread = objective.std()
    targets = (objective - objective.mean()) / (spread if spread > 0 else 1.0)
    r = np.sqrt(5 * ((inputs[:, None] - inputs[None]) ** 2).sum(-1)) / np.exp(log_lengthscale)
    factor = np.linalg.cholesky((1 + r + r**2 / 3) * np.exp(-r) + noise * np.eye(len(inputs)))
    whitened = solve_triangular(factor, targets, lower=True)
    prior = -0.5 * (log_lengthscale / gp.PRIOR_DEVIATION) ** 2
    constant = 0.5 * len(targets) * np.log(2 * np.pi)
    return float(-0.5 * whitened @ whitened - np.log(np.diag(factor)).sum() - constant + prior)


def measure_rows(num: int, budget: int = 20) -> dict[str, float]:
    """Measure the seconds of one seed on a pool of random scores, without compiling, and the peak memory."""
    import resource

    rng = np.random.default_rng(0)
    table = rng.random((num, 6))
    observation = table @ rng.normal(size=6)
    seconds = [run_ours(table, observation, budget, [10], "default") for _ in range(2)]
    return {"rows": num, "seconds": seconds[1], "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def to_markdown(record: dict) -> str:
    """Return the tables: total seconds, seconds by phase, evidence of the surrogate, seconds by size of the pool."""
    lines = [
        "| ten seeds, seconds | median of blocks | ratio | compiling, cold | from the cache |",
        "|---|---|---|---|---|",
    ]
    for row in record["budgets"]:
        library = float(np.median(row["library"]))
        lines.append(f"| T = {row['budget']}, bayesian-optimization | {library:.1f} | 1 | - | - |")
        for preset in PRESETS:
            ours, compiling = float(np.median(row[preset])), " | ".join(f"{s:.1f}" for s in row["compiling"][preset])
            lines.append(
                f"| T = {row['budget']}, jaxnas, {preset} | {ours:.2f} | {library / ours:.1f} x | {compiling} |"
            )
    lines += ["", "| one seed, seconds | jaxnas | bayesian-optimization | ratio |", "|---|---|---|---|"]
    for row in record["budgets"]:
        for phase in PHASES:
            ours, library = row["phases"][phase], row["library_phases"][phase]
            lines.append(f"| T = {row['budget']}, {phase} | {ours:.3f} | {library:.3f} | {library / ours:.1f} x |")
    lines += ["", "| evidence below the reference, nats | median | 99 % | largest | fits |", "|---|---|---|---|---|"]
    for row in record["budgets"]:
        gaps = np.array(row["gp_gaps"])
        cells = f"{np.median(gaps):.1e} | {np.quantile(gaps, 0.99):.1e} | {gaps.max():.1e} | {len(gaps)}"
        lines.append(f"| T = {row['budget']} | {cells} |")
    lines += ["", "| rows of the pool | seconds of one seed, T = 20 | peak memory MB |", "|---|---|---|"]
    lines += [f"| {row['rows']:,} | {row['seconds']:.2f} | {row['peak_mb']:.0f} |" for row in record["rows"]]
    return "\n".join(lines) + f"\n\n1,000 seeds of T = 20: {record['thousand_seeds']:.0f} s.\n"


def main(
    blocks: Annotated[int, typer.Option(min=1, help="Number of measurements of each case.")] = 3,
    library_seeds: Annotated[
        int, typer.Option(help="Seeds of the library's search; its time is scaled to ten seeds.")
    ] = 2,
) -> None:
    """Measure the seconds of a RoBoT search, compared with the package bayesian-optimization."""
    started = time.perf_counter()
    if os.getloadavg()[0] > 0.5:
        print(f"load average {os.getloadavg()[0]:.1f}: not an idle machine")
    table, observation = load_task()
    budgets = []
    for budget in BUDGETS:
        row: dict = {"budget": budget, "compiling": {}, "library": [], **{preset: [] for preset in PRESETS}}
        for preset in PRESETS:
            with tempfile.TemporaryDirectory() as cache:
                row["compiling"][preset] = [in_fresh_process(compile_seconds, budget, preset, cache) for _ in range(2)]
            run_ours(table, observation, budget, SEEDS, preset)  # compiles
        for _ in range(blocks):
            for preset in PRESETS:
                row[preset].append(run_ours(table, observation, budget, SEEDS, preset))
            spent = run_library(table, observation, budget, SEEDS[:library_seeds])
            row["library"].append(spent["total"] * len(SEEDS) / library_seeds)
            ours = ", ".join(f"{preset} {row[preset][-1]:.2f} s" for preset in PRESETS)
            print(f"T = {budget}: {ours}, library {row['library'][-1]:.1f} s", flush=True)
        row["library_phases"] = {phase: spent[phase] / library_seeds for phase in PHASES}
        row["phases"] = phases_of_ours(table, observation, budget)
        row["gp_gaps"] = gp_gaps(table, observation, budget).tolist()
        budgets.append(row)
    record = {
        "budgets": budgets,
        "thousand_seeds": run_ours(table, observation, 20, list(range(1000)), "default"),
        "rows": [in_fresh_process(measure_rows, num) for num in (100_000, 1_000_000, 10_000_000)],
        "environment": make_environment(time.perf_counter() - started),
    }
    markdown = to_markdown(record)
    print(markdown)
    save_results(Path(__file__).parent / "results", "search_speed", record, markdown)


if __name__ == "__main__":
    typer.run(main)
