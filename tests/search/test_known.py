"""What a function that is the objective may return or raise, and searches that resume from known values."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.run.config import run_config
from jaxnas.search import METHODS

TABLE = np.random.default_rng(0).random((12, 2))
VALUES = 50 + 10 * TABLE[:, 0]
NAMES = ["random", pytest.param("robot", marks=pytest.mark.slow), "rank_sum"]


def stops_after(count, error):
    """Return an objective that raises at its call number `count`, and the list of its calls."""
    calls = []

    def objective(index):
        calls.append(index)
        if len(calls) > count:
            raise error
        return VALUES[index]

    return objective, calls


@pytest.mark.parametrize("name", NAMES)
def test_a_search_goes_on_from_the_values_that_the_exception_names(name):
    whole = METHODS[name](TABLE, VALUES, budget=6, seed=1)
    objective, calls = stops_after(4, RuntimeError("out of memory"))
    with pytest.raises(RuntimeError, match="out of memory") as stop:
        METHODS[name](TABLE, objective, budget=6, seed=1)
    (note,) = stop.value.__notes__
    found = dict(re.findall(r"(\d+): ([\d.]+)", note))
    known = {int(row): float(value) for row, value in found.items()}
    assert list(known) == calls[:4]
    objective, calls = stops_after(2, AssertionError("more was paid for than is missing"))
    result = METHODS[name](TABLE, objective, budget=6, seed=1, known=known)
    assert len(calls) == 2
    assert result.queries.tolist() == whole.queries.tolist()
    assert (result.selected, result.best) == (whole.selected, whole.best)
    assert np.isnan(result.cost).tolist() == [True] * 4 + [False] * 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), InputError("x")], ids=repr)
def test_every_exception_names_what_is_known(error):
    with pytest.raises(type(error)) as stop:
        METHODS["random"](TABLE, stops_after(2, error)[0], budget=6, seed=1)
    assert stop.value.__notes__[0].startswith("jaxnas: 2 objectives are paid for; go on from them with known={")


@pytest.mark.parametrize("value", [None, (1, 2), {"a": 1, "b": 2}, "93", np.zeros(2)], ids=repr)
def test_a_return_that_is_not_a_number_keeps_what_is_known(value):
    returns = iter([1.0, 2.0, value])
    with pytest.raises(InputError, match="an objective must return one number, got") as stop:
        METHODS["random"](TABLE, lambda index: next(returns), budget=6, seed=1)
    assert "2 objectives are paid for" in stop.value.__notes__[0]


def test_known_values_of_every_form_are_taken_and_a_failed_one_stays_failed():
    known = {np.int64(0): np.float32(3), jnp.int32(1).item(): jnp.float32(2), 2: (1.0,), 3: np.nan}
    objective = lambda index: 0.0  # noqa: E731
    result = METHODS["random"](TABLE[:4], objective, budget=4, seed=0, known=known)
    assert (result.selected, result.best, result.num_failed) == (0, 3, 1)


@pytest.mark.parametrize(
    ("known", "options", "message"),
    [
        ({12: 1.0}, {}, r"`known` must be from 0 to 11, the rows of the score table, got 12"),
        ({-1: 1.0}, {}, r"`known` must be from 0 to 11"),
        ({1.5: 1.0}, {}, r"`known` must be a whole number"),
        ({0: None}, {}, r"an objective must return one number, got None"),
        ({0: 1.0}, {"prices": (1, 3)}, r"`known` is for an objective of one fidelity"),
    ],
)
def test_known_values_that_do_not_fit_are_refused(known, options, message):
    with pytest.raises(InputError, match=message):
        METHODS["random"](TABLE, lambda index: 1.0, budget=3, seed=0, known=known, **options)
    with pytest.raises(InputError, match="`known` is for an objective that is a function"):
        METHODS["random"](TABLE, VALUES, budget=3, seed=0, known={0: 1.0})


def test_known_candidates_are_not_prepared():
    class Prepared(jaxnas.search.Objective):
        together = 3

        def __init__(self):
            self.prepared = []

        def __call__(self, index):
            return VALUES[index]

        def prepare(self, indices):
            self.prepared.extend(indices)

    objective = Prepared()
    first = METHODS["random"](TABLE, VALUES, budget=3, seed=0).queries.tolist()
    METHODS["random"](TABLE, objective, budget=6, seed=0, known={row: VALUES[row] for row in first})
    assert len(objective.prepared) == 3
    assert not {*first} & {*objective.prepared}


EQUAL = np.array([[0, 1], [1, 0], [0, 1], [1, 1]], np.int8)


def test_an_architecture_that_comes_twice_among_archs_is_refused():
    for name in ("rea", "random"):
        with pytest.raises(InputError, match="`archs` must be distinct, got the same architecture in rows 0 and 2"):
            METHODS[name](TABLE[:4], VALUES[:4], budget=4, seed=0, archs=EQUAL)


@pytest.mark.parametrize("number", [np.int64(2), np.uint8(2), jnp.int32(2), np.array(2), 2.0, np.float32(2)], ids=repr)
def test_a_number_of_numpy_or_jax_is_taken_wherever_a_number_is(tmp_path, number):
    objective = lambda index: VALUES[index]  # noqa: E731
    given = dict(budget=number, seed=number)
    assert METHODS["random"](TABLE, objective, at_once=number, **given).budget == 2
    assert [result.seed for result in METHODS["random"].run_seeds(TABLE, VALUES, budget=number, seeds=[number])] == [2]
    study = jaxnas.create_study(tmp_path, TABLE, [f"net-{row}" for row in range(12)], method="random", **given)
    first, _ = study.ask(timeout=number), study.ask()
    study.tell(number - number, number, seconds=number)
    assert study.trials[first.number].objective == 2
    config = run_config("nasbench201", pool=number, channels=number, max_params=number, **given)
    assert (config.search.pool, config.network.channels, config.seed) == (2, 2, 2)
    assert jaxnas.TrainingConfig(epochs=number, learning_rate=number).epochs == 2
    assert jaxnas.sample(jaxnas.NASBENCH201, number, seed=number).shape == (2, 6)
    data = jaxnas.from_arrays(np.zeros((10, 2, 2, 1)), np.arange(10) % 2)
    assert len(jaxnas.minibatch(data, number, number)[1]) == 2


def test_prices_are_numbers_of_any_kind():
    both = np.stack([VALUES, VALUES + 1], axis=1)
    for price in (np.int64(3), jnp.int32(3), 3.0):
        result = METHODS["hyperband"](TABLE, both, budget=9, seed=0, prices=(1, price))
        assert result.spent[-1] <= 9


@pytest.mark.parametrize("number", [2.5, True, np.array([2]), jnp.array([2]), np.nan, -1, 2**70], ids=repr)
def test_what_is_not_a_whole_number_in_range_is_refused_by_its_name(number):
    images = jaxnas.from_arrays(np.zeros((10, 2, 2, 1)), np.arange(10) % 2)
    calls = {
        "budget": lambda: METHODS["random"](TABLE, VALUES, budget=number, seed=0),
        "seed": lambda: METHODS["random"](TABLE, VALUES, budget=2, seed=number),
        "at_once": lambda: METHODS["random"](TABLE, lambda index: 1.0, budget=2, seed=0, at_once=number),
        "num": lambda: jaxnas.sample(jaxnas.NASBENCH201, number, seed=0),
        "prices": lambda: METHODS["hyperband"](TABLE, np.stack([VALUES] * 2, 1), budget=9, seed=0, prices=(1, number)),
        "minibatch size": lambda: jaxnas.minibatch(images, number, 0),
    }
    for name, call in calls.items():
        with pytest.raises(InputError, match=rf"`{name}`[^\n]* must be"):
            call()
