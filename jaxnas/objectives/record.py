"""The record of trained candidates: a JSON-lines file, header first, by which a killed search is resumed."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxnas.errors import InputError
from jaxnas.runtime.files import atomic_write, check_same, read_bytes


class Trained(NamedTuple):
    """One trained candidate; a line of the record, where NaN and inf are written as null and read as NaN."""

    validation_accuracy: float  # percent, NaN if diverged
    loss: float  # mean training loss of the last epoch, nats
    epochs: int  # trained; fewer than the configured ones if the loss stopped being finite
    seconds: float  # of training and validation, without compilation
    diverged: bool


def write_record(path: Path, header: Mapping[str, Any], trained: Mapping[str, Trained]) -> None:
    """Replace the file by the header and one line per architecture, atomically.

    Raises:
      InputError: the file cannot be written.
    """
    lines = [{"made_with": header}, *(_line(arch, result) for arch, result in trained.items())]
    with atomic_write(path) as partial:
        partial.write_text("".join(f"{json.dumps(line, allow_nan=False)}\n" for line in lines))


def read_record(path: Path, header: Mapping[str, Any]) -> dict[str, Trained]:
    """What was trained before, by architecture; nothing if there is no file.

    A last line without its newline was cut off, in copying for instance: it is dropped.

    Raises:
      InputError: a damaged line (with its number), or a header that differs from `header` (with the fields).
    """
    if not path.exists():
        return {}
    first, *lines = read_bytes(path).split(b"\n")[:-1] or [b""]
    found = _parse(first, f"{path}, line 1").get("made_with")
    if not isinstance(found, dict):
        raise InputError(f"{path}, line 1: this is no record of training; give another path")
    check_same(path, found, header)
    return dict(_entry(line, f"{path}, line {number}") for number, line in enumerate(lines, start=2))


def _line(arch: str, result: Trained) -> dict[str, Any]:
    return {"arch": arch} | {key: value if math.isfinite(value) else None for key, value in result._asdict().items()}


def _parse(line: bytes, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{place}: damaged ({line[:60]!r}); delete the line, or the file")
    return value


def _entry(line: bytes, place: str) -> tuple[str, Trained]:
    values: dict[str, Any] = {key: math.nan if value is None else value for key, value in _parse(line, place).items()}
    arch = values.pop("arch", None)
    kinds = {key: (int, float) for key in Trained._fields} | {"epochs": int, "diverged": bool}
    fits = values.keys() == kinds.keys() and all(isinstance(values[key], kind) for key, kind in kinds.items())
    if not (isinstance(arch, str) and fits):
        raise InputError(f"{place}: no result of training ({line[:60]!r}); delete the line, or the file")
    return arch, Trained(**values)
