"""What the checks share: a rule that is broken becomes an AssertionError that names it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

NUM_ARCHS = 8  # that are looked at one by one


def require(condition: bool, message: str) -> None:
    """AssertionError with the message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def traced(kind: str, function: Callable[[], Any]) -> Any:
    """What `function` returns; tracing errors become failures of the contract, with JAX's own as their cause."""
    try:
        return function()
    except jax.errors.JAXTypeError as error:
        raise AssertionError(f"the {kind} cannot be traced: it needs the values of an argument in Python") from error
    except Exception as error:  # JAX has no class of its own for a leak
        if "Leaked" not in str(error):
            raise
        raise AssertionError(f"the {kind} is not pure: it keeps a traced array after it returned") from error


def tolerance_of(dtype: Any) -> float:
    """The square root of the machine epsilon."""
    return float(jnp.finfo(dtype).eps) ** 0.5
