"""End a command at Ctrl-C, or at the signal SIGTERM that job schedulers send."""

import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from jaxnas.runtime.bars import status
from jaxnas.runtime.places import without_secrets

GRACE = 1.5  # seconds in which a command may end child processes and bars before its process is ended
STOPPING = (signal.SIGINT, signal.SIGTERM)

_kept: list[str] = []  # places of finished work, the innermost last
_ending = threading.Lock()


@contextmanager
def stoppable() -> Iterator[None]:
    """End the command at Ctrl-C or SIGTERM in the body with one line that names the command to resume with.

    The exit code is 130 or 143, as in a shell. The first signal raises KeyboardInterrupt in the body, and further ones
    change nothing. Python raises it between two of its own instructions, so not inside of a long call such as a
    compilation by XLA. Where the body has not ended `GRACE` seconds after the signal, a thread therefore ends the
    process, which is safe as every file is written atomically. A signal that this process ignores, as a shell's job in
    the background does, stays ignored.

    JAX has a callback in Python's garbage collector, where an exception is lost: a Ctrl-C there is repeated a moment
    later.
    """
    received: list[int] = []
    main = threading.main_thread().ident

    def interrupt(number: int, frame: object) -> None:
        if not received:
            received.append(number)
            raise KeyboardInterrupt

    def repeat_interrupt(lost: "sys.UnraisableHookArgs") -> None:
        if lost.exc_type is KeyboardInterrupt and received:
            threading.Timer(0.05, signal.pthread_kill, [main, received.pop()]).start()
        else:
            sys.__unraisablehook__(lost)

    _kept.clear()
    before, sys.unraisablehook = sys.unraisablehook, repeat_interrupt
    try:
        with _handling(interrupt):
            try:
                yield
            except BaseException as error:  # JAX turns some interrupts into other exceptions
                if not received and not isinstance(error, KeyboardInterrupt):
                    raise
                _end(received[0] if received else signal.SIGINT)
    finally:
        sys.unraisablehook = before


@contextmanager
def keeping(place: Path | str) -> Iterator[None]:
    """Name the path or address where finished work is kept, for the line that `stoppable` prints.

    The name outlives an exception in the body, as the line is printed after it.
    """
    _kept.append(without_secrets(str(place)))
    yield
    _kept.pop()


@contextmanager
def _handling(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handle the signals to stop while the body runs, except ignored ones; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    handled = {number: own for number, own in before.items() if own not in (signal.SIG_IGN, None)}
    with _bounded():
        for number in handled:
            signal.signal(number, handler)
        try:
            yield
        finally:
            for number, own in handled.items():
                signal.signal(number, own)


@contextmanager
def _bounded() -> Iterator[None]:
    """End the process where the body has not ended `GRACE` seconds after a signal to stop.

    Python writes the number of each signal that it handles into a pipe at once, whatever the main thread does.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    over = threading.Event()

    def watch() -> None:
        with open(reader, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                if number[0] in STOPPING and not over.wait(GRACE):
                    _end(number[0], in_time=False)

    threading.Thread(target=watch, daemon=True).start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _leave_signals_to_parent()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        over.set()
        os.close(writer)


@cache
def _leave_signals_to_parent() -> None:
    """Let a process that is forked from now on, as of a loader of data, handle its own signals as Python does.

    It would write their numbers into the pipe of this process.
    """

    def forget() -> None:
        if signal.set_wakeup_fd(-1) != -1:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)

    os.register_at_fork(after_in_child=forget)


def _end(number: int, in_time: bool = True) -> None:
    """Print the line and end the process; a second thread that comes here waits for that.

    Args:
      number: the signal.
      in_time: whether the body has ended; if not, its bars are still there.
    """
    with _ending:
        start = f"stopped: finished work is kept in {_kept[-1]}; resume with:" if _kept else "stopped; repeat with:"
        status.print(f"{start} {this_command()}", highlight=False, soft_wrap=True)
        if status.is_terminal and not in_time:
            status.show_cursor()
            os.write(2, b"\n")
        sys.stdout.flush()
        os._exit(128 + number)  # JAX that was interrupted while it compiled may crash as Python shuts down


def this_command() -> str:
    """Return the command line without the secrets of its addresses."""
    arguments = sys.argv[1:]
    shown = [without_secrets(argument) if "://" in argument else argument for argument in arguments]
    note = "" if shown == arguments else "  (add the credentials and options of its addresses, which are left out here)"
    return shlex.join(["jaxnas", *shown]) + note
