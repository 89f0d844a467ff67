"""Objectives that are called: what they may return, a time limit for each call, and commands of the shell."""

import math
import os
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from jaxnas.errors import InputError, first_line


class OutOfTime(BaseException):
    """A call took longer than its limit. It is no `Exception`, so that no `except Exception` of the call stops it."""


def to_objective(value: object) -> float:
    """Return the number that an objective returned.

    A number of Python or NumPy, an array or tensor with one entry of any library, and a list, tuple or dictionary with
    one such entry are unambiguous. NaN and inf mean that the candidate failed.

    Raises:
      InputError: anything else; the message names it.
    """
    found = value
    while isinstance(found, list | tuple | Mapping) and len(found) == 1:
        found = next(iter(found.values())) if isinstance(found, Mapping) else found[0]
    is_single = getattr(found, "size", None) == 1 or getattr(found, "ndim", None) == 0 or hasattr(found, "numel")
    if is_single and hasattr(found, "item"):
        with suppress(ValueError, RuntimeError):  # the check below refuses what has no single number
            found = found.item()
    if isinstance(found, bool) or not isinstance(found, int | float):
        shown = " ".join(f"{value!r:.80}".split())
        raise InputError(f"an objective must return one number, got {shown} ({type(value).__name__})")
    return float(found)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `OutOfTime` in the body after so many seconds; None for no limit.

    The limit is a signal to the main thread: code that holds the interpreter, such as one long call into a library,
    ends first.

    Raises:
      InputError: a limit outside of the main thread, or on a system without such signals.
    """
    if seconds is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        raise InputError("a time limit of a query needs the main thread of a Unix system: leave it out")

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class CommandFailed(Exception):
    """A command ended with another exit status than 0, without a number, or after its time limit."""


def command_objective(command: str, seconds: float | None = None) -> Callable[[str], float]:
    """Return the objective that a command prints as its last line.

    The command runs without a shell. In its words {arch_file} stands for the path of a file with the text of the
    architecture, and {arch} for the text. What it prints to stderr is shown.

    Args:
      command: program and arguments, as in a shell.
      seconds: limit of one run, after which it and its child processes are killed.

    Raises:
      InputError: the command is empty, has an open quotation, or names neither {arch_file} nor {arch}.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"the objective command {command!r} cannot be read ({error})") from error
    if not any("{arch_file}" in word or "{arch}" in word for word in words):
        raise InputError(f"the objective command {command!r} must have {{arch_file}} or {{arch}} where it trains one")

    def objective(arch: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "arch.txt")
            path.write_text(f"{arch}\n")
            arguments = [word.replace("{arch_file}", str(path)).replace("{arch}", arch) for word in words]
            return _last_number(_run(arguments, seconds))

    return objective


def _run(arguments: list[str], seconds: float | None) -> str:
    """Return what a program prints; kill it with its children if it takes too long, or if this process is stopped."""
    try:
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True)
    except OSError as error:
        raise InputError(f"cannot run {arguments[0]!r}: {error.strerror or error}") from error
    try:
        out, _ = process.communicate(timeout=seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise CommandFailed(f"took longer than {seconds:g} s") from error
        raise
    if process.returncode:
        raise CommandFailed(f"ended with exit status {process.returncode}")
    return out


def _last_number(out: str) -> float:
    lines = [line.strip() for line in out.splitlines() if line.strip()] or [""]
    try:
        return float(lines[-1])
    except ValueError:
        raise CommandFailed(f"its last line must be a number, got {lines[-1]!r:.80}") from None


def describe_failure(error: BaseException, seconds: float | None) -> str:
    """Return one line about a failed call."""
    if isinstance(error, OutOfTime):
        return (
            f"OutOfTime: took longer than {seconds:g} s"
            if seconds is not None and math.isfinite(seconds)
            else "OutOfTime"
        )
    return f"{type(error).__name__}: {first_line(error, 'no details')}"[:300]
