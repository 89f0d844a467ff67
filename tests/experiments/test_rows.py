"""Rows of an experiment are computed once, saved at once and returned in the requested order."""

import importlib
import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "experiments"))  # scripts, not a package
rows = importlib.import_module("rows")


def test_a_stopped_experiment_resumes(monkeypatch, tmp_path):
    monkeypatch.setattr(rows, "RESULTS", tmp_path)
    calls = []

    def compute(number):
        calls.append(number)
        if number == 2 and len(calls) == 2:
            raise KeyboardInterrupt
        return {"square": number**2}

    def markdown(found):
        return "".join(f"{row['square']}\n" for row in found)

    todo = [{"number": number} for number in (1, 2, 3)]
    with pytest.raises(KeyboardInterrupt):
        rows.compute_rows("squares", todo, compute, markdown)
    assert (tmp_path / "squares.md").read_text() == "1\n"
    found = rows.compute_rows("squares", todo, compute, markdown)
    assert calls == [1, 2, 2, 3]
    assert found == [{"settings": settings, "square": settings["number"] ** 2} for settings in todo]
    record = json.loads((tmp_path / "squares.json").read_text())
    assert record["rows"] == found
    assert record["environment"]["seconds"] >= 0
    rows.compute_rows("squares", [{"number": 3}, {"number": 4}], compute, markdown)
    assert calls == [1, 2, 2, 3, 4]
    assert len(json.loads((tmp_path / "squares.json").read_text())["rows"]) == 4  # other rows are kept
    rows.compute_rows("squares", [{"number": number} for number in (1, 5, 3)], compute, markdown)
    assert (tmp_path / "squares.md").read_text() == "1\n25\n9\n"  # a new row does not hide later ones
