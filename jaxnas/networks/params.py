"""The params of a network: drawn, as one architecture has them, counted; and its settings as a record."""

import dataclasses
import math
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int8, Int64, PRNGKeyArray, PyTree

_NOISE = 0x6E6F6973  # sets the generator of proxies apart from that of params


def init_variables(
    network: nn.Module, image_shape: tuple[int, ...], num_decisions: int, seed: int
) -> dict[str, PyTree]:
    """Initial `params` and `batch_stats`, drawn from `seed` for all architectures alike: each uses those of its ops."""
    return _init(network, tuple(image_shape), num_decisions, jax.random.key(seed))


class Draw(NamedTuple):
    """What is random about a score."""

    params: PyTree
    key: PRNGKeyArray  # of what proxies draw themselves


def draw_for_all(network: nn.Module, image_shape: tuple[int, ...], num_decisions: int, seed: int) -> Draw:
    """One draw from `seed` for all architectures alike."""
    key = jax.random.key(seed)
    return Draw(_init(network, tuple(image_shape), num_decisions, key)["params"], jax.random.fold_in(key, _NOISE))


def draw_for_each(
    network: nn.Module, image_shape: tuple[int, ...], num_decisions: int, seed: int, indices: Int64[np.ndarray, " A"]
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


def own_params(network: nn.Module, params: PyTree, arch: Int8[Array, " D"]) -> PyTree:
    """`params`, drawn for all architectures, as this one has them; networks without widths to choose take all as drawn.

    A network whose tensors are larger than an architecture needs has a method of this name.
    """
    return network.own_params(params, arch) if hasattr(network, "own_params") else params


def describe(network: nn.Module) -> dict[str, Any]:
    """The network's class and fields by name, for records of what a result was made with."""
    hidden = ("parent", "name", "capacity", "reverse", "keeps_range")  # of flax, and of how it computes
    names = [field.name for field in dataclasses.fields(network) if field.name not in hidden]
    return {"network": type(network).__name__, **{f"network.{name}": getattr(network, name) for name in names}}


def num_params(network: nn.Module, params: PyTree, arch: Int8[Array, " D"]) -> Int[Array, ""]:
    """Number of parameters (weights, biases, gammas, betas) that `arch` uses; `params` may hold shapes alone."""
    in_use = network.in_use(params, arch)
    counts = jax.tree.map(lambda p, used: used.sum() * math.prod(p.shape[used.ndim :]), params, in_use)
    return jax.tree.reduce(jnp.add, counts)
