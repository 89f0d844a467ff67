"""A folder of files on this machine or in an object store, and the few things that a store of scores does with it."""

import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from pyarrow import ArrowInvalid, fs

from jaxnas.errors import InputError
from jaxnas.runtime.files import atomic_write

STALE = 3600.0  # seconds after which nobody is writing a temporary file any more
ATTEMPTS, FIRST_WAIT = 7, 0.25  # of a request to an object store; the wait in seconds doubles each time, 16 in all
HOPELESS = ("NO_SUCH_BUCKET", "ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH")  # AWS' words
T = TypeVar("T")


@runtime_checkable
class Folder(Protocol):
    """Files by their names, which may have one folder in them: "parts/a.parquet". Every file appears whole.

    `str` of a folder is for messages: an address without credentials. All raise InputError where the place cannot be
    reached, read or written.
    """

    def names(self, under: str) -> list[str]:
        """Of all files in the folder `under` but hidden ones, sorted; none where there is no such folder."""

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""

    def read(self, name: str) -> bytes:
        """The content of a file that exists."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it by the new one."""

    def create(self, name: str, content: bytes) -> None:
        """Write a file unless there is one; in an object store the last of two that come together wins."""

    def set_aside(self, name: str) -> None:
        """Give a file the name NAME.damaged; nothing where another process has done it."""

    def remove_stale(self) -> None:
        """Remove what killed processes left."""


def open_folder(place: Path | str) -> Folder:
    """The folder at a path, or at an address such as s3://bucket/folder or gs://bucket/folder.

    Credentials and the rest come from where the libraries of the object stores look for them: the environment, their
    files, the machine's role. Other schemes than s3, gs and hdfs need fsspec and its package.

    Raises: InputError for a path that is a file, an address of nobody's scheme.
    """
    text = str(place)
    if text.startswith("file://"):
        return LocalFolder(Path(text.removeprefix("file://")))
    return RemoteFolder(text) if is_address(text) else LocalFolder(Path(place))


def is_address(place: Path | str) -> bool:
    """Whether this names something in an object store, and no file of this machine."""
    return re.match(r"[a-z][a-z0-9+.-]*://", str(place)) is not None


def without_secrets(address: str) -> str:
    """The address as it may be told: no user, password or options in it."""
    return re.sub(r"//[^/@]*@", "//", address.partition("?")[0])


def file_in(folder: Path | str, name: str) -> str:
    """The path or address of a file of that folder."""
    base, options = _options_apart(folder)
    return f"{base.rstrip('/')}/{name}{options}"


def split_file(path: Path | str) -> tuple[str, str]:
    """The folder and the name of a file."""
    base, options = _options_apart(path)
    folder, _, name = base.rpartition("/")
    return (folder or ("/" if base.startswith("/") else ".")) + options, name


def _options_apart(place):
    base, mark, options = str(place).partition("?") if is_address(place) else (str(place), "", "")
    return base, mark + options


class LocalFolder:
    """A folder of this machine, or of a file system that is mounted here."""

    def __init__(self, path: Path):
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file, and scores are kept in a folder: choose another name")
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def names(self, under: str) -> list[str]:
        return sorted(f"{under}/{path.name}" for path in self.path.glob(f"{under}/[!.]*"))

    def exists(self, name: str) -> bool:
        return (self.path / name).exists()

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {self.path / name}: {error.strerror or error}") from error

    def write(self, name: str, content: bytes) -> None:
        with atomic_write(self.path / name) as partial:
            partial.write_bytes(content)

    def create(self, name: str, content: bytes) -> None:
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
        path = self.path / name
        with suppress(FileNotFoundError):
            path.replace(path.with_name(f"{path.name}.damaged"))

    def remove_stale(self) -> None:
        for path in [*self.path.glob(".*.part*"), *self.path.glob("*/.*.part*")]:
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE:
                    path.unlink()


class RemoteFolder:
    """A folder of an object store, where an object appears when all of it has arrived: nothing is renamed.

    What fails is tried again, seven times in all.
    """

    def __init__(self, address: str):
        self.shown = without_secrets(address).rstrip("/")
        self.files, self.base = self._connect(address)

    def _connect(self, address):
        try:
            return fs.FileSystem.from_uri(address)
        except ArrowInvalid as error:
            if "Unrecognized filesystem" not in str(error):
                raise self._failed("open", "", error) from error
        except OSError as error:
            raise self._failed("open", "", error) from error
        try:
            from fsspec.core import url_to_fs

            files, base = url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise self._failed("open", "", error) from error
        return fs.PyFileSystem(fs.FSSpecHandler(files)), base

    def __str__(self) -> str:
        return self.shown

    def names(self, under: str) -> list[str]:
        selector = fs.FileSelector(f"{self.base}/{under}", allow_not_found=True)
        found = self._try("list", under, lambda: self.files.get_file_info(selector))
        files = (info.base_name for info in found if info.type == fs.FileType.File)
        return sorted(f"{under}/{name}" for name in files if not name.startswith("."))

    def exists(self, name: str) -> bool:
        info = self._try("look for", name, lambda: self.files.get_file_info(f"{self.base}/{name}"))
        return info.type == fs.FileType.File

    def read(self, name: str) -> bytes:
        def read():
            with self.files.open_input_stream(f"{self.base}/{name}") as stream:
                return stream.read()

        return self._try("read", name, read)

    def write(self, name: str, content: bytes) -> None:
        def write():
            folder = f"{self.base}/{name}".rpartition("/")[0]
            if not isinstance(self.files, fs.S3FileSystem | fs.GcsFileSystem):  # these have no folders
                self.files.create_dir(folder, recursive=True)
            with self.files.open_output_stream(f"{self.base}/{name}") as stream:
                stream.write(content)

        self._try("write", name, write)

    def create(self, name: str, content: bytes) -> None:
        if not self.exists(name):
            self.write(name, content)

    def set_aside(self, name: str) -> None:
        def move():
            if self.exists(name):
                self.files.move(f"{self.base}/{name}", f"{self.base}/{name}.damaged")

        self._try("rename", name, move)

    def remove_stale(self) -> None:
        """Nothing: what did not arrive whole does not appear."""

    def _try(self, verb: str, name: str, action: Callable[[], T]) -> T:
        for attempt in range(ATTEMPTS):
            try:
                return action()
            except (FileNotFoundError, PermissionError) as error:
                raise self._failed(verb, name, error) from error
            except OSError as error:
                if attempt == ATTEMPTS - 1 or any(word in str(error) for word in HOPELESS):
                    raise self._failed(verb, name, error) from error
                time.sleep(FIRST_WAIT * 2**attempt)
        raise AssertionError("unreachable")

    def _failed(self, verb, name, error):
        problem = without_secrets((str(error).splitlines() or [type(error).__name__])[0])
        return InputError(f"cannot {verb} {self.shown}{'/' if name else ''}{name}: {problem}")
