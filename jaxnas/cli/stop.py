"""How Ctrl-C ends a command."""

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
    """Ctrl-C in the body ends the command with one line, which says how to go on, and exit code 130.

    JAX has a callback in Python's garbage collector, where an exception is lost: there Ctrl-C comes again a bit later.
    """

    def come_again(lost: "sys.UnraisableHookArgs") -> None:
        if lost.exc_type is KeyboardInterrupt:
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            sys.__unraisablehook__(lost)

    before, sys.unraisablehook = sys.unraisablehook, come_again
    try:
        yield
    except KeyboardInterrupt as stopped:
        kept = f"stopped: finished work is kept in {stopped}; go on with:" if stopped.args else "stopped; again:"
        status.print(f"{kept} {this_command()}", markup=False, highlight=False, soft_wrap=True)
        sys.stdout.flush()
        os._exit(130)  # JAX that was interrupted while it compiled may crash as Python shuts down
    finally:
        sys.unraisablehook = before


@contextmanager
def keeping(place: Path | str) -> Iterator[None]:
    """Ctrl-C in the body tells `stoppable` that finished work is kept at this path or address."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        from jaxnas.store.folders import without_secrets

        raise KeyboardInterrupt(without_secrets(str(place))) from stopped


def this_command() -> str:
    """The command line as it was given, but for what is secret in addresses."""
    if any("://" in argument for argument in sys.argv[1:]):
        from jaxnas.store.folders import without_secrets

        told = [without_secrets(argument) if "://" in argument else argument for argument in sys.argv[1:]]
        note = "" if told == sys.argv[1:] else "  (with the credentials and options of its addresses, not told here)"
        return shlex.join(["jaxnas", *told]) + note
    return shlex.join(["jaxnas", *sys.argv[1:]])
