"""Scores on disk: one Parquet file that carries what made it, grows while scoring, and is resumed after a kill."""

import json
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int8

from jaxnas.errors import InputError
from jaxnas.files import atomic_write, check_same
from jaxnas.images import fingerprint
from jaxnas.networks import describe
from jaxnas.proxies import Batch
from jaxnas.scoring import DEFAULT_PROXIES, iter_scores
from jaxnas.spaces import SearchSpace, get_space, to_index

SAVE_INTERVAL = 5.0  # seconds of scoring that a kill can cost at most


class Scores(NamedTuple):
    """Raw scores of architectures of one search space, and what made them."""

    archs: Int8[np.ndarray, "A D"]
    values: Float[np.ndarray, "A M"]  # NaN and inf as the proxy gave them
    proxies: tuple[str, ...]
    provenance: dict[str, Any]  # must agree for two rows to be comparable
    environment: dict[str, Any]  # for the record: library versions, device, seconds of scoring


def make_provenance(
    space: SearchSpace, network: nn.Module, data_name: str, batch: Batch, proxies: Sequence[str], seed: int
) -> dict[str, Any]:
    """Everything that a score depends on, as plain JSON values."""
    return {
        "space": space.name,
        **describe(network),
        "data": data_name,
        "data.fingerprint": fingerprint(np.asarray(batch.images), np.asarray(batch.labels)),
        "batch_size": len(batch.labels),
        "proxies": list(proxies),
        "seed": seed,
        "jaxnas": version("jaxnas"),
    }


def make_environment(seconds: float) -> dict[str, Any]:
    """Library versions, device and seconds spent: recorded beside every result, never compared."""
    installed = {name: find_spec(name) for name in ("jax", "flax", "gpjax", "numpy")}  # scoring runs without gpjax
    device = jax.local_devices()[0]
    return {
        **{name: version(name) for name, spec in installed.items() if spec is not None},
        "device": f"{jax.local_device_count()} x {device.device_kind} ({device.platform})",
        "seconds": round(seconds, 3),
    }


def write_scores(path: Path | str, scores: Scores) -> None:
    """Write one row per architecture: its index, its string, one float64 column per proxy. Atomic."""
    space = get_space(scores.provenance["space"])
    columns = {
        "index": pa.array(to_index(space, scores.archs)),
        "arch": pa.array([space.format(arch) for arch in scores.archs]),
        **{name: pa.array(column) for name, column in zip(scores.proxies, scores.values.T, strict=True)},
    }
    metadata = {"jaxnas": json.dumps({"provenance": scores.provenance, "environment": scores.environment})}
    table = pa.table(columns).replace_schema_metadata(metadata)
    with atomic_write(path) as partial:
        pq.write_table(table, partial, write_page_checksum=True)


def read_scores(path: Path | str) -> Scores:
    """Read a file that `write_scores` wrote.

    Raises: InputError when the file is missing, cut short, altered, or of another origin.
    """
    if not Path(path).is_file():
        raise InputError(f"no score file {path}: make one with `jaxnas score --out {path}`")
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        header = json.loads((table.schema.metadata or {})[b"jaxnas"])
        space = get_space(header["provenance"]["space"])
        proxies = tuple(header["provenance"]["proxies"])
        archs = [space.parse(text) for text in table["arch"].to_pylist()]
        values = [table[name].to_numpy() for name in proxies]
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        problem = str(error).splitlines()[0]
        raise InputError(f"{path} is not a score file that can be read ({problem}): remove it to score anew") from error
    return Scores(
        np.array(archs, np.int8).reshape(len(archs), len(space.num_choices)),
        np.stack(values, axis=1),
        proxies,
        header["provenance"],
        header["environment"],
    )


def score_to_file(
    path: Path | str,
    space: SearchSpace,
    network: nn.Module,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    proxies: Sequence[str] = DEFAULT_PROXIES,
    *,
    data_name: str,
    seed: int = 0,
    chunk_size: int = 32,
    on_chunk: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Scores of `archs`, in their order, through the file at `path`: rows found there are not scored again.

    The file is replaced whole every few seconds, so a kill costs those seconds at most; it keeps rows of other
    architectures. `on_chunk(done, total)` is called first with the number of rows found.

    Raises: InputError when the file was made with other settings, naming them.
    """
    wanted = make_provenance(space, network, data_name, batch, proxies, seed)
    scores = Scores(archs[:0], np.empty((0, len(proxies))), tuple(proxies), wanted, make_environment(0.0))
    if Path(path).exists():
        scores = read_scores(path)
        check_same(path, scores.provenance, wanted)
    pending = archs[~np.isin(to_index(space, archs), to_index(space, scores.archs))]
    found, spent = len(archs) - len(pending), scores.environment["seconds"]
    on_chunk(found, len(archs))
    done = saved = 0
    started = last_save = time.monotonic()
    try:
        for chunk in iter_scores(network, pending, batch, proxies, seed=seed, chunk_size=chunk_size):
            rows = pending[done : done + len(chunk)]
            scores = scores._replace(
                archs=np.concatenate([scores.archs, rows]), values=np.concatenate([scores.values, chunk])
            )
            done += len(chunk)
            on_chunk(found + done, len(archs))
            if time.monotonic() - last_save > SAVE_INTERVAL:
                write_scores(path, scores)
                saved, last_save = done, time.monotonic()
    finally:
        if done > saved:
            scores = scores._replace(environment=make_environment(spent + time.monotonic() - started))
            write_scores(path, scores)
    return _select(scores, space, archs)


def _select(scores: Scores, space: SearchSpace, archs: Int8[np.ndarray, "A D"]) -> Scores:
    """The rows of `archs`, in their order."""
    row_of = {index: row for row, index in enumerate(to_index(space, scores.archs).tolist())}
    rows = [row_of[index] for index in to_index(space, archs).tolist()]
    return scores._replace(archs=archs, values=scores.values[rows])
