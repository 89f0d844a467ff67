"""The record of trained candidates: a JSON-lines file with a header, from which a killed search is resumed."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jaxnas.errors import InputError
from jaxnas.runtime.files import atomic_write, check_same, read_bytes
from jaxnas.runtime.records import Record


class Trained(NamedTuple):
    """One trained candidate, a line of the record; NaN and inf are written as null and read as NaN.

    Attributes:
      validation_accuracy: validation accuracy in percent, NaN if the candidate diverged.
      loss: mean training loss of the last epoch, nats.
      epochs: epochs trained; fewer than the configured ones if the loss stopped being finite.
      seconds: seconds of training and validation, without compilation.
      diverged: whether loss or logits stopped being finite.
    """

    validation_accuracy: float
    loss: float
    epochs: int
    seconds: float
    diverged: bool


def write_record(path: Path, header: Mapping[str, object], trained: Mapping[str, Trained]) -> None:
    """Replace the file by the header and one line per architecture, atomically.

    Raises:
      InputError: the file cannot be written.
    """
    lines = [{"made_with": header}, *(_line(arch, result) for arch, result in trained.items())]
    with atomic_write(path) as partial:
        partial.write_text("".join(f"{json.dumps(line, allow_nan=False)}\n" for line in lines))


def read_record(path: Path, header: Mapping[str, object]) -> dict[str, Trained]:
    """Read the trained candidates by architecture; empty if there is no file.

    A last line without a newline is incomplete and is dropped.

    Raises:
      InputError: a line is damaged, or the header differs from `header`; the message has the number or the fields.
    """
    if not path.exists():
        return {}
    first, *lines = read_bytes(path).split(b"\n")[:-1] or [b""]
    made_with = _parse(first, f"{path}, line 1").get("made_with")
    if not isinstance(made_with, dict):
        raise InputError(f"{path}, line 1: not a record of training; give another path")
    check_same(path, made_with, header)
    return dict(_entry(line, f"{path}, line {number}") for number, line in enumerate(lines, start=2))


def _line(arch: str, result: Trained) -> Record:
    return {"arch": arch} | {key: value if math.isfinite(value) else None for key, value in result._asdict().items()}


def _parse(line: bytes, place: str) -> Record:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{place}: damaged ({line[:60]!r}); delete the line, or the file")
    return value


def _entry(line: bytes, place: str) -> tuple[str, Trained]:
    values: Record = {key: math.nan if value is None else value for key, value in _parse(line, place).items()}
    arch = values.pop("arch", None)
    kinds = {key: (int, float) for key in Trained._fields} | {"epochs": int, "diverged": bool}
    fits = values.keys() == kinds.keys() and all(isinstance(values[key], kind) for key, kind in kinds.items())
    if not (isinstance(arch, str) and fits):
        raise InputError(f"{place}: not a result of training ({line[:60]!r}); delete the line, or the file")
    return arch, Trained(**values)
