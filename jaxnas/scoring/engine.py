"""The scoring of many architectures, chunk after chunk, over the devices of the job."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Int8, Int32

from jaxnas.data.batch import Batch, to_batch
from jaxnas.errors import InputError, unknown_name
from jaxnas.networks import SearchNetwork, draw_for_all, draw_for_each
from jaxnas.networks.network import require_network
from jaxnas.proxies import OF_LIVE_NETWORK, PROXIES, PROXY_SETS, ROBOT_PROXIES, Proxy, expand_names
from jaxnas.proxies.finish import finish_scores
from jaxnas.runtime.bars import showing
from jaxnas.runtime.devices import abstract_array
from jaxnas.runtime.distributed import gather_rows, local_positions, local_share, mesh, to_job
from jaxnas.runtime.events import Listener, Scored, ignore
from jaxnas.runtime.session import fixed_settings, steps_in_fixed_settings
from jaxnas.runtime.workers import Workers
from jaxnas.scoring.config import ScoringConfig
from jaxnas.scoring.plan import SPLIT, WHOLE, RunStrategy, load_program, make_plan
from jaxnas.spaces import SearchSpace, check_archs, from_index, to_index

DEFAULT_PROXIES = ROBOT_PROXIES
HAVE_FLOAT64 = ("cpu", "gpu")  # platforms
LARGEST_PIECE, PIECES_PER_WORKER = 64, 4  # architectures that a worker scores at once, and loses if it dies

ScoredChunks: TypeAlias = Iterator[tuple[Int[np.ndarray, " a"], Float[np.ndarray, "a M"]]]
"""Rows of architectures, and their scores."""


def get_proxies(proxies: Sequence[str] | Mapping[str, Proxy]) -> dict[str, Proxy]:
    """Return the functions of named proxies or sets of them, or a dictionary of functions unchanged.

    Raises:
      InputError: a name is unknown, or there is none.
    """
    if isinstance(proxies, Mapping):
        return dict(proxies)
    proxies = expand_names(proxies)
    for name in proxies:
        if name not in PROXIES:
            raise unknown_name("proxy", name, [*PROXIES, *PROXY_SETS])
    if not proxies:
        raise InputError(f"`proxies` must name at least one: choose from {', '.join(PROXIES)}")
    return {name: PROXIES[name] for name in proxies}


def score_archs(
    network: SearchNetwork,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    proxies: Sequence[str] | Mapping[str, Proxy] = DEFAULT_PROXIES,
    config: ScoringConfig = ScoringConfig(),
    *,
    on_event: Listener = ignore,
    progress: bool | None = None,
) -> Float[np.ndarray, "A M"]:
    """Return the scores of all architectures [A M] in float64, a column per proxy in the order given.

    NaN and inf are kept. The memory of the devices does not grow with A.

    Args:
      network: the network of a search space.
      archs: architectures, as vectors of the space.
      batch: the minibatch that proxies see.
      proxies: names of proxies or sets, or a dictionary of functions.
      config: settings of scoring.
      on_event: receives a `Scored` before the first chunk and after each.
      progress: whether bars are shown; None shows them in a terminal or a notebook.

    Raises:
      InputError: a proxy is unknown, or the architectures or the batch do not fit the network.
    """
    scores = np.empty((len(archs), len(get_proxies(proxies))))
    is_done = np.zeros(len(archs), bool)
    with showing(on_event, progress, "scoring") as listener:
        listener(Scored(0, len(archs)))
        for rows, values in iter_scores(network, archs, batch, proxies, config):
            scores[rows] = values
            is_done[rows] = True
            listener(Scored(int(is_done.sum()), len(archs)))
    return gather_rows(scores, is_done)


def iter_scores(
    network: SearchNetwork,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    proxies: Sequence[str] | Mapping[str, Proxy] = DEFAULT_PROXIES,
    config: ScoringConfig = ScoringConfig(),
    workers: Workers | None = None,
) -> ScoredChunks:
    """Yield rows of `archs` and their scores, chunk by chunk; every row comes once.

    In a job of several processes all must call this with the same arguments; each gets the rows of its devices.

    Args:
      network: see `score_archs`.
      archs: see `score_archs`.
      batch: see `score_archs`.
      proxies: see `score_archs`.
      config: see `score_archs`.
      workers: workers that score instead of the devices of this process.

    Raises:
      InputError: see `score_archs`.
    """
    require_network(network)
    batch = to_batch(batch)
    float64 = bool(jax.config.jax_enable_x64) and batch.images.dtype == np.float64  # type: ignore[attr-defined]
    with fixed_settings(float64):
        check_batch(network, batch)
    archs = check_archs(network.space, archs)
    functions = get_proxies(proxies)
    if not len(archs):
        return
    chosen, rows_of = representatives(network.space, archs, functions, config)
    score = _score_on_devices if workers is None else partial(_score_on_workers, workers)
    for rows, values in steps_in_fixed_settings(score(network, chosen, batch, functions, config), float64):
        members = [rows_of[row] for row in rows]
        yield np.concatenate(members), np.repeat(values, [len(rows) for rows in members], axis=0)


def _score_on_workers(
    workers: Workers,
    network: SearchNetwork,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    functions: Mapping[str, Proxy],
    config: ScoringConfig,
) -> ScoredChunks:
    """Score in pieces that are small enough to keep all workers busy until the end."""
    batch = jax.tree.map(np.asarray, batch)
    size = min(LARGEST_PIECE, math.ceil(len(archs) / (PIECES_PER_WORKER * workers.num_workers)))
    pieces = [np.arange(start, min(start + size, len(archs))) for start in range(0, len(archs), size)]
    call = workers.share(_score_piece, _Job(network, archs, batch, functions, config))
    for number, values in workers.map(call, pieces):
        yield pieces[number], values


class _Job(NamedTuple):
    """The arguments of `score_archs` that all pieces share."""

    network: SearchNetwork
    archs: Int8[np.ndarray, "A D"]
    batch: Batch
    functions: Mapping[str, Proxy]
    config: ScoringConfig


def _score_piece(job: _Job, rows: Int[np.ndarray, " a"]) -> Float[np.ndarray, "a M"]:
    """Score some rows, in a worker."""
    return score_archs(job.network, job.archs[rows], job.batch, job.functions, job.config, progress=False)


def _score_on_devices(
    network: SearchNetwork,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    functions: Mapping[str, Proxy],
    config: ScoringConfig,
) -> ScoredChunks:
    """Score on the devices of the job."""
    on_cpu, strategy = jax.default_backend() == "cpu", strategy_of(network, config)
    plan = make_plan(network, archs, batch, strategy, config.chunk_size, config.memory)
    independent = config.init == "independent"
    num_decisions = archs.shape[1]
    drawn_for = (network, batch.images.shape[1:], num_decisions, config.seed)
    batch = to_job(batch, WHOLE)
    draw = None if independent else to_job(draw_for_all(*drawn_for), WHOLE)
    float64 = jax.default_backend() in HAVE_FLOAT64
    program = load_program(plan.network, tuple(functions.items()), strategy, independent, float64)
    needs_no_precision = on_cpu and config.precision != "bfloat16"  # the CPU computes in float32 anyway
    local, num_devices = local_positions(), mesh().size
    for start in range(0, len(plan.chunks), num_devices):  # every process has the same number of rounds
        chunks = plan.chunks[start : start + num_devices][local]
        counts, padded = _pad(archs, chunks, local.stop - local.start, plan.size)
        if independent:
            draw = to_job(draw_for_each(*drawn_for, to_index(network.space, padded)), SPLIT)
        with nullcontext() if needs_no_precision else jax.default_matmul_precision(config.precision):
            scores = local_share(program(*to_job((counts, padded), SPLIT), draw, batch), SPLIT)
        values = finish_scores(scores).reshape(len(counts), plan.size, -1)
        if chunks:
            values = np.concatenate([values[device, : len(rows)] for device, rows in enumerate(chunks)])
            yield np.concatenate(chunks), values


def _pad(
    archs: Int8[np.ndarray, "A D"], chunks: Sequence[Int[np.ndarray, " a"]], num_devices: int, size: int
) -> tuple[Int32[np.ndarray, " devices"], Int8[np.ndarray, "P D"]]:
    """Return the number of rows of each device, and the rows of all, padded to `size`: one shape, one compilation."""
    padded = np.tile(archs[0], (num_devices, size, 1))
    counts = np.zeros(num_devices, np.int32)
    for device, rows in enumerate(chunks):
        padded[device, : len(rows)] = archs[rows]
        counts[device] = len(rows)
    return counts, padded.reshape(-1, archs.shape[1])


def strategy_of(network: SearchNetwork, config: ScoringConfig) -> RunStrategy:
    """Return the strategy of a configuration, where "auto" stands for the one that suits device and network.

    Raises:
      InputError: see `check_strategy`.
    """
    check_strategy(network, config)
    if config.strategy != "auto":
        return config.strategy
    return "grouped" if network.groups_ops and jax.default_backend() != "cpu" else "loop"


def check_strategy(network: SearchNetwork, config: ScoringConfig) -> None:
    """Check that the network and the device have kernels of their own for the strategy "fused".

    Raises:
      InputError: they have not.
    """
    if config.strategy == "fused":
        require_kernels(network)


def require_kernels(network: SearchNetwork) -> None:
    """Raise InputError for a network or a device that has no kernels of its own for the edges of a batch."""
    if not network.groups_ops:
        raise InputError(
            f"strategy='fused' needs a network that groups ops, which {type(network).__name__} does not; leave it out"
        )
    device = jax.local_devices()[0]
    if device.platform != "gpu" or "cuda" not in device.client.platform_version:
        raise InputError(f"strategy='fused' needs an NVIDIA GPU, got {device.device_kind}; leave it out")


def representatives(
    space: SearchSpace, archs: Int8[np.ndarray, "A D"], functions: Mapping[str, Proxy], config: ScoringConfig
) -> tuple[Int8[np.ndarray, "R D"], list[Int[np.ndarray, " a"]]]:
    """Return the architectures to score, and for each the rows of `archs` that take its scores."""
    if not (config.one_per_class and OF_LIVE_NETWORK.issuperset(functions.values())):
        return archs, list(np.arange(len(archs))[:, None])
    classes, first, members = np.unique(space.network_class(archs), return_index=True, return_inverse=True)
    rows_of = np.split(np.argsort(members, kind="stable"), np.cumsum(np.bincount(members))[:-1])
    order = np.argsort(first)  # in the order of the caller
    return space.canonicalize(from_index(space, classes[order])), [rows_of[number] for number in order]


def check_batch(network: SearchNetwork, batch: Batch) -> None:
    """Check that labels fit the images and the network's outputs.

    Raises:
      InputError: the labels do not fit, or there are fewer than two images.
    """
    images, labels = batch
    if len(images) < 2 or len(labels) != len(images):
        raise InputError(
            f"a batch must have at least 2 images and one label each, got {images.shape} and {labels.shape}"
        )
    outputs = output_shape(network, images.shape)
    is_classes = jnp.issubdtype(labels.dtype, jnp.integer)
    wanted = outputs[:-1] if is_classes else outputs
    if labels.shape != wanted:
        raise InputError(f"labels must have shape {wanted} for outputs {outputs}, got {labels.shape}")
    if not is_classes:
        return
    lowest, highest = int(np.asarray(labels).min()), int(np.asarray(labels).max())
    if lowest < 0:
        raise InputError(f"labels must be 0 to {outputs[-1] - 1}, got {lowest}")
    if highest >= outputs[-1]:
        raise InputError(
            f"labels must be 0 to {outputs[-1] - 1} for a network of {outputs[-1]} classes, got {highest}; "
            f"give num_classes={highest + 1}"
        )


def output_shape(network: SearchNetwork, images: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the network's outputs for images of that shape.

    Raises:
      InputError: the network does not take such images.
    """
    arch = abstract_array((len(network.space.num_choices),), jnp.int8)
    images_like = abstract_array(images, jnp.result_type(float))
    outputs, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), images_like, arch)
    return tuple(outputs.shape)
