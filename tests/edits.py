"""Edits of files as people and disks make them, and the rule for their readers: right values, or one named refusal."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from jaxnas.errors import InputError

MANY = settings(max_examples=150, deadline=None, derandomize=True)
FEW = settings(max_examples=60, deadline=None, derandomize=True)
VALUES = st.sampled_from([None, [], {}, "x", -1, 7, float("inf"), 3.5, True, ["x"], {"a": 1}, [[1]], "<script>", 2**70])
DEEP = "[" * 100_000


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
