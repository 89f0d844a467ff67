"""Scoring into a store: a folder that grows while scoring and is resumed after a kill."""

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Required, TypedDict, Unpack, cast

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Int8

from jaxnas.data.batch import Batch, to_batch
from jaxnas.data.images import fingerprint
from jaxnas.errors import InputError
from jaxnas.networks import describe
from jaxnas.networks.network import SearchNetwork
from jaxnas.proxies import OF_LIVE_NETWORK, PROXIES, Proxy
from jaxnas.runtime.code import code_fingerprint
from jaxnas.runtime.distributed import from_leader, wait_for_all
from jaxnas.runtime.events import Event, Listener, PartDamaged, Scored
from jaxnas.runtime.host import package_version
from jaxnas.runtime.places import without_secrets
from jaxnas.runtime.session import fixed_settings
from jaxnas.runtime.workers import Workers
from jaxnas.scoring.config import ScoringConfig
from jaxnas.scoring.engine import DEFAULT_PROXIES, ScoredChunks, check_batch, check_strategy, get_proxies, iter_scores
from jaxnas.spaces import SearchSpace, to_index
from jaxnas.store.folders import Folder, open_folder
from jaxnas.store.parts import (
    KEYS,
    check_functions,
    gather,
    merge_environments,
    open_parts,
    read_parts,
    with_header,
    write_part,
)
from jaxnas.store.scores import Environment, Provenance, Scores
from jaxnas.store.tables import make_table

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
        "jaxnas": package_version(),
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
      proxies: names of proxies or sets, or a dictionary of functions. The store has a fingerprint of the code of
        a custom function, see `jaxnas.runtime.code`: give it another name when you change it.
      config: settings of scoring.
      data_name: name of the data for the provenance.
      workers: workers that score instead of this process.
      on_event: receives `Scored` with counts of distinct architectures, first with those already in the store; in a job
        of several processes they are estimated from the pace of this one. In process 0 it receives `PartDamaged` for
        each damaged file, which is renamed and whose rows are scored again; the default warns of it.

    Raises:
      InputError: the store was made with other settings or by another function of the name, which the message names,
        or the batch or a name does not fit.
    """
    place = open_folder(folder)
    functions = get_proxies(proxies)
    for name, function in functions.items():
        if name in KEYS or PROXIES.get(name, function) is not function:
            raise InputError(f"{name!r} is a reserved name in a store; give the proxy another name")
    batch = to_batch(batch)
    with fixed_settings():
        check_batch(network, batch)
    if workers is None:
        check_strategy(network, config)
    provenance = make_provenance(space, network, data_name, batch, config)
    index, first = np.unique(to_index(space, archs), return_index=True)
    codes = _codes(functions)

    def look_up() -> Bool[np.ndarray, "A M"]:
        parts = open_parts(place, provenance, on_event)
        check_functions(place, parts, codes)
        return gather(parts, index, tuple(functions))[1]

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
        chosen_codes = {name: codes[name] for name in names if name in codes}
        add = partial(_add_part, place, space, provenance, chosen_codes)
        _save_chunks(add, index[rows], names, chunks, count)
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


def _codes(functions: Mapping[str, Proxy]) -> dict[str, str]:
    """Return the fingerprints of the functions that are not of jaxnas; warn of those that have none."""
    custom = {
        name: code_fingerprint(function)
        for name, function in functions.items()
        if not str(getattr(function, "__module__", "")).startswith("jaxnas.")
    }
    if opaque := [name for name, code in custom.items() if not code]:
        warnings.warn(f"the code of the proxy {opaque[0]!r} cannot be read: a change is not noticed", stacklevel=3)
    return {name: code for name, code in custom.items() if code}


def _add_part(
    place: Folder,
    space: SearchSpace,
    provenance: Provenance,
    codes: Mapping[str, str],
    index: Int[np.ndarray, " b"],
    columns: Mapping[str, Float[np.ndarray, " b"]],
    seconds: float,
) -> None:
    """Add scores as one part."""
    table = make_table(space, index, dict(columns))
    write_part(place, with_header(table, provenance, make_environment(seconds), codes))


def _save_chunks(
    add: Callable[[Int[np.ndarray, " b"], Mapping[str, Float[np.ndarray, " b"]], float], None],
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
        add(index[rows], dict(zip(names, values.T, strict=True)), now - saved)
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
