"""Brackets against the published table, promotion by hand, budgets over fidelities, and density models."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.search import BohbConfig, bohb, hyperband, robot
from jaxnas.search.hyperband import plan_rungs

ARCHS = np.array(list(itertools.product(range(3), repeat=5)), np.int8)
A = len(ARCHS)
TABLE = np.random.default_rng(0).random((A, 2))
PRICES = (1, 3, 9)
FULL = ARCHS @ np.array([5.0, 3, 2, 1, 0.5])
NOISE = np.random.default_rng(1).normal(size=A)
OBJECTIVE = np.stack([FULL + 3 * NOISE, FULL + NOISE, FULL], axis=1)


def test_rungs_are_those_of_the_paper():
    """The table of Li et al. 2018 for R = 9, eta = 3."""
    rungs = plan_rungs(jnp.array(PRICES))
    assert list(zip(*(column.tolist() for column in rungs), strict=True)) == [
        (0, 9, True),
        (1, 3, False),
        (2, 1, False),
        (1, 5, True),
        (2, 1, False),
        (2, 3, True),
    ]
    assert [column.tolist() for column in plan_rungs(jnp.array([1]))] == [[0], [1], [True]]


@pytest.mark.parametrize("method", [hyperband, bohb])
@pytest.mark.parametrize("budget", [5, *(pytest.param(budget, marks=pytest.mark.slow) for budget in (1, 26, 27, 100))])
def test_budget_is_spent_to_the_last_query_and_items_once(method, budget):
    result = method(TABLE, OBJECTIVE, budget=budget, seed=3, archs=ARCHS, prices=PRICES)
    assert np.array(PRICES)[result.fidelity].sum() == budget
    items = list(zip(result.queries.tolist(), result.fidelity.tolist(), strict=True))
    assert len(set(items)) == len(items)
    np.testing.assert_array_equal(result.objective, OBJECTIVE[result.queries, result.fidelity])
    highest = result.fidelity == result.fidelity.max()
    assert result.selected == result.queries[highest][np.argmax(result.objective[highest])]
    calls = []
    again = method(
        TABLE,
        lambda arch, fidelity: calls.append((arch, fidelity)) or OBJECTIVE[arch, fidelity],
        budget=budget,
        seed=3,
        archs=ARCHS,
        prices=PRICES,
        costs=np.full(A, np.nan),
    )
    assert calls == items
    assert again.to_dict() == result.to_dict()


def test_best_by_spending_counts_what_is_paid_in_full():
    result = hyperband(TABLE, OBJECTIVE, budget=27, seed=0, prices=PRICES)
    best = result.best_by_spending()
    assert len(best) == 27
    np.testing.assert_array_equal(best[:9], np.maximum.accumulate(result.objective[:9]))
    np.testing.assert_array_equal(best[9:11], best[8])  # nine are spent, and the tenth query costs three
    assert best[11] == result.objective[9]  # observations of a higher fidelity count alone
    assert best[26] == result.objective[12] == OBJECTIVE[result.selected, 2]
    failing = np.full((A, 3), np.nan)
    failing[:, 0] = OBJECTIVE[:, 0]
    failed_above = hyperband(TABLE, failing, budget=27, seed=0, prices=PRICES).best_by_spending()
    assert (np.diff(failed_above) >= 0).all()


def test_the_best_of_a_rung_are_promoted():
    result = hyperband(TABLE, OBJECTIVE, budget=27, seed=0, prices=PRICES)
    assert result.fidelity.tolist()[:13] == [0] * 9 + [1] * 3 + [2]
    first, second, third = result.queries[:9], result.queries[9:12], result.queries[12]
    np.testing.assert_array_equal(second, first[np.argsort(-OBJECTIVE[first, 0])][:3])
    assert third == second[np.argmax(OBJECTIVE[second, 1])]
    assert result.phase[:13] == ("random",) * 9 + ("promotion",) * 4


def test_a_failed_candidate_is_promoted_last():
    failing = OBJECTIVE.copy()
    failing[::2, 0], failing[1::4, 0] = np.nan, np.inf
    result = hyperband(TABLE, failing, budget=27, seed=0, prices=PRICES)
    known = np.isfinite(failing[result.queries[:9], 0])
    assert 0 < known.sum() < 9
    assert np.isfinite(failing[result.queries[9:12], 0]).sum() == min(3, known.sum())
    assert np.isfinite(failing[result.selected, 2])


@pytest.mark.slow
def test_densities_find_better_architectures_than_chance():
    def mean_found(method, **config):
        given = dict(budget=100, seeds=range(40), archs=ARCHS, prices=PRICES)
        return np.mean([FULL[result.selected] for result in method.run_seeds(TABLE, OBJECTIVE, **given, **config)])

    assert mean_found(bohb) > mean_found(hyperband) + 0.5
    blind = mean_found(bohb, config=BohbConfig(at_random=1.0))
    assert abs(blind - mean_found(hyperband)) < 1.0


def test_bad_input():
    with pytest.raises(InputError, match="robot observes one fidelity"):
        robot(TABLE, OBJECTIVE, budget=5, seed=0, prices=PRICES)
    with pytest.raises(InputError, match=r"`prices` .* must be whole numbers that rise from 1, got \(2, 3\)"):
        hyperband(TABLE, OBJECTIVE, budget=5, seed=0, prices=(2, 3))
    with pytest.raises(InputError, match=r"`objective` must have the shape \[243, 2\] .*, got \(243, 3\)"):
        hyperband(TABLE, OBJECTIVE, budget=5, seed=0, prices=(1, 3))
    with pytest.raises(InputError, match="`good` must be between 0 and 1"):
        BohbConfig(good=0.0)
