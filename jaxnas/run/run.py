"""A finished search, and the files of its folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from jaxnas.errors import InputError
from jaxnas.models.find import RESULT
from jaxnas.run.advice import ImageSummary
from jaxnas.run.config import RunConfig
from jaxnas.run.sizes import front
from jaxnas.runtime.files import atomic_write
from jaxnas.runtime.frames import Frame, html_table, to_pandas
from jaxnas.runtime.places import to_path
from jaxnas.runtime.records import Record, with_check
from jaxnas.search import SearchResult
from jaxnas.spaces import SearchSpace, to_index
from jaxnas.store.scores import Environment, Scores
from jaxnas.store.tables import write_scores
from jaxnas.table.evaluation import wilson_interval
from jaxnas.table.normalize import TableReport

if TYPE_CHECKING:
    from jaxnas.models.model import Model
    from jaxnas.run.trained import TrainedArch

POOL = "pool.parquet"  # file of a run folder


class Outcome(NamedTuple):
    """The result of one method.

    Attributes:
      result: the queries and the selected architecture.
      test_accuracy: test accuracy of the selected architecture, percent; NaN if unknown or if its training diverged.
      confirmed: validation accuracy after the training from another seed, percent, by row in the pool; of the best
        candidates, best first.
    """

    result: SearchResult
    test_accuracy: float
    confirmed: Mapping[int, float] = MappingProxyType({})


class Run(NamedTuple):
    """A finished search.

    Attributes:
      config: settings of the search.
      space: the search space.
      scores: raw scores of the pool.
      masked: the scores that `normalize` masked.
      outcomes: outcome by method; first that of `config.search.method`, then those of `config.search.compare`.
      seconds: seconds by stage; tracing and compiling are a separate stage.
      environment: versions of libraries, and the device.
      command: the command line of the search, empty for a call from Python.
      origin: the network and the images of the search, see `jaxnas.run.origin`; None where nothing was trained.
      folder: folder of the files of the run, None unless `search_network` or `load_run` made it.
      images: description of the image set; None where accuracies and scores are looked up.
      notes: what to change where the result is poor, one line each.
      sizes: sizes of the pool by name, see `jaxnas.run.sizes`; NaN where one is unknown.
      latency: unit, device and batch of measured latencies, and the error of predicted ones; None where none was.
    """

    config: RunConfig
    space: SearchSpace
    scores: Scores
    masked: TableReport
    outcomes: dict[str, Outcome]
    seconds: dict[str, float]
    environment: Environment
    command: str = ""
    origin: Record | None = None
    folder: Path | None = None
    images: ImageSummary | None = None
    notes: tuple[str, ...] = ()
    sizes: Mapping[str, Float[np.ndarray, " A"]] = MappingProxyType({})
    latency: Record | None = None

    @property
    def selected(self) -> str:
        """The architecture that `config.search.method` selects, as text."""
        return self.space.format(self.scores.archs[self.outcomes[self.config.search.method].result.selected])

    @property
    def test_accuracy(self) -> float:
        """The test accuracy of the selected architecture, percent."""
        return self.outcomes[self.config.search.method].test_accuracy

    def train(self, **settings: Any) -> "TrainedArch":
        """Train the selected architecture on all training images, and keep the model in the folder of the run.

        Data, network size, space, classes and preprocessing are those of the search; see `jaxnas.run.train.train_run`
        for settings that replace them.

        Raises:
          InputError: a setting does not fit, or the run has no folder.
        """
        from jaxnas.run.train import train_run

        return train_run(self._saved(), **settings)

    def model(self, *, trained: bool = True) -> "Model":
        """Return the network of the selected architecture alone, which `train` trained.

        Args:
          trained: False returns it with the params of its initialisation, which needs no training.

        Raises:
          InputError: it has not been trained.
        """
        from jaxnas.models.files import load_model
        from jaxnas.run.train import untrained_model

        return load_model(self._saved()) if trained else untrained_model(self._saved())

    def _saved(self) -> Path:
        if self.folder is None:
            raise InputError(
                "the run has no folder: save it with `run.save(folder)` and read it with `load_run(folder)`"
            )
        return self.folder

    def measured(self, method: str = "") -> list[tuple[str, str]]:
        """Return what was measured of the architecture that a method selects: names, and values with their intervals.

        Args:
          method: the method; by default that of the settings.
        """
        method = method or self.config.search.method
        outcome, intervals = self.outcomes[method], self.intervals(method)
        values = {"validation": (self.config.measured, outcome.result.best)}
        if self.config.reported:
            values["test"] = (self.config.reported, outcome.test_accuracy)
        return [
            (measure.name, measure.show(value) + _interval(intervals.get(part)))
            for part, (measure, value) in values.items()
        ]

    def intervals(self, method: str) -> dict[str, tuple[float, float]]:
        """Return Wilson's 95 % intervals of the method's validation and test accuracy, percent, of those measured here.

        That of the validation accuracy is of the selected candidate alone: the best of several is rather too high.
        """
        outcome, images = self.outcomes[method], self.images
        measured = {
            "validation": (outcome.result.best, images.num_validation if images else 0),
            "test": (outcome.test_accuracy, images.num_test if images and images.num_validation else 0),
        }
        return {
            name: wilson_interval(value, count) for name, (value, count) in measured.items() if count and value == value
        }

    @property
    def size(self) -> dict[str, float]:
        """The known sizes of the selected architecture by name, such as params, flops and depth."""
        row = self.outcomes[self.config.search.method].result.selected
        return {name: float(size[row]) for name, size in self.sizes.items() if np.isfinite(size[row])}

    def front(self, method: str = "") -> tuple[list[Record], float]:
        """Return the front between the objectives of the settings among the queried architectures, and its hypervolume.

        Args:
          method: the method; by default that of the settings.

        Returns:
          Rows with arch, objective and sizes, from the best objective on; and the share in [0, 1] of the box between
          the worst and the best values of the queried that the front dominates.
        """
        result, names = self.outcomes[method or self.config.search.method].result, self.config.limits.objective[1:]
        queries, volume = front(result, self.sizes, names)
        rows = []
        for query in queries:
            row = int(result.queries[query])
            sizes = {name: float(self.sizes[name][row]) for name in names}
            arch = self.space.format(self.scores.archs[row])
            rows.append({"arch": arch, "objective": float(result.objective[query]), **sizes})
        return rows, volume

    def rows(self) -> list[Record]:
        """Return one record per query of every method, in order.

        Its keys are method, query (the number, from 1), phase, index (in the space), arch, objective (percent),
        seconds, and the sizes that are known.
        """
        rows = []
        for method, outcome in self.outcomes.items():
            result, chosen = outcome.result, self.scores.archs[outcome.result.queries]
            columns = zip(
                result.phase,
                to_index(self.space, chosen).tolist(),
                map(self.space.format, chosen),
                result.objective.tolist(),
                result.cost.tolist(),
                strict=True,
            )
            for number, values in enumerate(columns, start=1):
                names = ("phase", "index", "arch", "objective", "seconds")
                sizes = {name: float(size[result.queries[number - 1]]) for name, size in self.sizes.items()}
                rows.append({"method": method, "query": number, **dict(zip(names, values, strict=True)), **sizes})
        return rows

    def to_pandas(self) -> Frame:
        """Return `rows` as a data frame; needs pandas."""
        return to_pandas(pa.Table.from_pylist(self.rows()).to_pydict())

    def save(self, folder: Path | str) -> None:
        """Write pool.parquet, queries.parquet and result.json, each atomically; `load_run` reads them.

        The content of result.json has a checksum, which `load_run` checks.
        """
        from jaxnas.run.record import run_record

        folder = to_path(folder)
        write_scores(folder / POOL, self.scores, self.space)
        with atomic_write(folder / "queries.parquet") as partial:
            pq.write_table(pa.Table.from_pylist(self.rows()), partial)
        with atomic_write(folder / RESULT) as partial:
            partial.write_text(json.dumps(with_check(run_record(self)), indent=1, allow_nan=False) + "\n")

    def __repr__(self) -> str:
        """Return one line: method, data, accuracies and the selected architecture."""
        return f"<Run {self._title()}: {self.selected}>"

    def _repr_html_(self) -> str:
        shown = ("query", "phase", "arch", "objective", "seconds")
        rows = [
            {name: row[name] for name in shown} for row in self.rows() if row["method"] == self.config.search.method
        ]
        return html_table(f"{self._title()}: {self.selected}", rows)

    def _title(self) -> str:
        outcome = self.outcomes[self.config.search.method]
        found = {self.config.measured: outcome.result.best}
        found |= {self.config.reported: outcome.test_accuracy} if self.config.reported else {}
        accuracies = ", ".join(
            f"{measure.name.removesuffix(' accuracy')} {measure.show(value)}" for measure, value in found.items()
        )
        num_queries = len(outcome.result.queries)
        return f"{self.config.search.method} on {self.config.measured_on}, {num_queries} queries, {accuracies}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return f" ({bounds[0]:.1f} to {bounds[1]:.1f})" if bounds else ""
