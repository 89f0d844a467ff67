"""The sentences about what the surrogate of a search learned."""

from dataclasses import replace

import numpy as np
import pytest

from jaxnas.run.learned import describe_surrogate
from jaxnas.runtime.measures import ACCURACY, Measure
from jaxnas.search import SearchResult, SurrogateInfo

NAN = np.nan


@pytest.fixture
def result():
    fields = {name: np.full(shape, NAN) for name, shape in SurrogateInfo.shapes(3, 4).items()}
    fields["mean"][2:] = 80.0, 83.0
    fields["slope"][3], fields["effect"][3], fields["effect_std"][3] = 0.25, [1.5, -0.5, NAN], [0.5, 0.25, NAN]
    fields["gain"][2:] = 3.0, 0.125
    return SearchResult(
        method="proxy_gp",
        selected=7,
        queries=np.array([5, 6, 7, 8]),
        phase=("greedy", "random", "bo", "bo"),
        objective=np.array([70.0, 60.0, 84.0, 83.0]),
        cost=np.zeros(4),
        query_weights=np.full((4, 3), NAN),
        weights=np.full(3, NAN),
        num_bo=2,
        budget=4,
        seed=0,
        num_failed=0,
        config={},
        fidelity=np.zeros(4, int),
        spent=np.arange(1, 5),
        info=SurrogateInfo(**fields),
    )


def test_effects_errors_and_gain_are_shown(result):
    prior, error, gain = describe_surrogate(result, ("snip", "synflow", "flops"), ACCURACY)
    assert prior == (
        "expected before any query: 0.25 of the proxies' consensus; effect of a proxy that is one deviation higher, "
        "points: snip +1.50+-0.50, synflow -0.50+-0.25"
    )
    assert error == "2 queries were predicted with an error of 2.83 points (root mean square)"
    assert gain == "this model expects another 10 queries to gain 0.12 points"


def test_an_objective_that_is_minimised_keeps_its_own_sign(result):
    info = result.info._replace(mean=-result.info.mean)
    minimised = replace(result, direction="minimize", info=info)
    prior, error, gain = describe_surrogate(minimised, ("snip", "synflow", "flops"), Measure("latency"))
    assert prior.endswith("in latency: snip -1.5+-0.5, synflow +0.5+-0.25")
    assert "error of 2.82843 in latency" in error
    assert gain == "this model expects another 10 queries to gain 0.125 in latency"


def test_the_gain_is_left_out_where_it_is_known_to_be_too_low(result):
    def lengthen(values):
        return np.concatenate([np.repeat(values[:1], 12, axis=0), values])

    arrays = {name: lengthen(getattr(result, name)) for name in ("objective", "cost", "query_weights", "fidelity")}
    info = SurrogateInfo(*map(lengthen, result.info))
    long = replace(result, **arrays, queries=np.arange(16), spent=np.arange(1, 17), budget=16, info=info)
    assert [line.split()[0] for line in describe_surrogate(long, ("a", "b", "c"), ACCURACY)] == ["expected", "2"]


def test_a_small_gain_is_not_shown_as_none(result):
    result.info.gain[3] = 0.001
    assert describe_surrogate(result, ("snip", "synflow", "flops"), ACCURACY)[-1].endswith(
        "to gain less than 0.01 points"
    )


def test_failed_queries_and_constant_proxies_are_left_out(result):
    result.objective[2:], result.info.effect[3] = NAN, NAN
    (gain,) = describe_surrogate(result, ("snip", "synflow", "flops"), ACCURACY)
    assert gain.startswith("this model expects another 10 queries")


def test_a_method_without_such_a_surrogate_has_nothing_to_say(result):
    result.info.gain[:] = NAN
    assert describe_surrogate(result, ("snip", "synflow", "flops"), ACCURACY) == []
