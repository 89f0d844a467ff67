"""`jaxnas search` and `jaxnas compare`."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from jaxnas import names
from jaxnas.cli.completion import one_of, some_of
from jaxnas.cli.options import (
    AddressOption,
    BatchOption,
    BudgetOption,
    CellsOption,
    ChannelsOption,
    ColumnOption,
    DataOption,
    EngineOption,
    EpochsOption,
    FolderOption,
    JsonOption,
    NormalizationOption,
    OptionalScoresOption,
    OptionalTableOption,
    OutOption,
    PresetOption,
    ProxiesOption,
    ScoresOption,
    SeedOption,
    SpaceArgument,
    TableOption,
    TestColumnOption,
    WorkersOption,
    columns_of,
)
from jaxnas.cli.progress import emit, progress, warn
from jaxnas.cli.stop import keeping, stoppable, this_command
from jaxnas.cli.terminal import (
    comparison_table,
    configure_jax,
    console,
    print_run,
    split_names,
    split_numbers,
)


@stoppable()
def search(
    space: SpaceArgument = "nasbench201",
    data: DataOption = "digits",
    data_folder: FolderOption = None,
    method: Annotated[str, typer.Option(help="Search method.", autocompletion=one_of(names.MethodName))] = "robot",
    budget: BudgetOption = None,
    pool: Annotated[int | None, typer.Option(help="Architectures drawn and scored; default 1000.")] = None,
    scores: OptionalScoresOption = None,
    table: OptionalTableOption = None,
    column: ColumnOption = "",
    test_column: TestColumnOption = "",
    proxies: ProxiesOption = "",
    preset: PresetOption = "default",
    normalization: NormalizationOption = "minmax",
    channels: ChannelsOption = None,
    cells: CellsOption = None,
    batch_size: BatchOption = 64,
    epochs: EpochsOption = None,
    together: Annotated[
        int | None, typer.Option(help="Candidates trained at once; default: one on each core or accelerator.")
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            help="Run this method too, with the same budget: random.", autocompletion=one_of(names.MethodName)
        ),
    ] = None,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    at_once: Annotated[
        int | None,
        typer.Option(help="Candidates proposed before any of them is trained; of ray default: one for each worker."),
    ] = None,
    seed: SeedOption = 0,
    follow: Annotated[
        str,
        typer.Option(
            "--track",
            help="Log to the run folder for tensorboard, mlflow or both, comma-separated (extras of these names).",
            autocompletion=some_of(names.Tracker),
        ),
    ] = "",
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the best architecture of a pool with few trainings.

    The pool is scored with zero-cost proxies; the budget goes where the proxies, weighted for this task, point.

    \b
    Examples:
      jaxnas search
      jaxnas search --data cifar10 --channels 16 --compare random
      jaxnas search darts --data cifar10 --pool 300 --budget 10 --epochs 1
      jaxnas search --table nasbench201
      jaxnas search --track tensorboard,mlflow
      jaxnas search --data cifar10 --engine ray --workers 8
    """
    configure_jax(engine)
    from jaxnas.proxies import expand_names
    from jaxnas.report.tracking import how_to_look, track
    from jaxnas.run.config import run_config
    from jaxnas.run.run import run_record
    from jaxnas.run.search import search_images
    from jaxnas.runtime.workers import open_workers
    from jaxnas.scoring.engine import DEFAULT_PROXIES

    column, test_column = columns_of(table, column, test_column)
    config = run_config(
        space,
        cast(Any, preset),
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
    trackers = split_names(follow)
    tracking = track(trackers, folder)
    with keeping(folder), progress(as_json) as shown, open_workers(engine, address, workers, warn) as staff:
        if engine == "ray" and at_once is None and not table:
            config = replace(config, search=replace(config.search, at_once=staff.num_workers))
        run = search_images(
            config,
            folder,
            data_folder=data_folder,
            scores_path=scores,
            workers=None if engine == "local" else staff,
            events=shown.events().also(tracking),
        )._replace(command=this_command())
        run.save(folder)
    if as_json:
        return emit("done", out=str(folder), result=run_record(run))
    print_run(run)
    console.print(f"result.json and queries.parquet are in {folder}", soft_wrap=True, highlight=False)
    for command in (shlex.join(["jaxnas", "report", str(folder)]), *(how_to_look(name, folder) for name in trackers)):
        console.print(f"look at it with: {command}", soft_wrap=True, highlight=False, markup=False)


@stoppable()
def compare(
    methods: Annotated[
        str,
        typer.Option(
            help="Comma-separated search methods; all are compared with the first.",
            autocompletion=some_of(names.MethodName),
        ),
    ] = "robot,rea,random",
    scores: ScoresOption = "cifar10",
    table: TableOption = "nasbench201",
    column: ColumnOption = "",
    longer: Annotated[
        str, typer.Option(help="Comma-separated columns of longer training, for hyperband and bohb.")
    ] = "",
    prices: Annotated[str, typer.Option(help="What one of each costs, in queries of --column, such as 17.")] = "",
    test_column: TestColumnOption = "",
    space: SpaceArgument = "nasbench201",
    proxies: ProxiesOption = "",
    preset: PresetOption = "default",
    normalization: NormalizationOption = "minmax",
    budget: BudgetOption = None,
    seeds: Annotated[int, typer.Option(help="Seeds of every method.", min=1)] = 100,
    first_seed: Annotated[int, typer.Option(help="The first of them.", min=0)] = 0,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    data_folder: FolderOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare search methods on a table of accuracies, with the same seeds and budget.

    What is finished is kept in the folder: after Ctrl-C the same command goes on, more seeds or methods only add.

    \b
    Examples:
      jaxnas compare --methods robot,rea,random --scores cifar10 --table nasbench201 --seeds 100
      jaxnas compare --methods robot,bohb --budget 100 --longer c10_valid_val_200 --prices 17
    """
    configure_jax(engine)
    from jaxnas.report import save_comparison
    from jaxnas.run.comparison import compare_methods
    from jaxnas.run.config import CompareConfig
    from jaxnas.runtime.workers import open_workers

    column, test_column = columns_of(table, column, test_column)
    config = CompareConfig(
        space=space,
        scores=scores,
        proxies=split_names(proxies),
        preset=cast(Any, preset),
        normalization=cast(Any, normalization),
        table=table,
        column=column,
        longer=split_names(longer),
        prices=split_numbers(prices),
        test_column=test_column,
        budget=20 if budget is None else budget,
    )
    folder = out or Path("runs", "compare")
    names = split_names(methods)
    with keeping(folder), progress(as_json) as shown, open_workers(engine, address, workers, warn) as staff:
        comparison = compare_methods(
            names,
            config,
            range(first_seed, first_seed + seeds),
            folder,
            data_folder=data_folder,
            workers=staff,
            on_seeds=shown.compared,
        )
        picture = save_comparison(folder, comparison)
    if as_json:
        return emit("done", out=str(folder), result=comparison.rows())
    console.print(comparison_table(comparison.rows()))
    files = "comparison.json and comparison.png are" if picture else "comparison.json is"
    hint = "" if picture else "; install jaxnas[plot] for the picture"
    console.print(f"{files} in {folder}{hint}", soft_wrap=True, highlight=False)
