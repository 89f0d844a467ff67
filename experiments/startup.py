"""Measure what a person waits for: commands that only answer, and first and second searches in a fresh home folder.

    python experiments/startup.py --runs 5
    python experiments/startup.py --searches --runs 3 --against 4592daf

Every command runs in fresh processes, in turn with the others and, with `--against`, with those of another commit. The
medians of wall and CPU seconds (of all cores, children included) contain the start of Python. `--searches` adds the
searches: "cold" has no compiled programs, "warm" repeats it in another folder, "seed" takes another seed as well. The
script takes about one minute, with searches about four minutes for each run and commit. It prints Markdown tables and
writes no file.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
CLI = ("-m", "jaxnas.cli")
ANSWERS = {
    "python alone": ("-c", "pass"),
    "import jaxnas": ("-c", "import jaxnas"),
    "jaxnas --version": (*CLI, "--version"),
    "jaxnas --help": (*CLI, "--help"),
    "jaxnas search --help": (*CLI, "search", "--help"),
    "jaxnas search --data nowhere": (*CLI, "search", "--data", "nowhere"),
    "jaxnas train xyz": (*CLI, "train", "xyz"),
    "every public name": ("-c", "from jaxnas import *"),
}
SEARCHES = {  # in this order in one home folder, each in a folder of its own
    "jaxnas search, cold": (*CLI, "search"),
    "jaxnas search, warm": (*CLI, "search"),
    "jaxnas search, seed": (*CLI, "search", "--seed", "1"),
}


class Seconds(NamedTuple):
    """Seconds of a process and its children."""

    wall: float
    cpu: float


def measure(checkout: Path, arguments: tuple[str, ...], home: Path) -> Seconds:
    """Run Python with the package of a checkout, in a new working directory below the home folder."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAXNAS_CACHE"):
        environment.pop(name, None)
    folder = tempfile.mkdtemp(dir=home)
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Seconds(time.perf_counter() - started, cpu)


def measure_all(checkouts: dict[str, Path], jobs: dict[str, tuple[str, ...]], runs: int) -> None:
    """Print the medians of all jobs, in turn over the checkouts, and the ratio of the first to the last."""
    found: dict[tuple[str, str], list[Seconds]] = {}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            for job, arguments in jobs.items():
                for name, checkout in checkouts.items():
                    home = Path(folder, name)
                    home.mkdir(exist_ok=True)
                    found.setdefault((job, name), []).append(measure(checkout, arguments, home))
    columns = [f"{name}: wall (CPU), seconds" for name in checkouts]
    print("| | " + " | ".join([*columns, "ratio of wall (CPU)"][: len(columns) + (len(checkouts) > 1)]) + " |")
    print("|---" * (1 + len(columns) + (len(checkouts) > 1)) + "|")
    for job in jobs:
        medians = [
            Seconds(*(statistics.median(values) for values in zip(*found[job, name], strict=True)))
            for name in checkouts
        ]
        cells = [f"{wall:.2f} ({cpu:.2f})" for wall, cpu in medians]
        if len(medians) > 1:
            cells.append(f"{medians[0].wall / medians[-1].wall:.2f} ({medians[0].cpu / medians[-1].cpu:.2f})")
        print(f"| {job} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Measure this checkout, and another commit if one is given."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="Processes per command.")
    parser.add_argument("--searches", action="store_true", help="Measure searches, too.")
    parser.add_argument("--against", help="A commit to measure in turn with this checkout.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        checkouts = {"this": ROOT}
        if options.against:
            other = checkouts[options.against] = Path(folder, "other")
            git = ["git", "-C", str(ROOT), "worktree"]
            subprocess.run([*git, "add", "--quiet", "--detach", str(other), options.against], check=True)
            stack.callback(subprocess.run, [*git, "remove", "--force", str(other)], check=True)
        measure_all(checkouts, ANSWERS, options.runs)
        if options.searches:
            measure_all(checkouts, SEARCHES, options.runs)


if __name__ == "__main__":
    main()
