"""The README's Python example prints what the README says it prints."""

import contextlib
import io
import re
from pathlib import Path

import pytest


@pytest.mark.slow
def test_example_prints_what_it_says():
    text = (Path(__file__).parents[1] / "README.md").read_text()
    code, printed = re.search(r"```python\n(.*?)```\n\n((?:    [^\n]+\n)+)", text, re.DOTALL).groups()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})
    assert out.getvalue().splitlines() == [line.strip() for line in printed.splitlines()]
    assert text[: text.index(printed)].count("\n") < 40
