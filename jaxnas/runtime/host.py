"""The machine that the process runs on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def num_cores() -> int:
    """Return the number of CPU cores that this process may use; on systems other than Linux, those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
