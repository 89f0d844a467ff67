"""The printed results of the command line, on stdout."""

import math
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from jaxnas.runtime.bars import status
from jaxnas.runtime.host import check_memory_limit, num_cores
from jaxnas.runtime.measures import ACCURACY, TEST_ACCURACY, Measure
from jaxnas.runtime.records import Record

if TYPE_CHECKING:
    from jaxnas.data.catalogue import DataStatus
    from jaxnas.proxies import About
    from jaxnas.run.run import Outcome, Run
    from jaxnas.run.trained import TrainedArch
    from jaxnas.runtime.timing import Program
    from jaxnas.search import SearchResult
    from jaxnas.store.estimate import Estimate
    from jaxnas.store.scores import Scores

console = Console(markup=False)  # names and paths may hold brackets
NO_BREAK = "\xa0"


SHOWN_FROM = 0.05  # seconds, below which a program is not shown


def configure_jax(engine: str = "local", *, verbose: bool = False) -> None:
    """Keep compiled programs, see `use_cache`, and make every core of a CPU a device.

    With another engine the accelerators of this process are left to the workers. The environment variable
    JAX_NUM_CPU_DEVICES takes precedence. If `verbose`, each program that takes notable time is shown.
    """
    check_memory_limit()
    import jax

    from jaxnas.runtime.cache import use_cache

    set_flag: Callable[[str, str | int], None] = jax.config.update
    use_cache()
    if engine != "local":
        set_flag("jax_platforms", "cpu")
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        set_flag("jax_num_cpu_devices", num_cores())
    if verbose:
        from jaxnas.runtime.timing import watch_programs

        watch_programs(_show_program)


def _show_program(program: "Program") -> None:
    if program.tracing + program.lowering + program.compiling >= SHOWN_FROM:
        status.print(str(program), highlight=False, soft_wrap=True, markup=False)


def _fill(text: str, indent: str = "") -> None:
    """Print words in as many lines as they need; a no-break space is not broken."""
    lines = textwrap.fill(text, console.width, initial_indent=indent, subsequent_indent="  ", break_long_words=False)
    console.print(lines.replace(NO_BREAK, " "), highlight=False, soft_wrap=True)


def _fill_with(title: str, parts: Iterable[str]) -> None:
    """Print a list that is broken between its parts alone."""
    _fill(f"{title} {', '.join(part.replace(' ', NO_BREAK) for part in parts)}")


def score_table(scores: "Scores") -> Table:
    """Tabulate for each proxy the smallest, median and largest finite score, and the number of NaN or inf."""
    from jaxnas.store.scores import summarize

    rows = summarize(scores)
    table = Table(title="raw scores")
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "proxy" else "right")
    for name, *values, unusable in map(dict.values, rows):
        table.add_row(name, *("-" if math.isnan(value) else f"{value:.4g}" for value in values), str(unusable))
    return table


