"""The form of a report's pictures: Vega-Lite specifications, made with Altair, in the colours of the page around them.

One specification serves light and dark pages.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import altair as alt
import numpy as np

from jaxnas.runtime.records import Record

# Text, as the site reads this module without Altair.
AnyChart: TypeAlias = (
    "alt.Chart | alt.LayerChart | alt.ConcatChart | alt.HConcatChart | alt.VConcatChart | alt.FacetChart"
)

PALETTE = ("#3f78c9", "#d0762f", "#4c9f70", "#b5478f", "#8d5fc0", "#8a8a8a", "#b8a136", "#c94f4f", "#2f9bab", "#6b6bd6")


class Picture(NamedTuple):
    """A chart and the words around it.

    Attributes:
      title: above the chart.
      caption: below the chart.
      text: description of the chart, for readers who cannot see it.
      spec: the Vega-Lite specification.
    """

    title: str
    caption: str
    text: str
    spec: Record


def picture(title: str, caption: str, text: str, chart: AnyChart, height: int = 300) -> Picture:
    """Return the chart as wide as the page, `height` pixels high, in the page's colours."""
    chart = chart.properties(width="container", height=height, description=text, background="transparent")
    chart = (
        chart.configure_view(stroke=None)
        .configure_axis(
            labelColor="currentColor",
            titleColor="currentColor",
            domainColor="currentColor",
            tickColor="currentColor",
            gridColor="#88888840",
            labelFontSize=12,
            titleFontSize=13,
            titleFontWeight="normal",
        )
        .configure_legend(labelColor="currentColor", titleColor="currentColor", orient="top", labelFontSize=12)
        .configure_text(color="currentColor")
    )
    spec = chart.to_dict()
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return Picture(title, caption, text, spec)


def inline(rows: Sequence[Mapping[str, object]]) -> alt.InlineData:
    """Return rows as the data of a chart, numbers with six digits, NaN and inf as null."""
    return alt.InlineData(values=[{name: _plain(value) for name, value in row.items()} for row in rows])


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def colour_scale(mapping: Mapping[str, str]) -> alt.Scale:
    """Return the scale that gives each name its colour."""
    return alt.Scale(domain=list(mapping), range=list(mapping.values()))


def diverging_scale() -> alt.Scale:
    """Return the scale of values from -1 (red) to 1 (blue)."""
    return alt.Scale(domain=[-1, 0, 1], range=["#c94f4f", "#e8e8e8", "#3f78c9"])
