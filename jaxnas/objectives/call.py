"""Objectives that are called: what they may return, how their failures are described, and commands as objectives."""

import math
import shlex
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from jaxnas.errors import InputError, first_line
from jaxnas.runtime.calls import CommandFailed, OutOfTime, run_command


def to_objective(value: object) -> float:
    """Return the number that an objective returned.

    A number of Python or NumPy, an array or tensor with one entry of any library, and a list, tuple or dictionary with
    one such entry are unambiguous. NaN and inf mean that the candidate failed; an entry that NumPy masks is NaN.

    Raises:
      InputError: anything else; the message names it.
    """
    found = value
    while isinstance(found, list | tuple | Mapping) and len(found) == 1:
        found = next(iter(found.values())) if isinstance(found, Mapping) else found[0]
    is_single = getattr(found, "size", None) == 1 or getattr(found, "ndim", None) == 0 or hasattr(found, "numel")
    if is_single and np.ma.is_masked(found):
        return math.nan
    is_time = getattr(getattr(found, "dtype", None), "kind", None) in ("m", "M")  # its item could be a plain integer
    if is_single and not is_time and hasattr(found, "item"):
        with suppress(ValueError, RuntimeError):  # the check below refuses what has no single number
            found = found.item()
    if isinstance(found, bool) or not isinstance(found, int | float):
        shown = " ".join(f"{value!r:.80}".split())
        raise InputError(f"an objective must return one number, got {shown} ({type(value).__name__})")
    try:
        return float(found)
    except OverflowError:
        raise InputError("an objective must be at most 1.8e308, got a larger whole number") from None


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
            return _last_number(run_command(arguments, seconds))

    return objective


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
