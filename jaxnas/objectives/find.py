"""The tables that users name, found before long work starts; imported without JAX."""

from jaxnas.errors import InputError
from jaxnas.runtime.names import TableName, names
from jaxnas.runtime.places import to_path

PICKLES = (".p", ".pkl", ".pickle")
ENDINGS = (".csv", ".tsv", ".parquet", ".json", ".npz", *PICKLES)
_TESTS = {"c10": "robot_c10_test", "c100": "robot_c100_test", "im120": "robot_im120_test"}  # of NAS-Bench-201
_SHIPPED = {"c10": "cifar10", "c100": "cifar100"}  # the package has no scores on ImageNet16-120


def matching_images(column: str) -> str:
    """Return the data set of a column of NAS-Bench-201 whose scores the package has.

    Raises:
      InputError: it has none of that data set.
    """
    if images := _of_data_set(column, _SHIPPED):
        return images
    raise InputError(
        f"no shipped scores are of the images of column {column!r} of nasbench201: give scores "
        f"({', '.join(_SHIPPED.values())}, or a file); a search takes images to score on too"
    )


def matching_test_column(column: str) -> str:
    """Return the test accuracies of NAS-Bench-201 on the data set of a column, an empty text for any other column."""
    return _of_data_set(column, _TESTS)


def _of_data_set(column: str, names: dict[str, str]) -> str:
    """Return the name for the data set that is a part of a column's name, an empty text where none is."""
    return next((name for part, name in names.items() if f"_{part}_" in f"_{column}_"), "")


def find_table(name: str) -> None:
    """Check that a table of accuracies is known by name, or is a file.

    Raises:
      InputError: it is neither.
    """
    known = names(TableName)
    if name not in known and not to_path(name).exists():
        raise InputError(f"{name}: no such file; give a table {', '.join(ENDINGS)}, or {' or '.join(known)}")
