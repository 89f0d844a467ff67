"""End a command at Ctrl-C."""

import _thread
import os
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxnas.cli.progress import status


@contextmanager
def stoppable() -> Iterator[None]:
    """End the command at Ctrl-C in the body with exit code 130 and one line that names the command to resume with.

    JAX has a callback in Python's garbage collector, where an exception is lost: a Ctrl-C there is repeated a moment
    later.
    """

    def repeat_interrupt(lost: "sys.UnraisableHookArgs") -> None:
        if lost.exc_type is KeyboardInterrupt:
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            sys.__unraisablehook__(lost)

    before, sys.unraisablehook = sys.unraisablehook, repeat_interrupt
    try:
        yield
    except KeyboardInterrupt as stopped:
        start = (
            f"stopped: finished work is kept in {stopped}; resume with:" if stopped.args else "stopped; repeat with:"
        )
        status.print(f"{start} {this_command()}", highlight=False, soft_wrap=True)
        sys.stdout.flush()
        os._exit(130)  # JAX that was interrupted while it compiled may crash as Python shuts down
    finally:
        sys.unraisablehook = before


@contextmanager
def keeping(place: Path | str) -> Iterator[None]:
    """Name the path or address where finished work is kept, for the line that `stoppable` prints."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        from jaxnas.runtime.places import without_secrets

        raise KeyboardInterrupt(without_secrets(str(place))) from stopped


def this_command() -> str:
    """Return the command line without the secrets of its addresses."""
    arguments = sys.argv[1:]
    if not any("://" in argument for argument in arguments):
        return shlex.join(["jaxnas", *arguments])
    from jaxnas.runtime.places import without_secrets

    shown = [without_secrets(argument) if "://" in argument else argument for argument in arguments]
    note = "" if shown == arguments else "  (add the credentials and options of its addresses, which are left out here)"
    return shlex.join(["jaxnas", *shown]) + note
