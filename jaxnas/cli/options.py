"""The options that commands have beside the settings of the library: where data lie, who computes, what is written."""

from dataclasses import dataclass
from pathlib import Path

from jaxnas.cli.command import Given
from jaxnas.names import Engine
from jaxnas.run.config import CompareConfig
from jaxnas.run.sections import ProblemConfig
from jaxnas.runtime.settings import setting


@dataclass(frozen=True)
class DataOptions:
    """Where data sets lie."""

    data_folder: Path | None = setting(
        None, "Folder of data sets.", "Data", shown="the variable JAXNAS_DATA, or ~/.cache/jaxnas/data"
    )


@dataclass(frozen=True)
class WorkerOptions:
    """Who scores and trains."""

    engine: Engine = setting("local", "Work in this process, or in those of Ray (extra: ray).", "Hardware")
    address: str | None = setting(
        None, "HOST:PORT of a running Ray cluster, or auto.", "Hardware", shown="a cluster on this machine"
    )
    workers: int | None = setting(None, "Workers of Ray.", "Hardware", minimum=1, shown="one on each core or GPU")


@dataclass(frozen=True)
class JsonOptions:
    """How results are printed."""

    as_json: bool = setting(
        False, "Print JSON objects, one on each line of stdout, instead of text.", "Output", flag="--json"
    )


@dataclass(frozen=True)
class OutputOptions(JsonOptions):
    """Where results are written, and how they are printed."""

    out: Path | None = setting(
        None, "Folder to write; a stopped job resumes there.", "Output", shown="a folder in runs"
    )


def columns_of(table: str | None, settings: Given) -> dict[str, str]:
    """Return the columns to maximise and to report: those given, or the published ones of NAS-Bench-201."""
    published = CompareConfig if table == "nasbench201" else ProblemConfig
    return {name: settings.get(name) or getattr(published, name) for name in ("column", "test_column")}
