"""Workers of a real Ray cluster on this machine: the same results as without them, even if workers die."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import jaxnas
from jaxnas import TrainingConfig, TrainingObjective
from jaxnas.errors import InputError
from jaxnas.networks import NASBench201Network
from jaxnas.run.comparison import compare_methods
from jaxnas.run.config import CompareConfig
from jaxnas.run.inputs import load_standardized, make_batch
from jaxnas.runtime.ray_workers import RETRIES
from jaxnas.runtime.workers import LocalWorkers, open_workers
from jaxnas.search import robot
from jaxnas.spaces import NASBENCH201, sample
from tests.integration import require_installed

require_installed("ray")
NETWORK = NASBench201Network(num_classes=10, channels=2, cells_per_stage=1)
ARCHS = sample(NASBENCH201, 12, seed=0)


@pytest.fixture(scope="module")
def workers():
    """Start two workers."""
    with open_workers("ray", num_workers=2, warn=pytest.fail) as found:
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find the folder of tests
        yield found


@pytest.fixture(scope="module")
def digits():
    """Return the embedded images."""
    return load_standardized("digits")


def add(shared, item):
    """Compute items of which some fail."""
    if item == "wrong":
        raise InputError("item 'wrong' is wrong: leave it out")
    if item == "bug":
        raise ZeroDivisionError("a bug")
    return shared + item


def die_once(folder, item):
    """Kill this process the first time that item 3 comes."""
    with (folder / f"{item}.log").open("a") as log:
        log.write("called\n")
    if item == 3 and len((folder / "3.log").read_text().splitlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item**2


def die(folder, item):
    """Kill this process whenever called."""
    with (folder / "log").open("a") as log:
        log.write("called\n")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("kind", ["local", "ray"])
def test_every_item_is_done_once(kind, workers):
    chosen = LocalWorkers() if kind == "local" else workers
    found = list(chosen.map(chosen.share(add, 10), range(7)))
    assert sorted(found) == [(n, n + 10) for n in range(7)]
    assert list(chosen.map(chosen.share(add, 10), [])) == []
    with pytest.raises(InputError, match="item 'wrong' is wrong: leave it out"):
        list(chosen.map(chosen.share(add, "so "), ["good", "wrong"]))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(chosen.map(chosen.share(add, "so "), ["bug"]))


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced(workers, tmp_path):
    found = sorted(workers.map(workers.share(die_once, tmp_path), range(6)))
    assert found == [(n, n**2) for n in range(6)]
    assert (tmp_path / "3.log").read_text() == "called\ncalled\n"


@pytest.mark.slow
def test_what_kills_every_worker_is_given_up(workers, tmp_path):
    with pytest.raises(InputError, match=rf"workers died {RETRIES + 1} times of the same piece of work"):
        list(workers.map(workers.share(die, tmp_path), [0]))
    assert len((tmp_path / "log").read_text().splitlines()) == RETRIES + 1


def listening():
    """Return the local addresses, in the kernel's hexadecimal, of the sockets on which Ray's processes listen."""
    owned = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                owned[f"socket:[{fields[9]}]"] = fields[1].rpartition(":")[0]
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            links = [os.readlink(link) for link in (process / "fd").iterdir()]
        except OSError:
            continue
        if "ray" in command:
            found |= {owned[link]: command for link in links if link in owned}
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
def test_all_sockets_are_bound_to_the_loopback_interface(workers):
    loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    found = listening()
    assert found
    assert not {address: command for address, command in found.items() if address not in loopback}


@pytest.mark.slow
def test_scores_are_those_of_this_process(workers, digits, tmp_path):
    batch, names = make_batch(digits, 8, 0), ("snip", "synflow")
    given = (NASBENCH201, NETWORK, np.concatenate([ARCHS, ARCHS[:2]]), batch, names)
    expected = jaxnas.score_to_store(tmp_path / "here", *given, data_name="digits")
    counts = []
    found = jaxnas.score_to_store(tmp_path / "ray", *given, data_name="digits", workers=workers, on_event=counts.append)
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.provenance == expected.provenance
    assert counts[0] == (0, 12)
    assert counts[-1] == (12, 12)


@pytest.mark.slow
def test_training_and_proposals_at_once_are_those_of_this_process(workers, digits, tmp_path):
    """Two proposals at once use a surrogate with assumed, then true values; results are the same on any workers."""
    config = TrainingConfig(epochs=1, batch_size=256)
    table = np.random.default_rng(0).random((len(ARCHS), 3))
    results, records = [], []
    for name, staff in (("ray", workers), ("here", None)):
        record = tmp_path / name / "training.jsonl"
        record.parent.mkdir()
        objective = TrainingObjective(NETWORK, ARCHS, digits, config, record, workers=staff)
        assert objective.together == (2 if staff else 1)
        results.append(robot(table, objective, budget=4, seed=1, at_once=2))
        lines = [json.loads(line) for line in record.read_text().splitlines()[1:]]
        records.append({line.pop("arch"): {**line, "seconds": 0} for line in lines})
        assert all(line["seconds"] > 0 for line in lines)
        best = results[-1].selected
        assert 0 < objective.test_accuracy(best) < 100
        assert list(record.parent.iterdir()) in ([record], [record.with_name("training.jsonl.checkpoints"), record])
    assert records[0] == records[1]
    np.testing.assert_array_equal(results[0].queries, results[1].queries)
    np.testing.assert_array_equal(results[0].objective, results[1].objective)


@pytest.mark.slow
def test_comparisons_are_those_of_this_process(workers, tmp_path):
    archs = [NASBENCH201.format(arch) for arch in ARCHS]
    values = np.random.default_rng(0).random((len(ARCHS), 3))
    scores, accuracies = tmp_path / "scores.csv", tmp_path / "table.csv"
    rows = zip(archs, values, strict=True)
    lines = [(f'"{arch}",{a},{b}', f'"{arch}",{c}') for arch, (a, b, c) in rows]
    scores.write_text("\n".join(["arch,one,other", *(line for line, _ in lines)]))
    accuracies.write_text("\n".join(["arch,accuracy", *(line for _, line in lines)]))
    config = CompareConfig(scores=str(scores), table=str(accuracies), column="accuracy", test_column="", budget=3)
    methods, seeds = ("random", "rank_sum"), range(12)
    told = []
    found = compare_methods(methods, config, seeds, tmp_path / "ray", workers=workers, on_event=told.append)
    expected = compare_methods(methods, config, seeds, tmp_path / "here")
    for name in methods:
        np.testing.assert_array_equal(found.runs[name].selected, expected.runs[name].selected)
        np.testing.assert_array_equal(found.runs[name].best, expected.runs[name].best)
    assert {(name, 12, 12) for name in methods} <= set(told)


SCORE = [sys.executable, "-m", "jaxnas.cli", "score", "--sample", "60", "--channels", "4", "--proxies", "snip"]


def ray_workers_of(pid):
    """Return the processes below `pid` that are working."""
    parents, names = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(process.name)] = (process / "cmdline").read_text()
        except (OSError, ValueError):
            continue

    def is_below(child):
        while child in parents and child != pid:
            child = parents[child]
        return child == pid

    return [child for child, name in names.items() if name.startswith("ray::_call") and is_below(child)]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes as Linux shows them")
def test_the_command_survives_the_death_of_a_worker(tmp_path):
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    variables = {**os.environ, "RAY_ADDRESS": "10.1.2.3:6379", "JAX_NUM_CPU_DEVICES": "1"}
    args = [*SCORE, "--out", "ray", "--engine", "ray", "--workers", "2", "--json"]
    process = subprocess.Popen(args, env=variables, **pipes)
    killed, deadline = [], time.monotonic() + 240
    while not killed and time.monotonic() < deadline and process.poll() is None:
        for pid in ray_workers_of(process.pid)[:1]:
            time.sleep(1)
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        time.sleep(0.1)
    out, err = process.communicate(timeout=300)
    assert killed
    assert process.returncode == 0, err
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert (events[0]["event"], events[-1]["event"]) == ("start", "done")
    subprocess.run([*SCORE, "--out", "here"], env=variables, check=True, capture_output=True, cwd=tmp_path)
    found, expected = (pq.read_table(tmp_path / name / "scores.parquet") for name in ("ray", "here"))
    for name in expected.column_names:
        np.testing.assert_array_equal(found[name].to_numpy(), expected[name].to_numpy())
    parts = [pq.read_table(path)["index"].to_numpy() for path in (tmp_path / "ray" / "parts").glob("*.parquet")]
    together = np.concatenate(parts)
    assert len(together) == len(np.unique(together)) == 60


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--engine", "rey"], "unknown engine 'rey': did you mean 'ray'?"),
        pytest.param(["--workers", "2"], "for --engine ray: leave them out", marks=pytest.mark.slow),
        pytest.param(
            ["--engine", "ray", "--process-id", "0"],
            "starts its processes by itself; leave --coordinator",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--engine", "ray", "--address", "nowhere"],
            "no Ray cluster could be used at nowhere (give HOST:PORT, or auto)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--engine", "ray", "--address", "127.0.0.1:1"],
            "no Ray cluster could be used at 127.0.0.1:1",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_errors_of_the_command(args, message, tmp_path):
    told = subprocess.run([*SCORE, *args], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert told.returncode == 2, told.stderr
    assert message in told.stderr.replace("\n", " ")
    assert "Traceback" not in told.stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes as Linux shows them")
def test_a_running_cluster_is_joined_with_a_warning(tmp_path):
    """A cluster that another process started, which listens where others can reach it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = ["start", "--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false", "--block"]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", *start]
    head = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=variables)
    try:
        args = [*SCORE, "--proxies", "params", "--engine", "ray", "--address", f"127.0.0.1:{port}"]
        deadline, told = time.monotonic() + 120, None
        while time.monotonic() < deadline and (told is None or "no Ray cluster could be used" in told.stderr):
            time.sleep(2)
            told = subprocess.run(args, capture_output=True, text=True, cwd=tmp_path, env=variables, timeout=200)
        assert told.returncode == 0, told.stderr
        assert "60 architectures in scores" in told.stdout
        assert "warning: Ray's traffic with" in told.stderr or "127.0.0.1" in socket.gethostbyname(socket.gethostname())
    finally:
        head.terminate()
        head.wait(60)
