"""The folder of public tables and image sets: where jaxnas looks for them, and their download."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxnas.data.public import DATASETS, PublicData
from jaxnas.errors import InputError, unknown_name
from jaxnas.runtime.events import Downloaded, Listener, ignore
from jaxnas.runtime.files import atomic_write, read_bytes
from jaxnas.runtime.places import to_path

_CHUNK = 1 << 16
_TIMEOUT = 60.0  # seconds without a byte


class DataStatus(NamedTuple):
    """A data set and its local path.

    Attributes:
      data: the data set.
      present: whether it is on this machine.
      path: its path, or the first place that was searched; None for a part of an installed package.
    """

    data: PublicData
    present: bool
    path: Path | None


def data_folder(folder: Path | str | None = None) -> Path:
    """Return the folder of public data: `folder`, else $JAXNAS_DATA, else jaxnas/data in the user's cache folder."""
    if folder is None:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = os.environ.get("JAXNAS_DATA") or Path(cache, "jaxnas", "data")
    return to_path(folder)


def find_data(name: str, folder: Path | str | None = None) -> Path | None:
    """Return the path of a data set: its preferred place, or the folder of its files; None if it is not present.

    Raises:
      InputError: there is no data set of this name.
    """
    data, folder = _entry(name), data_folder(folder)
    found = [path for place in data.places for path in sorted(folder.glob(place))]
    if found:
        return found[0]
    files = [folder / file.path for file in data.files]
    return _common(files) if files and all(path.exists() for path in files) else None


def list_data(folder: Path | str | None = None) -> list[DataStatus]:
    """Return the status of every known data set, in the order of `DATASETS`."""
    return [_status(data, data_folder(folder)) for data in DATASETS.values()]


def download(
    name: str,
    folder: Path | str | None = None,
    on_event: Listener = ignore,
    address: str | None = None,
) -> Path:
    """Download the files of a data set, and verify the checksum of each before it gets its final name.

    Files that are present with the right checksum are kept. A download that fails or is killed leaves existing files
    unchanged; the next call restarts it.

    Args:
      name: key of `DATASETS`.
      folder: the data folder, see `data_folder`.
      on_event: receives a `Downloaded` after each chunk of a file.
      address: URL of a folder on another server that holds files of the same names.

    Returns:
      The path of the file, or of the folder of several files.

    Raises:
      InputError: the name is unknown, the data set has no direct download, the server cannot be reached or answers with
        an error, the connection is cut, the checksum is wrong, or the folder is not writable.
    """
    data, folder = _entry(name), data_folder(folder)
    if not data.files:
        raise InputError(_why_no_download(data, folder))
    paths = [folder / file.path for file in data.files]
    for path, file in zip(paths, data.files, strict=True):
        if not _is_there(path, file.checksum):
            source = f"{address.rstrip('/')}/{path.name}" if address else file.address
            _fetch(source, path, file.checksum, on_event)
    return _common(paths)


def _common(paths: list[Path]) -> Path:
    return paths[0] if len(paths) == 1 else paths[0].parent


def _entry(name: str) -> PublicData:
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    return DATASETS[name]


def _status(data: PublicData, folder: Path) -> DataStatus:
    if not data.size:
        return DataStatus(data, True, None)
    found = find_data(data.name, folder)
    first = data.files[0].path if data.files else data.places[0]
    return DataStatus(data, found is not None, found or folder / first)


def _why_no_download(data: PublicData, folder: Path) -> str:
    if not data.size:
        return f"{data.name!r} needs no download: it is part of an installed package"
    return f"{data.name!r} has no direct download: compile {folder / data.places[0]} from {data.address}"


def _is_there(path: Path, checksum: str) -> bool:
    method, _, expected = checksum.partition(":")
    return path.is_file() and hashlib.new(method, read_bytes(path)).hexdigest() == expected


def _fetch(address: str, path: Path, checksum: str, on_event: Listener) -> None:
    method, _, expected = checksum.partition(":")
    digest = hashlib.new(method)
    with atomic_write(path) as partial:
        with open(partial, "wb") as file:
            for chunk, done, total in _chunks(address):
                digest.update(chunk)
                file.write(chunk)
                on_event(Downloaded(done, total))
        if digest.hexdigest() != expected:
            raise InputError(f"{address}: wrong {method}: got {digest.hexdigest()}, expected {expected}; nothing kept")


def _chunks(address: str) -> Iterator[tuple[bytes, int, int | None]]:
    """Yield the body of a URL in chunks, each with the bytes so far and in total.

    Raises:
      InputError: the network fails; exceptions of the caller pass unchanged.
    """
    done, total = 0, None
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as response:
            length = response.headers.get("Content-Length")
            total = int(length) if length else None
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                yield chunk, done, total
    except urllib.error.HTTPError as error:
        raise InputError(f"{address}: the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise InputError(f"{address}: no connection ({error.reason}); check the network") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"{address}: connection failed after {done} bytes ({error}); run again") from error
    if total is not None and done < total:
        raise InputError(f"{address}: connection cut after {done} of {total} bytes; run again")
