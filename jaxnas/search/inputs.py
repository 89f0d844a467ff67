"""The arguments of a search, checked and brought into the form that methods read."""

from dataclasses import asdict, is_dataclass

import jax
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from jaxnas.errors import InputError
from jaxnas.runtime.names import Direction
from jaxnas.runtime.session import in_float64
from jaxnas.search.method import ConfigT, Method, StateT
from jaxnas.search.pool import Pool
from jaxnas.search.result import sign_of
from jaxnas.spaces import equal_rows
from jaxnas.table.missing import to_floats


def choose_config(method: Method[StateT, ConfigT], config: ConfigT | None) -> ConfigT:
    """Return the hyperparameters of a search: those given, or the defaults of the method.

    Raises:
        InputError: They are of another method.
    """
    if config is None:
        return method.config
    if not isinstance(config, type(method.config)):
        wanted = "left out" if method.config is None else f"a {type(method.config).__name__}"
        raise InputError(f"`config` of {method.name} must be {wanted}, got {config!r:.60}")
    return config


def check_table(table: ArrayLike) -> Float[np.ndarray, "A M"]:
    """Return a score table [A M] in float64.

    Raises:
        InputError: It is not [A M], or an entry is NaN or inf.
    """
    scores = to_floats("table", table)
    if scores.ndim != 2 or scores.size == 0:
        raise InputError(f"the score table must have the shape [architectures, proxies], got {scores.shape}")
    if not np.isfinite(scores).all():
        raise InputError(
            f"the score table must be finite, got {(~np.isfinite(scores)).sum()} NaN or inf entries; normalize it first"
        )
    return scores


def read_earlier(
    method: Method[StateT, ConfigT], earlier: ArrayLike | None, num_archs: int, direction: Direction
) -> Float[np.ndarray, "A E"] | None:
    """Return the objectives of earlier tasks [A E] so that higher is better and failures are -inf; None without any.

    Raises:
        InputError: The method does not read them, or they do not have one number for each row.
    """
    if earlier is None:
        return None
    if not method.reads_earlier:
        raise InputError(f"{method.name} does not read earlier tasks: leave `earlier` out, or choose proxy_gp")
    columns = sign_of(direction) * to_floats("earlier", earlier)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or len(columns) != num_archs or not columns.size:
        raise InputError(
            f"`earlier` must have a row for each of the {num_archs} architectures, got shape {np.shape(columns)}"
        )
    if np.isnan(columns).any():
        raise InputError(f"`earlier` must be numbers, got {np.isnan(columns).sum()} NaN: predict them by `carry_over`")
    return np.where(np.isfinite(columns), columns, -np.inf)


def make_pool(
    method: Method[StateT, ConfigT],
    table: Float[np.ndarray, "A M"],
    archs: ArrayLike | None,
    prices: tuple[int, ...],
    earlier: Float[np.ndarray, "A E"] | None = None,
) -> Pool:
    """Return the pool of a method on the device.

    Raises:
        InputError: The method needs architectures and there are none, their number is not that of the rows, or it
            observes one fidelity and there are several prices.
    """
    if len(prices) > 1 and not method.multi_fidelity:
        raise InputError(f"{method.name} observes one fidelity; give one column of the objective and no prices")
    if archs is None and method.needs_archs:
        raise InputError(f"{method.name} needs architectures besides scores; give their vectors as `archs`")
    vectors = np.zeros((len(table), 0), np.int8) if archs is None else np.asarray(archs)
    if vectors.ndim != 2 or len(vectors) != len(table):
        raise InputError(f"`archs` must have one vector for each of the {len(table)} rows, got shape {vectors.shape}")
    if vectors.dtype.kind not in "iu" or vectors.min(initial=0) < 0 or vectors.max(initial=0) > 127:
        shown = f"{vectors.min(initial=0)} to {vectors.max(initial=0)} in {vectors.dtype}"
        raise InputError(f"`archs` must hold whole numbers from 0 to 127, the options of each decision, got {shown}")
    vectors = vectors.astype(np.int8)
    if (rows := equal_rows(vectors)) and vectors.shape[1]:
        raise InputError(f"`archs` must be distinct, got the same architecture in rows {rows[0]} and {rows[1]}")
    arrays = table, vectors, np.arange(1 + vectors.max(initial=0)), np.array(prices, np.int32), earlier
    return Pool(*in_float64(jax.device_put)(arrays))


def method_settings(config: object) -> dict[str, object]:
    """Return the fields of a dataclass of hyperparameters; none for None."""
    return asdict(config) if is_dataclass(config) and not isinstance(config, type) else {}
