"""Folders of files, on this machine or in an object store, with the operations that a store of scores needs.

The libraries of object stores (AWS, Google, Hadoop, and those of fsspec) retry failed requests; this module does not.
"""

import atexit
import os
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Protocol, runtime_checkable

from pyarrow import ArrowInvalid, fs

from jaxnas.errors import InputError, first_line
from jaxnas.runtime.files import atomic_write, read_bytes
from jaxnas.runtime.places import expand, is_address, to_path, without_secrets

STALE = 3600.0  # seconds after which a temporary file belongs to a process that was killed
ANSWER = 10.0  # seconds in which an object store must answer first
ATTEMPTS = 7  # of a request to S3, with waits that double


@runtime_checkable
class Folder(Protocol):
    """Files by name; a name may contain one folder, as in "parts/a.parquet".

    Files are written completely or not at all. `str` of a folder is for messages: an address without credentials. All
    methods raise InputError if the place cannot be reached, read or written.
    """

    def names(self, under: str) -> list[str]:
        """Return the names of all files in the folder `under`, sorted and without hidden ones; it need not exist."""
        ...

    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""
        ...

    def read(self, name: str) -> bytes:
        """Return the content of a file that exists."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it by the new one."""

    def create(self, name: str, content: bytes) -> None:
        """Write a file unless it exists; in an object store the last of two simultaneous writes wins."""

    def set_aside(self, name: str) -> None:
        """Give a file the name NAME.damaged, unless another process has done it."""

    def remove_stale(self) -> None:
        """Remove the temporary files of killed processes."""


def open_folder(place: Path | str) -> Folder:
    """Open the folder at a path, or at an address such as s3://bucket/folder or gs://bucket/folder.

    The libraries of the object stores find credentials and options in the environment, in their files, or by the role
    of the machine. Schemes other than s3, gs and hdfs need fsspec and its package.

    Raises:
      InputError: the path is a file, or no installed library knows the scheme of the address.
    """
    text = expand(place)
    return RemoteFolder(text) if is_address(text) else LocalFolder(to_path(text))


def file_in(folder: Path | str, name: str) -> str:
    """Return the path or address of a file of that folder."""
    base, options = _split_options(folder)
    return f"{base.rstrip('/')}/{name}{options}"


def split_file(path: Path | str) -> tuple[str, str]:
    """Return the folder and the name of a file."""
    base, options = _split_options(path)
    folder, _, name = base.rpartition("/")
    return (folder or ("/" if base.startswith("/") else ".")) + options, name


def _split_options(place: Path | str) -> tuple[str, str]:
    base, mark, options = str(place).partition("?") if is_address(place) else (str(place), "", "")
    return base, mark + options


class LocalFolder:
    """A folder of this machine, or of a mounted file system."""

    def __init__(self, path: Path):
        """Name the folder, which need not exist.

        Raises:
          InputError: there is a file of that name.
        """
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file, and scores are kept in a folder; choose another name")
        self.path = path

    def __str__(self) -> str:
        """Return the path."""
        return str(self.path)

    def names(self, under: str) -> list[str]:
        """See `Folder`."""
        return sorted(f"{under}/{path.name}" for path in self.path.glob(f"{under}/[!.]*"))

    def exists(self, name: str) -> bool:
        """See `Folder`."""
        return (self.path / name).exists()

    def read(self, name: str) -> bytes:
        """See `Folder`."""
        return read_bytes(self.path / name)

    def write(self, name: str, content: bytes) -> None:
        """See `Folder`."""
        with atomic_write(self.path / name) as partial:
            partial.write_bytes(content)

    def create(self, name: str, content: bytes) -> None:
        """See `Folder`."""
        path = self.path / name
        partial = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                partial.write_bytes(content)
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

    def set_aside(self, name: str) -> None:
        """See `Folder`."""
        path = self.path / name
        try:
            path.replace(path.with_name(f"{path.name}.damaged"))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise InputError(f"cannot rename {path}: {error.strerror or error}") from error

    def remove_stale(self) -> None:
        """See `Folder`."""
        for path in [*self.path.glob(".*.part*"), *self.path.glob("*/.*.part*")]:
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE:
                    path.unlink()


