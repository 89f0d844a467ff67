"""The options that commands have in common: one name, one help and one completion for one thing."""

from pathlib import Path
from typing import Annotated

import typer

from jaxnas import names
from jaxnas.cli import completion
from jaxnas.cli.completion import one_of, some_of

SpaceArgument = Annotated[str, typer.Argument(help="Search space.", autocompletion=one_of(names.SpaceName))]
DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        help="digits, cifar10, cifar100, tiny16, or the path of an npz.",
        autocompletion=one_of(names.ImageName),
    ),
]
FolderOption = Annotated[
    Path | None,
    typer.Option("--data-folder", help="Folder of data sets; default JAXNAS_DATA, or ~/.cache/jaxnas/data."),
]
ProxiesOption = Annotated[
    str,
    typer.Option(
        help="Comma-separated proxies or sets, see `jaxnas proxies`; default: robot, or all of given scores of yours.",
        autocompletion=some_of(names.ProxyOrSet),
    ),
]
_AS_PUBLISHED = "of `train` and --preset paper as published"
ChannelsOption = Annotated[
    int | None, typer.Option(help=f"Channels of the first stage; default 8, {_AS_PUBLISHED}.", min=1)
]
CellsOption = Annotated[int | None, typer.Option(help=f"Cells per stage; default 1, {_AS_PUBLISHED}.", min=1)]
EpochsOption = Annotated[int | None, typer.Option(help=f"Epochs of a training; default 6, {_AS_PUBLISHED}.")]
BatchOption = Annotated[int, typer.Option("--batch-size", help="Images of the minibatch that proxies see.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything drawn at random.", min=0)]
OutOption = Annotated[Path | None, typer.Option(help="Folder to write, or to go on with; default: one in runs.")]

_scores = typer.Option(
    help="Search among those of this folder, file or address of scores, or of a shipped data set.",
    autocompletion=completion.shipped,
)
ScoresOption = Annotated[str, _scores]
OptionalScoresOption = Annotated[str | None, _scores]
_table = typer.Option(
    help="Where accuracies are looked up: nasbench201, or a CSV or Parquet file.",
    autocompletion=one_of(names.TableName),
)
TableOption = Annotated[str, _table]
OptionalTableOption = Annotated[str | None, _table]
ColumnOption = Annotated[
    str, typer.Option(help="Column of the table that is maximised; of nasbench201 default c10_valid_val_12.")
]
TestColumnOption = Annotated[
    str, typer.Option(help="Column of the table to report at the end; of nasbench201 default robot_c10_test.")
]
BudgetOption = Annotated[int | None, typer.Option(help="Architectures to train, or to look up; default 20.")]
PresetOption = Annotated[
    str,
    typer.Option(
        help="default, or paper: robot as published; `search darts` also with its pool, budget and training.",
        autocompletion=one_of(names.PresetName),
    ),
]
NormalizationOption = Annotated[
    str,
    typer.Option(help="minmax, rank, zrank, clip or log.", autocompletion=one_of(names.Normalization)),
]

CoordinatorOption = Annotated[
    str | None,
    typer.Option(help="HOST:PORT of process 0, where several processes score together without a launcher."),
]
NumProcessesOption = Annotated[int | None, typer.Option(help="How many processes those are.", min=1)]
ProcessIdOption = Annotated[int | None, typer.Option(help="Which of them this is, from 0 on.", min=0)]
EngineOption = Annotated[
    str,
    typer.Option(
        help="local, or ray: processes that may come and go (extra: ray).", autocompletion=one_of(names.Engine)
    ),
]
AddressOption = Annotated[
    str | None, typer.Option(help="HOST:PORT of a running Ray cluster, or auto; default: one on this machine.")
]
WorkersOption = Annotated[int | None, typer.Option(help="Workers of Ray; default: one on each core or GPU.", min=1)]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON instead, one object on each line of stdout and nothing else there.")
]


def columns_of(table: str | None, column: str, test_column: str) -> tuple[str, str]:
    """Columns to maximise and to report: those given, or of NAS-Bench-201 the published ones."""
    if table != "nasbench201":
        return column, test_column
    return column or "c10_valid_val_12", test_column or "robot_c10_test"
