"""Records of names and plain values, as JSON files, events and tables hold them; this module does not import NumPy."""

import hashlib
import json
import math
from typing import Any, Protocol, TypeAlias, runtime_checkable

Record: TypeAlias = dict[str, Any]
"""Names and plain values: numbers, texts, None, and lists and records of these; their reader knows and checks them."""


def to_plain(value: object) -> object:
    """Return a value in the form that JSON has: arrays and tuples as lists, and None for NaN and inf."""
    if isinstance(value, dict):
        return {name: to_plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):  # an array, or a number of NumPy
        return to_plain(value.tolist())
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def with_check(values: Record) -> Record:
    """Return a record of JSON values with "check", by which `is_intact` knows it again: 16 digits of a SHA-256."""
    return values | {"check": _checksum(values)}


def is_intact(record: Record) -> bool:
    """Return whether `with_check` made a record, also where it was read back from JSON in between."""
    values = dict(record)
    check = values.pop("check", None)
    return bool(check == _checksum(values))


def check_intact(record: Record) -> None:
    """Raise ValueError if a record that `with_check` made was altered.

    A record without "check", as earlier versions wrote it, passes: an altered value in it shows only where it does not
    fit the others.
    """
    if "check" in record and not is_intact(record):
        raise ValueError("it was altered: its content does not match `check`")


def _checksum(values: Record) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of names and values in their order."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


@runtime_checkable
class _Array(Protocol):
    """What NumPy, JAX and PyTorch have in common; NumPy is not imported here."""

    @property
    def dtype(self) -> object: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def tolist(self) -> object: ...


def is_same(one: object, other: object) -> bool:
    """Return whether two values are equal, member by member and entry by entry; NaN equals NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[name], other[name]) for name in one)
    if isinstance(one, _Array) and isinstance(other, _Array):
        return one.dtype == other.dtype and one.shape == other.shape and is_same(one.tolist(), other.tolist())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other) or (one != one and other != other)