def print_proxies(lines: Iterable["About"], sets: Mapping[str, Iterable[str]]) -> None:
    """Print what is known about every proxy, and the members of sets."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("proxy", "passes", "sees", "better", "equal", "source"):
        table.add_column(name, no_wrap=True)
    for line in lines:
        passes = "?" if line.forward is None else f"{line.forward:.1g}+{line.backward:.1g}" if line.forward else "-"
        better, equal = ("higher" if line.higher_is_better else "lower"), ("exact" if line.exact else "draw")
        table.add_row(line.name, passes, line.sees, better, equal, _short(line.source))
    console.print(table)
    console.print(
        "\npasses: over a minibatch of 64, forward + backward, of the proxy by itself; proxies that read the same "
        "share them.\nsees: what of the data. equal: isomorphic architectures score equal, exactly, or up to the draw "
        "of parameters. source: first author, year, arXiv.",
        highlight=False,
    )
    table = Table.grid("name", "members", padding=(0, 1, 0, 0))
    for name, members in sets.items():
        table.add_row(f"{name}:", ", ".join(members) if name != "all" else "every one")
    console.print(table)


def _short(source: str) -> str:
    """Return first author, year, and arXiv id if there is one, as in "Lee 2019 1810.02340"."""
    author = re.match(r"([\w-]+).*?(\d{4})\b", source)
    number = re.search(r"arXiv:([\d.]+)", source)
    return " ".join([*(author.groups() if author else [source]), *(number.groups() if number else [])])


def print_run(run: "Run") -> None:
    """Print every query with its phase, what was learned of the proxies, the winner, and where the time went."""
    from jaxnas.run.learned import describe_surrogate

    rows = run.rows()
    for method, outcome in run.outcomes.items():
        result = outcome.result
        console.print(f"{method}: {len(result.queries)} queries, T0 = {result.num_bo}", style="bold", highlight=False)
        chosen = [row for row in rows if row["method"] == method]
        console.print(_query_table(chosen, result, run.config.measured))
    _print_weights(run)
    for method, outcome in run.outcomes.items():
        for line in describe_surrogate(outcome.result, run.scores.proxies, run.config.measured):
            _fill(f"{method}: {line}")
    for method, outcome in run.outcomes.items():
        selected = run.space.format(run.scores.archs[outcome.result.selected])
        console.print(f"{method} selects", highlight=False)
        console.print(f"  {selected}", highlight=False, soft_wrap=True)
        measured = ", ".join(f"{name} {text}" for name, text in run.measured(method))
        console.print(f"  {measured}", highlight=False, soft_wrap=True)
        equal = sum(value == outcome.result.best for value in outcome.result.objective)
        if equal > 1 and not outcome.confirmed:
            console.print(f"  {equal} candidates are as good: the first of them is selected", highlight=False)
        if size := _size_of(run, outcome.result.selected):
            unit = f" ms (one image on {run.latency['device']})" if run.latency else ""
            console.print(f"  {size}{unit}", highlight=False, soft_wrap=True)
        if outcome.confirmed:
            _fill_with("  trained from two seeds:", _twice_trained(run, outcome))
        if outcome.result.num_failed:
            console.print(f"  {outcome.result.num_failed} candidates {run.config.measured.failed}", highlight=False)
    _print_fronts(run)
    times = [f"{stage} {seconds:.1f} s" for stage, seconds in run.seconds.items()]
    _fill_with(f"{len(run.scores.archs)} architectures;", times)


def _size_of(run: "Run", row: int) -> str:
    """Return the known sizes of an architecture in words."""
    return ", ".join(f"{name} {size[row]:,.10g}" for name, size in run.sizes.items() if math.isfinite(size[row]))


def _print_fronts(run: "Run") -> None:
    """Print the queried architectures that no other one dominates."""
    names = run.config.limits.objective[1:]
    for method in run.outcomes if names else ():
        rows, volume = run.front(method)
        console.print(f"{method}: front of {len(rows)} architectures, hypervolume {volume:.3f}", highlight=False)
        for row in rows:
            sizes = ", ".join(f"{name} {row[name]:,.10g}" for name in names)
            objective = run.config.measured.show(row["objective"])
            console.print(f"  {objective}, {sizes}: {row['arch']}", highlight=False, soft_wrap=True)


def _twice_trained(run: "Run", outcome: "Outcome") -> Iterator[str]:
    """Yield the candidates that were confirmed, by index in the space, with their two validation accuracies."""
    from jaxnas.spaces import to_index

    measure = run.config.measured
    first = dict(zip(outcome.result.queries.tolist(), outcome.result.objective.tolist(), strict=True))
    for row, second in outcome.confirmed.items():
        number = int(to_index(run.space, run.scores.archs[[row]])[0])
        yield f"{number} {measure.number(first[row])} and {measure.show(second)}"


def _query_table(rows: Sequence[Record], result: "SearchResult", measure: Measure) -> Table:
    """Tabulate one line per query; architectures too long for a line are named by their index in the space."""
    fits = max(len(row["arch"]) for row in rows) <= console.width - 40
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    objective = "val. acc. %" if measure.name == ACCURACY.name else measure.title
    for name in ("query", "phase", objective, "seconds", "architecture" if fits else "index"):
        table.add_column(name, justify="left" if name in ("phase", "architecture") else "right", no_wrap=True)
    for row in rows:
        value = measure.number(row["objective"], measure.failed)
        cost = f"{row['seconds']:.1f}" if math.isfinite(row["seconds"]) else "-"
        chosen = result.queries[row["query"] - 1] == result.selected
        cells = (str(row["query"]), row["phase"], value, cost, row["arch"] if fits else str(row["index"]))
        table.add_row(*cells, style="green" if chosen else None)
    return table


def print_trained(trained: "TrainedArch") -> None:
    """Print the architecture, its size, loss and accuracy of the last epoch, and its test accuracy."""
    console.print(trained.config.arch, highlight=False, soft_wrap=True)
    last = f"loss {trained.loss[-1]:.3f}, training accuracy {ACCURACY.show(trained.accuracy[-1])}"
    epochs = f"{len(trained.loss)} of {trained.config.training.epochs} epochs"
    console.print(f"  {trained.num_params:,} parameters; {epochs}, {last}", highlight=False, soft_wrap=True)
    tested = "diverged"
    if math.isfinite(trained.test_accuracy):
        tested = f"test accuracy {TEST_ACCURACY.show(trained.test_accuracy)}"
    console.print(f"  {tested}; trained for {trained.seconds:.1f} s", highlight=False)


def _print_weights(run: "Run") -> None:
    weights = next(iter(run.outcomes.values())).result.weights
    usable = run.masked.usable
    if any(map(math.isfinite, weights)):
        parts = [
            f"{name} {weight:+.2f}" if use else f"{name} unused (constant)"
            for name, weight, use in zip(run.scores.proxies, weights, usable, strict=True)
        ]
        _fill_with("weights:", parts)
    masked = run.masked.num_nan + run.masked.num_posinf + run.masked.num_neginf
    if masked.any():
        parts = [f"{name} {count}" for name, count in zip(run.scores.proxies, masked, strict=True) if count]
        _fill_with("scores that are NaN or inf:", parts)


def comparison_table(rows: Sequence[Record], measure: Measure) -> Table:
    """Tabulate for each method mean, deviation and interval over seeds, T0, and the paired test against the first."""
    table = Table(title=f"{rows[0]['seeds']} seeds, {measure.title}", box=SIMPLE)
    for name in ("method", "mean+-std", "95 % interval", "T0", "vs first", "p"):
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    for row in rows:
        low, high = row["interval"]
        against = row["against_first"]
        missing = row["seeds_without_value"]
        pairs = f" ({against['pairs']} pairs)" if against and against["pairs"] < row["seeds"] else ""
        table.add_row(
            f"{row['method']} ({missing} without)" if missing else row["method"],
            f"{measure.number(row['mean'])}+-{measure.number(row['std'])}",
            f"{measure.number(low)} to {measure.number(high)}",
            f"{row['T0']:.1f}" if row["T0"] else "-",
            f"{against['difference']:+{measure.digits}}" if against else "-",
            f"{against['p_value']:.2g}{pairs}" if against else "-",
        )
    return table


def print_estimate(job: "Estimate") -> None:
    """Print the plan of a scoring job."""
    time = "unknown: give --throughput, or score some first"
    if job.seconds is not None:
        pace = f"{job.throughput:.3g}/s of a device ({job.throughput_from})"
        time = f"{timedelta(seconds=round(job.seconds))} without compiling, at {pace}"
    parts = "?" if job.parts is None else f"{job.parts:,}"
    lines = {
        "architectures": f"{job.architectures:,}, of which the store has {job.known:,}; to score {job.to_score:,}",
        "shards": f"{job.devices:,} of {job.shard:,}, in {job.chunks:,} chunks of {job.chunk:,} ({job.strategy})",
        "memory of a device": f"about {job.bytes_per_device / 1e9:.2f} GB",
        "operations": f"about {job.flops / 1e12:.3g} TFLOP, {job.flops_per_arch / 1e9:.3g} GFLOP each",
        "time": time,
        "store": f"{parts} parts, {job.store_bytes / 1e6:,.1f} MB at most",
    }
    table = Table(box=SIMPLE, show_header=False)
    for name, line in lines.items():
        table.add_row(name, line)
    console.print(table)


def print_data(statuses: Iterable["DataStatus"]) -> None:
    """Print one block of lines per data set."""
    for entry in statuses:
        data = entry.data
        mark = "present" if entry.present else "missing"
        size = f"{data.size / 1e6:,.1f} MB" if data.size else "embedded"
        console.print(f"{data.name} ({data.kind}, {size}): {mark}", style="green" if entry.present else None)
        for line in (data.about, f"licence: {data.licence}"):
            _fill(line, indent="  ")
        for kind, place in (("address", data.address), ("place", entry.path)):
            if place is not None:
                console.print(f"  {kind}: {place}", highlight=False, soft_wrap=True)
