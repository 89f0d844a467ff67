"""What it takes to begin: seconds until `import jaxnas` is done, and until `jaxnas --help` has printed.

    python experiments/startup.py

Each in fresh processes, in turn, after one that does not count; medians, with Python's own start in them. Prints JSON
and a line of Markdown.
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
    """Of one process of Python."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main(runs: Annotated[int, typer.Option(help="Processes of each command.", min=1)] = 11) -> None:
    """Measure and print."""
    blocks = [{name: seconds(arguments) for name, arguments in COMMANDS.items()} for _ in range(runs + 1)][1:]
    medians = {name: round(statistics.median(block[name] for block in blocks), 3) for name in COMMANDS}
    versions = {name: version(name) for name in ("jaxnas", "jax", "lazy_loader", "numpy", "typer")}
    print(json.dumps({"runs": runs, "python": sys.version.split()[0], **versions, "seconds": medians}, indent=1))
    print("| " + " | ".join(f"{name}: {value:.2f} s" for name, value in medians.items()) + " |")


if __name__ == "__main__":
    typer.run(main)
