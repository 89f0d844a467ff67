"""Score many architectures: one compiled program, run over chunks, sharded over the local devices."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Int8, PyTree

from jaxnas.errors import InputError, unknown_name
from jaxnas.proxies import PROXIES, Batch, Proxy, Quantities

DEFAULT_PROXIES = tuple(PROXIES)


def init_params(network: nn.Module, image_shape: Sequence[int], num_decisions: int, seed: int) -> PyTree:
    """One set of initial parameters for all architectures: each takes the tensors of its ops from it."""
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    arch = jax.ShapeDtypeStruct((num_decisions,), jnp.int8)

    @jax.jit
    def init(key):
        return network.init(key, jnp.zeros(image.shape, image.dtype), jnp.zeros(arch.shape, arch.dtype))["params"]

    return init(jax.random.key(seed))


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

    Raises: InputError for an unknown proxy, or a batch that does not fit the network.
    """
    scores = np.empty((len(archs), len(proxies)))
    done = 0
    for chunk in iter_scores(network, archs, batch, proxies, seed=seed, chunk_size=chunk_size):
        scores[done : done + len(chunk)] = chunk
        done += len(chunk)
        on_chunk(done, len(archs))
    return scores


def iter_scores(
    network: nn.Module,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    proxies: Sequence[str] | Mapping[str, Proxy] = DEFAULT_PROXIES,
    *,
    seed: int = 0,
    chunk_size: int = 32,
) -> Iterator[Float[np.ndarray, "a M"]]:
    """The rows of `score_archs`, in order, a chunk at a time."""
    check_batch(network, batch)
    functions = get_proxies(proxies)
    params = init_params(network, batch.images.shape[1:], archs.shape[1], seed)
    devices = jax.local_devices()
    chunk_size = len(devices) * math.ceil(min(chunk_size, len(archs)) / len(devices))
    score = _program(network, functions, devices)
    for start in range(0, len(archs), chunk_size):
        chunk = archs[start : start + chunk_size]
        filler = np.repeat(chunk[-1:], chunk_size - len(chunk), axis=0)  # one shape, one compilation
        yield np.asarray(score(np.concatenate([chunk, filler]), params, batch))[: len(chunk)]


def _program(network, functions, devices):
    """Compiled (archs [A D], params, batch) -> float64 [A M]; each device takes its share of A.

    A device maps over its architectures one by one: on CPUs only the chosen op of each edge then runs.
    """

    def of_one(params, batch, arch):
        quantities = Quantities(network, params, arch, batch)
        return tuple(jnp.asarray(fn(quantities)) for fn in functions.values())

    @partial(
        jax.shard_map,
        in_specs=(PartitionSpec("archs"), PartitionSpec(), PartitionSpec()),
        out_specs=PartitionSpec("archs"),
        mesh=Mesh(np.array(devices), "archs"),
        check_vma=False,
    )
    def of_share(archs, params, batch):
        return jax.lax.map(partial(of_one, params, batch), archs)

    compiled = jax.jit(of_share)

    def run(archs, params, batch):
        columns = compiled(archs, params, batch)
        return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)

    return run


def check_batch(network: nn.Module, batch: Batch) -> None:
    """InputError unless labels fit the images and the network's classes."""
    images, labels = batch
    if len(images) < 2 or labels.shape != (len(images),):
        raise InputError(f"a batch needs at least 2 images and one label each, not {images.shape} and {labels.shape}")
    if int(labels.min()) < 0 or int(labels.max()) >= network.num_classes:
        raise InputError(
            f"label {int(labels.max())} does not fit a network of {network.num_classes} classes: "
            f"give num_classes={int(labels.max()) + 1}"
        )
