"""Objectives from tables: benchmark tables, custom tables, published proxy scores."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from jaxtyping import Float64, Int8

from jaxnas.data.catalogue import DATASETS, data_folder, find_data
from jaxnas.errors import InputError, unknown_name
from jaxnas.runtime.files import read_bytes, read_npz, read_pickle
from jaxnas.spaces import NASBENCH201, SearchSpace, check_archs, enumerate_archs

FAILED = -1e8  # what NAS-Bench-Suite-Zero stores for a score that could not be computed

Column: TypeAlias = list[Any] | np.ndarray  # as read, before it is checked

# What Arrow raises on damaged files, and Python on cells that it has no objects for, such as a date in the year 10000.
_UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError, LookupError)

_PICKLES = (".p", ".pkl", ".pickle")
_ENDINGS = (".csv", ".parquet", ".npz", *_PICKLES)

# RoBoT's files and their columns, under the names of the compiled NAS-Bench-201 table.
_ROBOT_COLUMNS = {
    "c10_valid_val_12": ("nb2_cf10_hp12_info", "valacc"),
    "c10_cost_12_sec": ("nb2_cf10_hp12_info", "cost"),
    "robot_c10_test": ("nb2_cf10_test_accuracy", "nb2_cf10_test_accuracy"),
    "robot_c100_test": ("nb2_cf100_test_accuracy", "nb2_cf100_test_accuracy"),
    "robot_im120_test": ("nb2_im120_test_accuracy", "nb2_im120_test_accuracy"),
}


class Table(NamedTuple):
    """Architectures and their measurements.

    Attributes:
      archs: architectures, as vectors of their space [A D].
      columns: measurements [A] by name; NaN where there is none.
    """

    archs: Int8[np.ndarray, "A D"]
    columns: dict[str, Float64[np.ndarray, " A"]]


def load_table(path: str | Path, space: SearchSpace, arch_column: str = "arch") -> Table:
    """Read a table of architectures, written as strings of their space, with columns of numbers.

    CSV and Parquet: `arch_column` and metrics; an empty cell is NaN. npz: the same as 1-D arrays of one length, other
    arrays are left out. Pickle, as RoBoT publishes its tables: a list of dicts {arch, metric, ...}, or a list of
    numbers in index order of the whole space, which becomes a column named like the file.

    Args:
      path: a file whose name ends in .csv, .parquet, .npz, .p, .pkl or .pickle.
      space: the search space of the architectures.
      arch_column: name of the column of architectures.

    Raises:
      InputError: the file is missing, corrupt or empty, its ending is unknown, it has no architecture column, or the
        message names a row, from 1, with an architecture that cannot be parsed or a cell that is not a number.
    """
    path = Path(path).expanduser()
    columns = _read_columns(path, arch_column)
    texts = columns.pop(arch_column, None)
    if texts is not None:
        archs = _parse_archs(texts, space, path)
    elif path.suffix.lower() in _PICKLES and {len(column) for column in columns.values()} == {space.size}:
        archs = enumerate_archs(space)
    else:
        raise InputError(f"{path}: no architecture column {arch_column!r}; the columns are {_listed(columns)}")
    return Table(archs, {name: _numbers(column, name, path) for name, column in columns.items()})


def load_nasbench201(folder: str | Path | None = None) -> Table:
    """Read the NAS-Bench-201 table of the data folder; accuracies in percent, costs in seconds.

    The compiled nb201/nb201_table.npz, else RoBoT's published files, whose five columns take the compiled table's names
    (c10_valid_val_12, c10_cost_12_sec, robot_c10_test, robot_c100_test, robot_im120_test).

    Raises:
      InputError: neither is present, or a file is not a table; see `load_table`.
    """
    if compiled := find_data("nasbench201", folder):
        return load_table(compiled, NASBENCH201)
    robot = find_data("robot", folder)
    if robot is None:
        place = data_folder(folder) / DATASETS["nasbench201"].places[0]
        raise InputError(f"no NAS-Bench-201 table at {place}; put it there, or run `jaxnas data get robot` for RoBoT's")
    files = {file for file, _ in _ROBOT_COLUMNS.values()}
    tables = {file: load_table(robot / f"{file}.p", NASBENCH201) for file in files}
    archs = enumerate_archs(NASBENCH201)
    columns = {name: align(tables[file], NASBENCH201, archs, column) for name, (file, column) in _ROBOT_COLUMNS.items()}
    return Table(archs, columns)


def load_proxy_scores(
    folder: str | Path | None, dataset: str, proxies: Sequence[str]
) -> tuple[Int8[np.ndarray, "A D"], Float64[np.ndarray, "A M"]]:
    """Read NAS-Bench-Suite-Zero's scores of all NAS-Bench-201 architectures, from nb201/nb201_proxies.npz.

    Architectures with dead edges have the score of their canonical form. A score that failed or was never computed is
    NaN.

    Args:
      folder: the data folder, see `data_folder`.
      dataset: cifar10, cifar100 or ImageNet16-120.
      proxies: the columns wanted, in this order; jacob_cov is called jacov there, either name works.

    Returns:
      Architectures in index order, raw scores (synflow is a logarithm).

    Raises:
      InputError: the file is missing or corrupt, or the data set or a proxy is unknown.
    """
    path = find_data("nasbench201-proxies", folder)
    if path is None:
        place = data_folder(folder) / DATASETS["nasbench201-proxies"].places[0]
        source = DATASETS["nasbench201-proxies"].address
        raise InputError(f"no proxy scores at {place}; compile them from {source}")
    arrays = read_npz(path)
    if missing := [key for key in ("filled", "datasets", "columns") if key not in arrays]:
        raise InputError(f"{path}: no array {missing[0]!r}; it has {', '.join(arrays)}")
    datasets, columns = arrays["datasets"].tolist(), arrays["columns"].tolist()
    if arrays["filled"].shape != (len(datasets), NASBENCH201.size, len(columns)):
        raise InputError(f"{path}: 'filled' must have shape [data sets, 15625, columns], got {arrays['filled'].shape}")
    if dataset not in datasets:
        raise unknown_name("data set", dataset, datasets)
    names = ["jacov" if proxy == "jacob_cov" else proxy for proxy in proxies]
    if unknown := [name for name in names if name not in columns]:
        raise unknown_name("proxy", unknown[0], columns)
    scores = arrays["filled"][datasets.index(dataset)][:, [columns.index(name) for name in names]].astype(np.float64)
    return enumerate_archs(NASBENCH201), np.where(scores == FAILED, np.nan, scores)


def align(table: Table, space: SearchSpace, archs: Int8[np.ndarray, "A D"], column: str) -> Float64[np.ndarray, " A"]:
    """Return `column` of the table for each of `archs`, in their order.

    Raises:
      InputError: the column is unknown, an architecture is in the table twice, or some of `archs` are not in it.
    """
    if column not in table.columns:
        raise unknown_name("column", column, table.columns)
    row_of = {arch.tobytes(): row for row, arch in enumerate(table.archs)}
    if len(row_of) < len(table.archs):
        twice = next(row for row, arch in enumerate(table.archs) if row_of[arch.tobytes()] != row)
        raise InputError(f"the table has architecture {space.format(table.archs[twice])} more than once; keep one row")
    wanted = [arch.tobytes() for arch in check_archs(space, archs)]
    if missing := [i for i, key in enumerate(wanted) if key not in row_of]:
        first = space.format(archs[missing[0]])
        raise InputError(f"the table lacks {len(missing)} of {len(wanted)} architectures, the first is {first}")
    return table.columns[column][np.array([row_of[key] for key in wanted], np.intp)]


class TabularObjective(NamedTuple):
    """Accuracies of a pool from a table, with the interface of an objective that trains.

    Attributes:
      values: the accuracy that a search maximises, of each architecture.
      test: the accuracy that is reported at the end; NaN where the table has none.
    """

    values: Float64[np.ndarray, " A"]
    test: Float64[np.ndarray, " A"]

    def __call__(self, index: int) -> float:
        """Return the validation accuracy of the pool's architecture `index`."""
        return float(self.values[index])

    def test_accuracy(self, index: int) -> float:
        """Return its test accuracy, NaN where the table has none."""
        return float(self.test[index])


