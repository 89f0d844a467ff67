"""A job of several processes, by JAX's multi-controller runtime: each runs the same command on other devices.

A job of one process is the ordinary case, in which these functions do nothing.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from types import TracebackType
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Bool, Float, PyTree

from jaxnas.errors import InputError
from jaxnas.runtime.fate import leaving, service_apart, share_fate

HEARTBEAT = 25  # seconds without a sign of life after which JAX ends the job: a machine that is lost closes nothing
JOIN_TIMEOUT = 300  # seconds in which all processes must have come
LONGEST_WAIT = 24 * 3600  # seconds that a process waits for the slowest at the end
PARTING = 2  # seconds that process 0 outlives an error, so that the others receive and print it first
NEVER_JOINED = (None, None, None)
ArgumentT = TypeVar("ArgumentT")


def join(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None) -> bool:
    """Make this process one of a job, before anything is computed.

    Without arguments JAX asks the launcher: Cloud TPU, SLURM, Open MPI. Without a launcher this process is a job by
    itself. When a process dies, the others end within seconds, see `jaxnas.runtime.fate`; when a machine is lost, JAX
    ends them within a minute.

    Args:
      coordinator: HOST:PORT of process 0, which all others can reach. Process 0 listens at this address alone, or at
        that of the variable JAX_COORDINATOR_BIND_ADDRESS, on this port and on a free one. The traffic of a job is not
        encrypted.
      num_processes: processes of the job.
      process_id: number of this process, from 0.

    Returns:
      Whether this process is one of several.

    Raises:
      InputError: arguments that are incomplete or do not fit, or processes that did not come.
    """
    identity = (coordinator, num_processes, process_id)
    if identity == NEVER_JOINED and not _has_launcher():
        return False
    if identity != NEVER_JOINED:
        _check(*identity)
    bind_address = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", coordinator)
    try:
        with service_apart():
            jax.distributed.initialize(
                *identity,
                heartbeat_timeout_seconds=HEARTBEAT,
                initialization_timeout=JOIN_TIMEOUT,
                shutdown_timeout_seconds=LONGEST_WAIT,
                coordinator_bind_address=bind_address,
            )
    except (RuntimeError, ValueError) as error:
        if identity == NEVER_JOINED and not isinstance(error, RuntimeError):
            return False  # a machine that only looks like one of many
        problem = str(error).splitlines()[0]
        raise InputError(
            f"the job did not come together ({problem}): start all its processes, with the same --coordinator"
        ) from error
    sys.excepthook = _end_with_traceback
    with _stdout_to_stderr():
        wait_for_all("joined")
    if is_parallel():
        share_fate((bind_address or "").rpartition(":")[0].strip("[]"))
    return is_parallel()


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Redirect stdout, where results belong: Gloo prints its connections there."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _end_with_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, trace)
    leave(1)


def _check(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    if coordinator is None or num_processes is None or process_id is None:
        raise InputError("a job needs --coordinator, --num-processes and --process-id, all three, or a launcher")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"`coordinator` must be HOST:PORT of process 0, got {coordinator!r}")
    if num_processes < 1:
        raise InputError(f"`num-processes` must be at least 1, got {num_processes}")
    if not 0 <= process_id < num_processes:
        raise InputError(f"`process-id` must be from 0 to {num_processes - 1}, got {process_id}")


def _has_launcher() -> bool:
    """Return whether a launcher may have started this process as one of several."""
    sizes = (os.environ.get(name, "1") for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    return any(size.isdecimal() and int(size) > 1 for size in sizes) or find_spec("libtpu") is not None


def describe() -> str:
    """Return one line about this process and its job."""
    return (
        f"process {jax.process_index()} of 0 to {jax.process_count() - 1}: {jax.local_device_count()} of "
        f"{jax.device_count()} devices; should a process die, all end, and the same commands resume"
    )


def is_parallel() -> bool:
    """Return whether the job has several processes."""
    return bool(jax.process_count() > 1)


def is_leader() -> bool:
    """Return whether this is process 0 of the job, which does what only one process may do."""
    return bool(jax.process_index() == 0)


@cache
def mesh() -> Mesh:
    """Return all devices of the job along the axis "archs", process after process."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), "archs")


def local_positions() -> slice:
    """Return where along the mesh the devices of this process are."""
    positions = [i for i, device in enumerate(mesh().devices) if device.process_index == jax.process_index()]
    return slice(positions[0], positions[-1] + 1)


def to_job(values: PyTree, specs: PyTree) -> PyTree:
    """Return arrays of the whole job from those of each process, which has its share of the split ones."""
    return multihost_utils.host_local_array_to_global_array(values, mesh(), specs) if is_parallel() else values


def local_share(values: PyTree, spec: PartitionSpec) -> PyTree:
    """Return what the devices of this process hold of arrays of the job, in NumPy arrays."""
    if is_parallel():
        values = multihost_utils.global_array_to_host_local_array(values, mesh(), spec)
    return jax.tree.map(np.asarray, values)


def from_leader(compute: Callable[[], np.ndarray], shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Return `compute()` of process 0, whose array has that shape and dtype, in all processes.

    Raises:
      InputError: process 0 raised it (then all processes do), or a process is gone.
    """
    if not is_parallel():
        return compute()
    value: np.ndarray = np.zeros(shape, dtype)
    problem: np.ndarray = np.zeros(0, np.uint8)
    if is_leader():
        try:
            value = compute()
        except InputError as error:
            problem = np.frombuffer(str(error).encode(), np.uint8)
    size = _together(multihost_utils.broadcast_one_to_all, np.int32(len(problem)))
    if size:
        text = problem if is_leader() else np.zeros(size, np.uint8)
        raise InputError(bytes(_together(multihost_utils.broadcast_one_to_all, text)).decode())
    shared: np.ndarray = _together(multihost_utils.broadcast_one_to_all, value).astype(dtype)
    return shared


def gather_rows(values: Float[np.ndarray, "A M"], is_local: Bool[np.ndarray, " A"]) -> Float[np.ndarray, "A M"]:
    """Return all rows in all processes, from those that each has; each row is local to some process."""
    if not is_parallel():
        return values
    words = np.ascontiguousarray(values, np.float64).view(np.uint32)  # JAX would round float64
    everyone, owners = (_together(multihost_utils.process_allgather, x) for x in (words, is_local))
    rows: Float[np.ndarray, "A M"] = everyone[owners.argmax(axis=0), np.arange(len(is_local))].view(np.float64)
    return rows


def wait_for_all(what: str) -> None:
    """Wait until every process of the job makes this call, with the same name."""
    if is_parallel():
        _together(multihost_utils.sync_global_devices, what)


def _together(collective: Callable[[ArgumentT], object], argument: ArgumentT) -> np.ndarray:
    try:
        return np.asarray(collective(argument))
    except (RuntimeError, ValueError) as error:  # which of them depends on the network's library
        problem = str(error).splitlines()[0]
        raise InputError(
            f"a process of this job is gone ({problem}): see what it printed, and start the same commands again, "
            "which resume"
        ) from error


def leave(code: int) -> None:
    """End this process because of an error, without the usual wait for the others, which then end too.

    An error of `from_leader` ends all processes. Process 0 leaves last, so that all have received what it sent.
    """
    if jax.distributed.is_initialized():
        leaving.set()
        sys.stdout.flush()
        sys.stderr.flush()
        if is_leader() and is_parallel():
            time.sleep(PARTING)
        os._exit(code)
    sys.exit(code)
