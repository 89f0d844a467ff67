"""Score many architectures: one compiled program, run over chunks, sharded over the local devices."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Int8

from jaxnas.errors import InputError, unknown_name
from jaxnas.networks import init_variables
from jaxnas.proxies import PROXIES, Batch, Proxy, Quantities
from jaxnas.spaces import check_archs

DEFAULT_PROXIES = tuple(PROXIES)


def get_proxies(proxies: Sequence[str] | Mapping[str, Proxy]) -> dict[str, Proxy]:
    """The functions of the named proxies; a dictionary of the caller's own functions is taken as it is."""
    if isinstance(proxies, Mapping):
        return dict(proxies)
    for name in proxies:
        if name not in PROXIES:
            raise unknown_name("proxy", name, PROXIES)
    if not proxies:
        raise InputError(f"no proxy was named: choose from {', '.join(PROXIES)}")
    return {name: PROXIES[name] for name in proxies}


def score_archs(
    network: nn.Module,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    proxies: Sequence[str] | Mapping[str, Proxy] = DEFAULT_PROXIES,
    *,
    seed: int = 0,
    chunk_size: int = 32,
    on_chunk: Callable[[int, int], None] = lambda done, total: None,
) -> Float[np.ndarray, "A M"]:
    """Raw scores float64 of every architecture, one column per proxy in the order given; NaN and inf are passed on.

    All architectures share one initialisation drawn from `seed`. Memory does not grow with A. `on_chunk(done, total)`
    is called after each chunk.

    Raises: InputError for an unknown proxy, or architectures or a batch that do not fit the network.
    """
    scores = np.empty((len(archs), len(proxies)))
    done = 0
    for chunk in iter_scores(network, archs, batch, proxies, seed=seed, chunk_size=chunk_size):
        scores[done : done + len(chunk)] = chunk
        done += len(chunk)
        on_chunk(done, len(archs))
    return scores


def iter_scores(
    network: Any,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    proxies: Sequence[str] | Mapping[str, Proxy] = DEFAULT_PROXIES,
    *,
    seed: int = 0,
    chunk_size: int = 32,
) -> Iterator[Float[np.ndarray, "a M"]]:
    """The rows of `score_archs`, in order, a chunk at a time."""
    check_batch(network, batch)
    archs = check_archs(network.space, archs)
    functions = get_proxies(proxies)
    params = init_variables(network, batch.images.shape[1:], archs.shape[1], seed)["params"]
    score, num_devices = _program(network, tuple(functions.items()))
    share = max(2, math.ceil(min(chunk_size, len(archs)) / num_devices))  # XLA would unroll a loop over one row
    for start in range(0, len(archs), share * num_devices):
        chunk = archs[start : start + share * num_devices]
        padded = np.zeros((share * num_devices, archs.shape[1]), np.int8)  # one shape, one compilation
        padded[: len(chunk)] = chunk
        counts = np.clip(len(chunk) - share * np.arange(num_devices), 0, share).astype(np.int32)
        yield np.asarray(score(counts, padded, params, batch))[: len(chunk)]


@lru_cache(maxsize=8)
def _program(network: nn.Module, functions: tuple[tuple[str, Proxy], ...]) -> tuple[Callable, int]:
    """Compiled (counts [devices], archs [A D], params, batch) -> float64 [A M], and the number of devices.

    Each device takes an equal share of the rows and scores the first `count` of it one by one: on CPUs only the chosen
    op of every edge then runs, and the loop's body is the same program for any number of architectures.
    """

    def of_one(params, batch, arch):
        quantities = Quantities(network, params, arch, batch)
        scores = [fn(quantities) for _, fn in functions]
        with jax.enable_x64(True):
            return jnp.stack([jnp.asarray(score).astype(jnp.float64) for score in scores])

    def of_share(counts, archs, params, batch):
        def step(row, out):
            scores = of_one(params, batch, archs[row])
            with jax.enable_x64(True):
                return lax.dynamic_update_index_in_dim(out, scores, row, 0)

        with jax.enable_x64(True):
            out = jnp.full((len(archs), len(functions)), jnp.nan, jnp.float64)
        return lax.fori_loop(0, counts[0], step, out)

    devices = jax.local_devices()
    split, whole = PartitionSpec("archs"), PartitionSpec()
    mesh = Mesh(np.array(devices), "archs")
    sharded = jax.shard_map(
        of_share, mesh=mesh, in_specs=(split, split, whole, whole), out_specs=split, check_vma=False
    )
    return jax.jit(sharded), len(devices)


def check_batch(network: Any, batch: Batch) -> None:
    """InputError unless labels fit the images and the network's classes."""
    images, labels = batch
    if len(images) < 2 or labels.shape != (len(images),):
        raise InputError(f"a batch needs at least 2 images and one label each, not {images.shape} and {labels.shape}")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0:
        raise InputError(f"label {lowest} is negative: labels are 0 to {network.num_classes - 1}")
    if highest >= network.num_classes:
        raise InputError(
            f"label {highest} does not fit a network of {network.num_classes} classes: give num_classes={highest + 1}"
        )
