"""Measure the cost of more processes and of ten million architectures in one store, and estimate the time of a TPU pod.

    python experiments/scaling.py [--num 300] [--rows 10000000] [--parts 2000] [--blocks 2]    (extra: ray)

Processes: NAS-Bench-201 cells are scored on the embedded digits by one job of 1, 2 and 4 processes with a CPU device
each, and by as many Ray workers (strong scaling only). Strong scaling keeps the total number of cells, weak scaling the
number per process. Every case runs with `num` cells and with five times as many: the difference gives the speed, the
rest is the startup time. The startup time includes compiling: in a job on CPUs JAX caches the programs of process 0
only, so the other processes compile every time. Efficiency is the speed relative to one process, divided by the number
of processes, or by the number of cores if that is smaller. A block runs all cases in turn, and the median over blocks
counts; run it on an idle machine.

Store: the functions of the store write simulated scores by six proxies of `rows` architectures of a space of eight
widths, in `parts` parts. The script then measures what a job does before it scores: it reads all parts and finds what
is missing. Peak memory is that of the measuring process.

Pod: the script counts the operations of an architecture as `jaxnas score --plan` does and assumes 2 % of the peak of a
TPU v5e. This is an estimate, not a measurement.

It writes results/scaling.json and results/scaling.md.
"""

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer

import jaxnas
from jaxnas.networks import NASBench201Network
from jaxnas.networks.declared.network import Conv, DeclaredNetwork, choice
from jaxnas.report import save_results
from jaxnas.run.inputs import load_standardized, make_network
from jaxnas.runtime.host import num_cores
from jaxnas.scoring.engine import DEFAULT_PROXIES, ScoringConfig
from jaxnas.spaces import NASBENCH201, enumerate_archs, from_index
from jaxnas.store.estimate import estimate
from jaxnas.store.folders import open_folder
from jaxnas.store.parts import open_parts, with_header, write_part
from jaxnas.store.store import fill_store, make_environment, make_provenance

RESULTS = Path(__file__).parent / "results"
PROCESSES, TIMES = (1, 2, 4), 5
WIDTHS = tuple(range(8, 72, 8))
# TPU v5e: operations per second in bfloat16. The share is assumed: 16 to 64 channels fill an eighth to a half of one
# side of its 128x128 matrix unit, and normalisation, ReLUs and copies are limited by memory bandwidth.
PEAK, SHARE = 197e12, 0.02
CHIPS = (1, 8, 64)


def score(ways: str, num: int, processes: int, folder: Path) -> float:
    """Run `jaxnas score` and return the seconds of scoring and compiling that it prints."""
    size = ["--sample", str(num), "--channels", "16", "--cells", "2", "--batch-size", "32", "--proxies", "snip"]
    command = [sys.executable, "-m", "jaxnas.cli", "score", *size, "--json"]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command += ["--out", out]
        if ways == "Ray":
            commands = [[*command, "--engine", "ray", "--workers", str(processes)]]
        else:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                job = ["--coordinator", f"127.0.0.1:{free.getsockname()[1]}", "--num-processes", str(processes)]
            ranks = range(processes)
            commands = [[*command, *job, "--process-id", str(rank)] if processes > 1 else command for rank in ranks]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        running = [subprocess.Popen(one, **pipes) for one in commands]
        outputs = [process.communicate() for process in running]
    for process, (_, err) in zip(running, outputs, strict=True):
        if process.returncode:
            raise SystemExit(f"scoring failed: {err}")
    return json.loads(outputs[0][0].splitlines()[-1])["seconds"]


def measure_processes(num: int, blocks: int) -> list[dict[str, Any]]:
    """Return a row per case: the two numbers of architectures, and the seconds of each in every block."""
    cases = [
        (ways, kind, processes, num * (processes if kind == "weak" else 1))
        for ways in ("one job", "Ray")
        for kind in ("strong", "weak")
        for processes in PROCESSES
        if kind == "strong" or (processes > 1 and ways != "Ray")
    ]
    found: dict[tuple, list] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        for ways, processes in (*(("one job", processes) for processes in PROCESSES), ("Ray", 1)):
            score(ways, 8, processes, Path(folder))  # fills the cache of compiled programs
        for block in range(blocks):
            for case in cases if block % 2 == 0 else reversed(cases):
                ways, kind, processes, few = case
                found[case].append([score(ways, total, processes, Path(folder)) for total in (few, TIMES * few)])
                print(f"{ways}, {kind}, {processes}: {found[case][-1]} s", flush=True)
    return [
        dict(ways=ways, kind=kind, processes=processes, architectures=[few, TIMES * few], seconds=found[case])
        for case in cases
        for ways, kind, processes, few in [case]
    ]


