"""The README's Python examples run and print the output that the README shows."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n(?:\n((?:    [^\n]+\n)+))?", TEXT, re.DOTALL)


NUMBER = re.compile(r"\b\d+\.\d+(?= %)")  # an accuracy
SPREAD = 2.0  # percent; other processors order sums differently: 96.90 and 97.46 were observed


def assert_like(printed, expected):
    """Check that texts are equal, except for accuracies, which may differ a little."""
    lines = "\n".join(line.strip() for line in expected.splitlines())
    assert NUMBER.sub("_", printed.strip()) == NUMBER.sub("_", lines)
    for ours, theirs in zip(NUMBER.findall(printed), NUMBER.findall(lines), strict=True):
        assert abs(float(ours) - float(theirs)) <= SPREAD


PROGRAM = """
import contextlib, io, json, sys
from sklearn.datasets import load_digits

digits = load_digits()
images, labels = digits.images / 16, digits.target
names = {"x_train": images[:1500], "y_train": labels[:1500], "x_test": images[1500:], "y_test": labels[1500:]}
printed = []
for code in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), names)
    printed.append(out.getvalue())
print(json.dumps({"printed": printed, "selected": int(names["result"].selected), "archs": len(names["archs"])}))
"""


@pytest.mark.slow
def test_examples_print_what_they_say(tmp_path):
    """The examples run one after another, as a reader would type them; the data of the reader are the digits.

    They run in a process of their own, where XLA optimizes: searches of the default size take minutes without.
    """
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-c", PROGRAM, json.dumps([code for code, _ in EXAMPLES])]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=1200)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert len(EXAMPLES) == 5
    for (code, expected), printed in zip(EXAMPLES, result["printed"], strict=True):
        if expected:
            assert_like(printed, expected)
        elif "print(" in code:
            assert printed.count("|") == 9  # a cell, and its accuracy
    assert 0 <= result["selected"] < result["archs"]
    assert TEXT[: TEXT.index(EXAMPLES[0][1])].count("\n") < 40


def test_length():
    assert TEXT.count("\n") <= 150


def test_setup_and_test_commands_stay():
    assert "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/jaxnas search\n" in TEXT
    assert 'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/pytest\n' in TEXT
