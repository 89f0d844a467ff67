"""Raw scores of architectures, and what made them, as they are handed on."""

from typing import NamedTuple, TypeAlias, TypedDict

import numpy as np
from jaxtyping import Float, Int8

from jaxnas.runtime.frames import Frame, html_table, to_pandas
from jaxnas.runtime.records import Record
from jaxnas.spaces import SearchSpace, get_space, to_index

Provenance: TypeAlias = dict[str, object]
"""What scores depend on, as plain JSON values: space, fields of the network, data, settings, version of jaxnas."""


class Environment(TypedDict, total=False):
    """Where results were computed, for the record; a file of another version may lack any of these, or have more.

    Attributes:
      jax: version.
      flax: version.
      gpjax: version; scoring runs without it.
      numpy: version.
      device: how many devices of which kind, as "8 x cpu (cpu)".
      seconds: time spent.
    """

    jax: str
    flax: str
    gpjax: str
    numpy: str
    device: str
    seconds: float


class Scores(NamedTuple):
    """Raw scores of architectures of one search space, and what made them.

    Attributes:
      archs: architectures, as vectors of the space.
      values: a column for each proxy; NaN and inf as the proxy gave them.
      proxies: names of the columns.
      provenance: must agree for two rows to be comparable.
      environment: for the record; never compared.
    """

    archs: Int8[np.ndarray, "A D"]
    values: Float[np.ndarray, "A M"]
    proxies: tuple[str, ...]
    provenance: Provenance
    environment: Environment

    def to_pandas(self, space: SearchSpace | None = None) -> Frame:
        """Return a data frame with the index and the text of each architecture, and a column per proxy.

        Args:
          space: the search space, needed where SPACES does not have it.
        """
        space = space or space_of(self.provenance)
        texts = [space.format(arch) for arch in self.archs]
        columns = {"index": to_index(space, self.archs), "arch": texts}
        return to_pandas({**columns, **dict(zip(self.proxies, self.values.T, strict=True))})

    def __repr__(self) -> str:
        """Name the counts, the space and the data."""
        what = ", ".join(f"{key} {self.provenance[key]}" for key in ("space", "data") if key in self.provenance)
        return f"<Scores {len(self.archs)} architectures x {len(self.proxies)} proxies: {what}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self)[1:-1], summarize(self))


def space_of(provenance: Provenance) -> SearchSpace:
    """Return the search space that a provenance names.

    Raises:
      InputError: SPACES does not have it.
    """
    return get_space(str(provenance["space"]))


def summarize(scores: Scores) -> list[Record]:
    """Return for each proxy the smallest, median and largest finite score, and how many scores are not finite.

    Columns without a finite score have NaN.
    """
    rows: list[Record] = []
    for name, column in zip(scores.proxies, scores.values.T, strict=True):
        finite = column[np.isfinite(column)]
        low, middle, high = np.quantile(finite, [0, 0.5, 1]) if len(finite) else [np.nan] * 3
        unusable = len(column) - len(finite)
        rows.append({"proxy": name, "min": low, "median": middle, "max": high, "NaN or inf": unusable})
    return rows
