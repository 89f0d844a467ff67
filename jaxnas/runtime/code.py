"""Fingerprints of functions and commands, which show that a recorded result is of another version of the code."""

import hashlib
import shlex
from collections.abc import Callable
from contextlib import suppress
from dis import get_instructions
from functools import partial
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType

LARGEST_SCRIPT = 1_000_000  # bytes
_PLAIN = bool | int | float | complex | str | bytes | None


def code_fingerprint(function: Callable[..., object]) -> str:
    """Return the first digits of the SHA-256 of what a function does, "" for one that is not made of Python code.

    It covers byte code, constants, defaults and plain values of the closure, also of the functions of the same module
    that it calls, and plain values of that module. Lists, other objects, variables that it assigns, comments, names of
    files and line numbers do not change it.
    """
    parts: list[str] = []
    _describe(function, parts, set())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16] if parts else ""


def command_fingerprint(command: str) -> str:
    """Return the first digits of the SHA-256 of the scripts that a command names, "" if it names none.

    A script is the path of a file of at most a megabyte: the program, or a word that ends in .py or .sh. Other files
    may be what the command writes.
    """
    program, *words = shlex.split(command)
    contents = []
    for word in (program, *(word for word in words if word.endswith((".py", ".sh")))):
        with suppress(OSError, ValueError):  # it is not the path of a file that can be read
            path = Path(word)
            if path.is_file() and path.stat().st_size <= LARGEST_SCRIPT:
                contents.append(path.read_bytes())
    return hashlib.sha256(b"\n".join(contents)).hexdigest()[:16] if contents else ""


def _describe(found: object, parts: list[str], seen: set[int]) -> None:
    """Add what decides the results of a function; other objects add nothing."""
    if id(found) in seen:
        return
    seen.add(id(found))
    if isinstance(found, _PLAIN | tuple | frozenset):
        parts.append(_plain(found))
    elif isinstance(found, partial):
        for part in (found.func, *found.args, *(found.keywords[name] for name in sorted(found.keywords))):
            _describe(part, parts, seen)
    elif isinstance(found, MethodType):
        _describe(found.__func__, parts, seen)
    elif isinstance(found, FunctionType):
        _describe_function(found, parts, seen)
    elif hasattr(found, "__wrapped__"):
        _describe(found.__wrapped__, parts, seen)
    elif not isinstance(found, type) and callable(found):
        _describe(vars(type(found)).get("__call__", ()), parts, seen)


def _describe_function(function: FunctionType, parts: list[str], seen: set[int]) -> None:
    parts.append(_code(function.__code__))
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        _describe(default, parts, seen)
    code = function.__code__
    counters = {step.argval for step in get_instructions(code) if step.opname in ("STORE_GLOBAL", "STORE_DEREF")}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if name not in counters:
            _describe(_content(cell), parts, seen)
    for name in code.co_names:
        value = function.__globals__.get(name)
        if name not in counters and getattr(value, "__module__", function.__module__) == function.__module__:
            _describe(value, parts, seen)


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that is not filled yet
        return None


def _code(code: CodeType) -> str:
    constants = [_code(value) if isinstance(value, CodeType) else _plain(value) for value in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def _plain(value: object) -> str:
    """Return plain values as text, sets in one order; other objects by their type, as texts may have an address."""
    if isinstance(value, frozenset):
        return f"{{{sorted(map(_plain, value))}}}"
    if isinstance(value, tuple | list):
        return f"({[_plain(part) for part in value]})"
    return repr(value) if isinstance(value, _PLAIN) else type(value).__name__
