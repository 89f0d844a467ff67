"""The table of methods over seeds: one measure for all of them, and what a missing value does."""

import numpy as np
import pytest

from jaxnas.run.method_runs import MethodRuns, method_rows
from jaxnas.table.evaluation import compare


def make_runs(method, best, test, first=0):
    seeds = np.arange(first, first + len(best))
    column = np.array(best, float)[:, None]
    return MethodRuns(method, seeds, np.zeros(len(best), int), np.zeros(len(best), int), column, np.array(test, float))


def test_one_missing_test_value_does_not_change_the_measure():
    robot = make_runs("robot", [75.0, 76.0, 77.0], [35.0, np.nan, 37.0])
    random = make_runs("random", [71.0, 72.0, 73.0], [31.0, 32.0, 34.0])
    rows = method_rows({"robot": robot, "random": random})
    assert [row["mean"] for row in rows] == [36.0, pytest.approx(97 / 3)]
    assert [row["observed"] for row in rows] == [76.0, 72.0]
    assert [(row["seeds"], row["seeds_without_value"]) for row in rows] == [(3, 1), (3, 0)]
    expected = compare(np.array([31.0, 34.0]), np.array([35.0, 37.0]))._asdict()
    assert rows[1]["against_first"] == {**expected, "pairs": 2}


def test_without_any_test_value_the_objective_is_compared():
    runs = {name: make_runs(name, best, [np.nan] * 2) for name, best in (("a", [3, 4]), ("b", [1, 2]))}
    assert [row["mean"] for row in method_rows(runs)] == [3.5, 1.5]


def test_a_method_without_a_value_has_none():
    rows = method_rows({"a": make_runs("a", [3, 4], [1, 2]), "b": make_runs("b", [3, 4], [np.nan] * 2)})
    assert np.isnan(rows[1]["mean"])
    assert rows[1]["seeds_without_value"] == 2
    assert rows[1]["against_first"] is None
