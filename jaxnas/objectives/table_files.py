"""Files of tables: CSV as spreadsheets and pandas write it, Parquet, JSON, .npz, and pickles of plain values."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from jaxtyping import Float64

from jaxnas.errors import InputError, first_line
from jaxnas.objectives.find import ENDINGS, PICKLES
from jaxnas.objectives.json_tables import read_json
from jaxnas.runtime.files import read_bytes, read_npz, read_pickle, read_text

Column: TypeAlias = list[object] | np.ndarray  # as read, before it is checked

INDEX_NAMES = ("", "Unnamed: 0", "__index_level_0__", "index", "id")  # of the first column, as pandas writes its index

ARCH_NAMES = ("architecture", "architectures", "arch_str", "arch_name", "architecture_name")  # read as "arch" is

# What Arrow raises on damaged files, and Python on cells that it has no objects for, such as a date in the year 10000.
_UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError, LookupError)

_MISSING = {"", "-", "?", "na", "n/a", "#n/a", "<na>", "nan", "null", "none"}
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")


class TableFile(NamedTuple):
    """The columns of a file, as lists or 1-D arrays of one length, unchecked.

    Attributes:
      arch_column: name of the column of architectures; None if there is none.
      columns: all columns by name, that of the architectures too.
      decimal_comma: whether a comma in a number is the decimal separator.
    """

    arch_column: str | None
    columns: dict[str, Column]
    decimal_comma: bool = False


def read_table_file(path: Path, arch_column: str) -> TableFile:
    """Read the columns of a file; names of a CSV file lose the spaces around them.

    The architectures are in `arch_column`. Without a column "arch" they are in the one of `ARCH_NAMES`; without that
    too, they are the keys of the rows of a JSON file, or in the first column of a CSV, Parquet or JSON file if that is
    an index: unnamed, or called index or id. Other unnamed columns are left out.

    Raises:
      InputError: the file is missing, cannot be read or has an unknown ending, two columns have the same name, or
        several columns may be that of the architectures.
    """
    match path.suffix.lower():
        case ".csv" | ".tsv":
            return _read_csv(path, arch_column)
        case ".parquet":
            return _read_parquet(path, arch_column)
        case ".json":
            return _read_json(path, arch_column)
        case ".npz":
            return _read_npz(path, arch_column)
        case suffix if suffix in PICKLES:
            columns = _pickle_columns(path)
            return TableFile(_named_column(list(columns), arch_column, path), columns)
    raise InputError(f"{path}: unknown kind of table {path.suffix!r}; its name must end in {', '.join(ENDINGS)}")


def to_numbers(file: TableFile, name: str, path: Path) -> Float64[np.ndarray, " A"] | str:
    """Return a column as numbers, NaN where a value is missing; or, of a column of text, its first cell in words.

    A column is text if fewer than half of its cells that are not missing are numbers.

    Raises:
      InputError: a cell of another column is not a number; the message names the row, from 1.
    """
    values = file.columns[name]
    if isinstance(values, np.ndarray):
        return values.astype(np.float64)
    numbers, wrong, missing = np.full(len(values), np.nan), [], 0
    for row, value in enumerate(values):
        if value is None or (isinstance(value, str) and value.strip().lower() in _MISSING):
            missing += 1
            continue
        try:
            numbers[row] = _to_number(value, decimal_comma=file.decimal_comma)
        except (TypeError, ValueError, OverflowError):
            wrong.append(row)
    if not wrong:
        return numbers
    hint = "; a comma is the decimal separator only between columns separated by semicolons or tabs"
    value = values[wrong[0]]
    first = f"{path}, row {wrong[0] + 1}: {name!r} must be a number, got {value!r:.40}"
    if 2 * len(wrong) > len(values) - missing and not _has_comma(value):
        return first
    raise InputError(first + (hint if _has_comma(value) else "; leave text out"))


def listed(names: Iterable[str]) -> str:
    """Return names for a message of one line; those with special characters are escaped."""
    return ", ".join(name if name.isprintable() else repr(name) for name in names) or "none"


def _to_number(value: object, *, decimal_comma: bool) -> float:
    if decimal_comma and isinstance(value, str) and _has_comma(value):
        value = value.strip().replace(",", ".")
    return float(value)  # type: ignore[arg-type]  # the caller handles what it refuses


def _has_comma(value: object) -> bool:
    return isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value.strip()) is not None


def _read_csv(path: Path, arch_column: str) -> TableFile:
    content = read_text(path)
    header, delimiter = _header(content)
    name = _arch_column([column.strip() for column in header], arch_column, path)
    # Typed, because an architecture such as 64-41414 or 0123 could be taken for a date or a number.
    typed = {column: pa.string() for column in header if column.strip() == name}
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(content.encode()),
            parse_options=pa.csv.ParseOptions(delimiter=delimiter),
            convert_options=pa.csv.ConvertOptions(column_types=typed),
        )
        table = table.rename_columns([column.strip() for column in table.column_names])
        return _from_arrow(table, name, path, decimal_comma=delimiter != ",")
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def _read_parquet(path: Path, arch_column: str) -> TableFile:
    content = pa.BufferReader(read_bytes(path))
    try:
        table = pa.parquet.read_table(content, page_checksum_verification=True)
        return _from_arrow(table, _arch_column(table.column_names, arch_column, path), path, decimal_comma=False)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def _read_json(path: Path, wanted: str) -> TableFile:
    file = read_json(path, lambda names: _named_column(names, wanted, path) is not None)
    name = _named_column(list(file.columns), wanted, path)
    if name is None and wanted == "arch" and file.keys is not None:
        _check_index("key", {"key": list(file.keys), **file.columns}, path)
        return TableFile(wanted, {wanted: list(file.keys), **file.columns})
    name = name or _arch_column(list(file.columns), wanted, path)
    columns: dict[str, Column] = {
        each: column for each, column in file.columns.items() if each == name or each not in INDEX_NAMES[:3]
    }
    if name in INDEX_NAMES:
        _check_index(name, columns, path)
    return TableFile(name, columns)


def _unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    problem = first_line(error)
    return InputError(f"{path}: cannot be read as a table ({problem})")


def _header(content: str) -> tuple[list[str], str]:
    """Return the names of the columns and the delimiter that gives the most of them."""
    lines = content.splitlines()[:1] or [""]
    try:
        headers = {delimiter: next(csv.reader(lines, delimiter=delimiter), []) for delimiter in ",;\t"}
    except csv.Error:
        return [], ","
    delimiter = max(headers, key=lambda each: len(headers[each]))
    return headers[delimiter], delimiter


def _named_column(names: Sequence[str], wanted: str, path: Path) -> str | None:
    """Return the column of architectures that its name makes known; None if there is none.

    Raises:
      InputError: there are several.
    """
    if wanted in names or wanted != "arch":
        return wanted if wanted in names else None
    found = [name for name in names if name.strip().lower() in ARCH_NAMES]
    if len(found) > 1:
        raise InputError(f"{path}: {listed(found)} may all be the architectures: rename the column of them to arch")
    return found[0] if found else None


def _arch_column(names: Sequence[str], wanted: str, path: Path) -> str | None:
    """Return the name of the column of architectures: a named one, or that of an index in the first column."""
    if named := _named_column(names, wanted, path):
        return named
    index = next((name for name in names if name == "__index_level_0__"), names[0] if names else None)
    return index if wanted == "arch" and index in INDEX_NAMES else None


def _from_arrow(table: pa.Table, arch_column: str | None, path: Path, *, decimal_comma: bool) -> TableFile:
    """Return the columns of a table without unnamed ones and without the empty rows at the end of a spreadsheet."""
    kept = [
        number for number, name in enumerate(table.column_names) if name == arch_column or name not in INDEX_NAMES[:3]
    ]
    table = table.select(kept)
    names = table.column_names
    if len(set(names)) < len(names):
        raise InputError(f"{path}: two columns have the same name; the columns are {listed(names)}")
    columns: dict[str, Column] = {
        name: column.to_numpy() if pa.types.is_floating(column.type) else column.to_pylist()
        for name, column in zip(names, table.columns, strict=True)
    }
    columns = _without_empty_end(columns) if path.suffix.lower() != ".parquet" else columns
    if arch_column in INDEX_NAMES:
        _check_index(arch_column, columns, path)
    return TableFile(arch_column, columns, decimal_comma)


def _check_index(index: str, columns: dict[str, Column], path: Path) -> None:
    """Raise InputError if an index numbers the rows, and another column may be the architectures.

    Rows would be joined to those of other files by their number, whatever their order is.
    """
    texts = [str(cell).strip() for cell in columns[index]]
    if not any(texts == [str(start + row) for row in range(len(texts))] for start in (0, 1)):
        return
    for name, column in columns.items():
        if name != index and all(_is_text(cell) for cell in column) and len(set(column)) == len(texts):
            raise InputError(
                f"{path}: the first column {index!r} numbers the rows, and {name!r} may be the architectures: rename "
                "the column of architectures to arch"
            )


def _is_text(cell: object) -> bool:
    if not isinstance(cell, str) or cell.strip().lower() in _MISSING:
        return False
    try:
        _to_number(cell, decimal_comma=True)
    except ValueError:
        return True
    return False


def _without_empty_end(columns: dict[str, Column]) -> dict[str, Column]:
    end = max((len(column) for column in columns.values()), default=0)
    while end and all(
        column[end - 1] in (None, "") or column[end - 1] != column[end - 1] for column in columns.values()
    ):
        end -= 1
    return {name: column[:end] for name, column in columns.items()}


def _read_npz(path: Path, wanted: str) -> TableFile:
    arrays = read_npz(path)
    arch_column = _named_column(list(arrays), wanted, path)
    shape = None if arch_column is None else arrays[arch_column].shape
    columns = {
        name: array.tolist() if name == arch_column else array
        for name, array in arrays.items()
        if array.ndim == 1 and shape in (None, array.shape) and (name == arch_column or array.dtype.kind in "biuf")
    }
    return TableFile(arch_column if arch_column in columns else None, columns)


def _pickle_columns(path: Path) -> dict[str, Column]:
    rows = read_pickle(read_bytes(path), path)
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: the pickle must be a list of table rows, got {type(rows).__name__} {rows!r:.40}")
    if not all(isinstance(row, dict) for row in rows):
        return {path.stem: rows}
    shared = [key for key in rows[0] if isinstance(key, str) and all(key in row for row in rows)]
    return {key: [row[key] for row in rows] for key in shared}
