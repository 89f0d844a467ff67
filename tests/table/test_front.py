"""Fronts and hypervolumes against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxnas.errors import InputError
from jaxnas.table.front import hypervolume, pareto_front

POINTS = st.tuples(st.integers(1, 7), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 4).map(float))
)


@settings(max_examples=60, deadline=None)
@given(POINTS)
def test_a_front_is_what_no_point_dominates(points):
    dominated = [any((p >= q).all() and (p > q).any() for p in points) for q in points]
    np.testing.assert_array_equal(pareto_front(points), ~np.array(dominated))


@settings(max_examples=60, deadline=None)
@given(POINTS)
def test_a_hypervolume_is_the_share_of_the_cells_that_a_point_dominates(points):
    varied = points.max(axis=0) > points.min(axis=0)
    if not varied.any():
        assert hypervolume(points) == 1
        return
    kept = (points - points.min(axis=0))[:, varied]
    cells = np.stack(np.meshgrid(*(np.arange(high) for high in kept.max(axis=0)), indexing="ij"), axis=-1)
    cells = cells.reshape(-1, kept.shape[1])
    share = np.mean([(kept >= cell + 1).all(axis=1).any() for cell in cells])
    assert hypervolume(points) == pytest.approx(share)


def test_points_that_miss_an_objective_are_left_out():
    points = np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, 9.0]])
    assert pareto_front(points).tolist() == [True, True, False]
    assert hypervolume(points) == 0.0
    with pytest.raises(InputError, match="needs a point"):
        hypervolume(points[2:])