def tabular_objective(
    table: Table, space: SearchSpace, archs: Int8[np.ndarray, "A D"], column: str, test_column: str | None = None
) -> TabularObjective:
    """Make the objective that looks `column` up for `archs`, and their test accuracy in `test_column` if one is named.

    Raises:
      InputError: see `align`.
    """
    values = align(table, space, archs, column)
    test = align(table, space, archs, test_column) if test_column else np.full(len(values), np.nan)
    return TabularObjective(values, test)


def _read_columns(path: Path, arch_column: str) -> dict[str, Column]:
    """Return the columns of a file as lists or 1-D arrays, unchecked."""
    match path.suffix.lower():
        case ".csv" | ".parquet":
            return _arrow_columns(path, arch_column)
        case ".npz":
            return _npz_columns(path, arch_column)
        case suffix if suffix in _PICKLES:
            return _pickle_columns(path)
    raise InputError(f"{path}: unknown kind of table {path.suffix!r}; its name must end in {', '.join(_ENDINGS)}")


def _arrow_columns(path: Path, arch_column: str) -> dict[str, Column]:
    content = pa.BufferReader(read_bytes(path))
    try:
        if path.suffix.lower() == ".parquet":
            table = pa.parquet.read_table(content, page_checksum_verification=True)
        else:
            # Typed, because an architecture such as 64-41414 or 0123 could be taken for a date or a number.
            options = pa.csv.ConvertOptions(column_types={arch_column: pa.string()})
            table = pa.csv.read_csv(content, convert_options=options)
        names = table.column_names
        columns = [
            column.to_numpy() if pa.types.is_floating(column.type) else column.to_pylist() for column in table.columns
        ]
    except _UNREADABLE as error:
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as a table ({problem})") from error
    if len(set(names)) < len(names):
        raise InputError(f"{path}: two columns have the same name; the columns are {_listed(names)}")
    return dict(zip(names, columns, strict=True))


