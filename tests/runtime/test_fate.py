"""The processes of a job end together: by one line and exit code 2, whichever dies and whatever the others do."""

import signal
import socket
import subprocess
import sys
import time

import pytest

from jaxnas.runtime import coordinator, fate
from tests.runtime.test_distributed import free_port

MEMBER = """
import sys, time
from jaxnas.cli import _print_error
from jaxnas.errors import InputError
from jaxnas.runtime.distributed import from_leader, join, leave, wait_for_all

address, size, rank, work = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
join(address, size, rank)
print("in", flush=True)

def refuse():
    raise InputError("a problem that all share")

try:
    if work == "alone":
        time.sleep(60)
    elif work == "together":
        wait_for_all(sys.stdin.readline())
    elif work == "refused":
        from_leader(refuse, (), float)
    elif rank:
        time.sleep(5)  # longer than the grace of the first, which is done
except InputError as error:
    _print_error(str(error))
    leave(2)
"""
slow = pytest.mark.slow


def start(size, work, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    address = f"127.0.0.1:{free_port()}"
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    command = [sys.executable, "-c", MEMBER, address, str(size)]
    processes = [subprocess.Popen([*command, str(rank), work], **pipes) for rank in range(size)]
    assert [process.stdout.readline() for process in processes] == ["in\n"] * size
    return processes


def finish(processes):
    """Return exit code and lines of stderr of each process, without those of Gloo."""
    told = [process.communicate(timeout=60)[1].splitlines() for process in processes]
    lines = [[line for line in own if not line.startswith("[Gloo]")] for own in told]
    return [(process.returncode, own) for process, own in zip(processes, lines, strict=True)]


@pytest.mark.parametrize(
    ("size", "victim", "work"),
    [
        (2, 0, "alone"),
        pytest.param(3, 2, "alone", marks=slow),
        pytest.param(2, 0, "together", marks=slow),
        pytest.param(3, 1, "together", marks=slow),
    ],
)
def test_a_death_ends_all_others_with_one_line(size, victim, work, monkeypatch):
    processes = start(size, work, monkeypatch)
    survivors = [process for rank, process in enumerate(processes) if rank != victim]
    if work == "together":
        for process in survivors:
            process.stdin.write("now\n")
            process.stdin.flush()
        time.sleep(1)
    processes[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    for code, lines in finish(survivors):
        (line,) = lines
        who = f"process {victim} of this job is gone: " if work == "alone" else "a process of this job is gone ("
        assert code == 2
        assert line.startswith(f"error: {who}")
        assert line.endswith("see what it printed, and start the same commands again, which resume")
    assert time.monotonic() - killed < 20
    finish(processes[victim : victim + 1])


@slow
@pytest.mark.parametrize(
    ("work", "expected"), [("refused", (2, ["error: a problem that all share"])), ("ends", (0, []))]
)
def test_an_end_that_is_no_death_adds_no_line(work, expected, monkeypatch):
    assert finish(start(2, work, monkeypatch)) == [expected] * 2


def test_an_address_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RuntimeError, match=rf"no service at {address}, which may be in use: "):
            fate._Service(address, 2, heartbeat_timeout=9)


@pytest.mark.slow
def test_the_service_outlives_the_first_process_for_a_moment():
    command = [sys.executable, "-P", coordinator.__file__, '[["127.0.0.1:0", 2], {"heartbeat_timeout": 9}]']
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with subprocess.Popen(command, **pipes) as service:
        assert service.stdout.readline() == b"\n"
        began = time.monotonic()
        service.stdin.close()  # as a death does
        assert service.wait(timeout=60) == 0
        assert time.monotonic() - began > fate.GRACE + 2


def test_strangers_are_not_let_in():
    """A connection without the token is closed, and its end is no death."""
    members = {}
    ours, theirs = socket.socketpair()
    theirs.sendall(b"guess 1\n")
    fate._admit(ours, b"token", members)
    assert theirs.recv(1) == b""
    assert members == {}
