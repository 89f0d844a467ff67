"""The command `jaxnas`: parses, shows progress, prints. Everything it does is a call of the library."""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from jaxnas.errors import InputError
from jaxnas.terminal import configure_jax, console, print_data, print_run, progress, score_table, split_names, status

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
data_app = typer.Typer(rich_markup_mode=None)
app.add_typer(data_app, name="data")

SpaceOption = Annotated[str, typer.Option("--space", help="Search space.")]
DataOption = Annotated[str, typer.Option("--data", help="digits, cifar10, cifar100, tiny16, or the path of an npz.")]
FolderOption = Annotated[
    Path | None,
    typer.Option("--data-folder", help="Folder of data sets; default JAXNAS_DATA, or ~/.cache/jaxnas/data."),
]
ProxiesOption = Annotated[str, typer.Option(help="Comma-separated proxies; default: the six of RoBoT.")]
ChannelsOption = Annotated[int, typer.Option(help="Channels of the first stage (16 at full size).", min=1)]
CellsOption = Annotated[int, typer.Option(help="Cells per stage (5 at full size).", min=1)]
BatchOption = Annotated[int, typer.Option("--batch-size", help="Images of the minibatch that proxies see.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything drawn at random.", min=0)]


def main() -> None:
    """Run the command line: an InputError becomes one line on stderr and exit code 2."""
    try:
        app()
    except InputError as error:
        status.print(f"error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Training-free neural architecture search on JAX."""
    if show_version:
        console.print(version("jaxnas"), highlight=False)
        raise typer.Exit
    if context.invoked_subcommand is None:
        console.print(context.get_help(), markup=False, highlight=False)


@app.command()
def score(
    out: Annotated[Path, typer.Option(help="Parquet file to write, or to go on with.")] = Path("scores.parquet"),
    space: SpaceOption = "nasbench201",
    data: DataOption = "digits",
    data_folder: FolderOption = None,
    sample: Annotated[int, typer.Option(help="Score this many architectures, drawn at random.")] = 1000,
    everything: Annotated[bool, typer.Option("--all", help="Score the whole space instead.")] = False,
    archs: Annotated[Path | None, typer.Option(help="Score those of a text file instead, one on each line.")] = None,
    proxies: ProxiesOption = "",
    channels: ChannelsOption = 8,
    cells: CellsOption = 1,
    batch_size: BatchOption = 64,
    seed: SeedOption = 0,
) -> None:
    """Score architectures at initialisation with zero-cost proxies.

    \b
    Example:
      jaxnas score --data cifar10 --channels 16 --cells 5 --all --out nb201-cifar10.parquet
    """
    configure_jax()
    from jaxnas import pipeline, spaces
    from jaxnas.store import score_to_file

    search_space = spaces.get_space(space)
    names = split_names(proxies)
    if archs is not None:
        pool = spaces.read_archs(archs, search_space)
    else:
        pool = spaces.enumerate_archs(search_space) if everything else spaces.sample(search_space, sample, seed)
    images = pipeline.load_standardized(data, data_folder)
    network = pipeline.make_network(space, images, channels, cells)
    batch = pipeline.make_batch(images, batch_size, seed)
    with progress() as bars:
        events = bars.events()
        events.on_stage("scoring")
        scores = score_to_file(
            out, search_space, network, pool, batch, names, data_name=data, seed=seed, on_chunk=events.on_scored
        )
    console.print(score_table(scores))
    console.print(f"{len(scores.archs)} architectures in {out}", soft_wrap=True, highlight=False)


@app.command()
def search(
    space: SpaceOption = "nasbench201",
    data: DataOption = "digits",
    data_folder: FolderOption = None,
    method: Annotated[str, typer.Option(help="Search method.")] = "robot",
    budget: Annotated[int, typer.Option(help="Architectures to train, or to look up.")] = 20,
    pool: Annotated[int, typer.Option(help="Architectures drawn from the space and scored.")] = 1000,
    scores: Annotated[Path | None, typer.Option(help="Search among those of this score file instead.")] = None,
    table: Annotated[
        str | None, typer.Option(help="Look accuracies up instead of training: nasbench201, or a CSV or Parquet file.")
    ] = None,
    column: Annotated[str, typer.Option(help="Column of the table that the search maximises.")] = "",
    test_column: Annotated[str, typer.Option(help="Column of the table to report at the end.")] = "",
    proxies: ProxiesOption = "",
    normalization: Annotated[str, typer.Option(help="minmax, rank or zrank.")] = "minmax",
    channels: ChannelsOption = 8,
    cells: CellsOption = 1,
    batch_size: BatchOption = 64,
    epochs: Annotated[int | None, typer.Option(help="Training epochs of a candidate.")] = None,
    compare: Annotated[str | None, typer.Option(help="Run this method too, with the same budget: random.")] = None,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/SPACE-DATA-seedN.")] = None,
) -> None:
    """Find the best architecture of a pool with few trainings.

    The pool is scored with zero-cost proxies; the budget goes where the proxies, weighted for this task, point.

    \b
    Examples:
      jaxnas search
      jaxnas search --data cifar10 --channels 16 --compare random
      jaxnas search --table nasbench201 --column c10_valid_val_12 --test-column robot_c10_test
    """
    configure_jax()
    from jaxnas.objectives.training import TrainingConfig
    from jaxnas.pipeline import RunConfig, search_images
    from jaxnas.report import save_run

    config = RunConfig(
        space=space,
        data=data,
        channels=channels,
        cells_per_stage=cells,
        proxies=split_names(proxies),
        batch_size=batch_size,
        pool=pool,
        normalization=normalization,
        method=method,
        budget=budget,
        compare=compare,
        table=table,
        column=column,
        test_column=test_column,
        training=TrainingConfig(seed=seed) if epochs is None else TrainingConfig(seed=seed, epochs=epochs),
        seed=seed,
    )
    folder = out or Path("runs", f"{space}-{Path(table or data).stem}-seed{seed}")
    with progress() as bars:
        run = search_images(config, folder, data_folder=data_folder, scores_path=scores, events=bars.events())
    save_run(folder, run)
    print_run(run)
    console.print(f"result.json, queries.parquet and scores.parquet are in {folder}", soft_wrap=True, highlight=False)


@data_app.callback(invoke_without_command=True)
def data(context: typer.Context, data_folder: FolderOption = None) -> None:
    """List public tables and image sets; get one.

    Of each: what it is, size, licence, public address, where it is looked for, present or not.
    """
    from jaxnas.catalogue import list_data

    if context.invoked_subcommand is None:
        print_data(list_data(data_folder))


@data_app.command()
def get(
    name: Annotated[str, typer.Argument(help="Name of the data set, see `jaxnas data`.")],
    data_folder: FolderOption = None,
    address: Annotated[str | None, typer.Option(help="Another server's folder that has the files.")] = None,
) -> None:
    """Download a data set into the data folder, with its checksum verified.

    \b
    Example:
      jaxnas data get cifar10
    """
    from jaxnas.catalogue import download

    with progress() as bars:
        path = download(name, data_folder, bars.downloaded, address)
    console.print(f"{name} is in {path}", soft_wrap=True, highlight=False)
