"""Scores of whole search spaces that this engine computed and the package ships: a search needs no scoring.

One Parquet file for each space and data set, SPACE-DATA.parquet, with its provenance inside.
"""

from collections.abc import Sequence
from pathlib import Path

from jaxnas.errors import InputError
from jaxnas.store.store import Scores, read_scores

_FOLDER = Path(__file__).parent


def shipped_scores() -> list[tuple[str, str]]:
    """(space, data) of every table in the package."""
    names = sorted(path.stem for path in _FOLDER.glob("*.parquet"))
    return [tuple(name.rsplit("-", 1)) for name in names]  # type: ignore[misc]


def load_scores(space: str, data: str, proxies: Sequence[str] = ()) -> Scores:
    """The shipped scores of all architectures of `space` on a minibatch of `data`, of `proxies` or of all there are.

    Raises: InputError when there are none; the message lists what there is.
    """
    if (space, data) not in shipped_scores():
        known = ", ".join(f"{space} {data}" for space, data in shipped_scores()) or "none"
        raise InputError(
            f"no scores of {space} on {data} come with the package (there are: {known}): make them with `jaxnas score`"
        )
    return read_scores(_FOLDER / f"{space}-{data}.parquet", proxies)
