"""Compute the same numbers whatever the session's JAX settings: seeds, types and the generator are fixed here."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, SupportsIndex, TypeVar

import jax
from jaxtyping import PRNGKeyArray

from jaxnas.runtime.cache import use_cache
from jaxnas.runtime.settings import check_seed

GENERATOR = "threefry2x32"
P = ParamSpec("P")
R = TypeVar("R")


def make_key(seed: SupportsIndex) -> PRNGKeyArray:
    """Return the key of a seed, of the same generator whatever `jax_default_prng_impl` is.

    Raises:
      InputError: the seed is not an integer from 0 to 2^32 - 1.
    """
    return jax.random.key(check_seed(seed), impl=GENERATOR)


@contextmanager
def fixed_settings(float64: bool | None = None) -> Iterator[None]:
    """Set what JAX's numbers depend on, for this thread, whatever the session has set.

    Settings that only stop a program are set back too: NaN is a value here, for padding and for failed candidates.

    Args:
      float64: whether float64 is enabled; None leaves the session's choice, where the caller's arrays decide.
    """
    use_cache()
    with ExitStack() as settings:
        if float64 is not None:
            settings.enter_context(jax.enable_x64(float64))
        for setting in (
            jax.default_prng_impl(GENERATOR),
            jax.threefry_partitionable(True),
            jax.default_matmul_precision(None),
            jax.numpy_dtype_promotion("standard"),
            jax.debug_nans(False),
            jax.debug_infs(False),
            jax.disable_jit(False),
            jax.transfer_guard("allow"),
        ):
            settings.enter_context(setting)
        yield


def in_fixed_settings(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function so that it is called in `fixed_settings`."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with fixed_settings():
            return function(*args, **kwargs)

    return call


def steps_in_fixed_settings(steps: Iterator[R], float64: bool) -> Iterator[R]:
    """Run each step of an iterator in `fixed_settings`, but not the caller between them."""
    while True:
        with fixed_settings(float64):
            try:
                result = next(steps)
            except StopIteration:
                return
        yield result


def in_float64(function: Callable[P, R]) -> Callable[P, R]:
    """Return the jitted function so that it is traced and called in `fixed_settings` with float64.

    The context must be entered before jit converts the arguments: wrap the result in another jit only inside the
    context.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with fixed_settings(float64=True), jax.numpy_rank_promotion("allow"):
            return function(*args, **kwargs)

    return call