def _npz_columns(path: Path, arch_column: str) -> dict[str, Column]:
    arrays = read_npz(path)
    shape = arrays[arch_column].shape if arch_column in arrays else None
    return {
        name: array.tolist() if name == arch_column else array
        for name, array in arrays.items()
        if array.ndim == 1 and shape in (None, array.shape) and (name == arch_column or array.dtype.kind in "biuf")
    }


def _pickle_columns(path: Path) -> dict[str, Column]:
    rows = read_pickle(read_bytes(path), path)
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path}: the pickle must be a list of table rows, got {type(rows).__name__} {rows!r:.40}")
    if not all(isinstance(row, dict) for row in rows):
        return {path.stem: rows}
    shared = [key for key in rows[0] if isinstance(key, str) and all(key in row for row in rows)]
    return {key: [row[key] for row in rows] for key in shared}


def _listed(names: Iterable[str]) -> str:
    """Return names for a message of one line; those with special characters are escaped."""
    return ", ".join(name if name.isprintable() else repr(name) for name in names) or "none"


def _parse_archs(texts: Column, space: SearchSpace, path: Path) -> Int8[np.ndarray, "A D"]:
    if not len(texts):
        raise InputError(f"{path}: the table is empty")
    archs = np.empty((len(texts), len(space.num_choices)), np.int8)
    for row, text in enumerate(texts):
        try:
            archs[row] = space.parse(text.decode("ascii", "replace") if isinstance(text, bytes) else str(text))
        except InputError as error:
            raise InputError(f"{path}, row {row + 1}: {error}") from error
    return archs


def _numbers(values: Column, name: str, path: Path) -> Float64[np.ndarray, " A"]:
    if isinstance(values, np.ndarray):
        return values.astype(np.float64)
    numbers = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        try:
            numbers[row] = np.nan if value is None else float(value)
        except (TypeError, ValueError, OverflowError):
            shown = f"{value!r:.40}"
            raise InputError(f"{path}, row {row + 1}: {name!r} must be a number, got {shown}; leave text out") from None
    return numbers
