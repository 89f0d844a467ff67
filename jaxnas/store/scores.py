"""Raw scores of architectures with their provenance and environment."""

from typing import NamedTuple, TypeAlias, TypedDict

import numpy as np
from jaxtyping import Float, Int8

from jaxnas.runtime.frames import Frame, html_table, to_pandas
from jaxnas.runtime.records import Record
from jaxnas.spaces import SearchSpace, get_space, to_index

Provenance: TypeAlias = dict[str, object]
"""All settings that scores depend on, as plain JSON values: space, network, data, scoring, version of jaxnas."""


class Environment(TypedDict, total=False):
    """The environment of a computation, for information; files of other versions may lack fields or have more.

    Attributes:
      jax: version of JAX.
      flax: version of Flax.
      gpjax: version of GPJax, which scoring does not need.
      numpy: version of NumPy.
      device: number and kind of devices, such as "8 x cpu (cpu)".
      seconds: seconds of computation.
    """

    jax: str
    flax: str
    gpjax: str
    numpy: str
    device: str
    seconds: float


class Scores(NamedTuple):
    """Raw scores of architectures of one search space.

    Attributes:
      archs: architectures, as vectors of the space [A D].
      values: scores [A M], a column for each proxy; NaN and inf are kept.
      proxies: names of the columns.
      provenance: settings that the scores depend on; scores of equal provenance can be compared.
      environment: environment of the computation, which is not compared.
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
    """Return for each proxy the smallest, median and largest finite score, and the number of NaN or inf.

    Columns without a finite score have NaN.
    """
    rows: list[Record] = []
    for name, column in zip(scores.proxies, scores.values.T, strict=True):
        finite = column[np.isfinite(column)]
        low, middle, high = np.quantile(finite, [0, 0.5, 1]) if len(finite) else [np.nan] * 3
        unusable = len(column) - len(finite)
        rows.append({"proxy": name, "min": low, "median": middle, "max": high, "NaN or inf": unusable})
    return rows
