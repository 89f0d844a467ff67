"""Search methods compared on a table, many seeds each; seeds are kept as they finish, so that comparisons resume."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int8

from jaxnas.data.images import fingerprint
from jaxnas.errors import InputError, describe_damage
from jaxnas.objectives.tabular import align
from jaxnas.proxies import orient
from jaxnas.run.config import CompareConfig
from jaxnas.run.find import COMPARISON
from jaxnas.run.method_runs import MethodComparison, MethodRuns
from jaxnas.run.tables import check_methods, look_up
from jaxnas.runtime.events import Listener, SeedsFinished, ignore
from jaxnas.runtime.files import atomic_write, check_same, make_writable, read_bytes
from jaxnas.runtime.names import split_names
from jaxnas.runtime.places import to_path
from jaxnas.runtime.records import Record, check_intact
from jaxnas.runtime.settings import Whole, check_seed
from jaxnas.runtime.workers import LocalWorkers, Workers
from jaxnas.search import SearchResult, get_method, get_preset
from jaxnas.spaces.ids import IDS
from jaxnas.store.parts import read_header, with_header
from jaxnas.store.scores import Environment, Provenance
from jaxnas.store.store import make_environment
from jaxnas.table.normalize import normalize

SEEDS_AT_ONCE = 10  # between two events; what a kill can cost
_DAMAGED = (
    *(pa.ArrowException, OSError, LookupError, TypeError, ValueError, AttributeError),
    *(ArithmeticError, RecursionError, MemoryError),
)


def compare_methods(
    methods: str | Sequence[str],
    config: CompareConfig,
    seeds: Iterable[Whole],
    folder: Path | str,
    *,
    data_folder: Path | None = None,
    workers: Workers | None = None,
    on_event: Listener = ignore,
) -> MethodComparison:
    """Run every method with its defaults on every seed; seeds that the folder has already are not run again.

    The pool is the architectures that have both scores and accuracies.

    Args:
      methods: names of the methods.
      config: settings of the comparison.
      seeds: the same for all methods.
      folder: folder of METHOD.parquet, with a row per seed.
      data_folder: folder of public tables, see `jaxnas.data_folder`.
      workers: workers that run seeds in place of this process.
      on_event: receives `SeedsFinished` of each method after every few seeds.

    Raises:
      InputError: settings that do not fit, or a file in the folder that other settings made.
    """
    started, methods, folder = time.perf_counter(), split_names(methods), to_path(folder)
    if not isinstance(seeds, Iterable):
        raise InputError(f"`seeds` must be several numbers, such as range(10), got {seeds!r:.60}")
    numbers = list(dict.fromkeys(map(check_seed, seeds)))
    for name in methods:
        get_method(name)
    if not methods or not numbers:
        raise InputError("nothing to compare; name at least one method and one seed")
    problem = _load_problem(config, methods, data_folder)
    settings = {**asdict(config), "data.fingerprint": problem.fingerprint}
    runs = {
        name: _read(folder / f"{name}.parquet", name, {"method": name, **settings}) for name in dict.fromkeys(methods)
    }
    make_writable(folder)
    pieces: list[tuple[str, list[int]]] = []
    for name, known in runs.items():
        missing = [seed for seed in numbers if known is None or seed not in known.seeds]
        on_event(SeedsFinished(name, len(numbers) - len(missing), len(numbers)))
        starts = range(0, len(missing), SEEDS_AT_ONCE)
        pieces += [(name, missing[start : start + SEEDS_AT_ONCE]) for start in starts]
    left = Counter({name: sum(len(chosen) for other, chosen in pieces if other == name) for name in runs})
    workers = workers or LocalWorkers()
    for number, results in workers.map(workers.share(_run_piece, problem), pieces):
        name, chosen = pieces[number]
        runs[name] = joined = _join(runs[name], _to_runs(name, chosen, results, problem.test))
        environment = make_environment(time.perf_counter() - started)
        _write(folder / f"{name}.parquet", joined, {"method": name, **settings}, environment)
        left[name] -= len(chosen)
        on_event(SeedsFinished(name, len(numbers) - left[name], len(numbers)))
    complete = {name: _choose(known, numbers) for name, known in runs.items() if known is not None}
    return MethodComparison(config, complete, make_environment(time.perf_counter() - started))


class _Problem(NamedTuple):
    """The inputs that all methods and seeds share.

    Attributes:
      config: settings of the comparison.
      archs: the pool; None for ids, whose digits mean nothing.
      table: normalised scores.
      observed: accuracies by fidelity, percent.
      test: test accuracies, percent; NaN where the table has none.
    """

    config: CompareConfig
    archs: Int8[np.ndarray, "A D"] | None
    table: Float[np.ndarray, "A M"]
    observed: Float[np.ndarray, "A F"]
    test: Float[np.ndarray, " A"]

    @property
    def fingerprint(self) -> str:
        """A checksum of the arrays that results depend on."""
        return fingerprint(self.table, self.observed, self.test)


def _load_problem(config: CompareConfig, methods: Sequence[str], data_folder: Path | None) -> _Problem:
    columns = (config.column, config.test_column or "")
    found = look_up(config.space, config.table, columns, config.scores, config.proxies, data_folder)
    check_methods(found.space, methods)
    scores = found.scores
    longer = [align(found.table, found.space, scores.archs, column) for column in config.longer]
    table, _ = normalize(orient(scores.values, scores.proxies), config.normalization)
    observed = np.stack([found.objective.values, *longer], axis=1)
    archs = None if found.space.name == IDS else scores.archs
    return _Problem(config, archs, table, observed, found.objective.test)


def _run_piece(problem: _Problem, piece: tuple[str, list[int]]) -> list[SearchResult]:
    """Search by one method from some seeds."""
    config, (name, seeds) = problem.config, piece
    method = get_method(name)
    options: Record = dict(budget=config.budget, seeds=seeds, archs=problem.archs)
    if name == "robot":
        options["config"] = get_preset(config.preset)
    if method.multi_fidelity and config.longer:
        return method.run_seeds(problem.table, problem.observed, prices=(1, *config.prices), **options)
    return method.run_seeds(problem.table, problem.observed[:, 0], **options)


def _to_runs(method: str, seeds: list[int], results: list[SearchResult], test: Float[np.ndarray, " A"]) -> MethodRuns:
    selected = np.array([result.selected for result in results])
    num_bo = np.array([result.num_bo for result in results])
    best = np.stack([result.best_by_spending() for result in results])
    return MethodRuns(method, np.array(seeds), selected, num_bo, best, np.where(selected < 0, np.nan, test[selected]))


def load_comparison(folder: Path | str) -> MethodComparison:
    """Read what `jaxnas compare` left in a folder: its methods, on the seeds that all of them have.

    Files without a checksum, as earlier versions wrote them, are read too; an altered number in them shows only where
    it does not fit the others.

    Raises:
      InputError: the folder has no comparison, or a file of it is missing, damaged, or of other settings.
    """
    folder = to_path(folder)
    path = Path(folder, COMPARISON)
    if not path.exists():
        raise InputError(f"no finished comparison in {folder}: it has no {COMPARISON}")
    content = read_bytes(path)
    try:
        record: Record = dict(json.loads(content).items())
        check_intact(record)
        fields: Record = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record["config"].items()
        }
        config, environment = CompareConfig(**fields), cast(Environment, dict(record["environment"]))
        names = [str(row["method"]) for row in record["rows"]]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"`rows` must be of one or more methods that differ, got {names}")
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    files = {name: _load(Path(folder, f"{name}.parquet"), name) for name in names}
    _check_settings(folder, config, {name: file.settings for name, file in files.items()})
    shared = set.intersection(*(set(file.runs.seeds.tolist()) for file in files.values()))
    if not shared:
        raise InputError(f"the methods of {folder} have no seed in common: compare again")
    chosen = {name: _choose(file.runs, sorted(shared)) for name, file in files.items()}
    return MethodComparison(config, chosen, environment)


def _check_settings(folder: Path, config: CompareConfig, found: dict[str, Provenance]) -> None:
    """Check that the files of all methods have the settings of the comparison, as far as each has recorded them."""
    data = next(iter(found.values())).get("data.fingerprint")
    for name, settings in found.items():
        made_with = json.loads(json.dumps({"method": name, **asdict(config), "data.fingerprint": data}))
        expected = {field: value for field, value in made_with.items() if field in settings}
        check_same(folder / f"{name}.parquet", settings, expected)


def _join(known: MethodRuns | None, new: MethodRuns) -> MethodRuns:
    if known is None:
        return new
    return MethodRuns(new.method, *(np.concatenate(pair) for pair in zip(known[1:], new[1:], strict=True)))


def _choose(runs: MethodRuns, seeds: Iterable[int]) -> MethodRuns:
    """Return the rows of these seeds, all of which are there, in their order."""
    rows = [int(np.flatnonzero(runs.seeds == seed)[0]) for seed in seeds]
    return MethodRuns(runs.method, *(column[rows] for column in runs[1:]))


class _File(NamedTuple):
    """What METHOD.parquet holds."""

    runs: MethodRuns
    settings: Provenance


def _write(path: Path, runs: MethodRuns, settings: dict[str, object], environment: Environment) -> None:
    columns = {name: list(column) for name, column in zip(runs._fields[1:], runs[1:], strict=True)}
    table = with_header(pa.table(columns), json.loads(json.dumps(settings)), environment)
    table = table.replace_schema_metadata({**table.schema.metadata, "check": _checksum(table, runs)})
    with atomic_write(path) as partial:
        pq.write_table(table, partial)


def _checksum(table: pa.Table, runs: MethodRuns) -> str:
    """Return the fingerprint of header and columns."""
    header: bytes = table.schema.metadata[b"jaxnas"]
    return fingerprint(np.frombuffer(header, np.uint8), *runs[1:])


def _read(path: Path, method: str, settings: dict[str, object]) -> MethodRuns | None:
    """Return what an earlier comparison left; a file that cannot be read is written again."""
    if not path.exists():
        return None
    try:
        found = _load(path, method)
    except InputError:
        return None
    check_same(path, found.settings, json.loads(json.dumps(settings)))
    return found.runs


def _load(path: Path, method: str) -> _File:
    """Read what `_write` wrote.

    Raises:
      InputError: the file is missing or damaged.
    """
    content = read_bytes(path)
    try:
        table = pq.read_table(pa.BufferReader(content))
        runs = MethodRuns(method, *(np.array(table[name].to_pylist()) for name in MethodRuns._fields[1:]))
        settings, check = read_header(table).provenance, table.schema.metadata.get(b"check")
        if check is not None and check.decode() != _checksum(table, runs):
            raise ValueError("it was altered: its content does not match its checksum")
        _check_columns(runs)
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    return _File(runs, settings)


def _check_columns(runs: MethodRuns) -> None:
    """Raise ValueError where a column is not what `MethodRuns` describes."""
    whole, numbers, rows = ("i", "whole numbers [S]", 1), ("f", "numbers [S]", 1), ("f", "numbers [S T]", 2)
    for name, (kind, words, axes) in dict(seeds=whole, selected=whole, num_bo=whole, best=rows, test=numbers).items():
        column = getattr(runs, name)
        if column.dtype.kind != kind or column.ndim != axes or not column.size:
            raise ValueError(f"column {name!r} must be {words}, got {column.dtype} of shape {column.shape}")
    if len(set(runs.seeds.tolist())) < len(runs.seeds):
        raise ValueError("column 'seeds' has a seed twice")


def _damaged(path: Path, error: BaseException) -> InputError:
    return InputError(f"{path} is damaged or not of a comparison ({describe_damage(error):.200}): compare again")
