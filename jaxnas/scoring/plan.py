"""The strategies of scoring: architectures one by one, in groups that share an op, or by kernels of their own.

With "loop", for CPUs, every device scores its share one architecture after another: only the chosen op of each edge
runs, its memory is reused, and the program is the same for any number of architectures. With "grouped", for
accelerators, a device scores a whole chunk at once under `vmap`. In every chunk each op is chosen nearly equally often
at every edge; the network runs each op once, on the architectures that chose it (`jaxnas.networks.kernels.dispatch`).
"fused" scores a chunk at once by kernels for NVIDIA GPUs, which read the op of each architecture
(`jaxnas.networks.kernels.fused`): one program serves all chunks, whatever their ops.
"""

import math
from functools import lru_cache, partial
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int, Int8, Int32

from jaxnas.data.batch import Batch
from jaxnas.errors import InputError
from jaxnas.networks import Draw, SearchNetwork
from jaxnas.proxies import Proxy, Quantities
from jaxnas.proxies.finish import Unfinished
from jaxnas.runtime.devices import abstract_array, map_on_devices, partition_spec
from jaxnas.runtime.distributed import from_leader, mesh
from jaxnas.runtime.traces import KeptProgram

Chunks: TypeAlias = list[Int[np.ndarray, " a"]]  # rows of the architectures that one device scores at once
ProxyOutput: TypeAlias = Float[Array, "..."] | Unfinished
RunStrategy: TypeAlias = Literal["loop", "grouped", "fused"]
# Over the devices of the job:
SPLIT, WHOLE = partition_spec("archs"), partition_spec()

LOOP_CHUNK = 16  # architectures between two looks at the results
WINDOW = 4096  # architectures among which chunks are balanced, so that planning takes linear time
PER_RELU = 1.5  # bytes of a grouped program for each byte that a ReLU sees: 336 MB at full size
SAFE_SHARE = 0.7  # of the memory that a device reports, for what an estimate misses


class Plan(NamedTuple):
    """The chunks of a scoring job.

    Attributes:
      network: the network, with the capacity of each op in a chunk.
      chunks: rows of the architectures of each chunk.
      size: rows of every chunk once padded.
    """

    network: SearchNetwork
    chunks: Chunks
    size: int


def make_plan(
    network: SearchNetwork,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    strategy: RunStrategy,
    size: int | None,
    memory: float | None,
) -> Plan:
    """Cut chunks of at most `size` architectures, or of as many as `memory` (GB of one device) holds.

    In a job of several processes, all get the same plan.
    """
    size = int(from_leader(lambda: np.array([chunk_size(network, batch, strategy, size, memory)]), (1,), np.int32)[0])
    share = max(1, min(size, math.ceil(len(archs) / mesh().size)))
    if strategy == "fused":
        network = network.clone(fused=True)
    if strategy != "grouped":  # always padded to `size`: one program for any number of architectures
        chunks = [np.arange(start, min(start + share, len(archs))) for start in range(0, len(archs), share)]
        return Plan(network, chunks, size)
    size = max(2, share)
    num_ops = max(network.space.num_choices)
    chunks = balanced_chunks(archs, size, num_ops)
    if network.groups_ops:  # else `vmap` computes every op for every architecture
        most = np.max([count_ops(archs[rows], num_ops) for rows in chunks], axis=0, initial=0)
        network = network.clone(capacity=tuple(map(tuple, most.tolist())))
    return Plan(network, chunks, size)


def count_ops(archs: Int8[np.ndarray, "A D"], num_ops: int) -> Int[np.ndarray, "D ops"]:
    """Count the architectures that choose each op, for every decision [D ops]."""
    return np.asarray((archs[:, :, None] == np.arange(num_ops)).sum(axis=0))


def balanced_chunks(archs: Int8[np.ndarray, "A D"], size: int, num_ops: int) -> Chunks:
    """Cut chunks of at most `size` rows in which the ops of every decision are spread as evenly as among all rows.

    The method is greedy: each architecture in turn joins the chunk, among those with room, in which its ops are the
    rarest. For chunks of 192 to 64 NAS-Bench-201 cells the largest count of an op exceeds the mean by 2 to 6 %.
    """
    chunks = []
    decisions = np.arange(archs.shape[1])
    for start in range(0, len(archs), WINDOW):
        window = archs[start : start + WINDOW]
        num_chunks = math.ceil(len(window) / size)
        counts = np.zeros((num_chunks, archs.shape[1], num_ops), np.int32)
        joined = np.empty(len(window), int)
        room = np.full(num_chunks, size)
        for row, arch in enumerate(window):
            crowd = np.where(room > 0, counts[:, decisions, arch].sum(axis=1), np.iinfo(np.int32).max)
            joined[row] = chunk = int(np.argmin(crowd))
            room[chunk] -= 1
            counts[chunk, decisions, arch] += 1
        chunks += [start + np.flatnonzero(joined == chunk) for chunk in range(num_chunks)]
    return [rows for rows in chunks if len(rows)]


