"""The sections of a search's settings, and the fields that a comparison has too; imported without JAX."""

from dataclasses import dataclass

from jaxnas.data.find import find_images
from jaxnas.errors import InputError, unknown_name
from jaxnas.objectives.find import find_table
from jaxnas.run.find import find_earlier
from jaxnas.runtime.names import (
    DEFAULT_METHOD,
    PRESET_METHOD,
    ROBOT_PROXIES,
    Direction,
    ImageName,
    MethodName,
    Normalization,
    OnFailure,
    PresetName,
    ProxyOrSet,
    SpaceName,
    TableName,
    names,
)
from jaxnas.runtime.settings import check, check_kinds, parse_seconds, setting


def find_method(name: str) -> None:
    """Raise InputError unless there is a method of this name, also one that the program added."""
    from jaxnas.search import get_method

    get_method(name)


def find_preset(name: str) -> None:
    """Raise InputError unless there is a preset of this name, also one that the program added."""
    from jaxnas.search import get_preset

    get_preset(name)


def find_proxy(name: str) -> None:
    """Raise InputError unless there is a proxy or set of this name, also one that the program added."""
    from jaxnas.scoring.engine import get_proxies

    get_proxies((name,))


PUBLISHED = "as published with `jaxnas train` and `jaxnas search --preset paper`"
ABOUT_SPACE, ABOUT_DATA = "Search space.", "Images: a folder of pictures, a file, or a name."
ABOUT_PIXELS = "Side to which all images are resized."
ABOUT_TABLE = "Table where accuracies are looked up: by name, or a CSV or Parquet file with any ids of architectures."
ABOUT_COLUMN = "Column of the table that the search maximises."
ABOUT_TEST_COLUMN = "Column of the table that is reported at the end."
ABOUT_PROXIES = "Comma-separated proxies or sets of them, see `jaxnas proxies`."
ABOUT_NORMALIZATION = "How scores of different proxies are brought to one scale."
ABOUT_PRESET = "Settings of robot: `paper` as published; `search darts` also with its pool, budget and training."
ABOUT_BUDGET = "Architectures to train, or to look up."
SIZE_NAMES = ("params", "flops", "depth", "latency")
DEFAULT_COLUMN, DEFAULT_TEST_COLUMN = "c10_valid_val_12 of nasbench201", "robot_c10_test of nasbench201"


