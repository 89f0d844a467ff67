"""Traced programs kept in files, so that a later process does not trace them again.

XLA's cache spares compiling a program, but JAX finds it there only after it has traced and lowered the function in
Python, which takes several seconds for a scoring program. Here the lowered program (StableHLO, by `jax.export`) is kept
next to the compiled one. Its key is all that decides it: the source of jaxnas, versions of the libraries, JAX's flags,
the devices, what the function is made of, and shapes and types of its arguments. What cannot be described by its
content, such as a user's function, is traced by every process.
"""

import hashlib
import importlib
import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeAlias

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.tree_util import PyTreeDef
from jaxtyping import PyTree

from jaxnas.errors import InputError
from jaxnas.runtime.cache import LARGEST_PROGRAM, OPT_OUT, TRACE
from jaxnas.runtime.content import NoDescriptionError, describe, describe_session
from jaxnas.runtime.distributed import is_parallel
from jaxnas.runtime.files import atomic_write
from jaxnas.runtime.places import is_address
from jaxnas.runtime.timing import READING, TRACING

TREES = ("jaxnas", "optax")  # packages whose named tuples a kept program may return
MAGIC = b"jaxnas trace 1\n"
Leaf: TypeAlias = jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct


class KeptProgram:
    """A jitted function of arrays whose traces are kept in files.

    It is called and lowered as the jitted function is, and computes the same numbers.
    """

    is_on: ClassVar[bool] = True  # whether files are used at all

    def __init__(
        self,
        program: jax.stages.Wrapped,
        *made_of: object,
        shardings: PyTree = None,
        compiler_options: Mapping[str, str | int] | None = None,
    ) -> None:
        """Trace nothing yet.

        Args:
          program: the jitted function, whose arguments are trees of arrays, by position.
          *made_of: all that the function reads apart from its arguments.
          shardings: shardings of the arguments, where the program runs on several devices.
          compiler_options: those of the jitted function.
        """
        self._program, self._name = program, str(getattr(program, "__name__", "program"))
        self._jit: Callable[..., jax.stages.Wrapped] = jax.jit
        if shardings is not None:
            self._jit = partial(self._jit, in_shardings=shardings)
        if compiler_options is not None:
            self._jit = partial(self._jit, compiler_options=dict(compiler_options))
        self._made_of: str | None = None
        with suppress(NoDescriptionError):
            self._made_of = json.dumps([self._name, describe(made_of)])
        self._ready: dict[str, jax.stages.Wrapped] = {}
        self._one_at_a_time = threading.Lock()

    def __call__(self, *args: PyTree) -> PyTree:
        """Compute."""
        return self._of(args)(*args)

    def lower(self, *args: PyTree) -> jax.stages.Lowered:
        """Lower for arguments, or for their shapes."""
        return self._of(args).lower(*args)

    def _of(self, args: tuple[PyTree, ...]) -> jax.stages.Wrapped:
        """Return the jitted function that has the trace for such arguments."""
        leaves, tree = jax.tree.flatten(args)
        if self._made_of is None or not is_kept() or any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self._program
        types = [(str(leaf.shape), str(leaf.dtype), getattr(leaf, "weak_type", False)) for leaf in leaves]
        try:
            text = json.dumps([self._made_of, str(tree), types, describe_session()])
        except NoDescriptionError:
            return self._program
        with self._one_at_a_time:
            if text not in self._ready:
                started, began = time.time(), time.perf_counter()
                self._ready[text], is_read = self._make(text, leaves, tree)
                event = READING if is_read else TRACING
                jax.monitoring.record_event_duration_secs(event, time.perf_counter() - began, fun_name=self._name)
                jax.monitoring.record_event_time_span(event, started, time.time())
            return self._ready[text]

    def _make(self, text: str, leaves: list[Leaf], tree: PyTreeDef) -> tuple[jax.stages.Wrapped, bool]:
        """Return the program of a kept trace, or of a new one, which is kept; and whether it was kept."""
        key = hashlib.sha256(text.encode()).hexdigest()
        content = kept = _read(self._name, key)
        if content is None:
            content = _export(self._program, leaves, tree)
            if content is None:
                return self._program, False
            _write(self._name, key, content)
        outputs, program = _decode(content[0]), jax.export.deserialize(bytearray(content[1]))

        def call(*args: PyTree) -> PyTree:
            flat = program.call(*jax.tree.leaves(args))
            return jax.tree.map(lambda number: flat[number], outputs)

        call.__name__ = call.__qualname__ = self._name  # that of the compiled program
        return self._jit(call), kept is not None


