"""A folder of scores: a manifest, and Parquet parts that are named by the checksum of their bytes.

    FOLDER/manifest.json            format number and provenance, written once
    FOLDER/parts/<sha256>.parquet   index, arch, a float64 column per proxy; provenance and environment as metadata

No file is ever changed. Processes that score at the same time add parts of their own, a kill leaves whole parts, and a
damaged part is known by its name. FOLDER is one of this machine or of an object store, see `jaxnas.store.folders`.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from jaxnas.errors import InputError
from jaxnas.runtime.events import Listener, PartDamaged
from jaxnas.runtime.files import check_same
from jaxnas.store.folders import Folder

FORMAT = 1
KEYS = ("index", "arch")  # the columns that are no proxies
MANIFEST = "manifest.json"
READERS = 16  # parts that are read at once


class Part(NamedTuple):
    """Some rows of a store, and what made them."""

    indices: np.ndarray  # int64 [a]
    columns: dict[str, np.ndarray]  # proxy -> float64 [a]; NaN is a score
    provenance: dict[str, Any]
    environment: dict[str, Any]


def read_header(table: pa.Table) -> tuple[dict[str, Any], dict[str, Any]]:
    """Provenance and environment from a table's metadata; KeyError or ValueError where it has none."""
    header = json.loads((table.schema.metadata or {})[b"jaxnas"])
    return header["provenance"], header["environment"]


def with_header(table: pa.Table, provenance: dict[str, Any], environment: dict[str, Any]) -> pa.Table:
    """The table with provenance and environment as its metadata."""
    return table.replace_schema_metadata({"jaxnas": json.dumps({"provenance": provenance, "environment": environment})})


def open_parts(folder: Folder, provenance: dict[str, Any], on_event: Listener) -> list[Part]:
    """The parts of a store that is to be added to; a folder that is new or empty becomes a store.

    What is damaged is set aside, as NAME.damaged, and reported as `PartDamaged`. A damaged manifest is made
    anew from the parts.

    Raises: InputError for a store of other settings, naming them: it stays as it is.
    """
    found, damaged = _load(folder)
    existed = folder.exists(MANIFEST)  # asked first: another process may make it at any moment
    recorded = _read_manifest(folder)
    if recorded is None and existed:
        if not found:
            raise InputError(f"{folder}/{MANIFEST} cannot be read, and no part can restore it: remove it to start anew")
        damaged[MANIFEST] = "it is no manifest of scores"
    made_with = recorded or next((part.provenance for part in found.values()), provenance)
    check_same(str(folder), made_with, provenance)
    damaged |= _strangers(found, provenance)
    for name, problem in damaged.items():
        folder.set_aside(name)
        message = f"{folder}/{name} is damaged ({problem}): it is set aside, and what it held is scored again"
        on_event(PartDamaged(name, message))
    folder.remove_stale()
    text = json.dumps({"format": FORMAT, "provenance": provenance}, indent=1) + "\n"
    folder.create(MANIFEST, text.encode())
    check_same(str(folder), _read_manifest(folder) or {}, provenance)  # another process may have come first
    return [part for name, part in found.items() if name not in damaged]


def read_parts(folder: Folder) -> tuple[dict[str, Any], list[Part]]:
    """Provenance and parts of a store that is only read.

    Raises: InputError when the folder is no store or anything in it is damaged, naming it.
    """
    if not folder.exists(MANIFEST):
        raise InputError(f"no scores in folder {folder}: make some with `jaxnas score --out {folder}`")
    provenance = _read_manifest(folder)
    found, damaged = _load(folder)
    if provenance is None:
        damaged[MANIFEST] = "it is no manifest of scores"
    else:
        damaged |= _strangers(found, provenance)
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
    """Scores of the architectures at `index`, which is sorted, and which of them are known; NaN where not."""
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


def merge_environments(parts: Sequence[Part]) -> dict[str, Any]:
    """All that the parts tell of, and the sum of their seconds."""
    found = [part.environment for part in parts]
    merged = {key: ", ".join(sorted({str(e[key]) for e in found if key in e})) for e in found for key in e}
    return {**merged, "seconds": round(sum(e["seconds"] for e in found), 3)}


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _load(folder: Folder) -> tuple[dict[str, Part], dict[str, str]]:
    """The sound parts by name, and of the others what is wrong."""

    def load(name):
        try:
            return _parse(name, folder.read(name))
        except InputError:
            if folder.exists(name):
                raise
            return None  # another process has just set it aside
        except (pa.ArrowException, LookupError, TypeError, ValueError) as error:
            return str(error).splitlines()[0]

    names = [name for name in folder.names("parts") if name.endswith(".parquet")]
    with ThreadPoolExecutor(READERS) as pool:
        found = dict(zip(names, pool.map(load, names), strict=True))
    parts = {name: part for name, part in found.items() if isinstance(part, Part)}
    return parts, {name: problem for name, problem in found.items() if isinstance(problem, str)}


def _parse(name: str, content: bytes) -> Part:
    if name != f"parts/{_checksum(content)}.parquet":
        raise ValueError("its name is not the checksum of its bytes")
    table = pq.read_table(pa.BufferReader(content))
    proxies = [name for name in table.column_names if name not in KEYS]
    return Part(table["index"].to_numpy(), {name: table[name].to_numpy() for name in proxies}, *read_header(table))


def _strangers(parts: dict[str, Part], provenance: dict[str, Any]) -> dict[str, str]:
    return {name: "it was made otherwise" for name, part in parts.items() if part.provenance != provenance}


def _read_manifest(folder: Folder) -> dict[str, Any] | None:
    """The provenance; None where there is no manifest, or none that can be read."""
    if not folder.exists(MANIFEST):
        return None
    content = folder.read(MANIFEST)
    try:
        manifest = json.loads(content)
        number, provenance = int(manifest["format"]), dict(manifest["provenance"])
    except (LookupError, TypeError, ValueError):
        return None
    if number != FORMAT:
        raise InputError(
            f"{folder}/{MANIFEST} has format {number}, not {FORMAT}: a newer jaxnas made it, update this one"
        )
    return provenance
