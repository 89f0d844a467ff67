"""Measure the seconds of scoring, compared with eager PyTorch: wall and CPU seconds per NAS-Bench-201 architecture.

    JAXNAS_DATA=folder python experiments/throughput.py [--scale 100000] [--devices-scaling]    (extra: torch)
    JAXNAS_DATA=folder python experiments/throughput.py --proxies nbsz

The networks have full size (16 channels, 5 cells per stage, batch 64, CIFAR-10 images), the architectures are drawn at
random, and params and images are the same for all programs. Every measurement is a fresh process. A block measures each
program once over all architectures; every second block reverses the order of the programs. Compiling is measured
separately. PyTorch scores one architecture on all cores, and building its network is not counted. jaxnas gives the same
architecture, without its dead edges, to all devices at once, as scoring does by default; the seconds of a chunk are
divided by its rows. The time of the whole space is extrapolated: PyTorch's mean times 15,625 architectures, and for
jaxnas the seconds per random network class in one call times the number of classes.

Run the script on an idle machine; it takes about 15 minutes. It writes results/throughput.json and
results/throughput.md. Other proxies than RoBoT's six are measured without PyTorch and written to
results/throughput-SET.
"""

import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import numpy as np
import typer

import jaxnas
from jaxnas.networks import NASBench201Network, SearchNetwork, init_variables
from jaxnas.proxies import expand_names
from jaxnas.report import save_results
from jaxnas.run.inputs import load_standardized, make_batch, make_network
from jaxnas.runtime.host import num_cores
from jaxnas.runtime.timing import Stopwatch
from jaxnas.scoring.engine import DEFAULT_PROXIES, ScoringConfig, iter_scores
from jaxnas.spaces import NASBENCH201, enumerate_archs, from_index
from jaxnas.store.store import make_environment

CORES = num_cores()
PER_DEVICE = 2  # how often a device scores an architecture: the fewest rows of a chunk
TORCH, SHARED, OURS, ONE_CORE = "eager PyTorch", "eager PyTorch, shared passes", "jaxnas", "jaxnas, one core"


class Case(NamedTuple):
    """A network and its minibatch of CIFAR-10.

    Attributes:
        space: Name of the space.
        channels: Of the network.
        cells_per_stage: Of the network.
        batch_size: N.
        seed: Of params and minibatch.
        data: The images.
    """

    space: str = "nasbench201"
    channels: int = 16
    cells_per_stage: int = 5
    batch_size: int = 64
    seed: int = 0
    data: str = "cifar10"

    def load(self) -> tuple[SearchNetwork, jaxnas.Batch]:
        """Return the network and the minibatch."""
        images = load_standardized(self.data)
        network = make_network(self.space, images, self.channels, self.cells_per_stage)
        return network, make_batch(images, self.batch_size, self.seed)


FULL_SIZE = Case()


def in_fresh_process(function: Callable, *args):
    """Return function(*args), computed by a new Python process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


class Laps:
    """Stopwatch of wall and CPU seconds (all threads) of this process per architecture."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []
        self.start()

    def start(self) -> None:
        self._started = time.perf_counter(), _cpu_seconds()

    def lap(self, num_archs: int = 1) -> None:
        """End a lap that scored `num_archs` architectures, add that many equal entries, and start the next lap."""
        wall, cpu = (now - then for now, then in zip((time.perf_counter(), _cpu_seconds()), self._started, strict=True))
        self.wall += [wall / num_archs] * num_archs
        self.cpu += [cpu / num_archs] * num_archs
        self.start()


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def inputs_of_torch(num_decisions: int) -> tuple:
    """Return network, params, images and labels for `measure_torch` as NumPy arrays: its process does not run JAX."""
    network, batch = FULL_SIZE.load()
    variables = init_variables(network, batch.images.shape[1:], num_decisions, FULL_SIZE.seed)
    return network, *jax.device_get((variables["params"], batch.images, batch.labels))


