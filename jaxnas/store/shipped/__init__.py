"""Scores of whole search spaces that are part of the package, so that a search needs no scoring.

One Parquet file for each space and data set, SPACE-DATA.parquet, with its provenance inside.
"""

from collections.abc import Sequence
from pathlib import Path

from jaxnas.errors import InputError
from jaxnas.store.scores import Scores
from jaxnas.store.tables import read_scores

_FOLDER = Path(__file__).parent


def shipped_scores() -> list[tuple[str, str]]:
    """Return (space, data) of every table in the package."""
    names = sorted(path.stem for path in _FOLDER.glob("*.parquet"))
    return [tuple(name.rsplit("-", 1)) for name in names]  # type: ignore[misc]


def load_scores(space: str, data: str, proxies: Sequence[str] = ()) -> Scores:
    """Read the shipped scores of all architectures of a space on a minibatch of a data set.

    Args:
      space: name of the search space.
      data: name of the data set.
      proxies: names of the columns; empty for all.

    Raises:
      InputError: the package does not contain them; the message lists those it has.
    """
    if (space, data) not in shipped_scores():
        known = ", ".join(f"{space} {data}" for space, data in shipped_scores()) or "none"
        raise InputError(
            f"no scores of {space} on {data} come with the package (there are: {known}): make them with `jaxnas score`"
        )
    return read_scores(_FOLDER / f"{space}-{data}.parquet", proxies)
