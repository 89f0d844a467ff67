"""Start short commands that fail or end at once, many times, and count the exit codes: all must be those expected.

A thread of a library that outlives the main one aborts a process now and then, after its work is done:

    python experiments/stress.py --runs 500
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

COMMANDS = {  # arguments, and the exit code
    ("search", "--budget", "0"): 2,
    ("search", "--table", "none.csv", "--scores", "none.csv", "--column", "acc"): 2,
    ("search", "--table", "t.csv", "--scores", "t.csv", "--column", "none"): 2,
    ("report", "none"): 2,
    ("report", "run"): 0,
    ("score", "--archs", "none.txt"): 2,
    ("train", "none"): 2,
    ("search", "--table", "t.csv", "--scores", "t.csv", "--column", "acc", "--budget", "99"): 2,
}
SEARCH = ("search", "--table", "t.csv", "--scores", "t.csv", "--column", "acc", "--budget", "4", "--method", "random")


def run(arguments: tuple[str, ...], folder: Path) -> tuple[int, str]:
    """Return exit code and last line of stderr of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "jaxnas.cli", *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )
    return done.returncode, (done.stderr.splitlines() or [""])[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after this time")
    given = parser.parse_args()
    os.nice(10)
    codes, began = Counter[tuple[str, int, int]](), time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = "".join(f"n{i},{i % 17},{i % 5},{i % 7}\n" for i in range(30))
        (folder / "t.csv").write_text(f"arch,acc,a,b\n{rows}")
        print("a search that the others read:", *run((*SEARCH, "--out", "run"), folder))
        for arguments, expected in itertools.islice(itertools.cycle(COMMANDS.items()), given.runs):
            if time.monotonic() - began > given.seconds:
                break
            code, line = run(arguments, folder)
            codes[" ".join(arguments), expected, code] += 1
            if code != expected:
                print(f"exit code {code}, not {expected}: {' '.join(arguments)}: {line}", flush=True)
    wrong = sum(count for (_, expected, code), count in codes.items() if code != expected)
    print(f"{codes.total()} runs in {time.monotonic() - began:.0f} s, {wrong} with another exit code than expected")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
