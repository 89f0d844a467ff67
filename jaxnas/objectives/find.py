"""The tables that users name, found before long work starts; imported without JAX."""

from jaxnas.errors import InputError
from jaxnas.runtime.names import TableName, names
from jaxnas.runtime.places import to_path

PICKLES = (".p", ".pkl", ".pickle")
ENDINGS = (".csv", ".tsv", ".parquet", ".npz", *PICKLES)


def find_table(name: str) -> None:
    """Check that a table of accuracies is known by name, or is a file.

    Raises:
      InputError: it is neither.
    """
    known = names(TableName)
    if name not in known and not to_path(name).exists():
        raise InputError(f"{name}: no such file; give a table {', '.join(ENDINGS)}, or {' or '.join(known)}")
