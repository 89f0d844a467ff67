"""`jaxnas score`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxnas.cli.command import Given, only, takes
from jaxnas.cli.options import DataOptions, PluginOptions, VerboseOptions, WorkerOptions
from jaxnas.cli.progress import NullReporter, emit, progress
from jaxnas.cli.stop import keeping, stoppable
from jaxnas.cli.terminal import configure_jax, console, print_estimate, score_table
from jaxnas.errors import InputError
from jaxnas.run.config import RunConfig, run_config
from jaxnas.run.sections import ABOUT_PIXELS, NetworkConfig, ProblemConfig, SearchConfig
from jaxnas.runtime.bars import show_note, status, warn
from jaxnas.runtime.events import StageStarted
from jaxnas.runtime.names import Task
from jaxnas.runtime.settings import setting
from jaxnas.scoring.config import ScoringConfig

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int8

    from jaxnas.data.batch import Batch
    from jaxnas.networks import SearchNetwork
    from jaxnas.spaces import SearchSpace


SAMPLE = 1000  # architectures scored by default


class ScoringJob(NamedTuple):
    """The arguments of `fill_store` and `estimate`, in their order.

    Attributes:
      out: folder or address of the store.
      space: search space.
      network: network of the space.
      archs: architectures to score.
      batch: minibatch that the proxies see.
      proxies: names of the proxies.
      config: settings of scoring.
    """

    out: str
    space: "SearchSpace"
    network: "SearchNetwork"
    archs: "Int8[np.ndarray, 'A D']"
    batch: "Batch"
    proxies: tuple[str, ...]
    config: ScoringConfig


@dataclass(frozen=True)
class PoolOptions:
    """The architectures to score, and the task and size of the images."""

    sample: int | None = setting(
        None, "Score this many architectures, drawn at random.", "Budget", minimum=1, shown=f"{SAMPLE}"
    )
    everything: bool = setting(False, "Score the whole space instead.", "Budget", flag="--all")
    archs: Path | None = setting(None, "Score those of a text file instead, one on each line.", "Budget")
    task: Task | None = setting(
        None, "Task of TransNAS-Bench-101, whose head and labels replace those of the data.", shown="that of the data"
    )
    pixels: int | None = setting(None, ABOUT_PIXELS, "Data", minimum=1, shown="as they are")

    def __post_init__(self) -> None:
        """Check that at most one option chooses the architectures."""
        choosing = {"--sample": self.sample is not None, "--all": self.everything, "--archs": self.archs is not None}
        if len(given := [flag for flag, is_given in choosing.items() if is_given]) > 1:
            raise InputError(f"{' and '.join(given)} exclude each other: give one of them")


@dataclass(frozen=True)
class ProcessOptions:
    """The place of this process in a job of several processes."""

    coordinator: str | None = setting(
        None, "HOST:PORT of process 0, where several processes score together without a launcher.", "Hardware"
    )
    num_processes: int | None = setting(None, "How many processes score together.", "Hardware", minimum=1)
    process_id: int | None = setting(None, "Which of them this is, counted from 0.", "Hardware", minimum=0)


@dataclass(frozen=True)
class PlanOptions:
    """The plan of a job that is not run."""

    plan: bool = setting(False, "Print what the job will take, and run nothing.", "Output")
    devices: int | None = setting(None, "Devices of the planned job.", "Hardware", minimum=1, shown="those here")
    throughput: float | None = setting(
        None, "Architectures a second of one device, for the plan.", "Hardware", shown="as the store was filled"
    )


@dataclass(frozen=True)
class ScoreOutput(VerboseOptions):
    """The folder of scores."""

    out: str = setting(
        "scores",
        "Folder to write, also an address such as s3://bucket/folder; a stopped job resumes there.",
        "Output",
        place=True,
    )


@takes(
    *("data", "proxies", "out"),
    settings=(
        only(ProblemConfig, "space", "data"),
        only(SearchConfig, "proxies", "batch_size"),
        NetworkConfig,
        ScoringConfig,
        only(RunConfig, "seed"),
    ),
    pool=PoolOptions,
    plugins=PluginOptions,
    data=DataOptions,
    processes=ProcessOptions,
    hardware=WorkerOptions,
    planned=PlanOptions,
    output=ScoreOutput,
)
@stoppable()
def score(
    settings: Given,
    pool: PoolOptions,
    plugins: PluginOptions,
    data: DataOptions,
    processes: ProcessOptions,
    hardware: WorkerOptions,
    planned: PlanOptions,
    output: ScoreOutput,
) -> None:
    """Score architectures at initialisation with zero-cost proxies.

    The folder is a store that grows and resumes; when all is scored, its scores.parquet is one table for any reader.

    \b
    Examples:
      jaxnas score --data cifar10 --channels 16 --cells 5 --all --out cifar10
      jaxnas score transnas101-micro --task jigsaw --pixels 64 --all --out jigsaw
      jaxnas score --all --coordinator node0:9876 --num-processes 4 --process-id 1
      jaxnas score --all --out s3://bucket/nb201 --engine ray --address auto
      jaxnas score --all --channels 16 --plan --devices 32 --throughput 20
    """
    configure_jax(hardware.engine, verbose=output.verbose)
    from jaxnas import spaces
    from jaxnas.proxies import expand_names
    from jaxnas.run.inputs import load_standardized, make_batch, make_network
    from jaxnas.runtime import distributed
    from jaxnas.store.estimate import estimate

    joined = (processes.coordinator, processes.num_processes, processes.process_id)
    if hardware.engine != "local" and joined != distributed.NEVER_JOINED:
        raise InputError(
            "--engine ray starts its processes by itself; leave --coordinator, --num-processes and --process-id out"
        )
    if hardware.engine == "local" and not planned.plan and distributed.join(*joined):
        status.print(distributed.describe(), highlight=False, soft_wrap=True)
    plugins.load()
    config = run_config(**{**settings, "proxies": expand_names(settings.get("proxies", ())) or None})
    problem, network, task = config.problem, config.network, pool.task or ""
    space = spaces.get_space(problem.space)
    archs = _choose(space, pool, config.seed)
    decoded = pool.pixels if Path(problem.data).is_dir() else None  # pictures at that size, arrays by `make_batch`
    images = load_standardized(problem.data, data.data_folder, pixels=decoded, on_event=show_note)
    job = ScoringJob(
        output.out,
        space,
        make_network(problem.space, images, network.channels, network.cells_per_stage, task),
        archs,
        make_batch(images, config.search.batch_size, config.seed, task, pool.pixels),
        config.search.scored,
        config.scoring,
    )
    data_name = f"{task} of {images.name}" if task else images.name
    if not planned.plan:
        return _fill(job, data_name, hardware, output)
    if planned.throughput is not None and not planned.throughput > 0:
        raise InputError(f"`throughput` must be above 0 architectures a second, got {planned.throughput}")
    plan = estimate(
        *job,
        data_name=data_name,
        devices=planned.devices,
        throughput=planned.throughput,
        processes=processes.num_processes or hardware.workers or 1,
    )
    print(json.dumps(plan._asdict())) if output.as_json else print_estimate(plan)


def _choose(space: "SearchSpace", pool: PoolOptions, seed: int) -> "Int8[np.ndarray, 'A D']":
    """Return the architectures to score."""
    from jaxnas import spaces

    if pool.archs is not None:
        return spaces.read_archs(pool.archs, space)
    return spaces.enumerate_archs(space) if pool.everything else spaces.sample(space, pool.sample or SAMPLE, seed)


def _fill(job: ScoringJob, data_name: str, hardware: WorkerOptions, output: ScoreOutput) -> None:
    """Score what the store does not have, write one table, and print a summary."""
    from jaxnas.runtime import distributed
    from jaxnas.runtime.places import without_secrets
    from jaxnas.runtime.timing import Stopwatch
    from jaxnas.runtime.workers import open_workers
    from jaxnas.store.folders import file_in
    from jaxnas.store.store import collect_scores, fill_store
    from jaxnas.store.tables import read_score_table, write_score_table

    watch = Stopwatch()
    with (
        keeping(job.out),
        progress(output.as_json) as shown,
        open_workers(hardware.engine, hardware.address, hardware.workers, warn) as staff,
        watch.stage("scoring"),
    ):
        on_event = shown if distributed.is_leader() else NullReporter()
        on_event(StageStarted("scoring"))
        fill_store(
            *job,
            data_name=data_name,
            workers=None if hardware.engine == "local" else staff,
            on_event=on_event,
        )
    if not distributed.is_leader():
        return
    write_score_table(file_in(job.out, "scores.parquet"), read_score_table(job.out))
    compiling, scoring = (round(watch.seconds[stage], 3) for stage in ("compiling", "scoring"))
    place = without_secrets(job.out)
    if output.as_json:
        emit("done", seconds=compiling + scoring, compile_s=compiling, architectures=len(job.archs), out=place)
    else:
        console.print(score_table(collect_scores(job.out, job.space, job.archs, job.proxies)))
        line = f"{len(job.archs)} architectures in {place}; compiling {compiling:.1f} s, scoring {scoring:.1f} s"
        console.print(line, soft_wrap=True, highlight=False)
