"""Start short commands that fail or end at once, many times, and count the exit codes: all must be those expected.

    python experiments/stress.py --runs 500   # writes experiments/results/stress.{md,json}

A thread of a library that outlives the main one could abort a process after its work is done. The commands run one
after another. The counts are written after each run, so that the same command resumes; delete the file to count from 0.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jaxnas.report import save_results
from jaxnas.store.store import make_environment

RESULTS = Path(__file__).parent / "results"
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
        [sys.executable, "-m", "jaxnas.cli", *arguments], cwd=folder, capture_output=True, text=True, timeout=600
    )
    return done.returncode, (done.stderr.splitlines() or [""])[-1]


def read_counts() -> dict[str, Any]:
    """Return what an earlier run wrote, or the record of no runs."""
    path = RESULTS / "stress.json"
    if path.exists():
        record: dict[str, Any] = json.loads(path.read_text())
        return record
    rows = [{"command": " ".join(one), "expected": code, "codes": {}} for one, code in COMMANDS.items()]
    return {"rows": rows, "wrong": [], "seconds": 0.0}


def to_markdown(record: dict[str, Any]) -> str:
    """Return the counts as a table."""
    lines = ["| command | expected | exit codes |", "|---|---|---|"]
    for row in record["rows"]:
        codes = ", ".join(f"{code}: {count}" for code, count in row["codes"].items())
        lines.append(f"| `jaxnas {row['command']}` | {row['expected']} | {codes} |")
    total = sum(sum(row["codes"].values()) for row in record["rows"])
    lines += ["", f"{total} runs in {record['seconds']:.0f} s; {len(record['wrong'])} with another code than expected."]
    return "\n".join([*lines, *(f"- {line}" for line in record["wrong"])]) + "\n"


def main() -> None:
    """Run the commands in turn until there are as many runs as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    given = parser.parse_args()
    os.nice(10)
    record = read_counts()
    before = sum(sum(row["codes"].values()) for row in record["rows"])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = "".join(f"n{i},{i % 17},{i % 5},{i % 7}\n" for i in range(30))
        (folder / "t.csv").write_text(f"arch,acc,a,b\n{rows}")
        print("a search that the others read:", *run((*SEARCH, "--out", "run"), folder), flush=True)
        turns = itertools.cycle(zip(COMMANDS.items(), record["rows"], strict=True))
        for (arguments, expected), row in itertools.islice(turns, before, given.runs):
            began = time.monotonic()
            code, line = run(arguments, folder)
            row["codes"][str(code)] = row["codes"].get(str(code), 0) + 1
            if code != expected:
                record["wrong"].append(f"exit code {code}, not {expected}: `jaxnas {' '.join(arguments)}`: {line}")
                print(record["wrong"][-1], flush=True)
            record["seconds"] += time.monotonic() - began
            environment = make_environment(record["seconds"])
            save_results(RESULTS, "stress", {"environment": environment, **record}, to_markdown(record))
    print(to_markdown(record))
    sys.exit(bool(record["wrong"]))


if __name__ == "__main__":
    main()
