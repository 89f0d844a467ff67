"""How measured values are shown: one rule for the terminal, the progress and the report."""

import math

import pytest

from jaxnas.errors import InputError
from jaxnas.run.config import CompareConfig, run_config
from jaxnas.runtime.measures import ACCURACY, TEST_ACCURACY, Measure

SECONDS = Measure("seconds")


@pytest.mark.parametrize(
    ("measure", "value", "shown"),
    [
        (ACCURACY, 91.256, "91.26 %"),
        (ACCURACY, math.nan, "-"),
        (ACCURACY, -math.inf, "-"),
        (SECONDS, 0.000123456789, "0.000123457"),
        (SECONDS, -12345678.0, "-1.23457e+07"),
        (SECONDS, 3.0, "3"),
        (SECONDS, math.inf, "-"),
    ],
)
def test_a_value_has_the_digits_and_the_unit_of_its_measure(measure, value, shown):
    assert measure.show(value) == shown
    assert measure.number(value) == shown.removesuffix(" %")


def test_titles_and_the_word_for_a_failure():
    assert (ACCURACY.title, SECONDS.title) == ("validation accuracy %", "seconds")
    assert (ACCURACY.number(math.nan, ACCURACY.failed), SECONDS.show(math.nan, SECONDS.failed)) == (
        "diverged",
        "failed",
    )


@pytest.mark.parametrize(
    ("settings", "measured", "reported"),
    [
        (dict(), ACCURACY, TEST_ACCURACY),
        (dict(max_latency=0.5), ACCURACY._replace(failed="diverged or too slow"), TEST_ACCURACY),
        (dict(table="nasbench201", column="c10_valid_val_12"), ACCURACY, TEST_ACCURACY),
        (dict(table="mine.csv", column="loss", minimize=True), Measure("loss"), None),
        (dict(table="mine.csv", column="val", test_column="test"), Measure("val"), Measure("test")),
        (dict(objective_command="python train.py {arch}"), Measure("objective"), None),
        (dict(objective=("seconds",)), Measure("seconds"), None),
    ],
)
def test_only_accuracies_are_in_percent(settings, measured, reported):
    config = run_config(**settings)
    assert (config.measured, config.reported) == (measured, reported)


def test_a_comparison_measures_the_columns_of_its_table():
    assert (CompareConfig().measured, CompareConfig().reported) == (ACCURACY, TEST_ACCURACY)
    assert CompareConfig(column="c100_val_12").test_column == "robot_c100_test"
    assert CompareConfig(column="c100_val_12", test_column="robot_c10_test").test_column == "robot_c10_test"
    config = CompareConfig(table="mine.csv", column="loss", test_column="")
    assert (config.measured, config.reported) == (Measure("loss"), None)
    with pytest.raises(InputError, match="needs the column"):
        CompareConfig(table="mine.csv", column="")
