"""Files that jaxnas reads and writes: atomic writing, checked .npz reading, pickles without code.

Every failure is an `InputError` of one line that starts with the path.
"""

import errno
import fcntl
import io
import pickle
import secrets
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np

from jaxnas.errors import InputError, first_line

# What pickle and NumPy raise on damaged bytes: their documentation leaves the list open, fuzzing gave these.
_DAMAGED = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)

_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def make_writable(folder: Path | str) -> None:
    """Create the folder if needed and check, before long work, that files can be written into it.

    Raises:
      InputError: it cannot be created or written into.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error.strerror or error}; choose another folder") from error


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, which is renamed to `path` when the body succeeds.

    The folder is created if needed. If the body fails, the temporary file is removed and an existing file is unchanged;
    readers see the old or the complete new file. A symbolic link stays, and the file that it names is replaced; into a
    device or a pipe the complete content is written.

    Raises:
      InputError: for any OSError in the body (no permission, disk full, not a folder), naming `path`.
    """
    path = Path(path)
    try:
        target = path.resolve()
        is_stream = target.exists() and not (target.is_file() or target.is_dir())
        # The suffix stays last: numpy.savez appends .npz to a name without it.
        name = f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}"
        partial = Path(tempfile.gettempdir(), name) if is_stream else target.with_name(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            if is_stream:
                target.write_bytes(partial.read_bytes())
            else:
                partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def exclusive(path: Path | str, work: str) -> Iterator[None]:
    """Hold a lock on a path while the body runs, which no other process can hold; it ends with the process.

    The lock is an empty hidden file next to the path. Where the file system has no locks the body runs without.

    Args:
      path: what the work writes, which need not exist.
      work: the work for the message, such as "training".

    Raises:
      InputError: another process holds it.
    """
    place = Path(path).with_name(f".{Path(path).name}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place, "ab") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise InputError(
                    f"another process is {work} in {place.parent}: wait for its end, or choose another folder"
                ) from error
        yield


def read_bytes(path: Path | str) -> bytes:
    """Return the content of a file.

    Raises:
      InputError: the file is missing or cannot be read.
    """
    path = Path(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def read_text(path: Path | str) -> str:
    """Return the text of a file in UTF-8, or in the encoding that its byte order mark names, without the mark.

    Spreadsheets and editors of Windows begin files with such a mark.

    Raises:
      InputError: the file is missing, cannot be read, or is not such a text.
    """
    content = read_bytes(path)
    bom, encoding = next(((bom, name) for bom, name in _BOMS if content.startswith(bom)), (b"", "utf-8"))
    try:
        return content.removeprefix(bom).decode(encoding)
    except UnicodeDecodeError as error:
        problem = f"{error.reason} at byte {error.start + len(bom)}"
        raise InputError(f"{path}: not UTF-8 text ({problem}): save it as UTF-8") from error


def read_npz(path: Path | str) -> dict[str, np.ndarray]:
    """Return all arrays of an .npz file, never through pickle.

    Raises:
      InputError: the file is missing, not an .npz, cut short, corrupt, or holds Python objects.
    """
    content = io.BytesIO(read_bytes(path))
    if not zipfile.is_zipfile(content):
        raise InputError(f"{path}: not an .npz file, or cut short; give another file, or copy or download it again")
    try:
        with np.load(content, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except _DAMAGED as error:
        if "allow_pickle" in str(error):
            raise InputError(f"{path}: the .npz file holds Python objects; save arrays of numbers or text") from error
        raise InputError(f"{path}: corrupt .npz file ({first_line(error)}); copy or download it again") from error


def read_pickle(content: bytes, source: Path | str, *, arrays: bool = False) -> object:
    """Read a pickle of numbers, strings, lists and dicts with numeric NumPy scalars, or arrays of bytes, in them.

    Nothing that the file names is imported or called. NumPy scalars become Python numbers. The byte strings of Python 2
    stay bytes.

    Args:
      content: the pickle.
      source: its file, for messages.
      arrays: admit uint8 arrays instead of scalars, as the CIFAR batches hold them.

    Raises:
      InputError: the pickle is cut short, corrupt or asks for anything else; the refused global is named.
    """
    try:
        return (_ArrayUnpickler if arrays else _ScalarUnpickler)(io.BytesIO(content), encoding="bytes").load()
    except _DAMAGED as error:
        raise InputError(f"{source}: unreadable or unsafe pickle ({first_line(error)})") from error


def _refuse(wish: str) -> pickle.UnpicklingError:
    return pickle.UnpicklingError(f"{wish} is refused: jaxnas runs no code from data files")


def _text(value: object) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


class _DType:
    """Stands in for numpy.dtype, whose __setstate__ would accept any flags of the file."""

    def __init__(self, code: object, align: object = False, copy: object = False):
        if _text(code) not in {"b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"}:
            raise _refuse(f"dtype {_text(code)!r}")
        self.dtype = np.dtype(_text(code))

    def __setstate__(self, state: tuple[object, ...]) -> None:
        order = _text(state[1])
        if order not in {"<", ">", "|", "="}:
            raise _refuse(f"byte order {order!r}")
        self.dtype = self.dtype.newbyteorder(order)  # type: ignore[arg-type]


class _Bytes(np.ndarray):
    """Stands in for the empty array that NumPy's _reconstruct makes; __setstate__ then fills it with bytes."""

    def __setstate__(self, state: tuple[object, ...]) -> None:
        _, shape, dtype, fortran, data = state
        if not (isinstance(shape, tuple) and isinstance(dtype, _DType) and isinstance(data, bytes)):
            raise _refuse("an array without shape, dtype and bytes")
        if dtype.dtype != np.uint8 or fortran:
            raise _refuse("an array that is not uint8 in C order")
        values = np.frombuffer(data, np.uint8).reshape(shape)
        self.resize(values.shape, refcheck=False)
        self[...] = values


def _scalar(dtype: _DType, data: bytes) -> bool | int | float:
    if len(data) != dtype.dtype.itemsize:
        raise _refuse("a NumPy scalar of another length")
    value: bool | int | float = np.frombuffer(data, dtype.dtype)[0].item()
    return value


def _reconstruct(kind: object, shape: object, code: object) -> _Bytes:
    return _Bytes(0, np.uint8)


class _ScalarUnpickler(pickle.Unpickler):
    """Finds these replacements only."""

    allowed: ClassVar[dict[str, object]] = {
        "numpy.dtype": _DType,
        "numpy.core.multiarray.scalar": _scalar,
        "numpy._core.multiarray.scalar": _scalar,
    }

    def find_class(self, module: str, name: str) -> object:
        try:
            return self.allowed[f"{module}.{name}"]
        except KeyError:
            raise _refuse(f"global {module}.{name}") from None


class _ArrayUnpickler(_ScalarUnpickler):
    allowed: ClassVar[dict[str, object]] = {
        "numpy.dtype": _DType,
        "numpy.ndarray": None,  # only an argument of _reconstruct
        "numpy.core.multiarray._reconstruct": _reconstruct,
        "numpy._core.multiarray._reconstruct": _reconstruct,
    }


def check_same(path: Path | str, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    """Raise an InputError that names every field in which the settings that made a file differ from those wanted."""
    if differing := [key for key in {**wanted, **found} if found.get(key) != wanted.get(key)]:
        fields = "; ".join(f"{key} is {found.get(key)}, not {wanted.get(key)}" for key in differing)
        raise InputError(f"{path} was made with other settings ({fields}): choose another place, or remove it")
