"""A folder of scores: a manifest, and Parquet parts that are named by the checksum of their bytes.

    FOLDER/manifest.json            format number and provenance, written once
    FOLDER/parts/<sha256>.parquet   index, arch, a float64 column per proxy; provenance and environment as metadata

No file is ever changed. Processes that score at the same time add parts of their own, a kill leaves whole parts, and a
damaged part is known by its name.
"""

import hashlib
import io
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int

from jaxnas.errors import InputError
from jaxnas.files import atomic_write, check_same, read_bytes

FORMAT = 1
KEYS = ("index", "arch")  # the columns that are no proxies
STALE = 3600.0  # seconds after which nobody is writing a temporary file any more


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


def open_parts(folder: Path, provenance: dict[str, Any], on_damaged: Callable[[Path, str], None]) -> list[Part]:
    """The parts of a store that is to be added to; a folder that is new or empty becomes a store.

    What is damaged is set aside, as NAME.damaged, and `on_damaged(path, message)` called. A damaged manifest is made
    anew from the parts.

    Raises: InputError for a store of other settings, naming them: it stays as it is.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, and scores are kept in a folder: choose another name")
    manifest = folder / "manifest.json"
    found, damaged = _load(folder)
    existed = manifest.exists()  # asked first: another process may make it at any moment
    recorded = _read_manifest(manifest)
    if recorded is None and existed:
        if not found:
            raise InputError(f"{manifest} cannot be read, and no part can restore it: remove it to start anew")
        damaged[manifest] = "it is no manifest of scores"
    made_with = recorded or next((part.provenance for part in found.values()), provenance)
    check_same(folder, made_with, provenance)
    damaged |= _strangers(found, provenance)
    for path, problem in damaged.items():
        with suppress(FileNotFoundError):  # another process was faster
            path.replace(path.with_name(f"{path.name}.damaged"))
        on_damaged(path, f"{path} is damaged ({problem}): it is set aside, and what it held is scored again")
    _remove_stale(folder)
    _create_manifest(manifest, provenance)
    check_same(folder, _read_manifest(manifest) or {}, provenance)  # another process may have come first
    return [part for path, part in found.items() if path not in damaged]


def read_parts(folder: Path) -> tuple[dict[str, Any], list[Part]]:
    """Provenance and parts of a store that is only read.

    Raises: InputError when the folder is no store or anything in it is damaged, naming it.
    """
    manifest = folder / "manifest.json"
    if not manifest.exists():
        raise InputError(f"no scores in folder {folder}: make some with `jaxnas score --out {folder}`")
    provenance = _read_manifest(manifest)
    found, damaged = _load(folder)
    if provenance is None:
        damaged[manifest] = "it is no manifest of scores"
    else:
        damaged |= _strangers(found, provenance)
    for path, problem in damaged.items():
        raise InputError(f"{path} is damaged ({problem}): score into {folder} again, which repairs it")
    return provenance or {}, list(found.values())


def write_part(folder: Path, table: pa.Table) -> None:
    """Add a table with a header as one part, atomically."""
    content = io.BytesIO()
    pq.write_table(table, content)
    with atomic_write(folder / "parts" / f"{_checksum(content.getvalue())}.parquet") as partial:
        partial.write_bytes(content.getvalue())


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


def _load(folder: Path) -> tuple[dict[Path, Part], dict[Path, str]]:
    """The sound parts by path, and of the others what is wrong."""
    parts, damaged = {}, {}
    for path in sorted(folder.glob("parts/[!.]*.parquet")):
        try:
            parts[path] = _parse(path.stem, read_bytes(path))
        except InputError:
            if path.exists():  # else another process has just set it aside
                raise
        except (pa.ArrowException, LookupError, TypeError, ValueError) as error:
            damaged[path] = str(error).splitlines()[0]
    return parts, damaged


def _parse(name: str, content: bytes) -> Part:
    if name != _checksum(content):
        raise ValueError("its name is not the checksum of its bytes")
    table = pq.read_table(pa.BufferReader(content))
    proxies = [name for name in table.column_names if name not in KEYS]
    return Part(table["index"].to_numpy(), {name: table[name].to_numpy() for name in proxies}, *read_header(table))


def _strangers(parts: dict[Path, Part], provenance: dict[str, Any]) -> dict[Path, str]:
    return {path: "it was made otherwise" for path, part in parts.items() if part.provenance != provenance}


def _read_manifest(path: Path) -> dict[str, Any] | None:
    """The provenance; None where there is no manifest, or none that can be read."""
    if not path.exists():
        return None
    content = read_bytes(path)
    try:
        manifest = json.loads(content)
        number, provenance = int(manifest["format"]), dict(manifest["provenance"])
    except (LookupError, TypeError, ValueError):
        return None
    if number != FORMAT:
        raise InputError(f"{path} has format {number}, not {FORMAT}: a newer jaxnas made it, update this one")
    return provenance


def _create_manifest(path: Path, provenance: dict[str, Any]) -> None:
    """Write the manifest unless there is one: it appears whole, and only once."""
    text = json.dumps({"format": FORMAT, "provenance": provenance}, indent=1) + "\n"
    partial = path.with_name(f".manifest.{secrets.token_hex(4)}.part.json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(text)
            try:
                os.link(partial, path)
            except FileExistsError:  # another process was faster
                pass
            except OSError:  # a file system without hard links
                partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def _remove_stale(folder: Path) -> None:
    """Remove what killed processes left."""
    for path in [*folder.glob(".*.part*"), *folder.glob("parts/.*.part*")]:
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()