def measure_torch(inputs: tuple, archs: np.ndarray, shared: bool) -> dict:
    """Measure eager PyTorch with one thread per core: seconds of each architecture, and scores."""
    import torch
    from eager_torch import NASBench201, load_params, scores

    torch.set_num_threads(CORES)
    network, params, images, labels = inputs
    images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(np.int64(labels))

    def build(arch):
        built = NASBench201(arch, network.num_classes, network.channels, network.cells_per_stage)
        load_params(built, params)
        return built

    scores(build(archs[0]), images, labels, shared=shared)  # the first call is slower
    laps, table = Laps(), []
    for arch in archs:
        built = build(arch)
        laps.start()
        values = scores(built, images, labels, shared=shared)
        laps.lap()
        table.append([values[name] for name in DEFAULT_PROXIES])
    return {"wall": laps.wall, "cpu": laps.cpu, "scores": table}


def measure_jaxnas(
    case: Case,
    cache: str,
    archs: np.ndarray,
    devices: int,
    proxies: tuple[str, ...] = DEFAULT_PROXIES,
    compile_only: bool = False,
) -> dict:
    """jaxnas on CPU devices: seconds of compiling and per architecture, and scores."""
    _configure(cache, devices)
    network, batch = case.load()
    config = ScoringConfig(seed=case.seed, one_per_class=False, chunk_size=PER_DEVICE)
    copies = PER_DEVICE * devices
    rows = np.repeat(network.space.canonicalize(archs), copies, axis=0)
    score = partial(iter_scores, network, batch=batch, proxies=proxies, config=config)
    watch = Stopwatch()
    with watch.stage("running"):
        list(score(archs=rows[:copies]))
    record = {"compiling": watch.seconds["compiling"]}
    if compile_only:
        return record
    laps, table = Laps(), []
    for _, values in score(archs=rows):
        laps.lap(copies)
        table.append(values[0].tolist())
    return record | {"wall": laps.wall[::copies], "cpu": laps.cpu[::copies], "scores": table}


def measure_space(cache: str, num: int, proxies: tuple[str, ...] = DEFAULT_PROXIES) -> dict:
    """Measure one call of `score_archs` on all devices: seconds per network class, for `num` random classes."""
    _configure(cache, CORES)
    network, batch = FULL_SIZE.load()
    classes = np.unique(NASBENCH201.network_class(enumerate_archs(NASBENCH201)))
    archs = from_index(NASBENCH201, np.random.default_rng(0).choice(classes, num, replace=False))
    config = ScoringConfig(seed=FULL_SIZE.seed)
    score = partial(jaxnas.score_archs, network, batch=batch, proxies=proxies, config=config)
    score(archs=archs[:1])  # compiles
    laps = Laps()
    score(archs=archs)
    laps.lap(num)
    return {"num": num, "network_classes": len(classes), "wall": laps.wall[0], "cpu": laps.cpu[0]}


def measure_scale(cache: str, num: int) -> dict:
    """Measure peak memory and speed over `num` random architectures (with replacement) of a small network."""
    _configure(cache, CORES)
    network = NASBench201Network(channels=2, cells_per_stage=1)
    rng = np.random.default_rng(0)
    batch = jaxnas.Batch(rng.normal(size=(8, 8, 8, 3)).astype(np.float32), rng.integers(0, 10, 8).astype(np.int32))
    archs = from_index(NASBENCH201, rng.integers(0, NASBENCH201.size, num))
    config = ScoringConfig(one_per_class=False, chunk_size=16)
    score = partial(iter_scores, network, batch=batch, config=config)
    list(score(archs[:100]))  # compiles
    laps, scores = Laps(), np.empty((num, len(DEFAULT_PROXIES)))
    for rows, values in score(archs):
        laps.lap(len(rows))
        scores[rows] = values
    tenth = num // 10
    return {
        "num": num,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,  # Linux counts in KiB
        "archs_per_second": 1 / np.mean(laps.wall),
        "archs_per_second_first_tenth": 1 / np.mean(laps.wall[:tenth]),
        "archs_per_second_last_tenth": 1 / np.mean(laps.wall[-tenth:]),
    }


def _configure(cache: str, devices: int) -> None:
    """Configure JAX to use `devices` CPU devices and as many cores.

    Without the limit on cores a single device would use all of them for its matrix products.
    """
    if devices < CORES:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:devices])
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_num_cpu_devices", devices)


