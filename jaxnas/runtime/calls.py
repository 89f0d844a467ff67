"""Calls that may fail or hang: a time limit for a function, and programs in processes of their own."""

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from jaxnas.errors import InputError


class OutOfTime(BaseException):
    """A call took longer than its limit. It is no `Exception`, so that no `except Exception` of the call stops it."""


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


def run_command(arguments: Sequence[str], seconds: float | None = None) -> str:
    """Return what a program prints to stdout; a byte that is not UTF-8 becomes U+FFFD.

    Args:
      arguments: the program and its arguments; no shell reads them.
      seconds: time after which it is killed with its child processes, as when this process is stopped; None for no
        limit.

    Raises:
      InputError: there is no such program.
      CommandFailed: it ended with another exit status than 0, or took too long.
    """
    with tempfile.TemporaryFile() as out:  # a pipe stays open while a child in a session of its own holds it
        try:
            process = subprocess.Popen(arguments, stdout=out, start_new_session=True)
        except OSError as error:
            raise InputError(f"cannot run {arguments[0]!r}: {error.strerror or error}") from error
        try:
            process.wait(seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandFailed(f"took longer than {seconds:g} s") from error
            raise
        if process.returncode:
            raise CommandFailed(f"ended with exit status {process.returncode}")
        out.seek(0)
        return out.read().decode(errors="replace")
