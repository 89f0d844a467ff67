"""The table of methods over seeds: one measure for all of them, and what a missing value does."""

import numpy as np
import pytest

from jaxnas.run.method_runs import MethodRuns, method_rows, verdict
from jaxnas.runtime.measures import TEST_ACCURACY, Measure
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


@pytest.mark.parametrize(
    ("first", "second", "direction", "sentence"),
    [
        (
            [3.0] * 6,
            [1.0] * 6,
            "maximize",
            "Best: a, mean test accuracy 3.00 %, 2.00 points better than b on 6 shared seeds (p = 0.031).",
        ),
        (
            [3.0] * 6,
            [1.0] * 6,
            "minimize",
            "Best: b, mean test accuracy 1.00 %, 2.00 points better than a on 6 shared seeds (p = 0.031).",
        ),
        (
            [3.0, 1.0],
            [1.0, 4.0],
            "maximize",
            "Best: b, mean test accuracy 2.50 %, 0.50 points better than a on 2 shared seeds (p = 1, which may be "
            "chance).",
        ),
        (
            [3.0],
            [1.0],
            "maximize",
            "Best: a, mean test accuracy 3.00 %, 2.00 points better than b on one shared seed; one seed does not show "
            "whether that is more than chance.",
        ),
        ([3.0], [3.0], "maximize", "a and b are equally good on one shared seed: the test accuracy is the same."),
        ([3.0], [np.nan], "maximize", ""),
    ],
)
def test_the_verdict_names_the_best_and_what_chance_gives(first, second, direction, sentence):
    runs = {name: make_runs(name, [1] * len(test), test) for name, test in (("a", first), ("b", second))}
    assert verdict(method_rows(runs), TEST_ACCURACY, direction) == sentence


def test_the_best_of_three_is_compared_with_the_first():
    tests = {"a": [3.0, 3.0], "b": [1.0, 1.0], "c": [4.0, 4.0]}
    rows = method_rows({name: make_runs(name, [1, 1], test) for name, test in tests.items()})
    assert verdict(rows, Measure("score")).startswith("Best: c, mean score 4, 1 better than a on 2 shared seeds")
    assert verdict(rows[:2], Measure("score")).startswith("Best: a, mean score 3, 2 better than b")
    assert verdict(rows[:1], Measure("score")) == ""