def chunk_size(
    network: SearchNetwork, batch: Batch, strategy: RunStrategy, size: int | None, memory: float | None
) -> int:
    """Return `size`, or as many architectures at once as `memory` GB or the free memory of a device holds."""
    if size is not None or strategy == "loop":
        return max(2, size or LOOP_CHUNK)  # XLA would unroll a loop over one row
    if memory is None:
        stats = jax.local_devices()[0].memory_stats() or {}
        memory = SAFE_SHARE * (stats["bytes_limit"] - stats["bytes_in_use"]) / 1e9 if "bytes_limit" in stats else 4.0
    return max(2, int(memory * 1e9 / bytes_per_arch(network, batch)))


def bytes_per_arch(network: SearchNetwork, batch: Batch) -> float:
    """Estimate the bytes of a device that one architecture of a chunk takes, from the inputs of all its ReLUs."""
    arch = abstract_array((len(network.space.num_choices),), jnp.int8)
    images = abstract_array(batch.images.shape, jnp.result_type(float))
    variables = jax.eval_shape(network.init, jax.random.key(0), images, arch)
    apply = partial(network.apply, mutable=["relus"])
    _, sown = jax.eval_shape(apply, {"params": variables["params"]}, images, arch)
    seen: int = sum(int(leaf.size) * leaf.dtype.itemsize for leaf in jax.tree.leaves(sown) if leaf.ndim >= 4)
    return PER_RELU * seen


def _to_score(name: str, output: object, quantities: Quantities) -> ProxyOutput:
    """Return what a proxy gave as a scalar of the widest type.

    Raises:
      InputError: it is not one number.
    """
    if isinstance(output, Unfinished):
        return output
    if isinstance(output, jax.Array | np.ndarray | np.generic | float | int) and jnp.ndim(output) == 0:
        return quantities.widen(jnp.asarray(output))
    shown = f"an array of shape {jnp.shape(output)}" if isinstance(output, jax.Array | np.ndarray) else repr(output)
    raise InputError(f"proxy {name!r} must return one number for each architecture, got {shown:.80}")


@lru_cache(maxsize=8)
def make_program(
    network: SearchNetwork,
    functions: tuple[tuple[str, Proxy], ...],
    strategy: RunStrategy,
    draw_of_each: bool,
    float64: bool,
) -> jax.stages.Wrapped:
    """Compile (counts [devices], archs [A D], draw, batch) -> the output of each proxy, over the devices of the job.

    An output is a float64 [A], or on devices without `float64` an argument of `finish_scores`. Each device takes an
    equal share of the rows, of which the first `count` matter.

    Args:
      network: the network of the plan.
      functions: names and proxies.
      strategy: "loop" computes a device's rows one after another, the others all at once.
      draw_of_each: whether the leaves of the draw have an axis [A] in front.
      float64: whether the devices compute in it.
    """

    def score_one(arch: Int8[Array, " D"], draw: Draw, batch: Batch) -> list[ProxyOutput]:
        quantities = Quantities(network, draw.params, arch, batch, draw.key, float64)
        return [_to_score(name, proxy(quantities), quantities) for name, proxy in functions]

    def score_with_draw(row: tuple[Int8[Array, " D"], Draw], batch: Batch) -> list[ProxyOutput]:
        return score_one(*row, batch)

    def score_with_shared_draw(arch: Int8[Array, " D"], shared: tuple[Draw, Batch]) -> list[ProxyOutput]:
        return score_one(arch, *shared)

    vmapped = strategy != "loop"
    by_row = map_on_devices(score_with_draw, mesh(), vmapped=vmapped)
    by_arch = map_on_devices(score_with_shared_draw, mesh(), vmapped=vmapped)

    def score(
        counts: Int32[Array, " devices"], archs: Int8[Array, "A D"], draw: Draw, batch: Batch
    ) -> list[ProxyOutput]:
        scores: list[ProxyOutput] = (
            by_row(counts, (archs, draw), batch) if draw_of_each else by_arch(counts, archs, (draw, batch))
        )
        return scores

    return jax.jit(score)


@lru_cache(maxsize=8)
def load_program(
    network: SearchNetwork,
    functions: tuple[tuple[str, Proxy], ...],
    strategy: RunStrategy,
    draw_of_each: bool,
    float64: bool,
) -> KeptProgram:
    """Return the program of `make_program`, whose arguments are the same, with traces kept between processes."""
    split, whole = (NamedSharding(mesh(), spec) for spec in (SPLIT, WHOLE))
    return KeptProgram(
        make_program(network, functions, strategy, draw_of_each, float64),
        network,
        functions,
        strategy,
        draw_of_each,
        float64,
        shardings=(split, split, split if draw_of_each else whole, whole),
    )
