"""On any pool every method keeps the budget, queries distinct architectures, selects the best and is repeatable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxnas.errors import InputError
from jaxnas.search import METHODS, RobotConfig

A, M, D, OPTIONS = 6, 2, 3, 3  # sizes of every pool are fixed, because shapes are compiled; values are drawn
CONFIGS = {"robot": RobotConfig(num_candidates=32, num_ascents=2)}
TIED = st.sampled_from([0.0, 0.5, 1.0])
TABLES = arrays(float, (A, M), elements=TIED | st.floats(-1e3, 1e3))
FAILED = st.sampled_from([np.nan, np.inf, -np.inf])
OBJECTIVES = FAILED | TIED | st.floats(-1e6, 1e6)
FAST = ("random", "rea", "rank_sum")  # of the methods, all of which test_search calls
SEEDS = st.integers(0, 2**31 - 1)


@st.composite
def archs(draw):
    """Draw distinct vectors; the first has the last options, so that all pools have as many options."""
    numbers = draw(st.lists(st.integers(0, OPTIONS**D - 2), min_size=A - 1, max_size=A - 1, unique=True))
    return np.stack(np.unravel_index([OPTIONS**D - 1, *numbers], (OPTIONS,) * D), axis=1).astype(np.int8)


def run(name, table, objective, **given):
    """Return the result as a dictionary, or the message if nothing was found."""
    try:
        return METHODS[name](table, objective, config=CONFIGS.get(name), costs=np.zeros(A), **given).to_dict()
    except InputError as error:
        return str(error)


def record(objective, asked):
    """Return the objective as a function that records its arguments."""

    def evaluate(*at):
        asked.append(at)
        return float(objective[at])

    return evaluate


def check_best(found, values):
    """The first of the best finite queries at the highest fidelity is selected; without any there is a message."""
    finite = np.isfinite(values)
    if isinstance(found, str):
        assert not finite.any()
        assert "failed" in found or "no finite value" in found
        return
    fidelity = np.where(finite, found["fidelity"], -1)
    merit = np.where(fidelity == fidelity.max(), values, -np.inf)
    assert found["selected"] == found["queries"][int(np.argmax(merit))]
    assert found["num_failed"] == (~finite).sum()


@pytest.mark.parametrize("budget", [pytest.param(3, marks=pytest.mark.slow), A])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in METHODS]
)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(table=TABLES, objective=arrays(float, A, elements=OBJECTIVES), archs=archs(), seed=SEEDS)
def test_a_budget_buys_so_many_distinct_architectures(name, budget, table, objective, archs, seed):
    asked = []
    given = dict(budget=budget, seed=seed, archs=archs)
    found = run(name, table, record(objective, asked), **given)
    queries = [arch for (arch,) in asked]
    assert len(queries) == len(set(queries)) == budget
    assert set(queries) <= set(range(A))
    check_best(found, objective[queries])
    assert isinstance(found, str) or found["queries"] == queries
    if np.isfinite(objective).any():
        assert run(name, table, objective, **given) == found
    assert run(name, table, record(objective, []), **given) == found


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.multi_fidelity])
@settings(max_examples=10, deadline=None, derandomize=True)
@given(table=TABLES, objective=arrays(float, (A, 2), elements=OBJECTIVES), archs=archs(), seed=SEEDS)
def test_a_budget_buys_items_of_several_fidelities(name, table, objective, archs, seed):
    asked, prices, budget = [], (1, 3), A
    given = dict(budget=budget, seed=seed, archs=archs, prices=prices)
    found = run(name, table, record(objective, asked), **given)
    assert len(asked) == len(set(asked))
    assert {arch for arch, _ in asked} <= set(range(A))
    assert sum(prices[fidelity] for _, fidelity in asked) == budget
    check_best(found, np.array([objective[at] for at in asked]))
    if np.isfinite(objective).any():
        assert run(name, table, objective, **given) == found
