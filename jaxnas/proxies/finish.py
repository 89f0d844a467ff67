"""The last step of proxies that need float64, such as a log-determinant, for devices that lack the type."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@partial(jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["function"])
@dataclass(frozen=True)
class Unfinished:
    """A score before its last step, which is function(*arrays).

    Attributes:
      function: a module-level function, as functions are compared by identity.
      arrays: its arguments.
    """

    function: Callable[..., Array]
    arrays: tuple[Array, ...]

    def finish(self) -> Float[Array, ""]:
        """Return the score in float64, in any precision of the process."""
        with jax.enable_x64(True):
            return self.function(*(_widest(x) for x in self.arrays))


def finish_scores(scores: Sequence[Array | np.ndarray | Unfinished]) -> Float[np.ndarray, "a M"]:
    """Return the scores from what each proxy gave: numbers [a], or `Unfinished` of arrays [a ...].

    Raises:
      RuntimeError: JAX_PLATFORMS excludes CPUs, where the last steps are computed.
    """
    host = jax.devices("cpu")[0] if any(isinstance(score, Unfinished) for score in scores) else None
    with jax.enable_x64(True), jax.default_device(host):
        columns = [_finish_all(score) if isinstance(score, Unfinished) else score for score in scores]
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=-1)


@jax.jit
def _finish_all(score: Unfinished) -> Array:
    return jax.vmap(Unfinished.finish)(score)


def _widest(x: Array) -> Array:
    return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x
