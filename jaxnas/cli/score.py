"""`jaxnas score`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxnas import names
from jaxnas.cli.completion import one_of
from jaxnas.cli.options import (
    AddressOption,
    BatchOption,
    CellsOption,
    ChannelsOption,
    CoordinatorOption,
    DataOption,
    EngineOption,
    FolderOption,
    JsonOption,
    NumProcessesOption,
    ProcessIdOption,
    ProxiesOption,
    SeedOption,
    SpaceArgument,
    WorkersOption,
)
from jaxnas.cli.progress import Silence, emit, progress, status, warn
from jaxnas.cli.stop import keeping, stoppable
from jaxnas.cli.terminal import configure_jax, console, print_estimate, score_table, split_names
from jaxnas.errors import InputError


@stoppable()
def score(
    out: Annotated[
        str, typer.Option(help="Folder to write, or to go on with; also an address, such as s3://bucket/folder.")
    ] = "scores",
    space: SpaceArgument = "nasbench201",
    data: DataOption = "digits",
    data_folder: FolderOption = None,
    sample: Annotated[int, typer.Option(help="Score this many architectures, drawn at random.")] = 1000,
    everything: Annotated[bool, typer.Option("--all", help="Score the whole space instead.")] = False,
    archs: Annotated[Path | None, typer.Option(help="Score those of a text file instead, one on each line.")] = None,
    proxies: ProxiesOption = "",
    channels: ChannelsOption = None,
    cells: CellsOption = None,
    batch_size: BatchOption = 64,
    task: Annotated[
        str,
        typer.Option(
            help="Task of TransNAS-Bench-101, such as jigsaw: its head and labels instead of the data's.",
            autocompletion=one_of(names.Task),
        ),
    ] = "",
    pixels: Annotated[
        int | None, typer.Option(help="Resize images to this height and width; default: as they are.", min=1)
    ] = None,
    seed: SeedOption = 0,
    init: Annotated[
        str,
        typer.Option(
            help="Params: shared, one draw for all, or independent, one for each.",
            autocompletion=one_of(names.Init),
        ),
    ] = "shared",
    precision: Annotated[
        str,
        typer.Option(
            help="Of convolutions: float32, tensorfloat32 or bfloat16.", autocompletion=one_of(names.Precision)
        ),
    ] = "float32",
    strategy: Annotated[
        str,
        typer.Option(
            help="loop, grouped, or auto: loop on CPUs, grouped elsewhere.",
            autocompletion=one_of(names.Strategy),
        ),
    ] = "auto",
    memory: Annotated[
        float | None, typer.Option(help="GB of a device that grouped scoring may take; default: most of what is free.")
    ] = None,
    coordinator: CoordinatorOption = None,
    num_processes: NumProcessesOption = None,
    process_id: ProcessIdOption = None,
    engine: EngineOption = "local",
    address: AddressOption = None,
    workers: WorkersOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print what the job will take, and run nothing.")] = False,
    devices: Annotated[int | None, typer.Option(help="Of the planned job; default: those here.", min=1)] = None,
    throughput: Annotated[
        float | None,
        typer.Option(help="Architectures a second of one device, for the plan; default: as the store was filled."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score architectures at initialisation with zero-cost proxies.

    The folder is a store that grows and resumes; when all is scored, its scores.parquet is one table for any reader.

    \b
    Examples:
      jaxnas score --data cifar10 --channels 16 --cells 5 --all --out nb201-cifar10
      jaxnas score transnas101-micro --task jigsaw --data cifar10 --pixels 64 --cells 2 --all --out jigsaw
      jaxnas score --all --out shared/nb201 --coordinator node0:9876 --num-processes 4 --process-id 1
      jaxnas score --all --out s3://bucket/nb201 --engine ray --address auto
      jaxnas score --all --channels 16 --cells 5 --plan --devices 32 --strategy grouped --memory 14 --throughput 20
    """
    configure_jax(engine)
    from jaxnas import spaces
    from jaxnas.proxies import expand_names
    from jaxnas.run import search as pipeline
    from jaxnas.runtime import distributed
    from jaxnas.runtime.timing import Stopwatch
    from jaxnas.runtime.workers import open_workers
    from jaxnas.scoring.config import ScoringConfig
    from jaxnas.scoring.engine import DEFAULT_PROXIES
    from jaxnas.store.estimate import estimate
    from jaxnas.store.folders import file_in, without_secrets
    from jaxnas.store.store import collect_scores, fill_store, read_score_table, write_score_table

    if engine != "local" and (coordinator, num_processes, process_id) != distributed.NEVER_JOINED:
        raise InputError("--engine ray brings its own processes: leave --coordinator and the like out")
    if engine == "local" and not plan and distributed.join(coordinator, num_processes, process_id):
        status.print(distributed.describe(), highlight=False, soft_wrap=True)
    search_space = spaces.get_space(space)
    names = expand_names(split_names(proxies)) or DEFAULT_PROXIES
    if archs is not None:
        pool = spaces.read_archs(archs, search_space)
    else:
        pool = spaces.enumerate_archs(search_space) if everything else spaces.sample(search_space, sample, seed)
    images = pipeline.load_standardized(data, data_folder)
    network = pipeline.make_network(space, images, channels or 8, cells or 1, task)
    batch = pipeline.make_batch(images, batch_size, seed, task, pixels)
    options: dict[str, Any] = dict(init=init, precision=precision, strategy=strategy, memory=memory)
    config = ScoringConfig(seed=seed, **options)
    job, data_name = (out, search_space, network, pool, batch, names, config), f"{task} of {data}" if task else data
    if plan:
        if throughput is not None and not throughput > 0:
            raise InputError(f"throughput {throughput} is no pace: give architectures a second, more than 0")
        found = estimate(
            *job,
            data_name=data_name,
            devices=devices,
            throughput=throughput,
            processes=num_processes or workers or 1,
        )
        print(json.dumps(found._asdict())) if as_json else print_estimate(found)
        return
    watch = Stopwatch()
    with (
        keeping(out),
        progress(as_json) as shown,
        open_workers(engine, address, workers, warn) as staff,
        watch.stage("scoring"),
    ):
        show = shown if distributed.is_leader() else Silence()
        show.start("scoring")
        fill_store(
            *job,
            data_name=data_name,
            workers=None if engine == "local" else staff,
            on_chunk=show.scored,
            on_damaged=show.damaged,
        )
    if not distributed.is_leader():
        return
    write_score_table(file_in(out, "scores.parquet"), read_score_table(out))
    compiling, scoring = (round(watch.seconds[stage], 3) for stage in ("compiling", "scoring"))
    if as_json:
        emit(
            "done", seconds=compiling + scoring, compile_s=compiling, architectures=len(pool), out=without_secrets(out)
        )
    else:
        console.print(score_table(collect_scores(out, search_space, pool, names)))
        line = (
            f"{len(pool)} architectures in {without_secrets(out)}; compiling {compiling:.1f} s, scoring {scoring:.1f} s"
        )
        console.print(line, soft_wrap=True, highlight=False)
