"""Records of names and plain values, as JSON files, events and tables hold them; this module does not import NumPy."""

import math
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, Any]
"""Names and plain values: numbers, texts, None, and lists and records of these; their reader knows and checks them."""


def to_plain(value: object) -> object:
    """Return a value in the form that JSON has: arrays and tuples as lists, and None for NaN and inf."""
    if isinstance(value, dict):
        return {name: to_plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):  # an array, or a number of NumPy
        return to_plain(value.tolist())
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
