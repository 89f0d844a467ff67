"""Helpers of the checks: a broken rule becomes an AssertionError that names it."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

ResultT = TypeVar("ResultT")

NUM_ARCHS = 8  # architectures that are checked one by one


def require(condition: bool, message: str) -> None:
    """Raise an AssertionError with the message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def traced(kind: str, function: Callable[[], ResultT]) -> ResultT:
    """Return `function()`, and raise an AssertionError from JAX's error if tracing fails."""
    try:
        return function()
    except jax.errors.JAXTypeError as error:
        raise AssertionError(f"the {kind} cannot be traced: it needs the values of an argument in Python") from error
    except Exception as error:  # JAX has no separate class for a leak
        if "Leaked" not in str(error):
            raise
        raise AssertionError(f"the {kind} is not pure: it keeps a traced array after it returned") from error


def tolerance_of(dtype: DTypeLike) -> float:
    """Return the square root of the machine epsilon of a floating type."""
    epsilon: Callable[[DTypeLike], jnp.finfo] = jnp.finfo
    return float(epsilon(dtype).eps ** 0.5)
