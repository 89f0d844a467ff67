"""The params of a network: drawn, as one architecture has them, counted; and its settings as a record."""

import dataclasses
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int8, Int64, PRNGKeyArray, PyTree

from jaxnas.networks.network import SearchNetwork

_NOISE = 0x6E6F6973  # sets the generator of proxies apart from that of params


def init_variables(
    network: SearchNetwork, image_shape: tuple[int, ...], num_decisions: int, seed: int
) -> dict[str, PyTree]:
    """Initial `params` and `batch_stats`, drawn from `seed` for all architectures alike: each uses those of its ops."""
    return _init(network, tuple(image_shape), num_decisions, jax.random.key(seed))


class Draw(NamedTuple):
    """What is random about a score."""

    params: PyTree
    key: PRNGKeyArray  # of what proxies draw themselves


def draw_for_all(network: SearchNetwork, image_shape: tuple[int, ...], num_decisions: int, seed: int) -> Draw:
    """One draw from `seed` for all architectures alike."""
    key = jax.random.key(seed)
    return Draw(_init(network, tuple(image_shape), num_decisions, key)["params"], jax.random.fold_in(key, _NOISE))


def draw_for_each(
    network: SearchNetwork,
    image_shape: tuple[int, ...],
    num_decisions: int,
    seed: int,
    indices: Int64[np.ndarray, " A"],
) -> Draw:
    """A draw for each architecture, from `seed` and its index, with an axis [A] in front."""
    words = jnp.asarray(np.stack([indices >> 32, indices & 0xFFFFFFFF], axis=1).astype(np.uint32))
    keys = jax.vmap(lambda word: jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), word[0]), word[1]))(words)
    params = _init_of_each(network, tuple(image_shape), num_decisions, keys)["params"]
    return Draw(params, jax.vmap(lambda key: jax.random.fold_in(key, _NOISE))(keys))


def _draw(network, image_shape, num_decisions, key):
    variables = network.init(key, jnp.zeros((2, *image_shape)), jnp.zeros(num_decisions, jnp.int8))
    return {name: variables[name] for name in ("params", "batch_stats") if name in variables}


# LLVM's optimisation of some twenty inlined random generators would take longer than everything else in the program.
_compiled = partial(
    jax.jit,
    static_argnames=("network", "image_shape", "num_decisions"),
    compiler_options={"xla_backend_optimization_level": 0},
)
_init = _compiled(_draw)


@_compiled
def _init_of_each(network, image_shape, num_decisions, keys):
    return jax.lax.map(partial(_draw, network, image_shape, num_decisions), keys)


_HIDDEN_FIELDS = ("parent", "name", "capacity", "reverse", "keeps_range")  # of flax, and those that decide speed alone


def describe(network: SearchNetwork) -> dict[str, Any]:
    """The network's class and fields by name, for records of what a result was made with."""
    names = [field.name for field in dataclasses.fields(network) if field.name not in _HIDDEN_FIELDS]
    names.sort(key="norm".__eq__)  # last, as it was before it became a field of the base class
    return {"network": type(network).__name__, **{f"network.{name}": getattr(network, name) for name in names}}


def num_params(
    network: SearchNetwork,
    params: PyTree,
    arch: Int8[Array, " D"],
    images: Float[Array, "N *P H W C"] | None = None,
) -> Int[Array, ""]:
    """Number of parameters (kernels, biases, gammas, betas) that `arch` uses.

    `params` may hold shapes alone; `images` see `SearchNetwork.in_use`.
    """
    in_use = network.in_use(params, arch, images)
    counts = jax.tree.map(lambda p, used: used.sum() * math.prod(p.shape[used.ndim :]), params, in_use)
    return jax.tree.reduce(jnp.add, counts)
