"""Paths of this machine and addresses of object stores, as users write them; imported without NumPy."""

import os
import re
from pathlib import Path


def expand(place: Path | str) -> str:
    """Return a path with `~` and `$VARIABLES` replaced and without `file://`, or an address unchanged.

    Every option and argument that names a place is read by this function, as a shell leaves `--out=~/x` as it is.
    """
    text = str(place)
    if text[:7].lower() == "file://":
        text = text[7:]
    return text if is_address(text) else os.path.expanduser(os.path.expandvars(text))


def to_path(place: Path | str) -> Path:
    """Return the path that a user names, see `expand`."""
    return Path(expand(place))


def is_address(place: Path | str) -> bool:
    """Return whether this is an address such as s3://bucket/folder, not a path of this machine."""
    return re.match(r"[a-z][a-z0-9+.-]*://", str(place), re.IGNORECASE) is not None


def without_secrets(address: str) -> str:
    """Return the address as messages may show it: without user, password and options."""
    return re.sub(r"//.*@", "//", address.partition("?")[0])
