"""The machine that the process runs on."""

import os


def num_cores() -> int:
    """CPU cores that this process may use; only Linux tells them from those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
