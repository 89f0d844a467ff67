"""Bayesian optimisation over architectures: its inputs, its start and its results."""

import itertools

import numpy as np
import pytest
from chance import check_beats_random

from jaxnas.errors import InputError
from jaxnas.search import Pool, PredictorConfig, predictor_bo
from jaxnas.search.predictor import encode

ARCHS = np.array(list(itertools.product(range(3), repeat=4)), np.int8)
TABLE = np.random.default_rng(0).random((len(ARCHS), 2))


def test_the_encoding_is_one_hot_and_then_the_scores():
    archs = np.array([[0, 2], [1, 1]], np.int8)
    pool = Pool(np.array([[0.25], [0.75]], np.float32), archs, np.arange(3))
    np.testing.assert_array_equal(encode(pool), [[1, 0, 0, 0, 0, 1, 0.25], [0, 1, 0, 0, 1, 0, 0.75]])


@pytest.mark.parametrize(
    "acquisition", ["ei", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ucb", "thompson"))]
)
def test_starts_at_random(acquisition):
    config = PredictorConfig(initial=3, acquisition=acquisition)
    result = predictor_bo(TABLE, ARCHS.sum(1), budget=6, seed=0, archs=ARCHS, config=config)
    assert result.phase == ("random",) * 3 + ("bo",) * 3


@pytest.mark.slow
def test_learns_from_the_encoding_and_from_the_proxies():
    """An objective of the decisions only and one of a proxy only are both found faster than at random."""
    for objective in (ARCHS @ np.array([1.0, -2, 3, 1]), TABLE[:, 1]):
        check_beats_random(predictor_bo, TABLE, objective, budget=15, archs=ARCHS)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("acquisition", "eii", "unknown acquisition 'eii': did you mean 'ei'"),
        ("kernel", "matern", "unknown kernel 'matern'"),
        ("initial", 0, "`initial` must be positive, got 0"),
        ("noise", -1.0, "`noise` must be positive, got -1.0"),
    ],
)
def test_config_is_checked(field, value, message):
    with pytest.raises(InputError, match=message):
        PredictorConfig(**{field: value})
