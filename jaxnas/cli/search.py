"""`jaxnas search`, `train` and `compare`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from jaxnas.cli.options import (
    AddressOption,
    BatchOption,
    DataOption,
    EngineOption,
    FolderOption,
    ProxiesOption,
    SeedOption,
    SpaceArgument,
    WorkersOption,
    stoppable,
)
from jaxnas.progress import progress, warn
from jaxnas.terminal import (
    comparison_table,
    configure_jax,
    console,
    print_run,
    print_trained,
    split_names,
    split_numbers,
)


@stoppable()
def search(
    space: SpaceArgument = "nasbench201",
    data: DataOption = "digits",
    data_folder: FolderOption = None,
    method: Annotated[str, typer.Option(help="Search method.")] = "robot",
    budget: Annotated[int | None, typer.Option(help="Architectures to train, or to look up; default 20.")] = None,
    pool: Annotated[int | None, typer.Option(help="Architectures drawn and scored; default 1000.")] = None,
    scores: Annotated[
        str | None,
        typer.Option(help="Search among those of this folder, file or address of scores, or of a shipped data set."),
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="Look accuracies up instead of training: nasbench201, or a CSV or Parquet file.")
    ] = None,
    column: Annotated[str, typer.Option(help="Column of the table that the search maximises.")] = "",
    test_column: Annotated[str, typer.Option(help="Column of the table to report at the end.")] = "",
    proxies: ProxiesOption = "",
    preset: Annotated[
        str, typer.Option(help="default, or paper: robot as published, of darts also pool, budget and training.")
    ] = "default",
    normalization: Annotated[str, typer.Option(help="minmax, rank, zrank, clip or log.")] = "minmax",
    channels: Annotated[int | None, typer.Option(help="Channels of the first stage; default 8.", min=1)] = None,
    cells: Annotated[int | None, typer.Option(help="Cells per stage; default 1.", min=1)] = None,
    batch_size: BatchOption = 64,
    epochs: Annotated[int | None, typer.Option(help="Training epochs of a candidate; default 6.")] = None,
    together: Annotated[
        int | None, typer.Option(help="Candidates trained at once; default: one on each core or accelerator.")
    ] = None,
    compare: Annotated[str | None, typer.Option(help="Run this method too, with the same budget: random.")] = None,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    at_once: Annotated[
        int | None,
        typer.Option(help="Candidates proposed before any of them is trained; of ray default: one for each worker."),
    ] = None,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option(help="Run folder; default runs/SPACE-DATA-seedN.")] = None,
) -> None:
    """Find the best architecture of a pool with few trainings.

    The pool is scored with zero-cost proxies; the budget goes where the proxies, weighted for this task, point.

    \b
    Examples:
      jaxnas search
      jaxnas search --data cifar10 --channels 16 --compare random
      jaxnas search darts --data cifar10 --pool 300 --budget 10 --epochs 1
      jaxnas search --table nasbench201 --column c10_valid_val_12 --test-column robot_c10_test
      jaxnas search --data cifar10 --engine ray --workers 8
    """
    configure_jax(engine)
    from jaxnas.pipeline import search_images
    from jaxnas.proxies import expand_names
    from jaxnas.run import run_config
    from jaxnas.scoring import DEFAULT_PROXIES
    from jaxnas.workers import open_workers

    config = run_config(
        space,
        preset,
        epochs=epochs,
        seed=seed,
        together=together,
        data=data,
        channels=channels,
        cells_per_stage=cells,
        proxies=expand_names(split_names(proxies)) or DEFAULT_PROXIES,
        batch_size=batch_size,
        pool=pool,
        normalization=normalization,
        method=method,
        budget=budget,
        compare=compare,
        table=table,
        column=column,
        test_column=test_column,
        at_once=at_once,
    )
    folder = out or Path("runs", f"{space}-{Path(table or data).stem}-seed{seed}")
    with progress() as bars, open_workers(engine, address, workers, warn) as staff:
        if engine == "ray" and at_once is None and not table:
            config = replace(config, at_once=staff.num_workers)
        run = search_images(
            config,
            folder,
            data_folder=data_folder,
            scores_path=scores,
            workers=None if engine == "local" else staff,
            events=bars.events(),
        )
    run.save(folder)
    print_run(run)
    console.print(f"result.json and queries.parquet are in {folder}", soft_wrap=True, highlight=False)


@stoppable()
def train(
    arch: Annotated[str, typer.Argument(help="Architecture, such as a genotype, or the folder of a search.")],
    space: Annotated[str, typer.Option(help="Its space; default: the one that can read it.")] = "",
    data: DataOption = "cifar10",
    data_folder: FolderOption = None,
    channels: Annotated[int | None, typer.Option(help="Channels of the first stage; of darts 36.", min=1)] = None,
    cells: Annotated[int | None, typer.Option(help="Cells per stage; of darts 6, which are 20 layers.", min=1)] = None,
    epochs: Annotated[int | None, typer.Option(help="Of darts 600.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Of darts 96.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the first step; of darts 0.025.")] = None,
    cutout: Annotated[int | None, typer.Option(help="Side of the square cut out of images; of darts 16.")] = None,
    drop_path: Annotated[float | None, typer.Option(help="Rate at the end; of darts 0.2.")] = None,
    auxiliary_weight: Annotated[float | None, typer.Option(help="Of the second head; of darts 0.4.")] = None,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option(help="Folder to write, or to go on with; default runs/train-...")] = None,
) -> None:
    """Train one architecture on all training images by the published recipe of its space, and test it.

    Checkpoints come every minute: after Ctrl-C or a kill the same command goes on.

    \b
    Examples:
      jaxnas train runs/darts-cifar10-seed0
      jaxnas train "Genotype(normal=[('sep_conv_3x3', 0), ...], ...)" --epochs 20 --channels 16 --cells 2
    """
    configure_jax()
    from jaxnas.report import save_trained
    from jaxnas.train import train_arch, train_config

    config = train_config(
        arch,
        space,
        data,
        network={"channels": channels, "cells_per_stage": cells},
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        cutout=cutout,
        drop_path=drop_path,
        auxiliary_weight=auxiliary_weight,
        seed=seed,
    )
    folder = out or Path("runs", f"train-{config.space}-{Path(data).stem}-seed{seed}")
    with progress() as bars:
        bars.start("training")
        trained = train_arch(config, folder, data_folder=data_folder, on_progress=lambda at: bars.trained([0], at))
    save_trained(folder, trained)
    print_trained(trained)
    console.print(f"result.json and the checkpoint are in {folder}", soft_wrap=True, highlight=False)


@stoppable()
def compare(
    methods: Annotated[str, typer.Option(help="Comma-separated search methods; all are compared with the first.")] = (
        "robot,rea,random"
    ),
    scores: Annotated[str, typer.Option(help="Data set of shipped scores, or a folder or file of scores.")] = "cifar10",
    table: Annotated[str, typer.Option(help="Accuracies: nasbench201, or a CSV or Parquet file.")] = "nasbench201",
    column: Annotated[
        str, typer.Option(help="Column that the search maximises; of nasbench201 default c10_valid_val_12.")
    ] = "",
    longer: Annotated[
        str, typer.Option(help="Comma-separated columns of longer training, for hyperband and bohb.")
    ] = "",
    prices: Annotated[str, typer.Option(help="What one of each costs, in queries of --column, such as 17.")] = "",
    test_column: Annotated[
        str, typer.Option(help="Column to report; default that of the search, of nasbench201 robot_c10_test.")
    ] = "",
    space: SpaceArgument = "nasbench201",
    proxies: Annotated[
        str, typer.Option(help="Comma-separated proxies or sets; default: all that the scores have.")
    ] = "",
    preset: Annotated[str, typer.Option(help="Settings of robot: default, or paper for the published protocol.")] = (
        "default"
    ),
    normalization: Annotated[str, typer.Option(help="minmax, rank, zrank, clip or log.")] = "minmax",
    budget: Annotated[int, typer.Option(help="Queries of a search.")] = 20,
    seeds: Annotated[int, typer.Option(help="Seeds of every method.", min=1)] = 100,
    first_seed: Annotated[int, typer.Option(help="The first of them.", min=0)] = 0,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    data_folder: FolderOption = None,
    out: Annotated[Path, typer.Option(help="Folder to write, or to go on with.")] = Path("runs", "compare"),
) -> None:
    """Compare search methods on a table of accuracies, with the same seeds and budget.

    What is finished is kept in the folder: after Ctrl-C the same command goes on, more seeds or methods only add.

    \b
    Examples:
      jaxnas compare --methods robot,rea,random --scores cifar10 --table nasbench201 --seeds 100
      jaxnas compare --methods robot,bohb --budget 100 --longer c10_valid_val_200 --prices 17
    """
    configure_jax(engine)
    from jaxnas.comparison import CompareConfig, compare_methods
    from jaxnas.report import save_comparison
    from jaxnas.workers import open_workers

    if table == "nasbench201":
        column, test_column = column or "c10_valid_val_12", test_column or "robot_c10_test"
    config = CompareConfig(
        space=space,
        scores=scores,
        proxies=split_names(proxies),
        preset=preset,
        normalization=normalization,
        table=table,
        column=column,
        longer=split_names(longer),
        prices=split_numbers(prices),
        test_column=test_column,
        budget=budget,
    )
    names = split_names(methods)
    with progress() as bars, open_workers(engine, address, workers, warn) as staff:
        comparison = compare_methods(
            names,
            config,
            range(first_seed, first_seed + seeds),
            out,
            data_folder=data_folder,
            workers=staff,
            on_seeds=lambda method, done, total: bars.advance(f"{method}: seeds", done, total),
        )
    picture = save_comparison(out, comparison)
    console.print(comparison_table(comparison.rows()))
    files = "comparison.json and comparison.png are" if picture else "comparison.json is"
    hint = "" if picture else "; install jaxnas[plot] for the picture"
    console.print(f"{files} in {out}{hint}", soft_wrap=True, highlight=False)
