"""Compare the numbers of this checkout with those of another commit, bit for bit, on this machine.

    python experiments/unchanged.py b3037e9
    python experiments/unchanged.py b3037e9 --jobs searches,tables

Both checkouts compute the same jobs through public names only: scores of all proxies on every space; searches of every
method and preset on scores that the package contains; two short trainings; normalisations. A refactoring changes none
of them. The script takes about 20 minutes. It prints the differing arrays, writes no file, and exits with 1 if there
are any.
"""

import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]


def scores():
    """Return raw scores of four architectures of every space, in float32, by the strategies `loop` and `grouped`."""
    import jaxnas

    data = jaxnas.standardize(jaxnas.load_images("digits"))
    found = {}
    for name, network_class in jaxnas.NETWORKS.items():
        if name == "transnas101-macro":  # it needs 64 pixels and compiles for minutes; its layers are those of micro
            continue
        network = network_class(num_classes=10, channels=4, cells_per_stage=1)
        images = data.train_images[:8]
        if name == "transnas101-micro":
            images = np.repeat(np.repeat(images, 4, axis=1), 4, axis=2)
        batch = jaxnas.Batch(images, data.train_labels[:8])
        archs = jaxnas.sample(jaxnas.SPACES[name], 4, seed=1)
        proxies = list(jaxnas.PROXIES) if name == "nasbench201" else ["snip", "grasp", "fisher", "synflow", "flops"]
        for strategy in ("loop", "grouped"):
            if strategy == "grouped" and name != "nasbench201":
                continue
            config = jaxnas.ScoringConfig(strategy=strategy)
            chosen = proxies if strategy == "loop" else ["snip", "grasp", "fisher", "synflow", "jacob_cov"]
            found[f"{name}/{strategy}"] = jaxnas.score_archs(network, archs, batch, chosen, config)
    return found


def searches():
    """Return queries, phases and observations of every method, with an array and with a function as the objective."""
    import jaxnas

    shipped = jaxnas.load_scores("nasbench201", "cifar10")
    rows = np.arange(0, 15625, 11)
    archs, values = shipped.archs[rows], shipped.values[rows]
    table, _ = jaxnas.normalize(values)
    objective = values[:, list(shipped.proxies).index("nwot")].copy()
    objective[~np.isfinite(objective)] = np.nan
    objective += np.random.default_rng(0).normal(0, np.nanstd(objective[np.isfinite(objective)]) / 2, len(objective))
    found = {}
    for name, method in jaxnas.METHODS.items():
        kinds = [("array", objective), ("function", lambda index: float(objective[index]))]
        for kind, evaluate in kinds:
            if name in ("hyperband", "bohb") and kind == "function":
                continue
            result = method(table, evaluate, budget=12, seed=3, archs=archs)
            found[f"{name}/{kind}"] = np.array(result.queries)
            found[f"{name}/{kind}/phase"] = np.array(result.phase)
            found[f"{name}/{kind}/objective"] = np.array(result.objective)
    for preset in jaxnas.PRESETS:
        result = jaxnas.robot(table, objective, budget=12, seed=3, config=jaxnas.PRESETS[preset])
        found[f"preset {preset}"] = np.array(result.queries)
        found[f"preset {preset}/weights"] = np.array(result.weights)
    return found


def trainings():
    """Return validation and test accuracies of two candidates after two epochs."""
    import jaxnas

    data = jaxnas.standardize(jaxnas.load_images("digits"))
    network = jaxnas.NASBench201Network(num_classes=10, channels=4, cells_per_stage=1)
    archs = jaxnas.sample(jaxnas.NASBENCH201, 2, seed=0)
    objective = jaxnas.TrainingObjective(network, archs, data, jaxnas.TrainingConfig(epochs=2))
    return {"accuracies": np.array([[objective(index), objective.test_accuracy(index)] for index in range(2)])}


def tables():
    """Return every normalisation of shipped scores that contain NaN and inf."""
    import jaxnas

    values = jaxnas.load_scores("nasbench201", "cifar10").values.copy()
    values[::7, 0], values[::11, 1] = np.nan, np.inf
    methods = ("minmax", "rank", "zrank", "clip", "log")
    return {method: jaxnas.normalize(values, method)[0] for method in methods}


JOBS = {"tables": tables, "searches": searches, "trainings": trainings, "scores": scores}


def run_in(checkout: Path, job: str, out: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a job as the package in `checkout` computes them."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    subprocess.run([sys.executable, __file__, "--compute", str(out), "--jobs", job], check=True, env=environment)
    with np.load(out, allow_pickle=False) as arrays:
        return dict(arrays)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two arrays have the same shape and bits; NaN equals NaN."""
    return one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def main() -> int:
    """Compare the numbers of this checkout with those of another commit."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", nargs="?", default="HEAD", help="The commit to compare with.")
    parser.add_argument("--jobs", default=",".join(JOBS), help=f"Comma-separated, from {', '.join(JOBS)}.")
    parser.add_argument("--compute", type=Path, help="Compute one job into this .npz file and stop.")
    options = parser.parse_args()
    jobs = options.jobs.split(",")
    if unknown := [job for job in jobs if job not in JOBS]:
        parser.error(f"unknown job {unknown[0]!r}: choose from {', '.join(JOBS)}")
    if options.compute:
        np.savez(options.compute, **JOBS[jobs[0]]())
        return 0
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder, "other")
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(other), options.commit], check=True)
        try:
            for job in jobs:
                old, new = (run_in(tree, job, Path(folder, f"{job}.npz")) for tree in (other, ROOT))
                names = [name for name in old if name not in new or not same(old[name], new[name])]
                different += len(names)
                print(f"{job}: {len(old)} arrays, {len(names)} differ {' '.join(names)}".rstrip())
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(other)], check=True)
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
