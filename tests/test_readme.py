"""The README's Python examples run and print the output that the README shows."""

import contextlib
import io
import re
from pathlib import Path

import pytest
from sklearn.datasets import load_digits

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


@pytest.mark.slow
def test_examples_print_what_they_say(tmp_path, monkeypatch):
    """The examples run one after another, as a reader would type them; the data of the reader are the digits."""
    monkeypatch.chdir(tmp_path)
    digits = load_digits()
    images, labels = digits.images / 16, digits.target
    names = {"x_train": images[:1500], "y_train": labels[:1500], "x_test": images[1500:], "y_test": labels[1500:]}
    assert len(EXAMPLES) == 5
    for code, printed in EXAMPLES:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, "README.md", "exec"), names)
        if printed:
            assert_like(out.getvalue(), printed)
        elif "print(" in code:
            assert out.getvalue().count("|") == 9  # a cell, and its accuracy
    assert 0 <= names["result"].selected < len(names["archs"])
    assert TEXT[: TEXT.index(EXAMPLES[0][1])].count("\n") < 40


def test_length():
    assert TEXT.count("\n") <= 150


def test_setup_and_test_commands_stay():
    assert "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/jaxnas search\n" in TEXT
    assert 'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/pytest\n' in TEXT
