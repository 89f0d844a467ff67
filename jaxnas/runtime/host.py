"""The machine that the process runs on."""

import os
from contextlib import AbstractContextManager


def num_cores() -> int:
    """CPU cores that this process may use; only Linux tells them from those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_blas_thread() -> AbstractContextManager:
    """Factors of small matrices on the calling threads alone.

    JAX takes LAPACK from SciPy, whose OpenBLAS splits even a matrix of 100 rows over all cores and spins there: where
    the cores have threads of their own to run, a search takes 1.7 times as long.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")
