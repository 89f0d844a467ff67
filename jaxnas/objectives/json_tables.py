"""Tables in JSON: rows, columns, or an object by architecture, as public repositories and pandas write them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from jaxnas.errors import InputError, first_line
from jaxnas.runtime.files import read_text

Value: TypeAlias = object  # what JSON holds
Object: TypeAlias = dict[str, Value]

_FORMS = (
    "a list of rows [{arch, accuracy, ...}, ...], columns {arch: [...], accuracy: [...]}, or by architecture rows or "
    "numbers {architecture: {accuracy, ...}, ...}"
)
_CELL = ("module_adjacency", "module_operations")  # the two fields that are a cell of NAS-Bench-101


class JsonTable(NamedTuple):
    """The columns of a file, of one length, unchecked.

    Attributes:
      columns: the columns by name.
      keys: the key of each row where rows are an object, which may be the architectures; None for other forms.
    """

    columns: dict[str, list[Value]]
    keys: list[str] | None = None


def read_json(path: Path, names_archs: Callable[[Sequence[str]], bool]) -> JsonTable:
    """Read the columns of a file.

    A value {"score": s, "time": t}, as NAS-Bench-Suite-Zero (arXiv:2210.03230) writes scores, is s. Its objects of the
    same architectures on several data sets become columns DATASET_NAME, those on one data set columns NAME. Where rows
    have the two fields of a cell of NAS-Bench-101, a column "arch" is made of them. Numbers by architecture are a
    column named like the file.

    Args:
      path: the file.
      names_archs: whether one of some names is that of a column of architectures.

    Raises:
      InputError: the file cannot be read, is no JSON, has a key twice in one object, or is no table.
    """
    content = read_text(path)
    try:
        value: Value = json.loads(content, object_pairs_hook=_unwrap)
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({first_line(error)})") from error
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return JsonTable(_columns_of_rows(value))
    if isinstance(value, dict) and value:
        if all(isinstance(column, list) for column in value.values()):
            return JsonTable(_same_length(value, path))
        rows = _objects(value)
        if rows is not None:
            return _read_objects(rows, names_archs, path)
        if all(isinstance(one, int | float | None) for one in value.values()):
            return JsonTable({path.stem: list(value.values())}, list(value))
    raise InputError(f"{path}: a JSON table must be {_FORMS}, got {type(value).__name__} {value!r:.60}")


def _unwrap(pairs: list[tuple[str, Value]]) -> Value:
    """Return an object, or the score of one that has nothing else than a score and its time.

    Raises:
      ValueError: a key comes twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r:.80} comes twice in one object")
    return found["score"] if "score" in found and found.keys() <= {"score", "time"} else found


def _objects(value: Object) -> dict[str, Object] | None:
    """Return the objects that an object holds; None if it holds other values."""
    inside = {name: one for name, one in value.items() if isinstance(one, dict)}
    return inside if len(inside) == len(value) else None


def _read_objects(rows: dict[str, Object], names_archs: Callable[[Sequence[str]], bool], path: Path) -> JsonTable:
    """Return the columns of an object of objects: columns by row, rows by key, or rows by data set and key.

    Raises:
      InputError: columns have different rows.
    """
    if names_archs(list(rows)):
        first = next(iter(rows.values()))
        if other := [name for name, column in rows.items() if column.keys() != first.keys()]:
            raise InputError(f"{path}: column {other[0]!r:.80} has other rows than column {next(iter(rows))!r:.80}")
        return JsonTable({name: [column[key] for key in first] for name, column in rows.items()})
    by_data = {name: _objects(inside) for name, inside in rows.items()}
    if all(by_data.values()):
        return _join({name: inside or {} for name, inside in by_data.items()})
    return JsonTable(_columns_of_rows(list(rows.values())), list(rows))


def _join(by_data: dict[str, dict[str, Object]]) -> JsonTable:
    """Return the rows of all data sets, with the name of the data set in front of columns where there are several."""
    keys = list(dict.fromkeys(key for rows in by_data.values() for key in rows))
    columns: dict[str, list[Value]] = {}
    for data, rows in by_data.items():
        found = _columns_of_rows([rows.get(key, {}) for key in keys])
        prefix = f"{data}_" if len(by_data) > 1 else ""
        columns |= {f"{prefix}{name}": column for name, column in found.items()}
    return JsonTable(columns, keys)


def _columns_of_rows(rows: Sequence[Object]) -> dict[str, list[Value]]:
    """Return the columns of all names that any row has, None where a row has none."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    if "arch" not in columns and all(name in columns for name in _CELL):
        matrices, ops = (columns.pop(name) for name in _CELL)
        columns = {"arch": [list(cell) for cell in zip(matrices, ops, strict=True)], **columns}
    return columns


def _same_length(value: Object, path: Path) -> dict[str, list[Value]]:
    """Return columns, which have one length.

    Raises:
      InputError: two have different lengths.
    """
    columns = {name: column for name, column in value.items() if isinstance(column, list)}
    first = next(iter(columns))
    if other := [name for name, column in columns.items() if len(column) != len(columns[first])]:
        raise InputError(
            f"{path}: column {other[0]!r:.80} has {len(columns[other[0]])} rows, column {first!r:.80} has "
            f"{len(columns[first])}"
        )
    return columns
