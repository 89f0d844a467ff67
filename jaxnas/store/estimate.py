"""Estimates of the time, memory and files of a scoring job, without compiling or running it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int, Int8, PyTree

from jaxnas.data.batch import Batch, to_batch
from jaxnas.networks.network import SearchNetwork
from jaxnas.proxies import Quantities, flops, passes_of
from jaxnas.runtime.devices import abstract_array
from jaxnas.runtime.files import check_same
from jaxnas.runtime.places import is_address
from jaxnas.scoring.config import ScoringConfig
from jaxnas.scoring.engine import get_proxies, representatives, strategy_of
from jaxnas.scoring.plan import bytes_per_arch, chunk_size
from jaxnas.spaces import SearchSpace, to_index
from jaxnas.store.folders import open_folder
from jaxnas.store.parts import MANIFEST, Part, gather, read_parts, seconds_of
from jaxnas.store.scores import Environment, Provenance
from jaxnas.store.store import DEFAULT_CONFIG, LONGEST_INTERVAL, make_provenance

FEW = 64  # architectures whose operations are counted
BACKWARD = 2  # cost of a backward pass in forward passes: it has two products for each
EARLY_PARTS = 75  # parts that a process saves before it saves once a minute
BYTES_PER_NUMBER = 8


class Estimate(NamedTuple):
    """The estimate of a scoring job; unknown values are None.

    Attributes:
      architectures: number of distinct architectures.
      known: number of these that are in the store with every proxy.
      to_score: number of the others, or of their network classes where one architecture of each is enough.
      proxies: number of proxies.
      devices: number of devices of the job.
      strategy: "loop", "grouped" or "fused".
      shard: number of architectures of each device.
      chunk: number of architectures that a device scores at once.
      chunks: number of chunks of each device.
      bytes_per_device: approximate bytes of params, minibatch and activations of a chunk.
      flops_per_arch: approximate operations of an architecture, mean.
      flops: approximate operations of the job.
      throughput: architectures per second of one device.
      throughput_from: source of the throughput.
      seconds: duration without compilation.
      parts: number of parts that are added to the store.
      store_bytes: bytes of these parts before compression.
    """

    architectures: int
    known: int
    to_score: int
    proxies: int
    devices: int
    strategy: str
    shard: int
    chunk: int
    chunks: int
    bytes_per_device: int
    flops_per_arch: float
    flops: float
    throughput: float | None
    throughput_from: str
    seconds: float | None
    parts: int | None
    store_bytes: int


def estimate(
    folder: Path | str,
    space: SearchSpace,
    network: SearchNetwork,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    proxies: Sequence[str],
    config: ScoringConfig = DEFAULT_CONFIG,
    *,
    data_name: str,
    devices: int | None = None,
    throughput: float | None = None,
    processes: int = 1,
) -> Estimate:
    """Estimate shards, memory, operations, time and parts of `fill_store` without compiling or writing.

    Operations are the multiply-adds of convolutions and linear layers of a few of the architectures, twice, for each
    pass over the minibatch; `bytes_per_device` is the estimate by which chunks are cut, see `jaxnas.scoring.plan`.

    Args:
      folder: see `fill_store`.
      space: see `fill_store`.
      network: see `fill_store`.
      archs: see `fill_store`.
      batch: see `fill_store`.
      proxies: names of proxies.
      config: see `fill_store`.
      data_name: see `fill_store`.
      devices: number of devices of the job; by default those of this process.
      throughput: architectures a second of one device; by default that of the store's parts.
      processes: number of processes of the job.

    Raises:
      InputError: an argument does not fit, or the store has other settings; see `fill_store`.
    """
    functions, devices, batch = get_proxies(proxies), devices or jax.device_count(), to_batch(batch)
    index, first = np.unique(to_index(space, archs), return_index=True)
    archs = archs[first]
    provenance = make_provenance(space, network, data_name, batch, config)
    known, measured = _known(folder, provenance, index, tuple(functions))
    left = archs[~known]
    chosen, _ = representatives(space, left, functions, config) if len(left) else (left, [])
    strategy = strategy_of(network, config)
    shard = math.ceil(len(chosen) / devices)
    chunk = min(max(2, shard), chunk_size(network, batch, strategy, config.chunk_size, config.memory))
    at_once = 1 if strategy == "loop" else chunk
    constant = sum(leaf.size * 4 for leaf in jax.tree.leaves((_param_shapes(network, archs, batch), batch)))
    per_arch = flops_per_arch(network, chosen, batch, tuple(functions)) if len(chosen) else 0.0
    num_rows = len(chosen) if throughput else len(left)  # a part has those of a class too
    pace, source = (throughput, "given") if throughput else (measured, "the store's parts")
    seconds = None if pace is None else num_rows / (pace * devices)
    return Estimate(
        architectures=len(archs),
        known=int(known.sum()),
        to_score=len(chosen),
        proxies=len(functions),
        devices=devices,
        strategy=strategy,
        shard=shard,
        chunk=chunk,
        chunks=math.ceil(shard / chunk),
        bytes_per_device=int(constant + at_once * bytes_per_arch(network, batch)),
        flops_per_arch=per_arch,
        flops=per_arch * len(chosen),
        throughput=pace,
        throughput_from=source if pace else "unknown",
        seconds=seconds,
        parts=None if seconds is None else _num_parts(seconds, processes),
        store_bytes=len(left) * (BYTES_PER_NUMBER * (len(functions) + 1) + _text_length(space, left)),
    )


def flops_per_arch(network: SearchNetwork, archs: Int8[np.ndarray, "A D"], batch: Batch, names: Sequence[str]) -> float:
    """Return the mean operations of some of the architectures, a multiply-add being two, for all passes of proxies."""
    some = archs[np.linspace(0, len(archs) - 1, min(FEW, len(archs))).astype(int)]
    one = jax.tree.map(lambda leaf: np.asarray(leaf[:1]), batch)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), _param_shapes(network, archs, batch))
    count = jax.jit(lambda arch: flops(Quantities(network, params, arch, one)))
    forward = 2e6 * float(np.mean([count(arch) for arch in some])) * len(batch.labels)
    passes = passes_of(names)
    return forward * (passes[0] + BACKWARD * passes[1])


def _param_shapes(network: SearchNetwork, archs: Int8[np.ndarray, "A D"], batch: Batch) -> PyTree:
    images = abstract_array((2, *batch.images.shape[1:]), np.float32)
    arch = abstract_array(archs.shape[1:], np.int8)
    return jax.eval_shape(network.init, jax.random.key(0), images, arch)["params"]


def _known(
    folder: Path | str, provenance: Provenance, index: Int[np.ndarray, " A"], names: Sequence[str]
) -> tuple[Bool[np.ndarray, " A"], float | None]:
    """Return whether the store has each architecture, if there is a store, and the throughput of a device."""
    if not is_address(folder) and not Path(folder).is_dir():
        return np.zeros(len(index), bool), None
    place = open_folder(folder)
    if not place.exists(MANIFEST):
        return np.zeros(len(index), bool), None
    made_with, parts = read_parts(place)
    check_same(str(place), made_with, provenance)
    known = np.asarray(gather(parts, index, names)[1].all(axis=1))
    return known, _throughput(parts)


def _throughput(parts: Sequence[Part]) -> float | None:
    """Return the architectures per second of a device, from the parts that record it."""
    timed = [(part, _device_seconds(part.header.environment)) for part in parts]
    seconds = sum(spent for _, spent in timed)
    return sum(len(part.indices) for part, spent in timed if spent) / seconds if seconds else None


def _device_seconds(environment: Environment) -> float:
    """Return seconds times devices, 0 if they are not recorded."""
    devices = str(environment.get("device", "")).partition(" x ")[0]
    return seconds_of(environment) * int(devices) if devices.isdecimal() else 0.0


def _num_parts(seconds: float, processes: int) -> int:
    """Return the number of parts that processes save: at first every few seconds, then each minute."""
    return processes * max(1, math.ceil(min(EARLY_PARTS, seconds / 5) + max(0.0, seconds / LONGEST_INTERVAL - 50)))


def _text_length(space: SearchSpace, archs: Int8[np.ndarray, "A D"]) -> int:
    return len(space.format(archs[0])) if len(archs) else 0
