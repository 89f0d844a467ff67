"""Paths of a network that are dropped at random in training, also known as stochastic depth.

Source: Huang et al. 2016 (arXiv:1603.09382), Larsson et al. 2017 (arXiv:1605.07648).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


def drop(key: PRNGKeyArray, x: Float[Array, "N H W C"], rate: Float[Array, ""]) -> Float[Array, "N H W C"]:
    """Return x of each image with probability 1 - rate, divided by that, else 0.

    Source: Larsson et al. 2017 (arXiv:1605.07648).
    """
    kept = jax.random.bernoulli(key, 1 - rate, (len(x), 1, 1, 1))
    return jnp.where(kept, x / (1 - rate), 0)


class DropPath(NamedTuple):
    """The dropping of paths in a network of D blocks: of block i = 0, ..., D - 1 at the rate r i / (D - 1).

    Attributes:
        key: Random key of the present block.
        rate: r, that of the last block.
        last: D - 1.
        place: i, the number of the present block; those beyond the last have its rate.
    """

    key: PRNGKeyArray
    rate: Float[Array, ""]
    last: int
    place: Int[Array, ""] | int = 0

    def part(self, number: int) -> "DropPath":
        """Return the dropping in a part of the present block, numbered from 1."""
        return self._replace(key=jax.random.fold_in(self.key, number))

    def moved(self, number: Int[Array, ""] | int) -> "DropPath":
        """Return the dropping so many blocks further on."""
        return self._replace(key=jax.random.fold_in(self.key, number), place=self.place + number)

    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
        """Return a path of the present block with some images dropped."""
        rate = self.rate * jnp.minimum(self.place, self.last) / max(self.last, 1)
        return drop(jax.random.fold_in(self.key, 0), x, rate)
