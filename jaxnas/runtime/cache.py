"""The folder of compiled and of traced programs, which the command line and Python share.

Programs of a job compile for up to a minute and load in about a second; what takes seconds to trace is kept by
`jaxnas.runtime.traces`. Who can write into the folder can run code in the processes that read it, as compiled programs
are machine code: do not share it with users whom you do not trust.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from jaxnas.errors import InputError

OPT_OUT = "JAXNAS_CACHE"
LARGEST_FOLDER = 2 * 1024**3  # bytes, above which JAX removes the programs that were used least recently
LARGEST_PROGRAM = 11_000_000  # bytes; 10.5 million were seen to load, 12.1 million to crash
SHORTEST = 0.1  # seconds of compilation below which a program is not worth a file
TRACE = "trace_"  # the names of files of traced programs begin with it
WAITS = "seconds.json"  # in the folder of programs: how long stages waited for theirs


class CacheState(NamedTuple):
    """The content of the folder of programs.

    Attributes:
      folder: the folder.
      programs: number of compiled programs.
      traces: number of traced programs.
      size: the size of both, bytes.
    """

    folder: Path
    programs: int
    traces: int
    size: int


def cache_folder() -> Path:
    """Return the folder of programs: JAX_COMPILATION_CACHE_DIR, or jaxnas/programs in the user's cache folder."""
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = chosen or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "jaxnas", "programs")
    return Path(folder).expanduser()


@cache
def use_cache() -> None:
    """Keep compiled programs in `cache_folder`, unless the session or the variable JAXNAS_CACHE=0 says otherwise.

    Called at the first computation of a process. A folder that the user gave to JAX, and a cache that the user
    disabled, stay as they are. The keys of programs do not depend on the folder, so that a copy of it is as good.
    """
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    if os.environ.get(OPT_OUT) == "0" or jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    set_flag: Callable[[str, str | int | float], None] = jax.config.update
    set_flag("jax_compilation_cache_dir", str(cache_folder()))
    set_flag("jax_compilation_cache_max_size", LARGEST_FOLDER)
    set_flag("jax_persistent_cache_min_compile_time_secs", SHORTEST)
    set_flag("jax_persistent_cache_enable_xla_caches", "none")  # their paths would enter the keys
    if not any(map(find_spec, ("jax_cuda12_plugin", "jax_cuda13_plugin", "libtpu"))):
        remove_large_programs(cache_folder())
    compilation_cache.reset_cache()  # the session may have compiled without one


def read_cache(folder: Path) -> CacheState:
    """Return what a folder of programs holds."""
    sizes = {path.name: path.stat().st_size for path in folder.glob("*-cache")}
    num_traces = sum(name.startswith(TRACE) for name in sizes)
    return CacheState(folder, len(sizes) - num_traces, num_traces, sum(sizes.values()))


def clear_cache(folder: Path) -> CacheState:
    """Remove all programs of a folder, and return what was there."""
    before = read_cache(folder)
    for pattern in ("*-cache", "*-atime", WAITS):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    return before


def last_wait(stage: str) -> float | None:
    """Return the seconds that a stage waited for its programs the last time, None if unknown."""
    try:
        seconds = json.loads((cache_folder() / WAITS).read_text())[stage]
        return float(seconds)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def keep_wait(stage: str, seconds: float) -> None:
    """Keep the seconds that a stage waited for its programs, where programs are kept and the folder can be written."""
    from jaxnas.runtime.files import atomic_write  # with NumPy, which the command line imports late

    path = cache_folder() / WAITS
    if os.environ.get(OPT_OUT) == "0":
        return
    waits = {}
    with suppress(OSError, ValueError):
        waits = dict(json.loads(path.read_text()))
    with suppress(InputError), atomic_write(path) as partial:
        partial.write_text(json.dumps({**waits, stage: round(seconds, 1)}))


def remove_large_programs(folder: Path) -> None:
    """Remove the programs that XLA:CPU could not load again, so that they are compiled again.

    Loading links their kernels one within the other, and with about a thousand its thread's stack is full (jaxlib
    0.10.2): a process that resumes to score decoders of TransNAS-Bench-101 macro would crash.
    """
    for entry in folder.glob("*-cache"):
        with suppress(OSError):  # another process may do the same
            if entry.stat().st_size > LARGEST_PROGRAM:
                entry.unlink()
                entry.with_name(f"{entry.name.removesuffix('-cache')}-atime").unlink()
