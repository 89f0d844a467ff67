"""Trade-offs between several objectives: the front that no other point dominates, and the volume that it dominates."""

import math

import numpy as np
from jaxtyping import Bool, Float

from jaxnas.errors import InputError


def pareto_front(values: Float[np.ndarray, "N K"]) -> Bool[np.ndarray, " N"]:
    """Return which points no other point dominates; larger is better in every column.

    A point dominates another if it is at least as good in every objective and better in one: of equal points all are on
    the front. A point with NaN is never on it.

    Args:
        values: K objectives of N points.
    """
    known = np.isfinite(values).all(axis=1)
    least = np.where(known[:, None], values, -np.inf)
    at_least = (least[None] >= least[:, None]).all(axis=2)
    better = (least[None] > least[:, None]).any(axis=2)
    return np.asarray(known & ~np.any(at_least & better, axis=1))


def hypervolume(values: Float[np.ndarray, "N K"]) -> float:
    """Return the share of the box between the worst and the best value of each objective that the points dominate.

    Larger is better in every column, and the result is in [0, 1]: 1 if one point is the best in every objective. An
    objective in which all points are equal does not count. Points with NaN are left out.

    Args:
        values: K objectives of N points.

    Raises:
        InputError: no point has all objectives.
    """
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values):
        raise InputError("a hypervolume needs a point with all objectives, got none")
    low, high = values.min(axis=0), values.max(axis=0)
    varied = high > low
    if not varied.any():
        return 1.0
    return _volume((values[:, varied] - low[varied]) / (high - low)[varied])


def _volume(points: Float[np.ndarray, "N K"]) -> float:
    """Return the volume of the union of the boxes from the origin to each point, by slices along the first axis."""
    if points.shape[1] == 1:
        return float(points.max())
    points = points[np.argsort(-points[:, 0], kind="stable")]
    ends = np.append(points[1:, 0], 0.0)
    slices = zip(points[:, 0] - ends, range(1, len(points) + 1), strict=True)
    return math.fsum(float(width) * _volume(points[:count, 1:]) for width, count in slices if width > 0)
