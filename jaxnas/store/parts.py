"""A folder of scores: a manifest, and Parquet parts that are named by the checksum of their bytes.

    FOLDER/manifest.json            format number and provenance, written once
    FOLDER/parts/<sha256>.parquet   index, arch, a float64 column per proxy; provenance and environment as metadata

Files are never changed. Processes that score at the same time add separate parts, a killed process leaves complete
parts, and the name of a part reveals damage. FOLDER is on this machine or in an object store, see
`jaxnas.store.folders`.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from jaxnas.errors import InputError, first_line
from jaxnas.runtime.events import Listener, PartDamaged
from jaxnas.runtime.files import check_same
from jaxnas.store.folders import Folder
from jaxnas.store.scores import Environment, Provenance

FORMAT = 1
KEYS = ("index", "arch")  # all other columns are proxies
MANIFEST = "manifest.json"
READERS = 16  # parts that are read at once
NO_MANIFEST = "it is not a manifest of scores"


class Header(NamedTuple):
    """The metadata of a table.

    Attributes:
      provenance: settings that its scores depend on.
      environment: environment of the computation.
      functions: fingerprints of the code of custom proxies by name, see `jaxnas.runtime.code`.
    """

    provenance: Provenance
    environment: Environment
    functions: Mapping[str, str] = MappingProxyType({})


class Part(NamedTuple):
    """A file of a store, with the scores of some architectures.

    Attributes:
      indices: positions of the architectures in their space.
      columns: scores of each proxy; NaN is a score.
      header: provenance and environment of the scores.
    """

    indices: Int[np.ndarray, " a"]
    columns: dict[str, Float[np.ndarray, " a"]]
    header: Header


def read_header(table: pa.Table) -> Header:
    """Read provenance and environment from a table's metadata.

    Raises:
      LookupError, TypeError, ValueError: the metadata is missing or damaged.
    """
    header = json.loads((table.schema.metadata or {})[b"jaxnas"])
    environment = cast(Environment, dict(header["environment"]))
    return Header(dict(header["provenance"]), environment, dict(header.get("functions", {})))


def with_header(
    table: pa.Table,
    provenance: Provenance,
    environment: Environment,
    functions: Mapping[str, str] = MappingProxyType({}),
) -> pa.Table:
    """Return the table with provenance, environment and fingerprints of custom proxies as its metadata."""
    header = {"provenance": provenance, "environment": environment}
    header |= {"functions": dict(functions)} if functions else {}
    return table.replace_schema_metadata({"jaxnas": json.dumps(header)})


def check_functions(folder: Folder, parts: Iterable[Part], functions: Mapping[str, str]) -> None:
    """Check that the custom proxies of a store have the code by which it was scored.

    Raises:
      InputError: one has changed.
    """
    for part in parts:
        for name, code in functions.items():
            if name in part.columns and part.header.functions.get(name, code) != code:
                raise InputError(
                    f"the proxy {name!r} has changed since {folder} was scored: give it another name, or choose "
                    "another folder"
                )


def check_columns(table: pa.Table) -> None:
    """Check that a table has the columns of scores.

    Raises:
      ValueError: a column is missing or has another type.
    """
    wanted = {"index": pa.int64(), "arch": pa.string(), **{name: pa.float64() for name in proxies_of(table)}}
    for name, kind in wanted.items():
        if name not in table.column_names or table[name].type != kind:
            raise ValueError(f"it has no column {name!r} of type {kind}")
    if table["index"].null_count:
        raise ValueError("an index is missing")


def proxies_of(table: pa.Table) -> list[str]:
    """Return the names of the columns that hold scores."""
    return [name for name in table.column_names if name not in KEYS]


def open_parts(folder: Folder, provenance: Provenance, on_event: Listener) -> list[Part]:
    """Read the parts of a store before parts are added to it; a new or empty folder becomes a store.

    Damaged files are renamed to NAME.damaged and reported as `PartDamaged`. A damaged manifest is restored from the
    parts.

    Raises:
      InputError: the store has other settings, which the message names; it is not changed.
    """
    found, damaged = _load(folder)
    existed = folder.exists(MANIFEST)  # checked first, as another process may create it at any moment
    recorded = _read_manifest(folder)
    if recorded is None and existed:
        if not found:
            raise InputError(
                f"{folder}/{MANIFEST} cannot be read, and no part can restore it; remove it to start again"
            )
        damaged[MANIFEST] = NO_MANIFEST
    made_with = recorded or next((part.header.provenance for part in found.values()), provenance)
    check_same(str(folder), made_with, provenance)
    damaged |= _foreign(found, provenance)
    for name, problem in damaged.items():
        folder.set_aside(name)
        message = f"{folder}/{name} is damaged ({problem}): it is set aside, and what it held is scored again"
        on_event(PartDamaged(name, message))
    folder.remove_stale()
    text = json.dumps({"format": FORMAT, "provenance": provenance}, indent=1) + "\n"
    folder.create(MANIFEST, text.encode())
    check_same(str(folder), _read_manifest(folder) or {}, provenance)  # another process may have come first
    return [part for name, part in found.items() if name not in damaged]


def read_parts(folder: Folder) -> tuple[Provenance, list[Part]]:
    """Return provenance and parts of a store that is only read.

    Raises:
      InputError: the folder is not a store, or a file in it is damaged, which the message names.
    """
    if not folder.exists(MANIFEST):
        raise InputError(f"no scores in folder {folder}: make some with `jaxnas score --out {folder}`")
    provenance = _read_manifest(folder)
    found, damaged = _load(folder)
    if provenance is None:
        damaged[MANIFEST] = NO_MANIFEST
    else:
        damaged |= _foreign(found, provenance)
    for name, problem in damaged.items():
        raise InputError(f"{folder}/{name} is damaged ({problem}): score into {folder} again, which repairs it")
    return provenance or {}, list(found.values())


def write_part(folder: Folder, table: pa.Table) -> None:
    """Add a table with a header as one part, atomically."""
    content = io.BytesIO()
    pq.write_table(table, content)
    folder.write(f"parts/{_checksum(content.getvalue())}.parquet", content.getvalue())


def gather(
    parts: Iterable[Part], index: Int[np.ndarray, " A"], proxies: Sequence[str]
) -> tuple[Float[np.ndarray, "A M"], Bool[np.ndarray, "A M"]]:
    """Return the scores [A M] at the sorted `index`, NaN where there is none, and whether there is one [A M]."""
    values = np.full((len(index), len(proxies)), np.nan)
    known = np.zeros(values.shape, bool)
    for part in parts if len(index) else ():
        rows = np.minimum(np.searchsorted(index, part.indices), len(index) - 1)
        wanted = index[rows] == part.indices
        for column, name in enumerate(proxies):
            if name in part.columns:
                values[rows[wanted], column] = part.columns[name][wanted]
                known[rows[wanted], column] = True
    return values, known


def merge_environments(parts: Sequence[Part]) -> Environment:
    """Return all values in the environments of the parts, and the sum of their seconds."""
    environments = [cast(Mapping[str, object], part.header.environment) for part in parts]
    names = dict.fromkeys(name for one in environments for name in one if name != "seconds")
    merged = {name: ", ".join(sorted({str(one[name]) for one in environments if name in one})) for name in names}
    return cast(
        Environment, {**merged, "seconds": round(sum(seconds_of(part.header.environment) for part in parts), 3)}
    )


def seconds_of(environment: Environment) -> float:
    """Return the time spent, 0 if it is not recorded."""
    seconds = environment.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) and np.isfinite(seconds) else 0.0


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _load(folder: Folder) -> tuple[dict[str, Part], dict[str, str]]:
    """Return the intact parts by name, and the problems of the damaged ones."""

    def load(name: str) -> Part | str | None:
        try:
            return _parse(name, folder.read(name))
        except InputError:
            if folder.exists(name):
                raise
            return None  # another process has just set it aside
        except (pa.ArrowException, LookupError, TypeError, ValueError) as error:
            return first_line(error)

    names = [name for name in folder.names("parts") if name.endswith(".parquet")]
    with ThreadPoolExecutor(READERS) as pool:
        loaded = dict(zip(names, pool.map(load, names), strict=True))
    parts = {name: part for name, part in loaded.items() if isinstance(part, Part)}
    return parts, {name: problem for name, problem in loaded.items() if isinstance(problem, str)}


def _parse(name: str, content: bytes) -> Part:
    if name != f"parts/{_checksum(content)}.parquet":
        raise ValueError("its name is not the checksum of its bytes")
    table = pq.read_table(pa.BufferReader(content))
    header = read_header(table)
    check_columns(table)
    columns = {name: table[name].to_numpy() for name in proxies_of(table)}
    return Part(table["index"].to_numpy(), columns, header)


def _foreign(parts: Mapping[str, Part], provenance: Provenance) -> dict[str, str]:
    """Return the problem of each part with another provenance."""
    return {name: "other settings made it" for name, part in parts.items() if part.header.provenance != provenance}


def _read_manifest(folder: Folder) -> Provenance | None:
    """Return the provenance; None if there is no manifest that can be read."""
    if not folder.exists(MANIFEST):
        return None
    content = folder.read(MANIFEST)
    try:
        manifest = json.loads(content)
        number, provenance = int(manifest["format"]), dict(manifest["provenance"])
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    if number != FORMAT:
        raise InputError(
            f"{folder}/{MANIFEST} has format {number}, not {FORMAT}: a newer jaxnas made it, update this one"
        )
    return provenance
