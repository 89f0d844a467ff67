"""The machine that the process runs on."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxnas.errors import InputError

LEAST_MEMORY = 4e9  # bytes of addresses that JAX and its libraries need on two cores


def num_cores() -> int:
    """Return the number of CPU cores that this process may use; on systems other than Linux, those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def package_version() -> str:
    """Return the version of jaxnas, from its installation or, where only its source is on the path, from that."""
    import tomllib  # with the next line a tenth of the start of a command
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("jaxnas")
    except PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        if not project.exists():
            return "unknown"
        return str(tomllib.loads(project.read_text())["project"]["version"])


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Factor small matrices on the calling threads alone while the body runs.

    JAX takes LAPACK from SciPy, whose OpenBLAS splits even a matrix of 100 rows over all cores and spins there: where
    the cores have other threads to run, a search takes 1.7 times as long.
    """
    import scipy.linalg  # noqa: F401  # a limit reaches only libraries that are loaded; JAX loads it at its first factor
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


def check_memory_limit() -> None:
    """Check the limit of virtual memory, before JAX is imported: with less its threads abort or never end.

    Raises:
      InputError: the limit is below 4 GB.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LEAST_MEMORY:
        raise InputError(
            f"virtual memory is limited to {limit / 1e9:.1f} GB, and JAX needs {LEAST_MEMORY / 1e9:.0f} GB: "
            "raise `ulimit -v`, and limit resident memory by a cgroup"
        )
