"""Score many architectures: chunk after chunk, over the devices of the job, by the strategy that suits them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Int8

from jaxnas.data.batch import Batch
from jaxnas.errors import InputError, unknown_name
from jaxnas.networks import SearchNetwork, draw_for_all, draw_for_each
from jaxnas.proxies import OF_LIVE_NETWORK, PROXIES, PROXY_SETS, ROBOT_PROXIES, Proxy, expand_names
from jaxnas.proxies.finish import finish_scores
from jaxnas.runtime.distributed import gather_rows, local_positions, local_share, mesh, to_job
from jaxnas.runtime.events import Listener, Scored, ignore
from jaxnas.runtime.workers import Workers
from jaxnas.scoring.config import ScoringConfig
from jaxnas.scoring.plan import SPLIT, WHOLE, make_plan, make_program
from jaxnas.spaces import SearchSpace, check_archs, from_index, to_index

DEFAULT_PROXIES = ROBOT_PROXIES
HAVE_FLOAT64 = ("cpu", "gpu")  # platforms
LARGEST_PIECE, PIECES_PER_WORKER = 64, 4  # architectures that a worker scores at once: what its death can cost


def get_proxies(proxies: Sequence[str] | Mapping[str, Proxy]) -> dict[str, Proxy]:
    """The functions of the named proxies, or sets of them; a dictionary of the caller's own functions as it is."""
    if isinstance(proxies, Mapping):
        return dict(proxies)
    proxies = expand_names(proxies)
    for name in proxies:
        if name not in PROXIES:
            raise unknown_name("proxy", name, [*PROXIES, *PROXY_SETS])
    if not proxies:
        raise InputError(f"no proxy was named: choose from {', '.join(PROXIES)}")
    return {name: PROXIES[name] for name in proxies}


def score_archs(
    network: SearchNetwork,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    proxies: Sequence[str] | Mapping[str, Proxy] = DEFAULT_PROXIES,
    config: ScoringConfig = ScoringConfig(),
    *,
    on_event: Listener = ignore,
) -> Float[np.ndarray, "A M"]:
    """Raw scores float64 of every architecture, one column per proxy in the order given; NaN and inf are passed on.

    Memory does not grow with A. `on_event` is given a `Scored` after each chunk.

    Raises: InputError for an unknown proxy, or architectures or a batch that do not fit the network.
    """
    scores = np.empty((len(archs), len(get_proxies(proxies))))
    own = np.zeros(len(archs), bool)
    for rows, values in iter_scores(network, archs, batch, proxies, config):
        scores[rows] = values
        own[rows] = True
        on_event(Scored(int(own.sum()), len(archs)))
    return gather_rows(scores, own)


def iter_scores(
    network: SearchNetwork,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    proxies: Sequence[str] | Mapping[str, Proxy] = DEFAULT_PROXIES,
    config: ScoringConfig = ScoringConfig(),
    workers: Workers | None = None,
) -> Iterator[tuple[Int[np.ndarray, " a"], Float[np.ndarray, "a M"]]]:
    """Rows of `archs` and their scores, a chunk at a time, every row once.

    In a job of several processes all must call with the same arguments, and each gets the rows that its devices scored.
    `workers`, where given, score instead of the devices of this process.
    """
    check_batch(network, batch)
    archs = check_archs(network.space, archs)
    functions = get_proxies(proxies)
    if not len(archs):
        return
    chosen, rows_of = representatives(network.space, archs, functions, config)
    score = _score_here if workers is None else partial(_score_elsewhere, workers)
    for rows, values in score(network, chosen, batch, functions, config):
        takers = [rows_of[row] for row in rows]
        yield np.concatenate(takers), np.repeat(values, [len(rows) for rows in takers], axis=0)


def _score_elsewhere(workers, network, archs, batch, functions, config):
    """In pieces small enough that few are under way at the end."""
    batch = jax.tree.map(np.asarray, batch)
    size = min(LARGEST_PIECE, math.ceil(len(archs) / (PIECES_PER_WORKER * workers.num_workers)))
    pieces = [np.arange(start, min(start + size, len(archs))) for start in range(0, len(archs), size)]
    call = workers.share(_score_piece, (network, archs, batch, functions, config))
    for number, values in workers.map(call, pieces):
        yield pieces[number], values


def _score_piece(shared, rows):
    """In a worker: scores of these rows."""
    network, archs, batch, functions, config = shared
    return score_archs(network, archs[rows], batch, functions, config)


