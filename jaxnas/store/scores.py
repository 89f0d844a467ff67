"""Raw scores of architectures, and what made them, as they are handed on."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int8

from jaxnas.runtime.frames import Frame, html_table, to_pandas
from jaxnas.spaces import SearchSpace, get_space, to_index


class Scores(NamedTuple):
    """Raw scores of architectures of one search space, and what made them."""

    archs: Int8[np.ndarray, "A D"]
    values: Float[np.ndarray, "A M"]  # NaN and inf as the proxy gave them
    proxies: tuple[str, ...]
    provenance: dict[str, Any]  # must agree for two rows to be comparable
    environment: dict[str, Any]  # for the record: library versions, device, seconds of scoring

    def to_pandas(self, space: SearchSpace | None = None) -> Frame:
        """One row per architecture: its index, its text, a column per proxy. `space` where it is none of SPACES."""
        space = space or get_space(self.provenance["space"])
        texts = [space.format(arch) for arch in self.archs]
        columns = {"index": to_index(space, self.archs), "arch": texts}
        return to_pandas({**columns, **dict(zip(self.proxies, self.values.T, strict=True))})

    def __repr__(self) -> str:
        what = ", ".join(f"{key} {self.provenance[key]}" for key in ("space", "data") if key in self.provenance)
        return f"<Scores {len(self.archs)} architectures x {len(self.proxies)} proxies: {what}>"

    def _repr_html_(self) -> str:
        return html_table(repr(self)[1:-1], summarize(self))


def summarize(scores: Scores) -> list[dict[str, Any]]:
    """Per proxy: smallest, median and largest finite score, NaN where there is none, and how many are not finite."""
    rows = []
    for name, column in zip(scores.proxies, scores.values.T, strict=True):
        finite = column[np.isfinite(column)]
        low, middle, high = np.quantile(finite, [0, 0.5, 1]) if len(finite) else [np.nan] * 3
        unusable = len(column) - len(finite)
        rows.append({"proxy": name, "min": low, "median": middle, "max": high, "NaN or inf": unusable})
    return rows
