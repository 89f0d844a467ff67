"""Tables as a notebook shows them: pandas data frames, and small HTML tables."""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from jaxnas.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame

    Frame: TypeAlias = DataFrame
else:
    Frame = object  # pandas is an extra


def to_pandas(columns: Mapping[str, object]) -> Frame:
    """Return a data frame with these columns.

    Raises:
      InputError: pandas is not installed.
    """
    if find_spec("pandas") is None:
        raise InputError('a data frame needs pandas: pip install "jaxnas[pandas]"')
    import pandas

    return pandas.DataFrame(dict(columns))


def html_table(caption: str, rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows with equal keys as an HTML table; numbers have four digits, NaN is a dash."""
    head = "".join(f"<th>{escape(name)}</th>" for name in (rows[0] if rows else ()))
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row.values()) + "</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.4g}" if np.isfinite(value) else "-"
    return escape(str(value))
