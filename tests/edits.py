"""Edits of files as people and disks make them, and the rule for their readers: right values, or one named refusal."""

import copy
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnas.errors import InputError

VALUES = st.sampled_from([None, [], {}, "x", -1, 7, float("inf"), 3.5, True, ["x"], {"a": 1}, [[1]], "<script>", 2**70])
DEEP = "[" * 100_000


def fuzzed(**strategies: st.SearchStrategy) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test on few drawn values, and on many among the slow tests; its other arguments are fixtures."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        def run(examples: int, **fixtures: object) -> None:
            @settings(max_examples=examples, deadline=None, derandomize=True)
            @given(**strategies)
            def once(**drawn: object) -> None:
                test(**fixtures, **drawn)

            once()

        names = ["examples", *(name for name in inspect.signature(test).parameters if name not in strategies)]
        keyword = inspect.Parameter.KEYWORD_ONLY
        run.__signature__ = inspect.Signature([inspect.Parameter(name, keyword) for name in names])  # what pytest reads
        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return pytest.mark.parametrize("examples", [30, pytest.param(400, marks=pytest.mark.slow)])(run)

    return decorate


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of every value inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield (*path, key)
        yield from places(child, (*path, key))


def edit(draw: st.DataObject, record: Any) -> Any:
    """Return the record with one value replaced or removed."""
    changed = copy.deepcopy(record)
    *above, last = draw.draw(st.sampled_from(list(places(record))))
    holder = changed
    for key in above:
        holder = holder[key]
    if draw.draw(st.booleans()):
        del holder[last]
    else:
        holder[last] = draw.draw(VALUES)
    return changed


def damage(draw: st.DataObject, content: bytes) -> bytes:
    """Return bytes of which one is altered, or which are cut or longer."""
    place = draw.draw(st.integers(0, len(content) - 1))
    kind = draw.draw(st.sampled_from(["flip", "flip", "flip", "cut", "insert"]))
    if kind == "cut":
        return content[:place]
    byte = bytes([content[place] ^ draw.draw(st.integers(1, 255))])
    return content[:place] + byte + content[place + (kind == "flip") :]


def read_or_refuse(read: Callable[[], object], name: str) -> None:
    """Read a file, or check that the refusal is one line that has its name."""
    problem = name
    try:
        read()
    except InputError as error:
        problem = str(error)
    assert name in problem
    assert "\n" not in problem


class Altered:
    """A file with another content inside a with statement."""

    def __init__(self, path: Path, content: bytes | str):
        self.path, self.before = path, path.read_bytes()
        self.content = content.encode() if isinstance(content, str) else content

    def __enter__(self) -> None:
        self.path.write_bytes(self.content)

    def __exit__(self, *error: object) -> None:
        self.path.write_bytes(self.before)


def without_check(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a file as earlier versions wrote it, which edits do not contradict."""
    return {name: value for name, value in record.items() if name != "check"}
