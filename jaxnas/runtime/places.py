"""Paths of this machine and addresses of object stores, as users write them; imported without NumPy."""

import os
import re
from pathlib import Path

from jaxnas.errors import InputError

LONGEST_NAME = 255  # bytes


def expand(place: Path | str) -> str:
    """Return a path with `~` and `$VARIABLES` replaced and without `file://`, or an address unchanged.

    Every option and argument that names a place is read by this function, as a shell leaves `--out=~/x` as it is.
    """
    text = str(place)
    if text[:7].lower() == "file://":
        text = text[7:]
    return text if is_address(text) else os.path.expanduser(os.path.expandvars(text))


def to_path(place: Path | str) -> Path:
    """Return the path that a user names, see `expand`.

    Raises:
      InputError: it is neither a text nor a path, empty, or a name in it is longer than file systems take.
    """
    if not isinstance(place, str | os.PathLike):
        raise InputError(f"a path must be a text or a Path, got {place!r:.60}")
    if not str(place).strip():
        raise InputError(
            f"a path must not be empty, got {str(place)!r}: name a folder or file, `.` for the current folder"
        )
    path = Path(expand(place))
    if too_long := [part for part in path.parts if len(os.fsencode(part)) > LONGEST_NAME]:
        size = len(os.fsencode(too_long[0]))
        raise InputError(f"the name {too_long[0]!r:.60}... has {size} bytes, and file systems take {LONGEST_NAME}")
    return path


def is_address(place: Path | str) -> bool:
    """Return whether this is an address such as s3://bucket/folder, not a path of this machine."""
    return re.match(r"[a-z][a-z0-9+.-]*://", str(place), re.IGNORECASE) is not None


def without_secrets(address: str) -> str:
    """Return the address as messages may show it: without user, password and options."""
    return re.sub(r"//.*@", "//", address.partition("?")[0])
