"""The contract of every search method, and edge cases and the published protocol of RoBoT."""

import itertools
import json
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from jaxnas.errors import InputError, NothingToSelect
from jaxnas.search import (
    METHODS,
    PRESETS,
    Objective,
    PretrainedPredictorConfig,
    RobotConfig,
    get_method,
    get_preset,
    robot,
)
from jaxnas.table.normalize import combine

A, M, T = 12, 2, 4
ARCHS = np.array(list(itertools.product(range(2), range(2), range(3))), np.int8)
CONFIGS = {  # other methods use their defaults
    "robot": RobotConfig(num_candidates=64, num_ascents=2),
    "pretrained_predictor": PretrainedPredictorConfig(pretraining=20, steps=10, width=8, initial=4),
}
WITHOUT_DRAWS = {"rank_aggregation", "rank_sum", "single_proxy"}
FIRST_DRAWN = {"predictor_bo", "pretrained_predictor"}  # at least T queries


@pytest.fixture
def table():
    return np.random.default_rng(0).random((A, M))


@pytest.fixture
def objective(table):
    return 50 + 10 * table[:, 0] - 3 * table[:, 1]


@pytest.fixture(params=METHODS)
def search(request):
    config = CONFIGS.get(request.param)
    return lambda *args, **kwargs: METHODS[request.param](*args, **{"config": config, "archs": ARCHS, **kwargs})


few_methods = pytest.mark.parametrize(  # of what the loop around a method decides; the others among the slow tests
    "search",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in ("random", "robot"))) for name in METHODS],
    indirect=True,
)


def test_method_contract(search, table, objective):
    result = search(table, objective, budget=T, seed=1)
    assert len(set(result.queries.tolist())) == T == len(result.phase) == len(result.cost)
    assert result.query_weights.shape == (T, M)
    assert result.weights.shape == (M,)
    np.testing.assert_array_equal(result.objective, objective[result.queries])
    assert objective[result.selected] == result.objective.max()
    assert result.num_bo == result.phase.count("bo")
    assert np.isnan(result.cost).all()
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["selected"] == result.selected
    again = search(table, objective, budget=T, seed=1)
    assert again.to_dict() == result.to_dict()
    others = [search(table, objective, budget=T, seed=seed).queries.tolist() for seed in (2, 3, 4)]
    assert any(queries != result.queries.tolist() for queries in others) != (result.method in WITHOUT_DRAWS)
    shuffled = search(table[::-1], objective, budget=T, seed=1).queries.tolist()
    reads_at_once = METHODS[result.method].reads_scores and result.method not in FIRST_DRAWN
    assert (shuffled != result.queries.tolist()) == reads_at_once


@pytest.mark.parametrize("failing", [pytest.param(False, marks=pytest.mark.slow), True])
@few_methods
def test_function_equals_array_and_is_called_once_per_architecture(search, table, objective, failing):
    if failing:
        objective[::2] = np.nan
        objective[5] = np.inf
    calls, records, costs, budget = [], [], np.arange(A) * 10.0, 8  # more than the seven that fail

    def evaluate(arch):
        calls.append(arch)
        return objective[arch]

    expected = search(table, objective, budget=budget, seed=4, costs=costs)
    result = search(table, evaluate, budget=budget, seed=4, costs=costs, on_event=records.append)
    assert result.to_dict() == expected.to_dict()
    assert calls == result.queries.tolist() == [record.arch for record in records]
    assert [record.number for record in records] == list(range(1, budget + 1))
    assert result.num_failed == (~np.isfinite(result.objective)).sum()
    assert np.isfinite(objective[result.selected])
    assert records[-1].best == objective[result.selected]
    np.testing.assert_array_equal(result.cost, costs[result.queries])


class Prepared(Objective):
    """Objective that receives the indices of the next evaluations in advance."""

    together = 3

    def __init__(self, values):
        self.values, self.groups = values, []

    def prepare(self, indices):
        self.groups.append(indices)

    def __call__(self, index):
        return self.values[index]