def measure_blocks(codes: dict[str, Callable[[], dict]], blocks: int) -> dict[str, list[dict]]:
    """Return the results of each of `codes` in every block; every second block reverses their order."""
    measured: dict[str, list[dict]] = {name: [] for name in codes}
    for block in range(blocks):
        for name in list(codes)[:: -1 if block % 2 else 1]:
            measured[name].append(in_fresh_process(codes[name]))
            print(f"block {block + 1} of {blocks}, {name}: {np.median(measured[name][-1]['wall']):.3f} s", flush=True)
    return measured


def summarize(measured: list[dict]) -> dict:
    """Summarize all blocks: median, quartiles and mean in seconds per architecture, and the values of each block."""
    summary = {}
    for clock in ("wall", "cpu"):
        values = np.array([block[clock] for block in measured])  # [blocks, A]
        low, median, high = np.percentile(values, [25, 50, 75])
        summary[clock] = {
            "median": median,
            "quartiles": [low, high],
            "mean": values.mean(),
            "values": values.round(4).tolist(),
        }
    return summary


def compare(other: list[dict], ours: list[dict], space: dict | None) -> dict:
    """Return the ratios of seconds, `other` to `ours`: of medians, of means, and of the medians of each block.

    With `space` there is a ratio for the whole space: the mean of `other` times all architectures, divided by our
    seconds for one architecture of each network class.
    """
    ratios = {}
    for clock in ("wall", "cpu"):
        numerator, denominator = (np.array([block[clock] for block in code]) for code in (other, ours))  # [blocks, A]
        ratios[clock] = {
            "medians": np.median(numerator) / np.median(denominator),
            "means": numerator.mean() / denominator.mean(),
            "blocks": (np.median(numerator, axis=1) / np.median(denominator, axis=1)).tolist(),
        }
        if space:
            seconds_of_space = space[clock] * space["network_classes"]
            ratios[clock]["whole_space"] = numerator.mean() * NASBENCH201.size / seconds_of_space
    return ratios


def disagreement(other: list[dict], ours: list[dict]) -> dict[str, float]:
    """Return the median over architectures of the relative difference between the float32 scores of two programs."""
    a, b = (np.array(code[0]["scores"]) for code in (other, ours))
    with np.errstate(invalid="ignore", divide="ignore"):
        return dict(zip(DEFAULT_PROXIES, np.nanmedian(np.abs(a - b) / np.abs(b), axis=0).tolist(), strict=True))


