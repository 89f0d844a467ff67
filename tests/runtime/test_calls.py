"""Time limits of functions, and programs that are killed with their children."""

import sys
import time
from contextlib import suppress

import pytest

from jaxnas.errors import InputError
from jaxnas.runtime.calls import CommandFailed, OutOfTime, run_command, time_limit

# A program that starts another one, which writes to a file after a second.
PARENT = """
import subprocess, sys, time
child = "import sys, time; time.sleep(1); open(sys.argv[1], 'w').write('alive')"
subprocess.Popen([sys.executable, "-c", child, sys.argv[1]])
time.sleep(60)
"""


def stubborn():
    while True:
        with suppress(Exception):
            time.sleep(5)


def test_a_limit_stops_even_what_catches_every_exception():
    began = time.monotonic()
    with pytest.raises(OutOfTime), time_limit(0.05):
        stubborn()
    assert time.monotonic() - began < 5
    with time_limit(None), time_limit(5.0):
        pass


def test_a_program_that_takes_too_long_is_killed_with_its_children(tmp_path):
    with pytest.raises(CommandFailed, match=r"took longer than 0\.5 s"):
        run_command([sys.executable, "-c", PARENT, str(tmp_path / "late")], 0.5)
    time.sleep(1)
    assert not (tmp_path / "late").exists()


def test_no_shell_reads_the_arguments():
    assert run_command([sys.executable, "-c", "import sys; print(sys.argv[1])", "$HOME; ls"]) == "$HOME; ls\n"
    with pytest.raises(InputError, match="cannot run 'no-such-program'"):
        run_command(["no-such-program"])


def test_a_child_in_a_session_of_its_own_does_not_hold_the_limit_back():
    child = "import subprocess; subprocess.Popen(['sleep', '20'], start_new_session=True); import time; time.sleep(20)"
    began = time.monotonic()
    with pytest.raises(CommandFailed, match="took longer than 1 s"):
        run_command([sys.executable, "-c", child], 1.0)
    assert time.monotonic() - began < 10


def test_a_byte_that_is_not_utf8_is_replaced():
    assert run_command([sys.executable, "-c", r"import os; os.write(1, b'\xff\n0.5\n')"]) == "\ufffd\n0.5\n"
