"""The record of trained candidates: a JSON-lines file with a header, from which a killed search is resumed."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jaxnas.errors import InputError
from jaxnas.objectives.config import complete
from jaxnas.runtime.events import Listener, Noted, ignore
from jaxnas.runtime.files import atomic_write, check_same, read_bytes
from jaxnas.runtime.records import Record, is_intact, to_plain, with_check


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


def read_record(path: Path, header: Mapping[str, object], on_event: Listener = ignore) -> dict[str, Trained]:
    """Read the trained candidates by architecture; empty if there is no file.

    A damaged line is left out, so that its candidate is trained again; `on_event` receives a `Noted` that names all of
    them. A last line without a newline is incomplete, and is dropped without a note.

    Raises:
      InputError: the first line is damaged, or differs from `header`; the message has the fields.
    """
    if not path.exists():
        return {}
    first, *lines = read_bytes(path).split(b"\n")[:-1] or [b""]
    made_with = _parse(first).get("made_with")
    if not isinstance(made_with, dict):
        raise InputError(f"{path}, line 1: not the settings of a training ({first[:60]!r}); delete or move the file")
    check_same(path, complete(made_with, header), header)
    entries = {number: _entry(line) for number, line in enumerate(lines, start=2)}
    if damaged := [str(number) for number, entry in entries.items() if entry is None]:
        places = f"line{'s' * (len(damaged) > 1)} {', '.join(damaged)}"
        on_event(Noted(f"{path}, {places}: damaged; the candidates are trained again", is_warning=True))
    return dict(entry for entry in entries.values() if entry)


def _line(arch: str, result: Trained) -> Record:
    return with_check({"arch": arch, **{key: to_plain(value) for key, value in result._asdict().items()}})


def _parse(line: bytes) -> Record:
    """Return the record of a line, empty where it holds none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _entry(line: bytes) -> tuple[str, Trained] | None:
    """Return the architecture and the result that a line holds, None where the line is damaged."""
    values = _parse(line)
    if not is_intact(values):
        return None
    arch: str = values.pop("arch")
    numbers: Record = {
        key: math.nan if value is None else value for key, value in values.items() if key in Trained._fields
    }
    return arch, Trained(**numbers)
