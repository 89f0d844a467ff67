"""The tables that users name, found before long work starts; imported without JAX."""

from jaxnas.errors import InputError
from jaxnas.runtime.names import TableName, names
from jaxnas.runtime.places import to_path

PICKLES = (".p", ".pkl", ".pickle")
ENDINGS = (".csv", ".tsv", ".parquet", ".npz", *PICKLES)


_TESTS = {"c10": "robot_c10_test", "c100": "robot_c100_test", "im120": "robot_im120_test"}  # of NAS-Bench-201


def matching_test_column(column: str) -> str:
    """Return the test accuracies of NAS-Bench-201 on the data set of a column, an empty text for any other column."""
    return next((test for data, test in _TESTS.items() if f"_{data}_" in f"_{column}_"), "")


def find_table(name: str) -> None:
    """Check that a table of accuracies is known by name, or is a file.

    Raises:
      InputError: it is neither.
    """
    known = names(TableName)
    if name not in known and not to_path(name).exists():
        raise InputError(f"{name}: no such file; give a table {', '.join(ENDINGS)}, or {' or '.join(known)}")
