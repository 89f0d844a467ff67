"""The file of a study: its architectures, scores and settings, which no process changes later."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int8
from numpy.typing import ArrayLike

from jaxnas.errors import InputError
from jaxnas.run.study import Study
from jaxnas.runtime.events import Listener, Noted, ignore
from jaxnas.runtime.files import atomic_write, check_same, make_writable, read_bytes
from jaxnas.runtime.names import DEFAULT_METHOD, PRESET_METHOD, Direction
from jaxnas.runtime.places import to_path
from jaxnas.runtime.records import Record
from jaxnas.runtime.settings import Whole, check_seed, check_whole
from jaxnas.search import get_method
from jaxnas.search.inputs import check_table
from jaxnas.search.result import sign_of

STUDY = "study.parquet"


def create_study(
    folder: Path | str,
    table: ArrayLike,
    archs: Sequence[str],
    *,
    budget: Whole,
    method: str | None = None,
    preset: str | None = None,
    direction: Direction = "maximize",
    count_failures: bool = True,
    seed: Whole = 0,
    vectors: Int8[np.ndarray, "A D"] | None = None,
    objective: str = "",
    on_event: Listener = ignore,
) -> Study:
    """Create a study in a folder, or open it there if it has the same settings.

    Args:
      folder: folder that all processes see.
      table: normalised scores [A M], see `normalize`.
      archs: text of each architecture.
      budget: trials, T.
      method: name of the method; None for `proxy_gp`, or for `robot` where a preset is given.
      preset: settings of robot; None for its defaults.
      direction: whether a large or a small objective is good.
      count_failures: whether a failed candidate spends the budget.
      seed: seed of all draws.
      vectors: vectors of the architectures, for methods that change decisions.
      objective: description of what evaluates the candidates, such as a command; "" is not compared.
      on_event: receives a `Noted` if the study has values of another objective and continues with this one.

    Raises:
      InputError: the arguments do not fit, or the folder has another study, or a finished one of another objective.
    """
    folder, scores = to_path(folder), check_table(table)
    if method is None:
        method = DEFAULT_METHOD if preset is None else PRESET_METHOD
    if isinstance(archs, str) or not all(isinstance(arch, str) for arch in archs):
        raise InputError(f"`archs` must be texts, such as [str(arch) for arch in archs], got {archs!r:.60}")
    if len(archs) != len(scores) or len(set(archs)) < len(archs):
        raise InputError(f"`archs` must be {len(scores)} distinct texts, as the table has rows, got {len(set(archs))}")
    settings: Record = {
        "method": get_method(method).name,
        "preset": "default" if preset is None else preset,
        "budget": check_whole("budget", budget, 1, len(archs), ", the number of architectures"),
        "direction": direction,
        "count_failures": bool(count_failures),
        "seed": check_seed(seed),
        "vectors": None if vectors is None else np.asarray(vectors).tolist(),
    }
    sign_of(direction)
    make_writable(folder)
    folder, about = folder.resolve(), {**settings, "objective": objective}
    study = Study(folder, scores, archs, settings)
    if (folder / STUDY).exists():
        known = load_study(folder)
        kept = {name: known.settings.get(name) for name in settings}
        check_same(folder / STUDY, {**kept, "vectors": None}, {**settings, "vectors": None})
        if kept["vectors"] != settings["vectors"]:
            raise InputError(f"{folder / STUDY} has other `vectors` of these architectures: choose another folder")
        if known.archs != study.archs or not np.array_equal(known.table, study.table):
            raise InputError(f"{folder / STUDY} is of other architectures or scores: choose another folder")
        before = known.settings.get("objective", "")
        if not objective or before == objective:
            return known
        if before:
            _check_objective(known, before, objective, on_event)
    study = Study(folder, scores, archs, about)
    columns = {"arch": study.archs, **{f"score_{number}": column for number, column in enumerate(scores.T)}}
    with atomic_write(folder / STUDY) as partial:
        pq.write_table(pa.table(columns).replace_schema_metadata({"jaxnas.study": json.dumps(about)}), partial)
    return study


def _check_objective(study: Study, before: str, objective: str, on_event: Listener) -> None:
    """Refuse another objective of a finished study; of one that is not, name the values that stay."""
    if study.is_finished:
        raise InputError(
            f"{study.folder} has the values of another objective ({before}, now {objective}): choose another folder, "
            "or remove it"
        )
    if told := sum(trial.is_told for trial in study.trials):
        on_event(
            Noted(
                f"the objective was {before} and is now {objective}: {told} values of the former stay in "
                f"{study.folder}; remove it to evaluate all",
                is_warning=True,
            )
        )


def load_study(folder: Path | str) -> Study:
    """Open the study of a folder, in any process.

    Raises:
      InputError: the folder has no study, or its file is damaged.
    """
    path = to_path(folder).resolve() / STUDY
    if not path.exists():
        raise InputError(f"no study in {folder}: it has no {STUDY}; make one with `create_study`")
    try:
        table = pq.read_table(pa.BufferReader(read_bytes(path)))
        settings: Record = json.loads(table.schema.metadata[b"jaxnas.study"])
        scores = np.stack([column.to_numpy() for column in table.columns[1:]], axis=1)
        return Study(path.parent, scores, table["arch"].to_pylist(), settings)
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}): create the study in another folder") from error