def test_what_a_method_will_ask_for_is_prepared_together_and_changes_nothing(search, table, objective):
    prepared = Prepared(objective)
    result = search(table, prepared, budget=8, seed=1, costs=np.zeros(A))
    assert result.queries.tolist() == search(table, objective, budget=8, seed=1).queries.tolist()
    if METHODS[result.method].multi_fidelity:
        assert not prepared.groups
        return
    assert all(1 <= len(set(group)) == len(group) <= 3 for group in prepared.groups)
    guesses = [index for group in prepared.groups for index in group]
    assert set(result.queries.tolist()) <= set(guesses)
    if result.method in ("random", "single_proxy", "rank_aggregation"):
        assert guesses == result.queries.tolist()
        assert [len(group) for group in prepared.groups] == [3, 3, 2]
    greedy = [number for number, phase in enumerate(result.phase) if phase == "greedy"]
    if result.method == "robot":
        assert 2 <= len(greedy) == 8 - result.num_bo
        assert [len(group) for group in prepared.groups[: result.num_bo]] == [1] * result.num_bo
        assert guesses == result.queries.tolist()


class Together(Objective):
    """Objective that knows no value before its group is prepared."""

    together = 1

    def __init__(self, values):
        self.values, self.groups = values, []

    def prepare(self, indices):
        self.groups.append(indices)

    def __call__(self, index):
        assert any(index in group for group in self.groups)
        return self.values[index]


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.multi_fidelity])
def test_proposals_at_once(name, table, objective):
    """Groups of three are proposed before their values are known; with groups of one the search is the ordinary one."""
    given = dict(config=CONFIGS.get(name), archs=ARCHS, budget=8, seed=1, costs=np.zeros(A))
    together = Together(objective)
    result = METHODS[name](table, together, at_once=3, **given)
    assert len(set(result.queries.tolist())) == 8
    assert all(len(set(group)) == len(group) <= 3 for group in together.groups)
    assert len(together.groups) <= 6
    assert name == "reinforce" or len(together.groups[0]) == 3
    first = set(together.groups[0])
    assert set(result.queries[: len(first)].tolist()) == first
    worse = Together(objective - 100 * np.isin(np.arange(A), list(first)))  # other values, the same first group
    METHODS[name](table, worse, at_once=3, **given)
    assert worse.groups[0] == together.groups[0]
    again = METHODS[name](table, Together(objective), at_once=3, **given)
    assert again.to_dict() == result.to_dict()
    alone = METHODS[name](table, Together(objective), at_once=1, **given)
    assert alone.to_dict() == METHODS[name](table, objective, **given).to_dict()


def test_the_surrogate_is_told_lies_and_then_the_truth(table, objective):
    """Three weights come before any value is known: the first equals that of groups of one, the next differ."""
    given = dict(config=CONFIGS["robot"], budget=6, seed=1)
    alone = robot(table, lambda index: objective[index], **given)
    three = robot(table, lambda index: objective[index], at_once=3, **given)
    np.testing.assert_array_equal(three.query_weights[0], alone.query_weights[0])
    assert len({tuple(weights) for weights in three.query_weights[:3]}) == 3
    assert three.phase[:3] == ("bo",) * 3
    assert not np.array_equal(three.query_weights[2], alone.query_weights[2])  # after one value they still agree


@pytest.mark.parametrize(("method", "at_once"), [("random", 0), ("hyperband", 2)])
def test_at_once_needs_a_function_of_one_fidelity(method, at_once, table, objective):
    with pytest.raises(InputError, match=f"`at_once` must be (1, or more|from 1 to) .*, got {at_once}"):
        METHODS[method](table, lambda index: objective[index], budget=T, seed=0, at_once=at_once)
    with pytest.raises(InputError, match="got 2: give at_once=1 for an array"):
        METHODS["random"](table, objective, budget=T, seed=0, at_once=2)


def test_the_cost_of_a_function_is_measured(table, objective):
    def evaluate(arch):
        time.sleep(0.01)
        return objective[arch]

    result = METHODS["random"](table, evaluate, budget=T, seed=0)
    assert (result.cost >= 0.01).all()


@few_methods
def test_all_failed_raises_at_the_end(search, table):
    calls = []
    with pytest.raises(NothingToSelect, match=r"all 4 architectures that .* queried failed"):
        search(table, lambda arch: calls.append(arch) or np.nan, budget=T, seed=0)
    assert len(calls) == T


