"""Scores on disk: a store, or a single file.

A store is a folder that grows while scoring and is resumed after a kill.
"""

import io
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Required, TypedDict, Unpack, cast

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int, Int8

from jaxnas.data.batch import Batch, to_batch
from jaxnas.data.images import fingerprint
from jaxnas.errors import InputError, first_line, unknown_name
from jaxnas.networks import describe
from jaxnas.networks.network import SearchNetwork
from jaxnas.proxies import OF_LIVE_NETWORK, PROXIES, Proxy
from jaxnas.runtime.distributed import from_leader, wait_for_all
from jaxnas.runtime.events import Event, Listener, PartDamaged, Scored
from jaxnas.runtime.names import split_names
from jaxnas.runtime.places import is_address, without_secrets
from jaxnas.runtime.session import fixed_settings
from jaxnas.runtime.workers import Workers
from jaxnas.scoring.config import ScoringConfig
from jaxnas.scoring.engine import DEFAULT_PROXIES, ScoredChunks, check_batch, get_proxies, iter_scores
from jaxnas.spaces import SearchSpace, from_index, to_index
from jaxnas.store.folders import Folder, open_folder, split_file
from jaxnas.store.parts import (
    KEYS,
    check_columns,
    gather,
    merge_environments,
    open_parts,
    proxies_of,
    read_header,
    read_parts,
    with_header,
    write_part,
)
from jaxnas.store.scores import Environment, Provenance, Scores, space_of

SAVE_INTERVAL, LONGEST_INTERVAL = 5.0, 60.0  # seconds between saves, at first and at most, which a kill can lose
DEFAULT_CONFIG = ScoringConfig()
DECISIVE = ("seed", "init", "one_per_class", "precision")  # fields of ScoringConfig that decide scores
LIBRARIES = ("jax", "flax", "gpjax", "numpy")


def warn_of_damage(event: Event) -> None:
    """Warn of a damaged file of a store; ignore all other events."""
    if isinstance(event, PartDamaged):
        warnings.warn(event.message, stacklevel=4)


def make_provenance(
    space: SearchSpace, network: SearchNetwork, data_name: str, batch: Batch, config: ScoringConfig
) -> Provenance:
    """Return all settings that a score depends on except the proxy, as plain JSON values."""
    fields = {
        "space": space.name,
        **describe(network),
        "data": data_name,
        "data.fingerprint": fingerprint(np.asarray(batch.images), np.asarray(batch.labels)),
        "batch_size": len(batch.labels),
        **{name: getattr(config, name) for name in DECISIVE},
        "jaxnas": version("jaxnas"),
    }
    as_read_back: Provenance = json.loads(json.dumps(fields, default=str))
    return as_read_back


def make_environment(seconds: float) -> Environment:
    """Return versions of libraries, the device and the seconds spent; they are stored with results but not compared."""
    device = jax.local_devices()[0]
    environment: Environment = {
        "device": f"{jax.local_device_count()} x {device.device_kind} ({device.platform})",
        "seconds": round(seconds, 3),
    }
    versions = {name: version(name) for name in LIBRARIES if find_spec(name)}  # scoring runs without gpjax
    return cast(Environment, {**versions, **environment})


def write_scores(path: Path | str, scores: Scores, space: SearchSpace | None = None) -> None:
    """Write scores to a single file, atomically: a row per architecture, with index, text and a column per proxy.

    Args:
      path: a file, or an address in an object store.
      scores: scores with their provenance and environment.
      space: the search space, needed where SPACES does not have it.
    """
    space = space or space_of(scores.provenance)
    columns = dict(zip(scores.proxies, scores.values.T, strict=True))
    table = _make_table(space, to_index(space, scores.archs), columns)
    write_score_table(path, with_header(table, scores.provenance, scores.environment))


def write_score_table(path: Path | str, table: pa.Table) -> None:
    """Write what `read_score_table` returned as a single file, atomically; `path` may be an address."""
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd", write_page_checksum=True)
    folder, name = split_file(path)
    open_folder(folder).write(name, content.getvalue())


def read_score_table(path: Path | str, space: SearchSpace | None = None) -> pa.Table:
    """Read all scores of a store, or of a single file: a row per architecture, null where a proxy was not scored.

    Columns are `index`, `arch` and one of float64 per proxy, where NaN is a score. A store's rows come by index; where
    two processes scored the same row, the part with the later name counts.

    Args:
      path: a folder or a file, or the address of one in an object store.
      space: the search space, needed where SPACES does not have it.

    Raises:
      InputError: there is nothing, or something is damaged or has another origin, which is named.
    """
    if without_secrets(str(path)).endswith(".parquet") if is_address(path) else not Path(path).is_dir():
        return _read_file(path)
    provenance, parts = read_parts(open_folder(path))
    index = np.unique(np.concatenate([np.empty(0, np.int64), *(part.indices for part in parts)]))
    names = sorted({name for part in parts for name in part.columns}, key=_rank)
    values, known = gather(parts, index, names)
    columns = {name: pa.array(values[:, i], mask=~known[:, i]) for i, name in enumerate(names)}
    table = _make_table(space or space_of(provenance), index, columns)
    return with_header(table, provenance, merge_environments(parts))


