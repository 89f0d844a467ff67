"""Measure the seconds of `import jaxnas`, `jaxnas --help` and similar commands.

    python experiments/startup.py [--runs 11]

Every command runs in fresh processes, in turn with the others; the first round is discarded. The medians include the
start of Python. The script takes about one minute. It prints JSON and a row of Markdown and writes no file.
"""

import json
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from typing import Annotated

import typer

COMMANDS = {
    "python alone": ["-c", "pass"],
    "import jaxnas": ["-c", "import jaxnas"],
    "jaxnas --version": ["-m", "jaxnas.cli", "--version"],
    "jaxnas --help": ["-m", "jaxnas.cli", "--help"],
    "jaxnas search --help": ["-m", "jaxnas.cli", "search", "--help"],
    "every public name": ["-c", "from jaxnas import *"],
}


def seconds(arguments: list[str]) -> float:
    """Return the seconds of one Python process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main(runs: Annotated[int, typer.Option(help="Number of processes per command.", min=1)] = 11) -> None:
    """Measure the seconds of `import jaxnas`, `jaxnas --help` and similar commands."""
    blocks = [{name: seconds(arguments) for name, arguments in COMMANDS.items()} for _ in range(runs + 1)][1:]
    medians = {name: round(statistics.median(block[name] for block in blocks), 3) for name in COMMANDS}
    versions = {name: version(name) for name in ("jaxnas", "jax", "lazy_loader", "numpy", "typer")}
    print(json.dumps({"runs": runs, "python": sys.version.split()[0], **versions, "seconds": medians}, indent=1))
    print("| " + " | ".join(f"{name}: {value:.2f} s" for name, value in medians.items()) + " |")


if __name__ == "__main__":
    typer.run(main)