def test_a_seed_whose_candidates_all_failed_leaves_the_others(table):
    values = np.full(len(table), np.inf)
    values[:6] = np.arange(6)
    results = METHODS["random"].run_seeds(table, values, budget=2, seeds=range(8))
    failed = [result.seed for result in results if result.selected == -1]
    assert 0 < len(failed) < 8
    for result in results:
        best = np.max(values[result.queries], initial=-1, where=np.isfinite(values[result.queries]))
        assert result.num_failed == 2 and np.isnan(result.best) if result.seed in failed else result.best == best
    with pytest.raises(NothingToSelect, match="all 2 architectures that random queried failed"):
        METHODS["random"](table, values, budget=2, seed=failed[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 0}, "`budget` must be from 1 to 12, .*, got 0"),
        ({"budget": 13}, "`budget` must be from 1 to 12, .*, got 13"),
        ({"table": np.ones(A)}, r"got \(12,\)"),
        ({"table": np.ones((A, 0))}, r"got \(12, 0\)"),
        ({"table": np.full((A, M), np.nan)}, "24 NaN or inf"),
        ({"table": np.ones((5, M))}, r"`objective` must have the shape \[5\] .*, got \(12,\)"),
        ({"archs": ARCHS[:5]}, r"`archs` must have one vector for each of the 12 rows, got shape \(5, 3\)"),
        ({"archs": ARCHS + 0.5}, "`archs` must hold whole numbers from 0 to 127, .* in float64"),
        ({"archs": ARCHS.astype(int) + 300}, "`archs` must hold whole numbers from 0 to 127, .*, got 0 to 30"),
        ({"objective": lambda index: None}, "an objective must return one number, got None"),
        ({"objective": lambda index: {"loss": 1.0, "acc": 2.0}}, "an objective must return one number, got {'loss'"),
        ({"objective": np.full(A, np.nan)}, "no finite value"),
        ({"costs": np.ones(3)}, r"`costs` must have the shape \[12\] .*, got \(3,\)"),
    ],
)
def test_bad_input(search, table, objective, changes, message):
    given = {"table": table, "objective": objective, "budget": T, "seed": 0, **changes}
    with pytest.raises(InputError, match=message):
        search(given.pop("table"), given.pop("objective"), **given)


def test_unknown_method():
    assert get_method("random") is METHODS["random"]
    with pytest.raises(InputError, match="unknown method 'robbot': did you mean 'robot'"):
        get_method("robbot")


@pytest.mark.parametrize("name", METHODS)
def test_seeds_together_equal_seeds_alone(name, table, objective):
    given = {"budget": T, "config": CONFIGS.get(name), "archs": ARCHS}
    together = METHODS[name].run_seeds(table, objective, seeds=[7, 8, 9], **given)
    for result, seed in zip(together, [7, 8, 9], strict=True):
        alone = METHODS[name](table, objective, seed=seed, **given)
        np.testing.assert_array_equal(result.queries, alone.queries)
        np.testing.assert_allclose(result.query_weights, alone.query_weights, rtol=1e-9)


def test_the_old_name_of_on_event_works_with_a_warning(table, objective):
    records = []
    given = dict(budget=2, on_query=records.append)
    with pytest.warns(DeprecationWarning, match="`on_query` is now `on_event`"):
        METHODS["random"](table, objective, seed=0, **given)
    with pytest.warns(DeprecationWarning, match="`on_query` is now `on_event`"):
        METHODS["random"].run_seeds(table, objective, seeds=[0], **given)
    assert [record.number for record in records] == [1, 2, 1, 2]


def test_no_seeds_no_results(table, objective):
    assert robot.run_seeds(table, objective, budget=T, seeds=[]) == []


@pytest.mark.parametrize("name", ["rea", "reinforce", "local_search", "predictor_bo", "pretrained_predictor"])
def test_methods_that_read_architectures_need_them(name, table, objective):
    with pytest.raises(InputError, match=f"{name} needs architectures besides scores; give their vectors"):
        METHODS[name](table, objective, budget=T, seed=0)