def is_kept() -> bool:
    """Return whether this session keeps traces: where it keeps compiled programs, in a folder of this machine.

    A job of several processes traces in each, as all must run the same program.
    """
    folder: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    is_enabled: bool = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    has_default = jax.config.jax_default_device is None  # type: ignore[attr-defined]
    is_wanted = KeptProgram.is_on and os.environ.get(OPT_OUT) != "0"
    return bool(is_wanted and is_enabled and has_default and folder and not is_address(folder) and not is_parallel())


Trace: TypeAlias = tuple[object, bytes]  # what the program returns, as `_encode` writes it; the program of its leaves
# Calls whose form may change with the version of JAX, which is part of the key: Pallas kernels for GPUs.
BY_VERSION = (jax.export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton"),)
# What JAX raises for a program that has no stable form. Every process traces such a one.
WITHOUT_FORM = (ValueError, NotImplementedError, NoDescriptionError)


def _export(program: jax.stages.Wrapped, leaves: list[Leaf], tree: PyTreeDef) -> Trace | None:
    """Trace and lower; None if the program cannot be kept."""
    outputs: list[object] = []
    function = getattr(program, "__wrapped__", program)  # options of a compiler are for an outermost program alone

    def flat(*leaves: Leaf) -> list[jax.Array]:
        found, kind = jax.tree.flatten(function(*jax.tree.unflatten(tree, leaves)))
        outputs.append(_encode(jax.tree.unflatten(kind, range(len(found)))))
        return found

    try:
        exported = jax.export.export(jax.jit(flat), disabled_checks=BY_VERSION)(*map(_shape_of, leaves))
        return outputs[0], bytes(exported.serialize())
    except InputError:
        raise
    except WITHOUT_FORM:
        return None


def _shape_of(leaf: Leaf) -> jax.ShapeDtypeStruct:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    dtype = leaf.dtype if is_key else jax.dtypes.canonicalize_dtype(leaf.dtype)
    return jax.ShapeDtypeStruct(leaf.shape, dtype, weak_type=getattr(leaf, "weak_type", False))


def _encode(tree: object) -> object:
    """Return a tree of numbers as plain JSON values."""
    if tree is None or isinstance(tree, int):
        return tree
    if type(tree) is dict and all(isinstance(name, str) for name in tree):
        return {name: _encode(member) for name, member in tree.items()}
    if isinstance(tree, tuple | list):
        kind = type(tree)
        name = kind.__name__ if kind in (tuple, list) else f"{kind.__module__}:{kind.__qualname__}"
        if kind not in (tuple, list) and (kind.__module__.split(".")[0] not in TREES or "<" in name):
            raise NoDescriptionError(f"{name} is not of {' or '.join(TREES)}")
        return [name, *map(_encode, tree)]
    raise NoDescriptionError(f"{type(tree).__name__} has no description")


def _decode(tree: object) -> object:
    """Return the tree of numbers that `_encode` described."""
    if isinstance(tree, dict):
        return {name: _decode(member) for name, member in tree.items()}
    if not isinstance(tree, list):
        return tree
    name, *members = tree[0], *map(_decode, tree[1:])
    if name in ("tuple", "list"):
        return tuple(members) if name == "tuple" else members
    module, _, qualified = name.partition(":")
    return getattr(importlib.import_module(module), qualified)(*members)


def _place(name: str, key: str) -> Path:
    """Return the file of a trace, named as JAX names those of programs, so that it bounds their size together."""
    folder: str = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return Path(folder).expanduser() / f"{TRACE}{name}-{key}-cache"


def _read(name: str, key: str) -> Trace | None:
    """Return a kept trace; None if there is none, or its file is damaged or of another key."""
    place = _place(name, key)
    try:
        content = place.read_bytes()
    except OSError:
        return None
    start = len(MAGIC) + 32
    if content[:start] != MAGIC + _digest(key, content[start:]):
        return None
    _touch(place)
    payload = zlib.decompress(content[start:])
    size = int.from_bytes(payload[:4], "little")
    return json.loads(payload[4 : 4 + size]), payload[4 + size :]


def _write(name: str, key: str, trace: Trace) -> None:
    """Keep a trace, if the folder can be written."""
    outputs, program = trace
    described = json.dumps(outputs).encode()
    payload = zlib.compress(len(described).to_bytes(4, "little") + described + program, 1)
    if len(payload) > LARGEST_PROGRAM:
        return
    place = _place(name, key)
    with suppress(InputError), atomic_write(place) as partial_file:
        _touch(place)  # first, as JAX reads the time of every program that it finds
        partial_file.write_bytes(MAGIC + _digest(key, payload) + payload)


def _digest(key: str, payload: bytes) -> bytes:
    return hashlib.sha256(key.encode() + payload).digest()


def _touch(place: Path) -> None:
    """Write the time of the last use, by which JAX chooses the files that it removes when the folder is full."""
    with suppress(OSError):
        place.with_name(place.name.removesuffix("-cache") + "-atime").write_bytes(time.time_ns().to_bytes(8, "little"))
