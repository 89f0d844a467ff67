"""Jobs of several real processes on this machine: the table of one process, errors, and the death of a process."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from jaxnas.errors import InputError
from jaxnas.runtime import distributed
from jaxnas.store.tables import read_scores

SMALL = ("--sample", "30", "--channels", "2", "--proxies", "grad_norm,synflow")


def start(args, cwd, num_processes=1, port=0, environment=None):
    """Start a process of `jaxnas score` for each rank, with one device each."""
    processes = []
    for rank in range(num_processes):
        job = ["--coordinator", f"127.0.0.1:{port}", "--num-processes", str(num_processes), "--process-id", str(rank)]
        command = [sys.executable, "-m", "jaxnas.cli", "score", *args, *(job if port else [])]
        variables = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", **(environment(rank) if environment else {})}
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(subprocess.Popen(command, cwd=cwd, env=variables, **pipes))
    return processes


def finish(processes, timeout=300):
    """Return (exit code, stdout, stderr) of each process."""
    told = [process.communicate(timeout=timeout) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, told, strict=True)]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """Return the table of a run with one process."""
    folder = tmp_path_factory.mktemp("single")
    ((code, _, err),) = finish(start((*SMALL, "--out", "scores"), folder))
    assert code == 0, err
    return pq.read_table(folder / "scores" / "scores.parquet")


def check_same_table(path, expected):
    table = pq.read_table(path)
    assert table.column_names == expected.column_names
    for name in table.column_names:
        np.testing.assert_array_equal(table[name].to_numpy(), expected[name].to_numpy())


@pytest.mark.slow
@pytest.mark.parametrize("num", [2, 4])
def test_a_job_writes_the_table_of_one_process(tmp_path, single, num):
    told = finish(start((*SMALL, "--out", "scores"), tmp_path, num, free_port()))
    assert [code for code, _, _ in told] == [0] * num, told
    check_same_table(tmp_path / "scores" / "scores.parquet", single)
    assert "30 architectures" in told[0][1]
    assert "Gloo" not in told[0][1]
    for rank, (_, out, err) in enumerate(told):
        assert f"process {rank} of 0 to {num - 1}: 1 of {num} devices" in err
        assert rank == 0 or not out
    parts = [pq.read_table(path)["index"].to_numpy() for path in (tmp_path / "scores" / "parts").glob("*.parquet")]
    assert len(parts) >= num  # each process wrote its share
    assert len(np.concatenate(parts)) == 30  # and nothing twice


LAUNCHERS = {
    "SLURM": lambda rank, port: {
        "SLURM_JOB_ID": str(port),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
    },
    "Open MPI": lambda rank, port: {
        "OMPI_MCA_orte_hnp_uri": f"{port}.0;tcp://127.0.0.1:1234",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(rank),
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS.values(), ids=LAUNCHERS.keys())
def test_launchers_are_found(tmp_path, single, launcher):
    port = free_port()
    told = finish(start((*SMALL, "--out", "scores"), tmp_path, 2, environment=lambda rank: launcher(rank, port)))
    assert [code for code, _, _ in told] == [0, 0], told
    assert all("1 of 2 devices" in err for _, _, err in told)
    check_same_table(tmp_path / "scores" / "scores.parquet", single)


@pytest.mark.slow
def test_an_error_of_the_first_process_ends_all_with_its_line(tmp_path):
    (tmp_path / "scores").write_text("a file in the place of a folder")
    told = finish(start((*SMALL, "--out", "scores"), tmp_path, 2, free_port()))
    for code, _, err in told:
        assert code == 2
        assert err.splitlines()[-1].startswith("error: scores is a file, and scores are kept in a folder")
        assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_death_ends_the_job_and_the_next_one_resumes(tmp_path, victim):
    args = ("--all", "--channels", "4", "--proxies", "synflow", "--out", "scores")
    processes = start(args, tmp_path, 2, free_port())
    deadline = time.monotonic() + 600
    while not list(tmp_path.glob("scores/parts/[!.]*")) and time.monotonic() < deadline:
        time.sleep(0.2)
    processes[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    code, _, err = finish(processes)[1 - victim]
    assert time.monotonic() - killed < 30
    assert code == 2
    assert "of this job is gone" in err.splitlines()[-1]
    assert "another task died" not in err
    found = len(read_scores(tmp_path / "scores").archs)
    assert 0 < found < 15625
    told = finish(start(args, tmp_path, 2, free_port()), 600)
    assert [code for code, _, _ in told] == [0, 0], told
    assert "were scored before" in told[0][2]
    assert pq.read_metadata(tmp_path / "scores" / "scores.parquet").num_rows == 15625
    ((code, _, err),) = finish(start((*args[:-1], "calm"), tmp_path), 600)
    assert code == 0, err
    check_same_table(tmp_path / "scores" / "scores.parquet", pq.read_table(tmp_path / "calm" / "scores.parquet"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("host:1", 2, None), "a job needs --coordinator, --num-processes and --process-id"),
        (("host", 2, 0), "`coordinator` must be HOST:PORT of process 0, got 'host'"),
        (("host:port", 2, 0), "`coordinator` must be HOST:PORT of process 0, got 'host:port'"),
        (("host:99999", 2, 0), "`coordinator` must be HOST:PORT of process 0, got 'host:99999'"),
        (("host:1", 0, 0), "`num-processes` must be at least 1, got 0"),
        (("host:1", 2, 2), "`process-id` must be from 0 to 1, got 2"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(given, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        distributed.join(*given)


def test_one_process_is_a_job_by_itself(monkeypatch):
    for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert not distributed.join()
    assert distributed.is_leader()
    values = np.random.default_rng(0).normal(size=(3, 2))
    assert distributed.gather_rows(values, np.ones(3, bool)) is values
    np.testing.assert_array_equal(distributed.from_leader(lambda: values, values.shape, float), values)
