"""Missing values of every container are NaN, and a masked best is never selected."""

import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.search import random_search
from jaxnas.table.missing import to_floats
from jaxnas.table.normalize import normalize
from tests.integration import require

MASKED = np.ma.masked_array([1.0, 99.0, 3.0], mask=[False, True, False])


@pytest.mark.parametrize(
    "values",
    [
        MASKED,
        [1, None, 3],
        (1.0, np.nan, 3.0),
        np.array([1, None, 3], object),
        np.ma.masked_array([1, 99, 3], mask=[0, 1, 0]),
    ],
)
def test_missing_values_are_nan(values):
    np.testing.assert_array_equal(to_floats("values", values), [1, np.nan, 3])


def test_na_of_pandas_is_nan():
    pandas = require("pandas")
    for values in (pandas.Series([1, pandas.NA, 3]), pandas.array([1, None, 3], dtype="Int64")):
        np.testing.assert_array_equal(to_floats("values", values), [1, np.nan, 3])


def test_text_is_refused():
    with pytest.raises(InputError, match="`scores` must be numbers, None or NaN, got 'x'"):
        to_floats("scores", [1, "x"])


def test_a_masked_best_is_not_selected():
    table = np.arange(3.0)[:, None]
    result = random_search(table, MASKED, budget=3, seed=0)
    assert (result.selected, result.num_failed) == (2, 1)
    smallest = random_search(table, MASKED, budget=3, seed=0, direction="minimize")
    assert (smallest.selected, smallest.best) == (0, 1.0)
    np.testing.assert_array_equal(normalize(MASKED[:, None])[0].ravel(), [0, 0, 1])
