"""Describe by their content what traced programs depend on: values, the code of jaxnas, the session of JAX."""

import hashlib
import importlib
import platform
import time
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from types import FunctionType

import jax

PACKAGE = "jaxnas"
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")
OF_FLAX = ("parent", "name")  # fields of every flax module, which do not decide what a top module computes
# Flags of JAX that decide where and when programs are kept, or what is logged, but not what is traced.
WITHOUT_EFFECT = (
    "jax_compilation_cache",
    "jax_persistent_cache",
    "jax_dump",
    "jax_log",
    "jax_explain",
    "jax_debug_log",
)
_started = time.time()  # when the modules were imported


class NoDescriptionError(TypeError):
    """A value whose content does not say all that it decides."""


def describe(value: object) -> object:
    """Return plain JSON values that are equal only for values of equal content.

    Functions and classes of jaxnas stand for themselves, as the digest of its source is part of the key.

    Raises:
      NoDescriptionError: it is none of plain values, containers, dataclasses, named tuples, functions and classes of
        jaxnas, or a function or class that has replaced the one of its name.
    """
    if value is None or (isinstance(value, bool | int | float | str) and type(value).__module__ == "builtins"):
        return [type(value).__name__, repr(value)]
    if isinstance(value, Enum):
        return ["enum", describe(type(value)), value.name]
    if isinstance(value, FunctionType | type):
        return ["name", _name_of(value)]
    if isinstance(value, tuple | list):
        kind = type(value).__name__ if type(value) in (tuple, list) else describe(type(value))
        return [kind, *map(describe, value)]
    if type(value) is dict:
        return ["dict", *([describe(key), describe(member)] for key, member in value.items())]
    if isinstance(value, partial):
        return ["partial", describe(value.func), describe(value.args), describe(value.keywords)]
    if is_dataclass(value):
        content = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in OF_FLAX}
        return ["dataclass", describe(type(value)), describe(content)]
    raise NoDescriptionError(f"{type(value).__name__} has no description")


def _name_of(value: FunctionType | type) -> str:
    """Return module and name of a function or class of jaxnas."""
    module, name = value.__module__, value.__qualname__
    found: object = importlib.import_module(module) if module.split(".")[0] == PACKAGE else None
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not value:
        raise NoDescriptionError(f"{module}.{name} is not of jaxnas")
    return f"{module}:{name}"


@cache
def describe_code() -> dict[str, str]:
    """Return the digest of the source of jaxnas, and the versions of what it traces with.

    Raises:
      NoDescriptionError: a file has changed since this process began, which may run what it was before.
    """
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if path.stat().st_ctime > _started:
            raise NoDescriptionError(f"{path} is newer than this process")
        digest.update(f"{path.relative_to(root)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    versions = {name: version(name) for name in LIBRARIES}
    return {PACKAGE: digest.hexdigest(), "python": platform.python_version(), **versions}


def describe_session() -> dict[str, object]:
    """Return what a trace depends on in addition to the function and its arguments: code, devices and flags of JAX.

    Raises:
      NoDescriptionError: see `describe_code`.
    """
    devices = [f"{device.platform} {device.device_kind}" for device in jax.local_devices()]
    flags: Mapping[str, object] = jax.config.values
    decisive = {name: str(value) for name, value in sorted(flags.items()) if not name.startswith(WITHOUT_EFFECT)}
    return {"code": describe_code(), "devices": devices, "flags": decisive}