def _score_here(network, chosen, batch, functions, config):
    """On the devices of the job."""
    on_cpu, strategy = jax.default_backend() == "cpu", strategy_of(network, config)
    plan = make_plan(network, chosen, batch, strategy, config.chunk_size, config.memory)
    independent = config.init == "independent"
    num_decisions = chosen.shape[1]
    drawn_for = (network, batch.images.shape[1:], num_decisions, config.seed)
    batch = to_job(batch, WHOLE)
    draw = None if independent else to_job(draw_for_all(*drawn_for), WHOLE)
    float64 = jax.default_backend() in HAVE_FLOAT64
    program = make_program(plan.network, tuple(functions.items()), strategy, independent, float64)
    as_is = on_cpu and config.precision != "bfloat16"
    own, num_devices = local_positions(), mesh().size
    for start in range(0, len(plan.chunks), num_devices):  # every process comes here as often
        chunks = plan.chunks[start : start + num_devices][own]
        padded = np.tile(chosen[0], (own.stop - own.start, plan.size, 1))  # one shape, one compilation
        counts = np.zeros(len(padded), np.int32)
        for device, rows in enumerate(chunks):
            padded[device, : len(rows)] = chosen[rows]
            counts[device] = len(rows)
        padded = padded.reshape(-1, num_decisions)
        given = to_job((counts, padded), SPLIT)
        if independent:
            draw = to_job(draw_for_each(*drawn_for, to_index(network.space, padded)), SPLIT)
        with nullcontext() if as_is else jax.default_matmul_precision(config.precision):
            scores = local_share(program(*given, draw, batch), SPLIT)
        values = finish_scores(scores).reshape(len(counts), plan.size, -1)
        if chunks:
            values = np.concatenate([values[device, : len(rows)] for device, rows in enumerate(chunks)])
            yield np.concatenate(chunks), values


def strategy_of(network: SearchNetwork, config: ScoringConfig) -> str:
    """ "loop" or "grouped": what "auto" means here."""
    if config.strategy != "auto":
        return config.strategy
    return "grouped" if network.groups_ops and jax.default_backend() != "cpu" else "loop"


def representatives(
    space: SearchSpace, archs: Int8[np.ndarray, "A D"], functions: Mapping[str, Proxy], config: ScoringConfig
) -> tuple[Int8[np.ndarray, "R D"], list[Int[np.ndarray, " a"]]]:
    """The architectures to score, and for each the rows of `archs` that take its scores."""
    if not (config.one_per_class and OF_LIVE_NETWORK.issuperset(functions.values())):
        return archs, list(np.arange(len(archs))[:, None])
    classes, first, members = np.unique(space.network_class(archs), return_index=True, return_inverse=True)
    rows_of = np.split(np.argsort(members, kind="stable"), np.cumsum(np.bincount(members))[:-1])
    order = np.argsort(first)  # as the caller has them
    return space.canonicalize(from_index(space, classes[order])), [rows_of[number] for number in order]


def check_batch(network: SearchNetwork, batch: Batch) -> None:
    """InputError unless labels fit the images and the network's outputs."""
    images, labels = batch
    if len(images) < 2 or len(labels) != len(images):
        raise InputError(f"a batch needs at least 2 images and one label each, not {images.shape} and {labels.shape}")
    outputs = output_shape(network, images.shape)
    is_classes = jnp.issubdtype(labels.dtype, jnp.integer)
    wanted = outputs[:-1] if is_classes else outputs
    if labels.shape != wanted:
        raise InputError(f"labels of shape {labels.shape} do not fit outputs {outputs}: give {wanted}")
    if not is_classes:
        return
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0:
        raise InputError(f"label {lowest} is negative: labels are 0 to {outputs[-1] - 1}")
    if highest >= outputs[-1]:
        raise InputError(
            f"label {highest} does not fit a network of {outputs[-1]} classes: give num_classes={highest + 1}"
        )


def output_shape(network: SearchNetwork, images: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the network's outputs for images of that shape.

    Raises: InputError where the network does not take such images.
    """
    arch = jax.ShapeDtypeStruct((len(network.space.num_choices),), jnp.int8)
    given = jax.ShapeDtypeStruct(images, jnp.result_type(float))
    return jax.eval_shape(network.init_with_output, jax.random.key(0), given, arch)[0].shape