def read_scores(path: Path | str, proxies: Sequence[str] = (), space: SearchSpace | None = None) -> Scores:
    """Read the scores of the architectures that have every one of some proxies, from a store or a single file.

    `read_score_table` returns the other architectures too.

    Args:
      path: a folder or a file, or the address of one in an object store.
      proxies: names of the columns; empty for all.
      space: the search space, needed where SPACES does not have it.

    Raises:
      InputError: a file is missing or damaged, see `read_score_table`; a proxy is unknown; or no architecture has all
        the proxies.
    """
    table = read_score_table(path, space)
    provenance, environment = read_header(table)
    known, proxies = proxies_of(table), split_names(proxies)
    for name in proxies:
        if name not in known:
            raise unknown_name("proxy", name, known)
    names = tuple(proxies) or tuple(known)
    complete = table.select(["index", *names]).drop_null()
    if not names or not len(complete):
        listed = ", ".join(names) or "none was scored"
        raise InputError(
            f"no architecture of {without_secrets(str(path))} has every proxy asked for ({listed}): score them first"
        )
    archs = from_index(space or space_of(provenance), complete["index"].to_numpy())
    values = np.stack([complete[name].to_numpy() for name in names], axis=1)
    return Scores(archs, values, names, provenance, environment)


class FillOptions(TypedDict, total=False):
    """Keywords of `fill_store`, see there."""

    data_name: Required[str]
    workers: Workers | None
    on_event: Listener


def score_to_store(
    folder: Path | str,
    space: SearchSpace,
    network: SearchNetwork,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    proxies: Sequence[str] | Mapping[str, Proxy] = DEFAULT_PROXIES,
    config: ScoringConfig = DEFAULT_CONFIG,
    **options: Unpack[FillOptions],
) -> Scores:
    """Score `archs` through the store at `folder` and return the scores in their order.

    The arguments are those of `fill_store`, which scores what is missing; `collect_scores` reads.

    Raises:
      InputError: see `fill_store`.
    """
    fill_store(folder, space, network, archs, batch, proxies, config, **options)
    return collect_scores(folder, space, archs, tuple(get_proxies(proxies)))


