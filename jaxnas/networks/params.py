"""The params of a network, drawn and counted, and its settings as a record."""

import dataclasses
import math
import threading
from functools import lru_cache, partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int64, Key, PRNGKeyArray, PyTree

from jaxnas.data.batch import AnyArray
from jaxnas.networks.network import SearchNetwork
from jaxnas.runtime.session import in_fixed_settings, make_key
from jaxnas.runtime.traces import KeptProgram

Variables: TypeAlias = dict[str, PyTree]  # by the name of the collection

_NOISE = 0x6E6F6973  # sets the generator of proxies apart from that of params


@in_fixed_settings
def init_variables(network: SearchNetwork, image_shape: tuple[int, ...], num_decisions: int, seed: int) -> Variables:
    """Return initial `params` and `batch_stats`, drawn from `seed` for all architectures alike.

    Args:
        network: The network; an architecture uses the params of its ops.
        image_shape: (H, W, C), with the axis of pieces in front for puzzles.
        num_decisions: D.
        seed: Seed of the generator.
    """
    variables: Variables = _init(network, tuple(image_shape), num_decisions, make_key(seed))
    return variables


class Draw(NamedTuple):
    """The random inputs of a score.

    Attributes:
        params: Params of the network.
        key: Random key of the numbers that proxies draw.
    """

    params: PyTree
    key: PRNGKeyArray


@in_fixed_settings
def draw_for_all(network: SearchNetwork, image_shape: tuple[int, ...], num_decisions: int, seed: int) -> Draw:
    """Return one draw from `seed` for all architectures alike; arguments as for `init_variables`."""
    key = make_key(seed)
    return Draw(_init(network, tuple(image_shape), num_decisions, key)["params"], jax.random.fold_in(key, _NOISE))


@in_fixed_settings
def draw_for_each(
    network: SearchNetwork,
    image_shape: tuple[int, ...],
    num_decisions: int,
    seed: int,
    indices: Int64[np.ndarray, " A"],
) -> Draw:
    """Return a draw for each architecture, from `seed` and its index in the space, with an axis [A] in front."""
    words = jnp.asarray(np.stack([indices >> 32, indices & 0xFFFFFFFF], axis=1).astype(np.uint32))
    key = make_key(seed)
    keys = jax.vmap(lambda word: jax.random.fold_in(jax.random.fold_in(key, word[0]), word[1]))(words)
    params = _init_for_keys(network, tuple(image_shape), num_decisions, keys)["params"]
    return Draw(params, jax.vmap(lambda key: jax.random.fold_in(key, _NOISE))(keys))


def _draw(network: SearchNetwork, image_shape: tuple[int, ...], num_decisions: int, key: PRNGKeyArray) -> Variables:
    variables = network.init(key, jnp.zeros((2, *image_shape)), jnp.zeros(num_decisions, jnp.int8))
    return {name: variables[name] for name in ("params", "batch_stats") if name in variables}


# LLVM's optimisation of some twenty inlined random generators would take longer than everything else in the program.
_OPTIONS: dict[str, str | int] = {"xla_backend_optimization_level": 0}
_one_at_a_time = threading.Lock()  # the program of one network compiles once, also where two threads need it


def _init(network: SearchNetwork, image_shape: tuple[int, ...], num_decisions: int, key: PRNGKeyArray) -> Variables:
    with _one_at_a_time:
        variables: Variables = _make_init(network, image_shape, num_decisions)(key)
        return variables


@lru_cache(maxsize=8)
def _make_init(network: SearchNetwork, image_shape: tuple[int, ...], num_decisions: int) -> KeptProgram:
    def draw(key: PRNGKeyArray) -> Variables:
        return _draw(network, image_shape, num_decisions, key)

    program = jax.jit(draw, compiler_options=_OPTIONS)
    return KeptProgram(program, network, image_shape, num_decisions, compiler_options=_OPTIONS)


@partial(jax.jit, static_argnames=("network", "image_shape", "num_decisions"), compiler_options=_OPTIONS)
def _init_for_keys(
    network: SearchNetwork, image_shape: tuple[int, ...], num_decisions: int, keys: Key[Array, " A"]
) -> Variables:
    variables: Variables = jax.lax.map(partial(_draw, network, image_shape, num_decisions), keys)
    return variables


_HIDDEN_FIELDS = (
    "parent",
    "name",
    "capacity",
    "reverse",
    "fused",
    "keeps_range",
)  # of flax, and those that decide speed alone


def fields_of(network: SearchNetwork) -> dict[str, object]:
    """Return the fields of a network that decide its numbers, by name."""
    names = [field.name for field in dataclasses.fields(network) if field.name not in _HIDDEN_FIELDS]
    return {name: getattr(network, name) for name in names}


def describe(network: SearchNetwork) -> dict[str, object]:
    """Return the class and the fields of the network by name, for records of the settings of a result."""
    fields = fields_of(network)
    fields["norm"] = fields.pop("norm")  # last, as it was before it became a field of the base class
    return {"network": type(network).__name__, **{f"network.{name}": value for name, value in fields.items()}}


def num_params(
    network: SearchNetwork,
    params: PyTree,
    arch: Int[AnyArray, " D"],
    images: Float[AnyArray, "N *P H W C"] | None = None,
) -> Int[Array, ""]:
    """Return the number of parameters (kernels, biases, gammas, betas) that `arch` uses.

    Args:
        network: The network.
        params: Its params, or their shapes alone.
        arch: The architecture.
        images: See `SearchNetwork.in_use`.
    """
    in_use = network.in_use(params, jnp.asarray(arch, jnp.int8), images)
    counts = jax.tree.map(lambda p, used: used.sum() * math.prod(p.shape[used.ndim :]), params, in_use)
    return jax.tree.reduce(jnp.add, counts)
