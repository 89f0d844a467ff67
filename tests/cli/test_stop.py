"""A signal ends a command within two seconds with the line that says how to resume, whatever the command does then."""

import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

PROGRAM = """
import ctypes, gc, os, signal, sys, time
from jaxnas.cli.stop import keeping, stoppable
with stoppable(), keeping("out"):
{body}
"""
READY = "print('ready', flush=True)"
# A call into C that lets other threads run and never ends, as XLA does for minutes: a thread locks a mutex twice.
ENDLESS = "\n".join(
    [
        "mutex, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)",
        "libc.pthread_mutex_lock(mutex)",
        READY,
        "libc.pthread_mutex_lock(mutex)",
    ]
)
LINE = "stopped: finished work is kept in out; resume with: jaxnas a 'b c'\n"
INT, TERM = signal.SIGINT, signal.SIGTERM


def run(body, *numbers, ready=True, **options):
    """Run the body of a command and send signals; return exit code, stdout, stderr, and seconds after the first."""
    program = PROGRAM.format(body="\n".join(f"    {line}" for line in body.splitlines()))
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen([sys.executable, "-c", program, "a", "b c"], **pipes, **options) as process:
        try:
            assert not ready or process.stdout.readline() == "ready\n"
            time.sleep(0.1)
            sent = time.monotonic()
            for number in numbers:
                process.send_signal(number)
                time.sleep(0.1)
            out, err = process.communicate(timeout=30)
            return process.returncode, out, err, time.monotonic() - sent
        finally:
            process.kill()  # else the end of the block would wait for a process that ignores its signal


@pytest.mark.parametrize("numbers", [(INT,), (TERM,), (INT, INT, TERM)], ids=str)
def test_a_signal_during_a_call_that_python_cannot_interrupt(numbers):
    code, _, err, seconds = run(ENDLESS, *numbers)
    assert (code, err) == (128 + numbers[0], LINE)
    assert seconds < 3  # 1.5, and what a loaded machine adds


def test_what_can_be_interrupted_cleans_up_once():
    body = f"try:\n    {READY}; time.sleep(60)\nfinally:\n    time.sleep(0.3); print('clean', flush=True)"
    code, out, err, _ = run(body, INT, INT)
    assert (code, out, err) == (130, "clean\n", LINE)


def test_an_interrupt_that_is_swallowed_stops_the_command():
    body = f"while True:\n    try:\n        {READY}; time.sleep(60)\n    except BaseException:\n        pass"
    code, _, err, seconds = run(body, INT)
    assert (code, err) == (130, LINE)
    assert seconds < 3


@pytest.mark.parametrize("place", ["gc.callbacks.append(lost); gc.collect()", "lost('start', 0)"])
def test_an_interrupt_that_is_lost_or_turned_into_another_exception(place):
    """In a callback of the garbage collector (jax-ml/jax#18246), or as a ValueError of JAX (jax-ml/jax#9082)."""
    body = (
        "sent = []\n"
        "def lost(phase, info):\n"
        "    if not sent:\n"
        "        sent.append(1)\n"
        "        try: signal.raise_signal(signal.SIGINT)\n"
        "        except KeyboardInterrupt as error:\n"
        "            if info: raise\n"
        "            raise ValueError('Non-hashable static arguments') from error\n"
        f"{place}\ntime.sleep(60)"
    )
    code, _, err, seconds = run(body, ready=False)
    assert (code, err) == (130, LINE)
    assert seconds < 3


def test_an_ignored_signal_stays_ignored():
    """A shell starts jobs in the background so, and Ctrl-C is not for them."""
    code, _, err, _ = run(ENDLESS, INT, TERM, preexec_fn=lambda: signal.signal(INT, signal.SIG_IGN))
    assert (code, err) == (143, LINE)


def test_a_signal_to_a_forked_process_does_not_stop_the_command():
    """As PyTorch's loaders of data end their workers."""
    body = (
        "child = os.fork()\n"
        "if not child:\n    time.sleep(60)\n"
        "time.sleep(0.2); os.kill(child, signal.SIGTERM)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
        "time.sleep(2)"
    )
    assert run(body, ready=False)[:3] == (0, "-15\n", "")


def test_ctrl_c_before_a_command_begins_leaves_no_traceback():
    program = (
        "import signal, jaxnas.__main__ as top, jaxnas.cli.__main__ as below\n"
        "below.run = lambda: signal.raise_signal(signal.SIGINT)\ntop.run()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_the_package_runs_as_the_command():
    outputs = {
        subprocess.check_output([sys.executable, "-m", module, "--version"], text=True)
        for module in ("jaxnas", "jaxnas.cli")
    }
    assert len(outputs) == 1


NETWORK = ("--channels", "2", "--cells", "1")
ARCH = "|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folder of a search and of its training."""
    folder = tmp_path_factory.mktemp("trained")
    search = ("search", "--pool", "4", "--budget", "1", "--proxies", "params", "--epochs", "1", "--channels", "2")
    for args in ((*search, "--cells", "1", "--out", "run"), ("train", "run", "--epochs", "1")):
        subprocess.run([sys.executable, "-m", "jaxnas", *args], cwd=folder, check=True, capture_output=True)
    Image.new("L", (8, 8)).save(folder / "digit.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", [INT, TERM], ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("begins", "args"),
    [
        ("Compiling jit(train)", ("search", "--pool", "4", "--budget", "2", "--proxies", "params", *NETWORK)),
        ("Compiling jit(train)", ("train", ARCH, "--data", "digits", *NETWORK, "--out", "new")),
        ("Compiling", ("export", "run", "--to", "stablehlo")),
        ("Compiling", ("export", "run", "--to", "torch", "--untrained")),
        ("Compiling", ("predict", "run", "digit.png")),
        ("", ("report", "run")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_signal_while_a_command_compiles(trained, tmp_path, begins, args, number):
    variables = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_LOG_COMPILES": "1"}
    command = [sys.executable, "-m", "jaxnas", *args]
    with subprocess.Popen(command, cwd=trained, env=variables, stderr=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stderr if begins else ():
                if begins in line:
                    break
            time.sleep(0.2 if begins else 1)  # the shortest of the programs compiles for less than a second
            sent = time.monotonic()
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert time.monotonic() - sent < 3
    assert "Traceback" not in err
    if begins:
        assert process.returncode == 128 + number, err
        assert f"jaxnas {args[0]}" in err.splitlines()[-1]
    else:  # it may not have begun
        assert process.returncode in (128 + number, -number), err
