"""Tables of scores: read from a store or a single file, and written to a file."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int

from jaxnas.errors import InputError, first_line, unknown_name
from jaxnas.proxies import PROXIES
from jaxnas.runtime.names import split_names
from jaxnas.runtime.places import is_address, without_secrets
from jaxnas.spaces import SearchSpace, from_index, to_index
from jaxnas.store.folders import open_folder, split_file
from jaxnas.store.parts import (
    check_columns,
    gather,
    merge_environments,
    proxies_of,
    read_header,
    read_parts,
    with_header,
)
from jaxnas.store.scores import Scores, space_of


def write_scores(path: Path | str, scores: Scores, space: SearchSpace | None = None) -> None:
    """Write scores to a single file, atomically: a row per architecture, with index, text and a column per proxy.

    Args:
      path: a file, or an address in an object store.
      scores: scores with their provenance and environment.
      space: the search space, needed where SPACES does not have it.
    """
    space = space or space_of(scores.provenance)
    columns = dict(zip(scores.proxies, scores.values.T, strict=True))
    table = make_table(space, to_index(space, scores.archs), columns)
    write_score_table(path, with_header(table, scores.provenance, scores.environment))


def write_score_table(path: Path | str, table: pa.Table) -> None:
    """Write what `read_score_table` returned as a single file, atomically; `path` may be an address."""
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd", write_page_checksum=True)
    folder, name = split_file(path)
    open_folder(folder).write(name, content.getvalue())


def read_score_table(path: Path | str, space: SearchSpace | None = None) -> pa.Table:
    """Read all scores of a store, or of a single file: a row per architecture, null where a proxy was not scored.

    Columns are `index`, `arch` and one of float64 per proxy, where NaN is a score. A store's rows come by index; where
    two processes scored the same row, the part with the later name counts.

    Args:
      path: a folder or a file, or the address of one in an object store.
      space: the search space, needed where SPACES does not have it.

    Raises:
      InputError: there is nothing, or something is damaged or has another origin, which is named.
    """
    if without_secrets(str(path)).endswith(".parquet") if is_address(path) else not Path(path).is_dir():
        return _read_file(path)
    provenance, parts = read_parts(open_folder(path))
    index = np.unique(np.concatenate([np.empty(0, np.int64), *(part.indices for part in parts)]))
    names = sorted({name for part in parts for name in part.columns}, key=_rank)
    values, known = gather(parts, index, names)
    columns = {name: pa.array(values[:, i], mask=~known[:, i]) for i, name in enumerate(names)}
    table = make_table(space or space_of(provenance), index, columns)
    return with_header(table, provenance, merge_environments(parts))


def read_scores(path: Path | str, proxies: Sequence[str] = (), space: SearchSpace | None = None) -> Scores:
    """Read the scores of the architectures that have every one of some proxies, from a store or a single file.

    `read_score_table` returns the other architectures too.

    Args:
      path: a folder or a file, or the address of one in an object store.
      proxies: names of the columns; empty for all.
      space: the search space, needed where SPACES does not have it.

    Raises:
      InputError: a file is missing or damaged, see `read_score_table`; a proxy is unknown; or no architecture has all
        the proxies.
    """
    table = read_score_table(path, space)
    provenance, environment = read_header(table)[:2]
    known, proxies = proxies_of(table), split_names(proxies)
    for name in proxies:
        if name not in known:
            raise unknown_name("proxy", name, known)
    names = tuple(proxies) or tuple(known)
    complete = table.select(["index", *names]).drop_null()
    if not names or not len(complete):
        listed = ", ".join(names) or "none was scored"
        raise InputError(
            f"no architecture of {without_secrets(str(path))} has every proxy asked for ({listed}): score them first"
        )
    archs = from_index(space or space_of(provenance), complete["index"].to_numpy())
    values = np.stack([complete[name].to_numpy() for name in names], axis=1)
    return Scores(archs, values, names, provenance, environment)


def make_table(
    space: SearchSpace, index: Int[np.ndarray, " a"], columns: Mapping[str, np.ndarray | pa.Array]
) -> pa.Table:
    """Return a table of scores without a header: index and text of each architecture, then the columns."""
    archs = [space.format(arch) for arch in from_index(space, index)]
    return pa.table({"index": pa.array(index, pa.int64()), "arch": pa.array(archs, pa.string()), **columns})


def _read_file(path: Path | str) -> pa.Table:
    folder, name = split_file(path)
    place, shown = open_folder(folder), without_secrets(str(path))
    if not place.exists(name):
        raise InputError(f"no score file {shown}: make a folder of scores with `jaxnas score --out {shown}`")
    content = place.read(name)
    try:
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
        read_header(table)
        check_columns(table)
        table.validate(full=True)
        return table
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        problem = first_line(error)
        raise InputError(f"{shown} is not a score file that can be read ({problem}); write it again") from error


def _rank(name: str) -> tuple[int, str]:
    """Order columns: proxies as PROXIES has them, then others by name."""
    return (list(PROXIES).index(name) if name in PROXIES else len(PROXIES), name)
