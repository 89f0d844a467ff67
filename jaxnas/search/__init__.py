"""Search methods: `METHODS` by name, all with the call signature of `robot`."""

from collections.abc import Callable

from jaxnas.errors import unknown_name
from jaxnas.search.baselines import random_search
from jaxnas.search.result import Query, SearchResult
from jaxnas.search.robot import RobotConfig, robot, robot_seeds

__all__ = ["METHODS", "Query", "RobotConfig", "SearchResult", "get_method", "random_search", "robot", "robot_seeds"]

METHODS: dict[str, Callable[..., SearchResult]] = {"robot": robot, "random": random_search}


def get_method(name: str) -> Callable[..., SearchResult]:
    """The method of that name.

    Raises: InputError with the nearest name if there is none.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    return METHODS[name]
