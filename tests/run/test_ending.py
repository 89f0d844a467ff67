"""The end of a search: by time, and by training the best once more."""

import time

import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.run.config import TIMED_BUDGET, run_config
from jaxnas.run.ending import TimeLimit, confirm, num_to_search
from jaxnas.run.sections import SearchConfig
from jaxnas.runtime.events import Noted
from jaxnas.runtime.settings import parse_seconds
from jaxnas.search import random_search

POOL = np.random.default_rng(0).random((12, 2))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5", 1.5), ("10m", 600), ("1h30m", 5400), ("2h5s", 7205), (7, 7)]
)
def test_durations(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-5", "ten", "10 m", "5d", "nan", float("nan")])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InputError, match="a duration must be above 0, such as 90s, 10m or 1h30m"):
        parse_seconds(text)


def test_settings_of_the_end():
    assert run_config(time="10m").search == SearchConfig(time="10m", budget=TIMED_BUDGET)
    assert run_config(time="10m", budget=7).search.budget == 7
    assert num_to_search(run_config(budget=7, confirm=3).search) == 4


@pytest.mark.parametrize("value", [1, 5, 9, -2])
def test_a_confirmation_of_more_than_the_budget_is_refused(value):
    with pytest.raises(InputError, match=f"`confirm` must be 0, or from 2 to 4, below the budget, got {value}"):
        run_config(budget=5, confirm=value)


@pytest.mark.parametrize("setting", [{"time": "1m"}, {"confirm": 2}])
def test_a_table_has_no_trainings_to_limit(setting):
    with pytest.raises(InputError, match=r"is for trainings, but accuracies are looked up in t\.csv"):
        run_config(table="t.csv", column="a", **setting)


def test_methods_share_what_is_left():
    config, now = SearchConfig(time="100", confirm=3), time.perf_counter()
    limit = TimeLimit(config, now - 20, share=2)
    assert limit.end - now == pytest.approx(40, abs=1)
    assert limit(9.0)
    assert not limit(11.0)  # and three that confirm
    assert TimeLimit(SearchConfig(), now, share=1)(1e9)


def test_what_the_time_ended_is_said():
    events = []
    limit = TimeLimit(SearchConfig(time="10m", budget=9), time.perf_counter(), share=1)
    limit.tell(9, events.append)
    assert events == []
    limit.tell(4, events.append)
    assert events == [Noted("the time limit of 0:10:00 ended the search after 4 candidates")]


@pytest.fixture(scope="module")
def result():
    return random_search(POOL, lambda index: float(index), budget=6, seed=0)


def test_a_search_ends_when_a_query_is_not_affordable(result):
    asked = []

    def affordable(seconds):
        asked.append(seconds)
        return len(asked) < 3

    ended = random_search(POOL, lambda index: float(index), budget=6, seed=0, affordable=affordable)
    assert ended.queries.tolist() == result.queries.tolist()[:3]
    assert ended.selected == max(ended.queries)
    assert (ended.best_by_spending()[2:] == ended.best).all()
    assert all(seconds >= 0 for seconds in asked)


def test_the_first_query_is_always_made():
    assert len(random_search(POOL, lambda index: 1.0, budget=6, seed=0, affordable=lambda seconds: False).queries) == 1


def test_the_best_mean_of_two_trainings_is_selected(result):
    first, second, third = sorted(result.queries.tolist(), reverse=True)[:3]
    again = {first: first - 9.0, second: second + 1.0, third: third + 1.0}
    confirmed, selected = confirm(result, again.__getitem__, 3)
    assert (list(confirmed), confirmed, selected) == ([first, second, third], again, second)


def test_a_candidate_that_diverges_the_second_time_is_not_selected(result):
    first, second = sorted(result.queries.tolist(), reverse=True)[:2]
    assert confirm(result, {first: np.nan, second: 0.0}.__getitem__, 2)[1] == second
    assert confirm(result, lambda index: np.nan, 2)[1] == result.selected
