"""Float64 for search and evaluation alone: networks of the same process stay in float32."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")


def in_float64(function: Callable[P, R]) -> Callable[P, R]:
    """Return the jitted function so that it is traced and called inside `jax.enable_x64(True)`.

    No global flag is set. The context must be entered before jit converts the arguments: wrap the result in another
    jit only inside the context.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
            return function(*args, **kwargs)

    return call
