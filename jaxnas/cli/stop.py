"""End a command at Ctrl-C, or at the signal SIGTERM that job schedulers send."""

import _thread
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxnas.runtime.bars import status
from jaxnas.runtime.places import without_secrets


@contextmanager
def stoppable() -> Iterator[None]:
    """End the command at Ctrl-C or SIGTERM in the body with one line that names the command to resume with.

    The exit code is 130 or 143, as in a shell.

    JAX has a callback in Python's garbage collector, where an exception is lost: a Ctrl-C there is repeated a moment
    later.
    """

    def repeat_interrupt(lost: "sys.UnraisableHookArgs") -> None:
        if lost.exc_type is KeyboardInterrupt:
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            sys.__unraisablehook__(lost)

    received = [signal.SIGINT]

    def end(number: int, frame: object) -> None:
        received.append(signal.Signals(number))
        raise KeyboardInterrupt

    before, sys.unraisablehook = sys.unraisablehook, repeat_interrupt
    in_main_thread = threading.current_thread() is threading.main_thread()  # others cannot set a handler
    before_signal = signal.signal(signal.SIGTERM, end) if in_main_thread else None
    try:
        yield
    except KeyboardInterrupt as stopped:
        start = (
            f"stopped: finished work is kept in {stopped}; resume with:" if stopped.args else "stopped; repeat with:"
        )
        status.print(f"{start} {this_command()}", highlight=False, soft_wrap=True)
        sys.stdout.flush()
        os._exit(128 + received[-1])  # JAX that was interrupted while it compiled may crash as Python shuts down
    finally:
        sys.unraisablehook = before
        if in_main_thread:
            signal.signal(signal.SIGTERM, before_signal)


@contextmanager
def keeping(place: Path | str) -> Iterator[None]:
    """Name the path or address where finished work is kept, for the line that `stoppable` prints."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        raise KeyboardInterrupt(without_secrets(str(place))) from stopped


def this_command() -> str:
    """Return the command line without the secrets of its addresses."""
    arguments = sys.argv[1:]
    shown = [without_secrets(argument) if "://" in argument else argument for argument in arguments]
    note = "" if shown == arguments else "  (add the credentials and options of its addresses, which are left out here)"
    return shlex.join(["jaxnas", *shown]) + note