@dataclass(frozen=True)
class ProblemConfig:
    """The search space, and the data or table that evaluates an architecture.

    Attributes:
      space: name of the search space.
      data: name or path of the images, see `jaxnas.load_images`.
      pixels: side to which images are resized; None for the rule of `jaxnas.load_images`.
      table: table of accuracies that replaces training; None for training.
      column: column of the table that the search maximises.
      test_column: column of the table that is reported at the end; empty reports none.
      minimize: whether the smallest value of the column is sought, in place of the largest.
      plugins: name and checksum of each plugin, see `jaxnas.load_plugin`.
    """

    space: str = setting("nasbench201", ABOUT_SPACE, known=SpaceName, kind="search space", argument=True)
    data: str = setting("digits", ABOUT_DATA, "Data", suggestions=ImageName, place=True, find=find_images)
    pixels: int | None = setting(None, ABOUT_PIXELS, "Data", minimum=1, shown="of the images, at most 64, else 32")
    table: str | None = setting(
        None, ABOUT_TABLE, "Data", suggestions=TableName, place=True, find=find_table, shown="train instead"
    )
    column: str = setting("", f"{ABOUT_COLUMN[:-1]}, or minimises with --minimize.", "Data", shown=DEFAULT_COLUMN)
    test_column: str = setting("", ABOUT_TEST_COLUMN, "Data", shown=DEFAULT_TEST_COLUMN)
    minimize: bool = setting(False, "Seek the smallest objective, in place of the largest.", "Data")
    plugins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check types."""
        check_kinds(self)

    @property
    def direction(self) -> Direction:
        """Whether the search maximises or minimises."""
        return "minimize" if self.minimize else "maximize"


@dataclass(frozen=True)
class NetworkConfig:
    """The size of the network; 0 where a custom network has no such size.

    Attributes:
      channels: channels of the first stage.
      cells_per_stage: cells of every stage.
    """

    channels: int = setting(8, "Channels of the first stage.", minimum=1, shown=f"8; {PUBLISHED}")
    cells_per_stage: int = setting(1, "Cells per stage.", flag="--cells", minimum=1, shown=f"1; {PUBLISHED}")

    def __post_init__(self) -> None:
        """Check types."""
        check_kinds(self)


@dataclass(frozen=True)
class LimitConfig:
    """Limits of the architectures of the pool, and what is traded off.

    Attributes:
      max_params: most parameters, in the unit of the column of a table (some have millions), where scores and networks
        count each one; None for any number, here and below.
      max_flops: most operations for one image, as the proxy flops counts them.
      max_latency: largest latency, in the unit of its column; where candidates are trained, milliseconds of one image,
        measured on this device, see `jaxnas.run.latency`.
      latency_column: column of the table or the scores that has the latency.
      objective: "accuracy", or the name of an objective that a plugin added; then sizes that a front trades off.
    """

    max_params: float | None = setting(
        None,
        "Most parameters, in the unit of the column of a table; scores count each.",
        "Budget",
        minimum=0,
        shown="any number",
    )
    max_flops: float | None = setting(None, "Most operations for one image.", "Budget", minimum=0, shown="any number")
    max_latency: float | None = setting(
        None,
        "Largest latency: ms of one image measured on this device, or in the unit of --latency-column.",
        "Budget",
        minimum=0,
        shown="any",
    )
    latency_column: str = setting("latency", "Column of the table or scores that has the latency.", "Data")
    objective: tuple[str, ...] = setting(
        ("accuracy",), "Objective, and sizes that a front trades off: params, flops, depth, latency.", "What"
    )

    def __post_init__(self) -> None:
        """Check types, ranges and names."""
        check(self)
        if not self.objective:
            raise InputError("`objective` must name at least one: give accuracy")
        for name in self.objective[1:]:
            if name not in SIZE_NAMES:
                raise unknown_name("size", name, SIZE_NAMES)
        if len(set(self.objective)) < len(self.objective):
            raise InputError(f"`objective` must name each once, got {', '.join(self.objective)}")

    def bounds(self) -> dict[str, float | None]:
        """Return the limit of each size."""
        return {"params": self.max_params, "flops": self.max_flops, "latency": self.max_latency}

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return any(bound is not None for bound in self.bounds().values())


@dataclass(frozen=True)
class EvaluationConfig:
    """How an objective of the user's evaluates a candidate, in place of a training here.

    Attributes:
      objective_command: command that prints the objective in its last line, see `command_objective`; None for none.
      on_failure: whether a candidate that fails stops the search, counts as a query, or is skipped.
      query_time: time after which a candidate fails, in any form of `parse_seconds`; None for no limit.
    """

    objective_command: str | None = setting(
        None, 'Command that evaluates a candidate, such as "python train.py {arch_file}"; its last line is a number.'
    )
    on_failure: OnFailure = setting(
        "stop", "What a failed candidate does: stop the search, count as a query, or be skipped."
    )
    query_time: str | None = setting(
        None, "Time after which a candidate fails, such as 30m.", "Budget", shown="no limit"
    )

    def __post_init__(self) -> None:
        """Check types and names."""
        if self.query_time is not None:
            object.__setattr__(self, "query_time", str(self.query_time))
            parse_seconds(self.query_time)
        check(self)

    @property
    def seconds(self) -> float | None:
        """The time of a query in seconds."""
        return None if self.query_time is None else float(parse_seconds(self.query_time))


@dataclass(frozen=True)
class SearchConfig:
    """Settings of the choice of architectures.

    Attributes:
      method: search method.
      compare: further methods with the same pool and budget.
      proxies: names of proxies or of sets; None for RoBoT's six where a pool is scored, and for all of given scores.
        The result of a search has their names.
      normalization: name of the normalisation of scores.
      preset: settings of robot.
      batch_size: images of the minibatch that proxies see.
      pool: architectures drawn from the space, unless scores are given.
      budget: architectures that are trained or looked up.
      time: time after which no further training begins, in any form of `parse_seconds`; None for no limit.
      confirm: best candidates that are trained once more, from another seed, before one of them is selected; each is
        one of the budget.
      together: candidates that are trained at once if the method can predict them; None for one on each device.
      at_once: proposals before any of them is trained; more than 1, for workers, gives another search.
      warm_start: earlier tasks on the same space: folders of runs, or columns of tables as TABLE:COLUMN.
      custom: those of the names above that are not of jaxnas but of functions, plugins or columns of given scores. They
        are not looked up where they are given, so that a run can be read without them.
    """

    method: MethodName = setting(
        DEFAULT_METHOD, "Search method.", lookup=find_method, shown=f"{DEFAULT_METHOD}; with --preset {PRESET_METHOD}"
    )
    compare: tuple[MethodName, ...] = setting(
        (), "Comma-separated further methods with the same pool and budget.", kind="method", lookup=find_method
    )
    proxies: tuple[str, ...] | None = setting(
        None,
        ABOUT_PROXIES,
        known=ProxyOrSet,
        kind="proxy",
        lookup=find_proxy,
        shown="robot, or all given scores",
    )
    normalization: Normalization = setting("minmax", ABOUT_NORMALIZATION)
    preset: PresetName = setting("default", ABOUT_PRESET, lookup=find_preset)
    batch_size: int = setting(
        64, "Images of the minibatch that proxies see.", "Data", shown="64, or all if there are fewer"
    )
    pool: int = setting(1000, "Architectures drawn and scored.", "Budget")
    budget: int = setting(20, ABOUT_BUDGET, "Budget", minimum=1)
    time: str | None = setting(
        None, "Time to spend, such as 90s, 10m or 1h30m; the best so far is selected.", "Budget", shown="no limit"
    )
    confirm: int = setting(
        0, "Best candidates to train once more from another seed before choosing; part of the budget.", "Budget"
    )
    together: int | None = setting(
        None, "Candidates trained at once.", "Hardware", shown="one on each core or accelerator"
    )
    at_once: int = setting(
        1,
        "Candidates proposed before any of them is trained.",
        "Hardware",
        minimum=1,
        shown="1; with ray one for each worker",
    )
    warm_start: tuple[str, ...] = setting(
        (),
        "Comma-separated earlier tasks on the same space: run folders, or TABLE:COLUMN.",
        "Data",
        place=True,
        find=find_earlier,
    )
    custom: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check names and ranges."""
        if self.time is not None:
            parse_seconds(self.time)
            object.__setattr__(self, "time", str(self.time))
        if self.compare is None:  # in records of earlier versions
            object.__setattr__(self, "compare", ())
        if self.proxies is not None and not self.proxies:
            raise InputError(f"`proxies` must name at least one proxy: choose from {', '.join(ROBOT_PROXIES)}, ...")
        check(self)
        if self.confirm and not 2 <= self.confirm < self.budget:
            raise InputError(
                f"`confirm` must be 0, or from 2 to {self.budget - 1}, below the budget, got {self.confirm}"
            )
        chosen = dict.fromkeys(filter(None, [*(self.proxies or ()), self.method, *self.compare, self.preset]))
        known = {*names(ProxyOrSet), *names(MethodName), *names(PresetName)}
        object.__setattr__(self, "custom", tuple(name for name in chosen if name not in known))

    @property
    def scored(self) -> tuple[str, ...]:
        """The proxies by which a pool is scored."""
        return self.proxies or ROBOT_PROXIES

    @property
    def read(self) -> tuple[str, ...]:
        """The proxies that are read of given scores; empty for all."""
        return self.proxies or ()
