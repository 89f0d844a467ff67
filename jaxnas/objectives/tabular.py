"""Objectives from tables: benchmark tables, custom tables, published proxy scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int8

from jaxnas.data.catalogue import data_folder, find_data
from jaxnas.data.public import DATASETS
from jaxnas.errors import InputError, unknown_name
from jaxnas.objectives.find import PICKLES
from jaxnas.objectives.table_files import Column, listed, read_table_file, to_numbers
from jaxnas.runtime.files import read_npz
from jaxnas.runtime.names import split_names
from jaxnas.runtime.places import to_path
from jaxnas.spaces import NASBENCH201, SearchSpace, check_archs, enumerate_archs

FAILED = -1e8  # what NAS-Bench-Suite-Zero stores for a score that could not be computed

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
      texts: columns of text, which are left out, by name; the value names the first cell that is not a number.
    """

    archs: Int8[np.ndarray, "A D"]
    columns: dict[str, Float64[np.ndarray, " A"]]
    texts: Mapping[str, str] = MappingProxyType({})


def load_table(path: str | Path, space: SearchSpace, arch_column: str = "arch") -> Table:
    """Read a table of architectures, written as strings of their space, with columns of numbers.

    CSV and Parquet: `arch_column` and metrics. A CSV may be separated by commas, or by semicolons or tabs with decimal
    commas, and may begin with a byte order mark. Without a column `arch`, a first column that is an index has the
    architectures. npz: the same as 1-D arrays of one length, other arrays are left out. Pickle, as RoBoT publishes its
    tables: a list of dicts {arch, metric, ...}, or a list of numbers in index order of the whole space, which becomes a
    column named like the file. A cell that is empty, NA, NaN, None or null is NaN. Columns of text are left out.

    Args:
      path: a file whose name ends in .csv, .tsv, .parquet, .npz, .p, .pkl or .pickle.
      space: the search space of the architectures.
      arch_column: name of the column of architectures.

    Raises:
      InputError: the file is missing, corrupt or empty, its ending is unknown, it has no architecture column, or the
        message names a row, from 1, with an architecture that cannot be parsed or a cell that is not a number.
    """
    path = to_path(path)
    file = read_table_file(path, arch_column)
    names = [name for name in file.columns if name != file.arch_column]
    if file.arch_column is not None:
        archs = _parse_archs(file.columns[file.arch_column], space, path)
    elif path.suffix.lower() in PICKLES and {len(column) for column in file.columns.values()} == {space.size}:
        archs = enumerate_archs(space)
    else:
        raise InputError(f"{path}: no architecture column {arch_column!r}; the columns are {listed(names)}")
    columns = {name: to_numbers(file, name, path) for name in names}
    numbers = {name: column for name, column in columns.items() if not isinstance(column, str)}
    return Table(archs, numbers, {name: column for name, column in columns.items() if isinstance(column, str)})


def load_ids(path: str | Path, arch_column: str = "arch") -> list[str]:
    """Read the ids of the architectures of a file, see `load_table`, as texts without white space at the ends.

    Raises:
      InputError: the file cannot be read, it has no column of architectures or no row, or the message names a row, from
        1, with no id or the id of an earlier row.
    """
    path = to_path(path)
    file = read_table_file(path, arch_column)
    if file.arch_column is None:
        raise InputError(
            f"{path}: no architecture column {arch_column!r}, and the first column is not an index (unnamed, index or "
            f"id); the columns are {listed(file.columns)}"
        )
    ids = [_to_text(cell) for cell in file.columns[file.arch_column]]
    if not ids:
        raise InputError(f"{path}: the table is empty")
    row_of: dict[str, int] = {}
    for row, text in enumerate(ids, start=1):
        if not text:
            raise InputError(f"{path}, row {row}: the architecture is missing; give it an id or remove the row")
        if row_of.setdefault(text, row) != row:
            raise InputError(f"{path}, rows {row_of[text]} and {row}: both are of architecture {text!r:.80}; keep one")
    return ids


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
    names = ["jacov" if proxy == "jacob_cov" else proxy for proxy in split_names(proxies)]
    if unknown := [name for name in names if name not in columns]:
        raise unknown_name("proxy", unknown[0], columns)
    scores = arrays["filled"][datasets.index(dataset)][:, [columns.index(name) for name in names]].astype(np.float64)
    return enumerate_archs(NASBENCH201), np.where(scores == FAILED, np.nan, scores)


def align(table: Table, space: SearchSpace, archs: Int8[np.ndarray, "A D"], column: str) -> Float64[np.ndarray, " A"]:
    """Return `column` of the table for each of `archs`, in their order.

    Raises:
      InputError: the column is unknown, an architecture is in the table twice, or some of `archs` are not in it.
    """
    if column in table.texts:
        raise InputError(table.texts[column])
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


def _parse_archs(texts: Column, space: SearchSpace, path: Path) -> Int8[np.ndarray, "A D"]:
    if not len(texts):
        raise InputError(f"{path}: the table is empty")
    archs = np.empty((len(texts), len(space.num_choices)), np.int8)
    for row, text in enumerate(texts):
        try:
            archs[row] = space.parse(_to_text(text))
        except InputError as error:
            raise InputError(f"{path}, row {row + 1}: {error}") from error
    return archs


def _to_text(cell: object) -> str:
    """Return an id as text: a whole number without decimals, a missing one empty."""
    if isinstance(cell, bytes):
        return cell.decode("ascii", "replace")
    if cell is None or cell != cell:
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()