class RemoteFolder:
    """A folder of an object store, where an object appears after its upload is complete, so that nothing is renamed."""

    def __init__(self, address: str):
        """Connect to the object store of an address.

        Raises:
          InputError: no installed library knows the scheme, or the library refuses the address.
        """
        self.shown = without_secrets(address).rstrip("/")
        with self._errors("open", "", (OSError, ImportError, ValueError)):
            self.files, self.base = _answering(address)

    def __str__(self) -> str:
        """Return the address without secrets."""
        return self.shown

    def names(self, under: str) -> list[str]:
        """See `Folder`."""
        selector = fs.FileSelector(f"{self.base}/{under}", allow_not_found=True)
        with self._errors("list", under):
            files = [info.base_name for info in self.files.get_file_info(selector) if info.type == fs.FileType.File]
        return sorted(f"{under}/{name}" for name in files if not name.startswith("."))

    def exists(self, name: str) -> bool:
        """See `Folder`."""
        with self._errors("look for", name):
            return bool(self.files.get_file_info(f"{self.base}/{name}").type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        """See `Folder`."""
        with self._errors("read", name), self.files.open_input_stream(f"{self.base}/{name}") as stream:
            return bytes(stream.read())

    def write(self, name: str, content: bytes) -> None:
        """See `Folder`."""
        path = f"{self.base}/{name}"
        with self._errors("write", name):
            if not isinstance(self.files, fs.S3FileSystem | fs.GcsFileSystem):  # these have no folders
                self.files.create_dir(path.rpartition("/")[0], recursive=True)
            with self.files.open_output_stream(path) as stream:
                stream.write(content)

    def create(self, name: str, content: bytes) -> None:
        """See `Folder`."""
        if not self.exists(name):
            self.write(name, content)

    def set_aside(self, name: str) -> None:
        """See `Folder`."""
        if self.exists(name):
            with self._errors("rename", name), suppress(FileNotFoundError):
                self.files.move(f"{self.base}/{name}", f"{self.base}/{name}.damaged")

    def remove_stale(self) -> None:
        """Do nothing: incomplete uploads do not appear."""

    @contextmanager
    def _errors(self, verb: str, name: str, kinds: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
        """Turn the errors of the library into an InputError of one line without secrets."""
        try:
            yield
        except kinds as error:
            problem = without_secrets(first_line(error))
            raise InputError(f"cannot {verb} {self.shown}{'/' if name else ''}{name}: {problem}") from error


def _answering(address: str) -> tuple[fs.FileSystem, str]:
    """Return what `_connect` does, once the store has answered a question about the folder.

    The libraries repeat a request for minutes. A thread is left behind where none of the repetitions has ended in time.

    Raises:
      OSError: there was no answer in time.
    """
    found: Future[tuple[fs.FileSystem, str]] = Future()

    def ask() -> None:
        try:
            files, base = _connect(address)
            files.get_file_info(base)
            found.set_result((files, base))
        except BaseException as error:
            found.set_exception(error)

    Thread(target=ask, daemon=True).start()
    try:
        return found.result(ANSWER)
    except TimeoutError:
        atexit.unregister(fs.ensure_s3_finalized)  # it would keep the process until all repetitions have ended
        raise OSError(f"no answer within {ANSWER:g} s; check the address, its endpoint and the network") from None


def _connect(address: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of an address, and the path of the folder in it."""
    try:
        files, base = fs.FileSystem.from_uri(address)
    except ArrowInvalid as error:
        if "Unrecognized filesystem" not in str(error):
            raise
        from fsspec.core import url_to_fs

        files, base = url_to_fs(address)
        return fs.PyFileSystem(fs.FSSpecHandler(files)), base
    if isinstance(files, fs.S3FileSystem):  # made by `from_uri`, which retries connections only
        _, (options,) = files.__reduce__()  # the options of the address and the environment
        retry = fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS)
        files = fs.S3FileSystem(**{**options, "retry_strategy": retry})
    return files, base