def measure_store(rows: int, parts: int) -> dict[str, Any]:
    """Measure the size of a store and the seconds of writing, resuming and planning; run it in a fresh process."""
    images = np.zeros((2, 8, 8, 3), np.float32)
    batch = jaxnas.Batch(images, np.array([0, 1], np.int32))
    network = DeclaredNetwork("widths", tuple(Conv(choice(*WIDTHS)) for _ in range(8)))
    space, names, rng = network.space, DEFAULT_PROXIES, np.random.default_rng(0)
    index = np.sort(rng.choice(space.size, rows, replace=False))
    archs = from_index(space, index)
    with tempfile.TemporaryDirectory() as folder:
        place = open_folder(folder)
        provenance = make_provenance(space, network, "noise", batch, ScoringConfig())
        open_parts(place, provenance, print)
        started = time.perf_counter()
        for chosen in np.array_split(rng.permutation(rows), parts):
            columns = {name: rng.normal(size=len(chosen)) for name in names}
            texts = [space.format(arch) for arch in archs[chosen]]
            table = pa.table({"index": index[chosen], "arch": texts, **columns})
            write_part(place, with_header(table, provenance, make_environment(60.0)))
        written = time.perf_counter() - started
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
        started = time.perf_counter()
        fill_store(folder, space, network, archs, batch, names, data_name="noise")
        resumed = time.perf_counter() - started
        started = time.perf_counter()
        job = estimate(folder, space, network, archs, batch, names, data_name="noise", devices=64)
        planned = time.perf_counter() - started
    assert (job.known, job.to_score) == (rows, 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = dict(write_seconds=written, look_up_seconds=resumed, plan_seconds=planned)
    return dict(rows=rows, parts=parts, bytes=size, peak=peak, **seconds)


def pod_on_paper() -> list[dict[str, Any]]:
    """Estimate the time of two spaces on TPU chips."""
    data = load_standardized("digits")  # only the classes matter: images of 32x32 are drawn at random
    images = np.random.default_rng(0).normal(size=(64, 32, 32, 3)).astype(np.float32)
    batch = jaxnas.Batch(images, np.arange(64, dtype=np.int32) % data.num_classes)
    rows = []
    for name, network, archs in (
        ("NAS-Bench-201, whole", NASBench201Network(), enumerate_archs(NASBENCH201)),
        ("DARTS, 36 channels, 20 layers, 10,000,000", make_network("darts", data, 36, 6), None),
    ):
        archs = jaxnas.sample(network.space, 1000, seed=0) if archs is None else archs
        job = estimate("nowhere", network.space, network, archs, batch, DEFAULT_PROXIES, data_name="noise")
        num = 10_000_000 if len(archs) == 1000 else job.to_score
        for chips in CHIPS:
            minutes = num * job.flops_per_arch / (chips * PEAK * SHARE) / 60
            each = job.flops_per_arch / 1e9
            rows.append(dict(space=name, architectures=num, gflop=each, chips=chips, minutes=minutes))
    return rows


def num_classes(sampled: int) -> int:
    """Return how many of the sampled architectures are scored: one of each network class."""
    return len(np.unique(NASBENCH201.network_class(jaxnas.sample(NASBENCH201, sampled, seed=0))))


def to_markdown(record: dict[str, Any]) -> str:
    """Return the tables of processes, store and pod."""
    lines, alone = [], {}
    if record["processes"]:
        columns = "ways | kind | processes | network classes | classes/s | efficiency | to begin, s"
        lines += [f"| {columns} |", "|---" * 7 + "|"]
        for row in record["processes"]:
            (few, many), seconds = map(num_classes, row["architectures"]), np.median(row["seconds"], axis=0)
            pace = (many - few) / (seconds[1] - seconds[0])
            alone.setdefault(row["ways"], pace)  # the first row has one process
            efficiency = pace / alone[row["ways"]] / min(row["processes"], record["cores"])
            case = f"{row['ways']} | {row['kind']} | {row['processes']} | {few:,} and {many:,}"
            lines.append(f"| {case} | {pace:.0f} | {efficiency:.2f} | {seconds[0] - few / pace:.1f} |")
        lines.append("")
    store = record["store"]
    lines += [
        "| rows | parts | size | bytes a row | writing | look-up by a job that resumes | plan | peak memory |",
        "|---" * 8 + "|",
        f"| {store['rows']:,} | {store['parts']:,} | {store['bytes'] / 1e6:,.0f} MB | "
        f"{store['bytes'] / store['rows']:.0f} | {store['write_seconds']:.0f} s | {store['look_up_seconds']:.0f} s | "
        f"{store['plan_seconds']:.0f} s | {store['peak'] / 1e9:.1f} GB |",
        "",
        "| space | architectures | GFLOP each | chips | minutes, on paper |",
        "|---" * 5 + "|",
    ]
    for row in record["pod"]:
        space = f"{row['space']} | {row['architectures']:,} | {row['gflop']:.0f}"
        lines.append(f"| {space} | {row['chips']} | {row['minutes']:,.1f} |")
    return "\n".join(lines) + "\n"


def main(
    num: Annotated[int, typer.Option(help="Architectures of the smaller strong case.", min=8)] = 300,
    rows: Annotated[int, typer.Option(help="Rows of the store; 0 keeps the previous measurement.", min=0)] = 10_000_000,
    parts: Annotated[int, typer.Option(help="Parts of the store.", min=1)] = 2_000,
    blocks: Annotated[int, typer.Option(help="Measurements of each case; 0 keeps the previous ones.", min=0)] = 2,
) -> None:
    """Measure the cost of more processes and of large stores, and estimate the time of a TPU pod."""
    started = time.perf_counter()
    record: dict[str, Any] = {"cores": num_cores(), "pod": pod_on_paper()}
    print("pod", record["pod"], flush=True)
    path = RESULTS / "scaling.json"
    before = json.loads(path.read_text()) if path.exists() else {"processes": []}
    if rows:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            before["store"] = pool.submit(measure_store, rows, parts).result()
        print("store", before["store"], flush=True)
    if blocks:
        before["processes"] = measure_processes(num, blocks)
    record |= {name: before[name] for name in ("store", "processes")}
    record["environment"] = make_environment(time.perf_counter() - started)
    save_results(RESULTS, "scaling", record, to_markdown(record))
    print(to_markdown(record))


if __name__ == "__main__":
    typer.run(main)
