"""Numbers of any container as float64, in which missing values are NaN."""

import numpy as np
from jaxtyping import Float64

from jaxnas.errors import InputError


def to_floats(name: str, values: object) -> Float64[np.ndarray, "..."]:
    """Return `values` in float64; masked entries of NumPy, None, and NA of pandas or Arrow become NaN.

    Args:
        name: Name of the values in the error.
        values: Numbers in an array, a masked array, a list, or a column of pandas, Arrow or JAX.

    Raises:
        InputError: An entry is neither a number nor missing; the message has the first.
    """
    if isinstance(values, np.ma.MaskedArray):  # whose mask np.asarray drops
        return np.asarray(np.ma.filled(values.astype(np.float64), np.nan))
    if getattr(getattr(values, "dtype", None), "kind", "") == "c":  # whose imaginary parts np.asarray drops
        raise InputError(f"`{name}` must be real numbers, got complex ones")
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        objects = np.asarray(values, dtype=object)
    return np.array([_to_float(name, entry) for entry in objects.ravel()], np.float64).reshape(objects.shape)


def _to_float(name: str, entry: object) -> float:
    if entry is None or entry is np.ma.masked or str(entry) in ("<NA>", "NaT"):
        return np.nan
    try:
        return float(entry)  # type: ignore[arg-type]  # what the error is for
    except (TypeError, ValueError):
        raise InputError(f"`{name}` must be numbers, None or NaN, got {entry!r:.60}") from None