def test_greedy_queries_follow_the_ranking_of_the_best_weights(table, objective):
    config = RobotConfig(explore=0.5, num_candidates=64, num_ascents=2)
    results = robot.run_seeds(table, objective, budget=T, seeds=[7, 8, 9], config=config)
    assert min(result.num_bo for result in results) < T  # else nothing is tested
    for result in results:
        ranking = np.argsort(-combine(table, result.weights), kind="stable")
        ranking = ranking[~np.isin(ranking, result.queries[: result.num_bo])]
        np.testing.assert_array_equal(result.queries[result.num_bo :], ranking[: T - result.num_bo])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("acquisition", "domain"),
    [(acquisition, domain) for domain in ("cube", "sphere") for acquisition in ("ei", "thompson", "ids")],
)
def test_other_acquisitions_domains_and_ard(table, objective, acquisition, domain):
    config = RobotConfig(acquisition=acquisition, domain=domain, ard=True, num_candidates=64, num_ascents=2)
    result = robot(table, objective, budget=T, seed=0, config=config)
    assert np.isfinite(result.query_weights[: result.num_bo]).all()
    assert len(set(result.queries.tolist())) == T


def test_explore_ends_the_search_for_weights(table, objective):
    for part, most in ((0.5, 2), (0.25, 1)):
        config = RobotConfig(explore=part, num_candidates=64, num_ascents=2)
        assert robot(table, objective, budget=T, seed=0, config=config).num_bo == most


def test_presets():
    assert get_preset("default") == RobotConfig()
    paper = get_preset("paper")
    assert (paper.acquisition, paper.kappa, paper.kernel, paper.ard, paper.noise) == (
        "ucb",
        2.576,
        "matern52",
        False,
        1e-6,
    )
    assert not paper.distinct
    with pytest.raises(InputError, match="unknown preset 'papr': did you mean 'paper'"):
        get_preset("papr")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("num_archs", "num_proxies", "budget"), [(1, 1, 1), pytest.param(4, 2, 4, marks=pytest.mark.slow)]
)
def test_smallest_pools_of_equal_objectives(name, num_archs, num_proxies, budget):
    archs = np.arange(num_archs, dtype=np.int8)[:, None] * np.ones(3, np.int8)
    for table in (np.zeros((num_archs, num_proxies)), np.eye(num_archs, num_proxies)):
        given = {"budget": budget, "seed": 0, "config": CONFIGS.get(name), "archs": archs}
        result = METHODS[name](table, np.full(num_archs, 3.0), **given)
        assert sorted(result.queries.tolist()) == list(range(num_archs))
        assert result.selected == result.queries[0]  # all are equal: the first queried is selected


@pytest.mark.data
def test_published_protocol_on_nasbench201(data_folder):
    """Most of ten seeds must reach architecture 13714, the best of the observed column."""
    from jaxnas.table.normalize import normalize

    bench, proxies = (np.load(data_folder / "nb201" / f"nb201_{part}.npz") for part in ("table", "proxies"))
    pool = np.flatnonzero(bench["canonical_idx"] == np.arange(15_625))
    names = proxies["columns"].tolist()
    columns = [names.index(name) for name in ("grad_norm", "snip", "grasp", "fisher", "synflow", "jacov")]
    table, _ = normalize(proxies["filled"][0][pool][:, columns])
    given = dict(budget=20, seeds=range(10, 20), config=PRESETS["paper"])
    results = robot.run_seeds(table, bench["c10_valid_val_12"][pool], **given)
    assert sum(pool[result.selected] == 13714 for result in results) >= 8
    assert np.median([bench["robot_c10_test"][pool][result.selected] for result in results]) == pytest.approx(
        94.37, abs=0.01
    )


def test_seeds_run_on_one_blas_thread_each(table, objective):
    """More threads per seed would wait for cores and split small factorisations differently on other machines."""

    def blas_threads():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before, during = blas_threads(), []
    METHODS["random"].run_seeds(
        table, objective, budget=1, seeds=[0, 1], on_event=lambda _: during.extend(blas_threads())
    )
    assert before
    assert set(during) == {1}
    assert blas_threads() == before
