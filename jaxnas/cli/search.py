"""`jaxnas search` and `jaxnas compare`."""

import shlex
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jaxnas.cli.command import Given, only, takes
from jaxnas.cli.completion import shipped
from jaxnas.cli.idle import refuse_idle, refuse_idle_in_comparison
from jaxnas.cli.options import (
    DataOptions,
    OutputOptions,
    PluginOptions,
    WorkerOptions,
    columns_of,
    space_of_table,
    unknown_proxies,
)
from jaxnas.cli.progress import emit, progress
from jaxnas.cli.stop import keeping, stoppable, this_command
from jaxnas.cli.terminal import comparison_table, configure_jax, console, print_run
from jaxnas.objectives.config import TrainingConfig
from jaxnas.run.config import CompareConfig, RunConfig, run_config
from jaxnas.run.find import find_scores
from jaxnas.run.sections import EvaluationConfig, LimitConfig, NetworkConfig, ProblemConfig, SearchConfig, find_method
from jaxnas.runtime.bars import warn
from jaxnas.runtime.events import join_listeners
from jaxnas.runtime.names import DEFAULT_METHOD, PRESET_METHOD, MethodName, Tracker
from jaxnas.runtime.settings import LAST_SEED, setting
from jaxnas.scoring.config import ScoringConfig

if TYPE_CHECKING:
    from jaxnas.run.run import Run

SCORES = "Search among the architectures of these scores: a folder, file or address, or a shipped data set."


@dataclass(frozen=True)
class ScoresOptions:
    """The source of scores."""

    scores: str | None = setting(
        None, SCORES, "Data", suggestions=shipped, place=True, find=find_scores, shown="score a pool"
    )


@dataclass(frozen=True)
class SearchOutput(OutputOptions):
    """The folder and the trackers of a search."""

    track: tuple[Tracker, ...] = setting(
        (), "Comma-separated trackers that log to the run folder (extras of these names).", "Output", kind="tracker"
    )


@dataclass(frozen=True)
class SeedsOptions:
    """The seeds of a search, from `--seed` on; they share the trainings."""

    seeds: int = setting(1, "Seeds of every method.", "Budget", minimum=1)


@takes(
    *("data", "budget", "out"),
    settings=(
        ProblemConfig,
        SearchConfig,
        LimitConfig,
        EvaluationConfig,
        NetworkConfig,
        ScoringConfig,
        only(TrainingConfig, "epochs", "folds"),
        only(RunConfig, "seed"),
    ),
    series=SeedsOptions,
    source=ScoresOptions,
    plugins=PluginOptions,
    data=DataOptions,
    hardware=WorkerOptions,
    output=SearchOutput,
)
@stoppable()
def search(
    settings: Given,
    series: SeedsOptions,
    source: ScoresOptions,
    plugins: PluginOptions,
    data: DataOptions,
    hardware: WorkerOptions,
    output: SearchOutput,
) -> None:
    """Find the best architecture of a pool with few trainings.

    The pool is scored with zero-cost proxies; the budget goes where they and the trainings so far point. With
    --seeds and --compare several methods search with several seeds; `jaxnas compare` does so on a table alone.

    \b
    Examples:
      jaxnas search
      jaxnas search --data cifar10 --channels 16 --compare random
      jaxnas search darts --data cifar10 --pool 300 --budget 10 --epochs 1
      jaxnas search --table nasbench201
      jaxnas search --table mine.csv --scores scores.csv --column accuracy
      jaxnas search --seeds 8 --compare random,rea
      jaxnas search --max-params 5e4 --objective accuracy,params
      jaxnas search --scores s.csv --objective-command "./train {arch_file}"
      jaxnas search --plugin mine.py --proxies mine,snip
      jaxnas search --track tensorboard,mlflow
      jaxnas search --data cifar10 --engine ray --workers 8
    """
    configure_jax(hardware.engine, verbose=output.verbose)
    from jaxnas.proxies import expand_names
    from jaxnas.report.tracking import how_to_look, track
    from jaxnas.run.record import run_record
    from jaxnas.run.search import given_scores, search_images
    from jaxnas.run.seeds import search_seeds
    from jaxnas.runtime.workers import open_workers

    loaded = plugins.load()
    table = settings.get("table")
    proxies = expand_names(settings.get("proxies", ()))
    chosen = {
        "plugins": loaded,
        "proxies": proxies or None,
        "custom": unknown_proxies(proxies) if source.scores else (),
    }
    space = space_of_table(settings, table, source.scores)
    config = run_config(**{**settings, **space, **columns_of(table, settings), **chosen})
    problem = config.problem
    scores = given_scores(config, source.scores)
    refuse_idle(settings, config, scores)
    seeds = f"seed{config.seed}" if series.seeds == 1 else f"seeds{config.seed}-{config.seed + series.seeds - 1}"
    folder = output.out or Path("runs", f"{problem.space}-{Path(table or problem.data).stem}-{seeds}")
    listen_to = partial(track, output.track)
    listen_to(folder)  # checks the names and the packages
    workers = open_workers(hardware.engine, hardware.address, hardware.workers, warn)
    with keeping(folder), progress(output.as_json) as shown, workers as staff:
        if hardware.engine == "ray" and "at_once" not in settings and not table:
            config = replace(config, search=replace(config.search, at_once=staff.num_workers))
        helpers = None if hardware.engine == "local" else staff
        if series.seeds > 1:
            runs = search_seeds(
                config,
                series.seeds,
                folder,
                data_folder=data.data_folder,
                scores_path=scores,
                workers=helpers,
                on_event=shown,
                listen_to=listen_to,
                command=this_command(),
            )
            return _print_seeds(runs, series.seeds, folder, output)
        listener = join_listeners(shown, listen_to(folder))
        run = search_images(
            config, folder, data_folder=data.data_folder, scores_path=scores, workers=helpers, on_event=listener
        )
        run = run._replace(command=this_command())
        run.save(folder)
    if output.as_json:
        return emit("done", out=str(folder), result=run_record(run))
    print_run(run)
    console.print(f"result.json and queries.parquet are in {folder}", soft_wrap=True, highlight=False)
    if config.problem.table is None and not config.own_objective:
        console.print(f"train it with: jaxnas train {shlex.quote(str(folder))}", soft_wrap=True, highlight=False)
    looks = [how_to_look(name, folder) for name in output.track]
    for command in (shlex.join(["jaxnas", "report", str(folder)]), *looks):
        console.print(f"look at it with: {command}", soft_wrap=True, highlight=False)


