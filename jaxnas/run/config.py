"""The settings of a search, a comparison and a final training: frozen configurations, imported without JAX.

Flat names, as `run_config(space, budget=10, epochs=2)` takes them and result.json keeps them, have one place each in a
nested `RunConfig`.
"""

import warnings
from collections import defaultdict
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from jaxnas.errors import InputError, unknown_name
from jaxnas.objectives.config import EARLIER, TrainingConfig
from jaxnas.objectives.find import matching_images, matching_test_column
from jaxnas.objectives.recipes import PAPER_SEARCHES
from jaxnas.run.sections import (
    ABOUT_COLUMN,
    ABOUT_DATA,
    ABOUT_NORMALIZATION,
    ABOUT_PRESET,
    ABOUT_PROXIES,
    ABOUT_SPACE,
    ABOUT_TABLE,
    ABOUT_TEST_COLUMN,
    DEFAULT_COLUMN,
    DEFAULT_TEST_COLUMN,
    EvaluationConfig,
    LimitConfig,
    NetworkConfig,
    ProblemConfig,
    SearchConfig,
    find_preset,
)
from jaxnas.runtime.measures import ACCURACY, TEST_ACCURACY, Measure
from jaxnas.runtime.names import PRESET_METHOD, ImageName, Normalization, PresetName, ProxyOrSet, SpaceName, TableName
from jaxnas.runtime.records import Record
from jaxnas.runtime.settings import LAST_SEED, check, setting
from jaxnas.scoring.config import ScoringConfig

PartT = TypeVar("PartT")
TIMED_BUDGET = 200  # architectures that a search with a limit of time may train, unless a budget is given


