"""The options of commands in addition to the settings of the library: data folder, workers, output."""

from dataclasses import dataclass
from pathlib import Path

from jaxnas.cli.command import Given, has_plugins
from jaxnas.objectives.find import matching_test_column
from jaxnas.run.config import CompareConfig
from jaxnas.run.sections import ProblemConfig
from jaxnas.runtime.names import Engine
from jaxnas.runtime.settings import setting


@dataclass(frozen=True)
class DataOptions:
    """The folder of data sets."""

    data_folder: Path | None = setting(
        None, "Folder of data sets.", "Data", shown="the variable JAXNAS_DATA, or ~/.cache/jaxnas/data"
    )


@dataclass(frozen=True)
class WorkerOptions:
    """The workers that score and train."""

    engine: Engine = setting("local", "Work in this process, or in those of Ray (extra: ray).", "Hardware")
    address: str | None = setting(
        None, "HOST:PORT of a running Ray cluster, or auto.", "Hardware", shown="a cluster on this machine"
    )
    workers: int | None = setting(None, "Workers of Ray.", "Hardware", minimum=1, shown="one on each core or GPU")


@dataclass(frozen=True)
class PluginOptions:
    """The plugins."""

    plugin: tuple[str, ...] = setting(
        (),
        "Comma-separated Python files that add PROXIES, SPACES, METHODS or OBJECTIVES by name.",
        kind="plugin",
        place=True,
    )

    @property
    def any(self) -> bool:
        """Whether there are any, of these files or of installed packages."""
        return bool(self.plugin) or has_plugins()

    def load(self) -> tuple[str, ...]:
        """Load installed plugins and these files; return what results record of them."""
        if not self.any:
            return ()
        from jaxnas.run.plugins import load_installed_plugins, load_plugin

        return (*load_installed_plugins(), *map(load_plugin, self.plugin))


@dataclass(frozen=True)
class JsonOptions:
    """The form of printed results."""

    as_json: bool = setting(
        False, "Print JSON objects, one on each line of stdout, instead of text.", "Output", flag="--json"
    )


@dataclass(frozen=True)
class VerboseOptions(JsonOptions):
    """Details on stderr, and the form of printed results."""

    verbose: bool = setting(
        False, "Print the seconds that each program takes to trace, compile or load.", "Output", short="-v"
    )


@dataclass(frozen=True)
class OutputOptions(VerboseOptions):
    """The folder of results, and the form of printed results."""

    out: Path | None = setting(
        None, "Folder to write; a stopped job resumes there.", "Output", shown="a folder in runs"
    )


def columns_of(table: str | None, settings: Given) -> dict[str, str]:
    """Return the columns to maximise and to report: those given, or of NAS-Bench-201 the published ones.

    The test accuracies are those on the data set of the column that the search maximises.
    """
    published = CompareConfig if table == "nasbench201" else ProblemConfig
    column = str(settings.get("column") or published.column)
    of_column = matching_test_column(column) if table == "nasbench201" else published.test_column
    return {"column": column, "test_column": str(settings.get("test_column") or of_column)}


def space_of_table(settings: Given, table: str | None, scores: str | None) -> dict[str, str]:
    """Return the space of the architectures of the table, or of scores in a table, where the user names none."""
    from jaxnas.run.inputs import is_table
    from jaxnas.run.tables import guess_space

    own = scores if scores is not None and is_table(Path(scores)) else None
    if "space" in settings or not (table or own):
        return {}
    return {"space": guess_space(str(table or own), ProblemConfig.space)}


def unknown_proxies(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that are not of proxies of jaxnas: columns of the given scores."""
    from jaxnas.proxies import PROXIES

    return tuple(name for name in names if name not in PROXIES)