def _print_seeds(runs: list["Run"], asked: int, folder: Path, output: SearchOutput) -> None:
    """Print mean, interval and paired test of each method over the seeds, and the best architecture of all."""
    from jaxnas.report.groups import group_methods
    from jaxnas.run.method_runs import method_rows
    from jaxnas.search.result import sign_of

    rows = method_rows(group_methods(runs))
    if output.as_json:
        return emit("done", out=str(folder), result=rows)
    console.print(comparison_table(rows, runs[0].config.reported or runs[0].config.measured))
    if left_out := asked - len(runs):
        console.print(f"left out: {left_out} of {asked} seeds, whose candidates all failed", highlight=False)
    found = {run.config.seed: run.outcomes[run.config.search.method].result for run in runs}
    best = max(runs, key=lambda run: sign_of(run.config.problem.direction) * found[run.config.seed].best)
    console.print(f"seed {best.config.seed} has the best candidate of {best.config.search.method}:", highlight=False)
    console.print(f"  {best.selected}", highlight=False, soft_wrap=True)
    trainings = folder / "training.jsonl"
    kept = f", the trainings in {trainings}" if trainings.exists() else ""
    console.print(f"the searches are in {folder}/seed*{kept}", soft_wrap=True, highlight=False)
    report = f"jaxnas report {shlex.quote(str(folder))}/seed* --out {shlex.quote(str(folder / 'report.html'))}"
    console.print(f"look at them with: {report}", soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class CompareScores:
    """The source of the scores of a comparison."""

    scores: str | None = setting(
        None,
        SCORES,
        "Data",
        suggestions=shipped,
        place=True,
        find=find_scores,
        shown="shipped ones, on the data set of the column",
    )


@dataclass(frozen=True)
class SeriesOptions:
    """The methods and seeds of a comparison."""

    methods: tuple[MethodName, ...] = setting(
        (DEFAULT_METHOD, PRESET_METHOD, "rea", "random"),
        "Comma-separated search methods; all are compared with the first.",
        kind="method",
        lookup=find_method,
    )
    seeds: int = setting(100, "Seeds of every method.", "Budget", minimum=1)
    first_seed: int = setting(0, "First of the seeds.", "Budget", minimum=0, maximum=LAST_SEED)


@takes(
    *("methods", "seeds", "out"),
    settings=(CompareConfig, CompareScores),
    series=SeriesOptions,
    plugins=PluginOptions,
    data=DataOptions,
    hardware=WorkerOptions,
    output=OutputOptions,
)
@stoppable()
def compare(
    settings: Given,
    series: SeriesOptions,
    plugins: PluginOptions,
    data: DataOptions,
    hardware: WorkerOptions,
    output: OutputOptions,
) -> None:
    """Compare search methods on a table of accuracies, with the same seeds and budget.

    Finished seeds are kept in the folder: after Ctrl-C the same command resumes, more seeds or methods only add.

    \b
    Examples:
      jaxnas compare --methods proxy_gp,rea,random --scores cifar10 --seeds 100
      jaxnas compare --methods robot,bohb --longer c10_valid_val_200 --prices 17
    """
    configure_jax(hardware.engine, verbose=output.verbose)
    from jaxnas.report import save_comparison
    from jaxnas.run.comparison import compare_methods
    from jaxnas.runtime.workers import open_workers

    plugins.load()
    table = settings.get("table", CompareConfig.table)
    space = space_of_table(settings, settings.get("table"), None)
    config = CompareConfig(**{**settings, **space, **columns_of(table, settings)})
    refuse_idle_in_comparison(settings, series.methods)
    folder = output.out or Path("runs", "compare")
    workers = open_workers(hardware.engine, hardware.address, hardware.workers, warn)
    with keeping(folder), progress(output.as_json) as shown, workers as staff:
        comparison = compare_methods(
            series.methods,
            config,
            range(series.first_seed, series.first_seed + series.seeds),
            folder,
            data_folder=data.data_folder,
            workers=staff,
            on_event=shown,
        )
        picture = save_comparison(folder, comparison)
    if output.as_json:
        return emit("done", out=str(folder), result=comparison.rows())
    console.print(comparison_table(comparison.rows(), config.reported or config.measured))
    files = "comparison.json and comparison.png are" if picture else "comparison.json is"
    hint = "" if picture else "; install jaxnas[plot] for the picture"
    console.print(f"{files} in {folder}{hint}", soft_wrap=True, highlight=False)
