"""Tree search, replayed query by query."""

import itertools

import numpy as np
import pytest
from chance import check_beats_random
from scipy.stats import rankdata

from jaxnas.errors import InputError
from jaxnas.search.tree import TreeConfig, mcts

ARCHS = np.array(list(itertools.product(range(3), repeat=4)), np.int8)[::2]  # some paths end early
A = len(ARCHS)
TABLE = np.zeros((A, 1))
OBJECTIVE = ARCHS @ np.array([4.0, -2, 1, 2])


def bounds(prefix, paid, rewards, exploration):
    """The upper confidence bound of each option that follows a prefix and has architectures left."""
    within = [arch for arch in range(A) if tuple(ARCHS[arch][: len(prefix)]) == prefix]
    visits = sum(arch in paid for arch in within)
    found = {}
    for option in {int(ARCHS[arch][len(prefix)]) for arch in within if arch not in paid}:
        below = [rewards[arch] for arch in within if arch in paid and ARCHS[arch][len(prefix)] == option]
        bonus = exploration * np.sqrt(2 * np.log(visits) / len(below)) if below else np.inf
        found[option] = (np.mean(below) if below else 0) + bonus
    return found


@pytest.mark.parametrize("failing", [False, True])
def test_every_query_descends_by_the_upper_confidence_bound(failing):
    objective = np.where(np.arange(A) % 3 == 0, np.nan, OBJECTIVE) if failing else OBJECTIVE
    result = mcts(TABLE, objective, budget=A, seed=3, archs=ARCHS)
    assert result.phase == ("random",) + ("tree",) * (A - 1)
    queries = result.queries.tolist()
    for number, query in enumerate(queries):
        paid = queries[:number]
        values = objective[paid]
        worst = np.nanmin(values) if np.isfinite(values).any() else 0
        ranks = (rankdata(np.where(np.isfinite(values), values, worst)) - 0.5) / max(number, 1)
        rewards = dict(zip(paid, ranks, strict=True))
        for depth, option in enumerate(ARCHS[query].tolist()):
            found = bounds(tuple(ARCHS[query][:depth]), paid, rewards, mcts.config.exploration)
            assert found[option] == max(found.values()) or found[option] == pytest.approx(max(found.values()))


def test_it_learns_which_options_are_good():
    check_beats_random(mcts, TABLE, OBJECTIVE, budget=12, archs=ARCHS)


def test_config_is_checked():
    with pytest.raises(InputError, match="`exploration` must be positive, got 0"):
        TreeConfig(exploration=0.0)
