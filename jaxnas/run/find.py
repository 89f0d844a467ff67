"""The scores and runs that users name, found before long work starts; imported without JAX."""

from pathlib import Path

from jaxnas.errors import InputError
from jaxnas.models.find import RESULT
from jaxnas.objectives.find import find_table
from jaxnas.runtime.names import TableName, names
from jaxnas.runtime.places import is_address, to_path

COMPARISON = "comparison.json"


def shipped_names(space: str = "*") -> list[str]:
    """Return the data sets that have shipped scores, of one space or of any."""
    files = sorted(Path(__file__).parents[1].glob(f"store/shipped/{space}-*.parquet"))
    return [path.stem.rpartition("-")[2] for path in files]


def find_scores(name: str) -> None:
    """Check that scores of this name ship with the package, or that a file or folder may have them.

    Raises:
      InputError: neither is so.
    """
    if is_address(name) or to_path(name).exists():
        return
    if name not in (known := sorted(set(shipped_names()))):
        raise InputError(
            f"no score file {name}: make a folder of scores with `jaxnas score --out {name}`, or give one of the "
            f"shipped {', '.join(known)}"
        )


def find_result(folder: Path | str) -> Path:
    """Return the path of the result of a finished search.

    Raises:
      InputError: the folder has none.
    """
    path = to_path(folder) / RESULT
    if not path.exists():
        raise InputError(f"no finished search in {path.parent}: it has no {RESULT}")
    return path


def split_column(source: str) -> tuple[str, str]:
    """Return table and column of "TABLE:COLUMN"; two empty texts where it is a folder."""
    table, _, column = source.rpartition(":")
    return ("", "") if to_path(source).is_dir() or not table else (table, column)


def find_earlier(source: str) -> None:
    """Check that an earlier task is a column of a table, or the folder of a finished search.

    Raises:
      InputError: it is neither.
    """
    table, column = split_column(source)
    if table and column:
        find_table(table)
    elif source in names(TableName) or to_path(source).is_file():
        raise InputError(f"{source} is a table: give the column of the earlier task too, as in {source}:COLUMN")
    else:
        find_result(source)


def find_results(folder: Path | str) -> Path:
    """Return the path of the result of a finished comparison or search.

    Raises:
      InputError: the folder has neither.
    """
    path = to_path(folder) / COMPARISON
    return path if path.exists() else find_result(folder)