def fill_store(
    folder: Path | str,
    space: SearchSpace,
    network: SearchNetwork,
    archs: Int8[np.ndarray, "A D"],
    batch: Batch,
    proxies: Sequence[str] | Mapping[str, Proxy] = DEFAULT_PROXIES,
    config: ScoringConfig = DEFAULT_CONFIG,
    *,
    data_name: str,
    workers: Workers | None = None,
    on_event: Listener = warn_of_damage,
) -> None:
    """Score `archs` into the store at `folder`; scores that it contains are not computed again.

    New scores are added every few seconds; other architectures and proxies of the store are kept. Several processes may
    use one store. In a job of several processes all call this with the same arguments; each scores its share and adds
    separate parts.

    Args:
      folder: a folder of this machine, or an address in an object store.
      space: the search space.
      network: the network of the space.
      archs: architectures, as vectors of the space; rows may repeat.
      batch: the minibatch that proxies see.
      proxies: names of proxies or sets, or a dictionary of functions. The store identifies a custom function by its
        name alone: give it another name when you change it.
      config: settings of scoring.
      data_name: name of the data for the provenance.
      workers: workers that score instead of this process.
      on_event: receives `Scored` with counts of distinct architectures, first with those already in the store; in a job
        of several processes they are estimated from the pace of this one. In process 0 it receives `PartDamaged` for
        each damaged file, which is renamed and whose rows are scored again; the default warns of it.

    Raises:
      InputError: the store was made with other settings, which the message names, or the batch or a name does not fit.
    """
    place = open_folder(folder)
    functions = get_proxies(proxies)
    for name, function in functions.items():
        if name in KEYS or PROXIES.get(name, function) is not function:
            raise InputError(f"{name!r} is a reserved name in a store; give the proxy another name")
    batch = to_batch(batch)
    with fixed_settings():
        check_batch(network, batch)
    provenance = make_provenance(space, network, data_name, batch, config)
    index, first = np.unique(to_index(space, archs), return_index=True)

    def look_up() -> Bool[np.ndarray, "A M"]:
        return gather(open_parts(place, provenance, on_event), index, tuple(functions))[1]

    known = from_leader(look_up, (len(index), len(functions)), bool)
    num_known, total, missing, scored = int(known.all(axis=1).sum()), len(index), int((~known).sum()), 0

    def count(num_scores: int) -> None:
        nonlocal scored
        scored += num_scores * jax.process_count()
        on_event(Scored(num_known + (total - num_known) * min(scored, missing) // missing, total))

    on_event(Scored(num_known, total))
    for names, rows in _pending(functions, known, first, config):
        chosen = {name: functions[name] for name in names}
        chunks = iter_scores(network, archs[first[rows]], batch, chosen, config, workers)
        _save_chunks(place, space, provenance, index[rows], names, chunks, count)
    wait_for_all("scored")


def collect_scores(
    folder: Path | str, space: SearchSpace, archs: Int8[np.ndarray, "A D"], proxies: Sequence[str]
) -> Scores:
    """Read the scores of `archs`, in their order, from a store that has them all.

    Raises:
      InputError: the store lacks some of them.
    """
    index, inverse = np.unique(to_index(space, archs), return_inverse=True)
    provenance, parts = read_parts(open_folder(folder))
    values, known = gather(parts, index, proxies)
    if not known.all():
        raise InputError(f"{int((~known).sum())} scores are not in {without_secrets(str(folder))}: score again")
    return Scores(archs, values[inverse], tuple(proxies), provenance, merge_environments(parts))


def _pending(
    functions: Mapping[str, Proxy],
    known: Bool[np.ndarray, "A M"],
    first: Int[np.ndarray, " A"],
    config: ScoringConfig,
) -> Iterator[tuple[list[str], Int[np.ndarray, " a"]]]:
    """Yield names and rows that are to be scored together, rows in the caller's order.

    With one architecture scored per class, functions of the live network are separate from others, which are scored for
    each architecture: their scores then do not depend on the other proxies that are computed.
    """
    for pattern in np.unique(known[~known.all(axis=1)], axis=0):
        rows = np.flatnonzero((known == pattern).all(axis=1))
        rows = rows[np.argsort(first[rows])]
        names = [name for name, is_known in zip(functions, pattern, strict=True) if not is_known]
        by_class = [name for name in names if config.one_per_class and functions[name] in OF_LIVE_NETWORK]
        others = [name for name in names if name not in by_class]
        yield from ((group, rows) for group in (by_class, others) if group)


def _save_chunks(
    place: Folder,
    space: SearchSpace,
    provenance: Provenance,
    index: Int[np.ndarray, " a"],
    names: Sequence[str],
    chunks: ScoredChunks,
    count: Callable[[int], None],
) -> None:
    """Add the (rows, values) of `chunks` as parts: every few seconds, at the end, and on any exception."""
    unsaved: list[tuple[Int[np.ndarray, " b"], Float[np.ndarray, "b M"]]] = []
    started = saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        now = time.monotonic()
        rows, values = (np.concatenate(pieces) for pieces in zip(*unsaved, strict=True))
        table = _make_table(space, index[rows], dict(zip(names, values.T, strict=True)))
        write_part(place, with_header(table, provenance, make_environment(now - saved)))
        unsaved.clear()
        saved = now

    try:
        for rows, values in chunks:
            unsaved.append((rows, values))
            count(values.size)
            now = time.monotonic()
            if now - saved > min(LONGEST_INTERVAL, max(SAVE_INTERVAL, (now - started) / 50)):
                save()
    finally:
        if unsaved:
            save()


def _make_table(
    space: SearchSpace, index: Int[np.ndarray, " a"], columns: Mapping[str, np.ndarray | pa.Array]
) -> pa.Table:
    archs = [space.format(arch) for arch in from_index(space, index)]
    return pa.table({"index": pa.array(index, pa.int64()), "arch": pa.array(archs, pa.string()), **columns})


def _read_file(path: Path | str) -> pa.Table:
    folder, name = split_file(path)
    place, shown = open_folder(folder), without_secrets(str(path))
    if not place.exists(name):
        raise InputError(f"no score file {shown}: make a folder of scores with `jaxnas score --out {shown}`")
    content = place.read(name)
    try:
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
        read_header(table)
        check_columns(table)
        table.validate(full=True)
        return table
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        problem = first_line(error)
        raise InputError(f"{shown} is not a score file that can be read ({problem}); write it again") from error


def _rank(name: str) -> tuple[int, str]:
    """Order columns: proxies as PROXIES has them, then others by name."""
    return (list(PROXIES).index(name) if name in PROXIES else len(PROXIES), name)