def to_markdown(record: dict) -> str:
    """Return the tables of everything that was measured."""
    lines = [
        "| seconds per architecture | wall, median (quartiles) | mean | CPU, median (quartiles) | mean |",
        "|---|---|---|---|---|",
    ]
    for name, code in record["seconds"].items():
        cells = []
        for clock in ("wall", "cpu"):
            low, high = code[clock]["quartiles"]
            cells += [f"{code[clock]['median']:.2f} ({low:.2f} to {high:.2f})", f"{code[clock]['mean']:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if record["speedup"]:
        lines += [
            "",
            "| jaxnas is faster than | wall, medians | means | blocks | whole space* | CPU, medians | means |",
            "|---|---|---|---|---|---|---|",
        ]
    for name, ratio in record["speedup"].items():
        wall, cpu = ratio["wall"], ratio["cpu"]
        cells = [
            f"{wall['medians']:.2f} x",
            f"{wall['means']:.2f} x",
            f"{min(wall['blocks']):.2f} to {max(wall['blocks']):.2f} x",
            f"{wall['whole_space']:.1f} x" if "whole_space" in wall else "-",
            f"{cpu['medians']:.2f} x",
            f"{cpu['means']:.2f} x",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    config, compiling = record["config"], record["compiling_seconds"]
    lines += [
        "",
        f"{config['num']} random architectures, blocks: {config['blocks']}, CPU cores: {config['cores']}, "
        f"load average before: {record['load_average_before']:.1f}. "
        f"Compiling apart: {compiling['cold']:.1f} s, from the cache {compiling['warm']:.1f} s.",
    ]
    space = record["space"]
    lines.append(
        f"\n*Extrapolated: one call with {space['num']} random network classes takes {space['wall']:.2f} s of wall and "
        f"{space['cpu']:.2f} s of CPU time for each, so {space['wall'] * space['network_classes'] / 60:.0f} min for "
        f"all {space['network_classes']:,}"
        + (f"; the other code scores {NASBENCH201.size:,} architectures at its mean." if record["speedup"] else ".")
    )
    if record["scale"]:
        lines += [
            "",
            "| architectures (2 channels, 1 cell, 8 images of 8x8) | peak memory MB | per second | first tenth "
            "| last tenth |",
            "|---|---|---|---|---|",
        ]
    for row in record["scale"]:
        speeds = [row[f"archs_per_second{part}"] for part in ("", "_first_tenth", "_last_tenth")]
        cells = [f"{row['num']:,}", f"{row['peak_memory_mb']:.0f}", *[f"{speed:.0f}" for speed in speeds]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(
    num: Annotated[int, typer.Option(min=1, help="Number of random architectures.")] = 30,
    blocks: Annotated[int, typer.Option(min=1, help="Number of measurements of each program.")] = 3,
    only_jaxnas: Annotated[bool, typer.Option("--only-jaxnas", help="Do not measure PyTorch.")] = False,
    scale: Annotated[int, typer.Option(help="Also measure 1,000 and this many architectures of a small network.")] = 0,
    devices_scaling: Annotated[
        bool, typer.Option("--devices-scaling", help="Also measure jaxnas with one device on one core.")
    ] = False,
    proxies: Annotated[str, typer.Option(help="Comma-separated proxies or sets.")] = "robot",
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path(__file__).parent / "results",
) -> None:
    """Measure the seconds of scoring, compared with eager PyTorch."""
    started, load = time.perf_counter(), os.getloadavg()[0]
    names = expand_names(proxies.split(","))
    only_jaxnas = only_jaxnas or names != DEFAULT_PROXIES
    if load > 0.5:
        print(f"load average {load:.1f}: not an idle machine, on which PyTorch's threads may take ten times as long")
    archs = jaxnas.sample(NASBENCH201, num, seed=0)
    with tempfile.TemporaryDirectory() as cache:
        compiling = {
            state: in_fresh_process(measure_jaxnas, FULL_SIZE, cache, archs, CORES, names, True)["compiling"]
            for state in ("cold", "warm")
        }
        print(f"compiling: {compiling['cold']:.1f} s, {compiling['warm']:.1f} s from the cache", flush=True)
        codes: dict[str, Callable[[], dict]] = {}
        if not only_jaxnas:
            inputs = in_fresh_process(inputs_of_torch, archs.shape[1])
            codes = {name: partial(measure_torch, inputs, archs, name == SHARED) for name in (TORCH, SHARED)}
        codes[OURS] = partial(measure_jaxnas, FULL_SIZE, cache, archs, CORES, names)
        if devices_scaling:
            codes[ONE_CORE] = partial(measure_jaxnas, FULL_SIZE, cache, archs, 1, names)
        measured = measure_blocks(codes, blocks)
        space = in_fresh_process(measure_space, cache, 2 * num, names)
        sizes = [100, 1000, scale] if scale else []  # the first size fills the cache, because compiling takes memory
        rows = [in_fresh_process(measure_scale, cache, size) for size in sizes][1:]
    others = [name for name in measured if name != OURS]
    jax.config.update("jax_num_cpu_devices", CORES)
    record = {
        "config": {"num": num, "blocks": blocks, "cores": CORES, "proxies": list(names), **FULL_SIZE._asdict()},
        "compiling_seconds": compiling,
        "seconds": {name: summarize(results) for name, results in measured.items()},
        "speedup": {
            name: compare(measured[name], measured[OURS], None if name == ONE_CORE else space) for name in others
        },
        "disagreement": {name: disagreement(measured[name], measured[OURS]) for name in others},
        "space": space,
        "scale": rows,
        "load_average_before": load,
        "environment": make_environment(time.perf_counter() - started)
        | ({} if only_jaxnas else {"torch": version("torch")}),
    }
    markdown = to_markdown(record)
    print(f"\n{markdown}")
    name = "throughput" if names == DEFAULT_PROXIES else f"throughput-{proxies.replace(',', '-')}"
    save_results(out, name, record, markdown)


if __name__ == "__main__":
    typer.run(main)
