"""How a command ends: exit codes, streams that cannot be written, signals in the middle of a program."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

JAXNAS = (sys.executable, "-m", "jaxnas.cli")
FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("args", [["--version"], ["proxies"], ["data", "--json"]])
def test_a_full_disk_behind_stdout_is_one_line(args):
    with FULL.open("w") as full:
        done = subprocess.run([*JAXNAS, *args], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: cannot write to standard output: No space left on device\n"


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
def test_an_error_keeps_its_code_where_stderr_cannot_be_written():
    with FULL.open("w") as full:
        assert subprocess.run([*JAXNAS, "search", "--budget", "0"], stderr=full).returncode == 2


def test_stdout_in_ascii_shows_what_it_can():
    variables = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*JAXNAS, "proxies"], capture_output=True, env=variables)
    assert done.returncode == 0
    assert b"grad_norm" in done.stdout


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_ends_a_compiled_search_at_once_with_the_command_to_resume_with(tmp_path, number):
    """The program of a search in a table runs, or compiles, in one call of many seconds."""
    table = tmp_path / "table.csv"
    table.write_text("arch,acc,a,b\n" + "".join(f"n{i},{i % 97},{i % 13},{i % 7}\n" for i in range(3000)))
    args = (
        "search",
        "--table",
        table,
        "--scores",
        table,
        "--column",
        "acc",
        "--budget",
        "100",
        "--out",
        tmp_path / "run",
    )
    with subprocess.Popen([*JAXNAS, *map(str, args)], stderr=subprocess.PIPE, text=True) as process:
        time.sleep(4)
        while "run" not in {path.name for path in tmp_path.iterdir()} and process.poll() is None:
            time.sleep(0.1)
        sent = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert time.monotonic() - sent < 5  # of a loaded machine; the program takes longer
    assert err.splitlines()[-1].startswith(
        f"stopped: finished work is kept in {tmp_path / 'run'}; resume with: jaxnas search"
    )