@dataclass(frozen=True)
class RunConfig:
    """Settings of a search; the defaults search NAS-Bench-201 on scikit-learn's digits with a small network.

    `run_config` builds one from flat names.

    Attributes:
      problem: space, images or table.
      network: size of the network.
      search: method, proxies, pool and budget.
      limits: limits of the pool, and what is traded off.
      evaluation: the objective of the user's, if there is one.
      scoring: settings of the scoring of proxies.
      training: hyperparameters of the training of candidates.
      seed: seed of everything drawn at random; it replaces those of `scoring` and `training`.
      training_seed: seed of the training of candidates in place of `seed`, so that searches of several seeds share
        trainings; None for `seed`.
    """

    problem: ProblemConfig = field(default_factory=ProblemConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    limits: LimitConfig = field(default_factory=LimitConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = setting(0, "Seed of everything drawn at random.", minimum=0, maximum=LAST_SEED)
    training_seed: int | None = None

    def __post_init__(self) -> None:
        """Check the parts together, and give them the seed."""
        check(self)
        for name, kind in {"scoring": ScoringConfig, "training": TrainingConfig}.items():
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"`{name}` must be a {kind.__name__}, got {getattr(self, name)!r:.60}")
        of_training = self.seed if self.training_seed is None else self.training_seed
        for part, seed in {"scoring": self.seed, "training": of_training}.items():
            object.__setattr__(self, part, replace(getattr(self, part), seed=seed))
        table, at_once = self.problem.table, self.search.at_once
        if self.own_objective:
            self._check_own_objective()
        if table and at_once > 1:
            raise InputError(f"`at_once` must be 1 where accuracies are looked up in a table, got {at_once}")
        if table and (idle := [name for name in ("time", "confirm") if getattr(self.search, name)]):
            raise InputError(f"`{idle[0]}` is for trainings, but accuracies are looked up in {table}: leave it out")
        if table and not self.problem.column:
            raise InputError(f"table {table} needs the column that the search maximises: give --column")

    def _check_own_objective(self) -> None:
        search = self.search
        if self.problem.table:
            raise InputError(f"the objective is {self.own_objective}: leave --table {self.problem.table} out")
        idle = {
            "time": search.time is not None,
            "confirm": search.confirm > 0,
            "at_once": search.at_once > 1,
            "warm_start": bool(search.warm_start),
        }
        if names := [name for name, given in idle.items() if given]:
            raise InputError(f"{', '.join(names)} must be left out with an objective of your own")
        if self.evaluation.objective_command is not None and self.limits.objective[0] != "accuracy":
            raise InputError(f"give one of --objective-command and --objective {self.limits.objective[0]}")

    @property
    def own_objective(self) -> str:
        """The name of the user's objective: of the program of a command, of a function, or of a plugin; else empty."""
        if self.evaluation.objective_command is not None:
            return "objective"
        name = self.limits.objective[0]
        return "" if name == "accuracy" else name

    @property
    def measured_on(self) -> str:
        """The images that candidates are trained on, or the table and column where they are looked up."""
        problem = self.problem
        if self.own_objective:
            return self.own_objective
        return f"{Path(problem.table).stem} ({problem.column})" if problem.table else problem.data

    @property
    def measured(self) -> Measure:
        """What the search maximises or minimises."""
        if self.own_objective:
            return Measure(self.own_objective)
        if not self._has_accuracies:
            return Measure(self.problem.column)
        may_refuse = self.limits.max_latency is not None and not self.problem.table
        return ACCURACY._replace(failed="diverged or too slow") if may_refuse else ACCURACY

    @property
    def reported(self) -> Measure | None:
        """What is reported of the selected architecture at the end; None where nothing is."""
        column = self.problem.test_column
        if self.own_objective:
            return None
        if self._has_accuracies:
            return TEST_ACCURACY
        return Measure(column) if column else None

    @property
    def _has_accuracies(self) -> bool:
        return self.problem.table in (None, "nasbench201")

    def record(self) -> Record:
        """Return the settings under their flat names as plain values, those of scoring and training one level below."""
        flat = {
            **asdict(self.problem),
            **asdict(self.network),
            **asdict(self.search),
            **asdict(self.limits),
            **asdict(self.evaluation),
        }
        scoring = asdict(self.scoring)
        del scoring["seed"]
        seeds = {"seed": self.seed, "training_seed": self.training_seed}
        return {**flat, **seeds, "training": asdict(self.training), "scoring": scoring}

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Find a flat name of version 0.1 in the part that has it now."""
            if name not in PLACES:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            warnings.warn(f"RunConfig.{name} is now RunConfig.{PLACES[name]}.{name}", DeprecationWarning, stacklevel=2)
            return getattr(getattr(self, PLACES[name]), name)


def _places() -> dict[str, str]:
    """Return the part of a `RunConfig` that has each flat name."""
    parts = {
        "problem": ProblemConfig,
        "network": NetworkConfig,
        "search": SearchConfig,
        "limits": LimitConfig,
        "evaluation": EvaluationConfig,
        "scoring": ScoringConfig,
    }
    places = {one.name: part for part, kind in parts.items() for one in fields(kind)}
    del places["seed"]
    return {**places, "epochs": "training", "folds": "training"}


PLACES = _places()


def run_config(space: str = "nasbench201", preset: PresetName | None = None, **flat: object) -> RunConfig:
    """Build the settings of a search from flat names, on top of a preset.

    Args:
      space: search space.
      preset: settings of robot, which is then the method unless `method` names another. "paper" stands for the
        published settings of RoBoT and, where the space has a published search, of that.
      **flat: fields of `ProblemConfig`, `NetworkConfig`, `SearchConfig`, `LimitConfig`, `EvaluationConfig` and
        `ScoringConfig`, `epochs`, `folds`, `seed`, or whole parts, `scoring` and `training`; None leaves the preset's
        value.

    Raises:
      InputError: an unknown name, or a value that does not fit.
    """
    published = vars(PAPER_SEARCHES[space]) if preset == "paper" and space in PAPER_SEARCHES else {}
    chosen = {name: value for name, value in flat.items() if value is not None}
    timed = {"budget": TIMED_BUDGET} if "time" in chosen else {}  # the time ends such a search, or the pool
    of_preset = {} if preset is None else {"preset": preset, "method": PRESET_METHOD}
    return _nest({**published, **timed, **of_preset, **chosen, "space": space})


def from_record(record: Record) -> RunConfig:
    """Read back what `RunConfig.record` returned, also through JSON, here or in an earlier version.

    Raises:
      InputError: an unknown name, or a value that does not fit.
      TypeError, LookupError: not the record of a configuration.
    """
    training = TrainingConfig(**{**EARLIER, **record["training"]})
    parts = {"training": training, "scoring": ScoringConfig(**record.get("scoring", {}))}
    lists = {name: tuple(value) for name, value in record.items() if isinstance(value, list)}
    return _nest({**record, **lists, **parts})


def _nest(flat: Record) -> RunConfig:
    """Sort flat names into the sections of a `RunConfig`."""
    whole = {name: flat[name] for name in ("scoring", "training", "seed", "training_seed") if name in flat}
    parts: dict[str, Record] = defaultdict(dict)
    for name, value in flat.items():
        if name in PLACES:
            parts[PLACES[name]][name] = value
        elif name not in whole:
            raise unknown_name("setting", name, [*PLACES, "scoring", "training", "seed"])
    return RunConfig(
        problem=ProblemConfig(**parts["problem"]),
        network=NetworkConfig(**parts["network"]),
        search=SearchConfig(**parts["search"]),
        limits=LimitConfig(**parts["limits"]),
        evaluation=EvaluationConfig(**parts["evaluation"]),
        scoring=_with(whole.get("scoring", ScoringConfig()), parts["scoring"]),
        training=_with(whole.get("training", TrainingConfig()), parts["training"]),
        seed=whole.get("seed", 0),
        training_seed=whole.get("training_seed"),
    )


def _with(part: PartT, changes: Record) -> PartT:
    """Return a configuration with changed fields; anything else unchanged, as `RunConfig` refuses it."""
    return replace(part, **changes) if is_dataclass(part) and not isinstance(part, type) else part


@dataclass(frozen=True)
class CompareConfig:
    """Settings of a comparison, except the methods and the seeds.

    Attributes:
      space: name of the search space.
      scores: data set of shipped scores, or path of a store or file; empty stands for the shipped ones, on the data set
        of `column` where the table is NAS-Bench-201's.
      proxies: names of proxies; empty stands for all that the scores have.
      normalization: name of the normalisation of scores.
      preset: settings of robot.
      table: NAS-Bench-201's by name, or a CSV or Parquet file.
      column: column of the table that the search maximises.
      longer: columns of longer trainings, for hyperband and bohb.
      prices: price of an evaluation of each, in queries of `column`.
      test_column: column that is reported; empty reports `column`, None stands for the test accuracy of NAS-Bench-201
        on the data set of `column`.
      budget: architectures that are looked up.
    """

    space: str = setting("nasbench201", ABOUT_SPACE, known=SpaceName, kind="search space", argument=True)
    scores: str = ""
    proxies: tuple[str, ...] = setting((), ABOUT_PROXIES, suggestions=ProxyOrSet, shown="robot, or all given scores")
    normalization: Normalization = setting("minmax", ABOUT_NORMALIZATION)
    preset: PresetName = setting("default", ABOUT_PRESET, lookup=find_preset)
    table: str = setting("nasbench201", ABOUT_TABLE, "Data", suggestions=TableName)
    column: str = setting("c10_valid_val_12", ABOUT_COLUMN, "Data", shown=DEFAULT_COLUMN)
    longer: tuple[str, ...] = setting((), "Comma-separated columns of longer training, for hyperband and bohb.", "Data")
    prices: tuple[int, ...] = setting(
        (), "Price of an evaluation in each column of --longer, in queries of --column, such as 17.", "Budget"
    )
    test_column: str | None = setting(None, ABOUT_TEST_COLUMN, "Data", shown=DEFAULT_TEST_COLUMN)
    budget: int = setting(20, "Architectures to look up.", "Budget")

    @property
    def measured(self) -> Measure:
        """What the methods maximise."""
        return ACCURACY if self.table == "nasbench201" else Measure(self.column)

    @property
    def reported(self) -> Measure | None:
        """What is reported of the selected architectures; None where nothing is."""
        if not self.test_column:
            return None
        return TEST_ACCURACY if self.table == "nasbench201" else Measure(self.test_column)

    def __post_init__(self) -> None:
        """Check names and numbers."""
        check(self)
        if self.test_column is None:
            matching = matching_test_column(self.column) if self.table == "nasbench201" else ""
            object.__setattr__(self, "test_column", matching)
        if not self.scores:
            images = matching_images(self.column) if self.table == "nasbench201" else "cifar10"
            object.__setattr__(self, "scores", images)
        if not self.column:
            raise InputError(f"table {self.table} needs the column that the search maximises: give --column")
        if len(self.longer) != len(self.prices):
            raise InputError(
                f"{len(self.longer)} columns of longer training and {len(self.prices)} prices: give one each"
            )


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training of one architecture.

    Attributes:
      space: name of its search space.
      arch: the architecture, as the space formats it.
      data: name or path of the images.
      network: names and values of the fields of the space's network.
      training: hyperparameters.
      plugins: name and checksum of each plugin, see `jaxnas.load_plugin`.
    """

    space: str
    arch: str
    data: str = setting("cifar10", ABOUT_DATA, "Data", suggestions=ImageName)
    network: tuple[tuple[str, object], ...] = ()
    training: TrainingConfig = field(default_factory=TrainingConfig)
    plugins: tuple[str, ...] = ()
