"""One job of several processes, by JAX's multi-controller runtime: each runs the same command, on devices of its own.

A job of one process is the ordinary case, in which every function here does nothing.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Bool, Float, PyTree

from jaxnas.errors import InputError

HEARTBEAT = 25  # seconds without a sign of life after which a process counts as dead, and all others end
JOIN_TIMEOUT = 300  # seconds in which all processes must have come
LONGEST_WAIT = 24 * 3600  # seconds that a process waits for the slowest at the end
NEVER_JOINED = (None, None, None)


def join(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None) -> bool:
    """Make this process one of a job, before anything is computed; True where it is one of several.

    `coordinator` is HOST:PORT of process 0, which all others can reach. Without arguments JAX asks the launcher: Cloud
    TPU, SLURM, Open MPI; where there is none this process is a job by itself.

    When a process dies, JAX ends the others within a minute.

    Raises: InputError for arguments that are not complete or do not fit, or for processes that did not come.
    """
    given = (coordinator, num_processes, process_id)
    if given == NEVER_JOINED and not _has_launcher():
        return False
    if given != NEVER_JOINED:
        _check(*given)
    try:
        jax.distributed.initialize(
            *given,
            heartbeat_timeout_seconds=HEARTBEAT,
            initialization_timeout=JOIN_TIMEOUT,
            shutdown_timeout_seconds=LONGEST_WAIT,
        )
    except (RuntimeError, ValueError) as error:
        if given == NEVER_JOINED and not isinstance(error, RuntimeError):
            return False  # a machine that looks like one of many and is not
        problem = str(error).splitlines()[0]
        raise InputError(
            f"the job did not come together ({problem}): start all its processes, with the same --coordinator"
        ) from error
    sys.excepthook = _end_with_traceback
    with _stdout_to_stderr():
        wait_for_all("joined")
    return is_parallel()


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Gloo tells of its connections on the stdout of the process, where results belong."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _end_with_traceback(kind, error, trace):
    sys.__excepthook__(kind, error, trace)
    leave(1)


def _check(coordinator, num_processes, process_id):
    if coordinator is None or num_processes is None or process_id is None:
        raise InputError("a job needs --coordinator, --num-processes and --process-id, all three, or a launcher")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"coordinator {coordinator!r} is no address: give HOST:PORT of process 0")
    if num_processes < 1:
        raise InputError(f"num-processes {num_processes} is no number of processes: give 1 or more")
    if not 0 <= process_id < num_processes:
        raise InputError(f"process-id {process_id} is outside 0 to {num_processes - 1}")


def _has_launcher() -> bool:
    """Whether this may be one of several processes that somebody else started."""
    sizes = (os.environ.get(name, "1") for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    return any(size.isdecimal() and int(size) > 1 for size in sizes) or find_spec("libtpu") is not None


def describe() -> str:
    """One line about this process and its job."""
    return (
        f"process {jax.process_index()} of 0 to {jax.process_count() - 1}: {jax.local_device_count()} of "
        f"{jax.device_count()} devices; should a process die, all end within a minute, and the same commands go on"
    )


def is_parallel() -> bool:
    """Whether the job has several processes."""
    return jax.process_count() > 1


def is_leader() -> bool:
    """Whether this is the process that does what is done once: 0 of the job."""
    return jax.process_index() == 0


@cache
def mesh() -> Mesh:
    """All devices of the job along the axis "archs", process after process."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), "archs")


def own_devices() -> slice:
    """Where along the mesh this process' devices are."""
    positions = [i for i, device in enumerate(mesh().devices) if device.process_index == jax.process_index()]
    return slice(positions[0], positions[-1] + 1)


def to_job(values: PyTree, specs: PyTree) -> PyTree:
    """Arrays of the whole job from what each process has: all of what is whole, its own share of what is split."""
    return multihost_utils.host_local_array_to_global_array(values, mesh(), specs) if is_parallel() else values


def own_share(values: PyTree, spec: PartitionSpec) -> PyTree:
    """What the own devices hold of arrays of the job."""
    if is_parallel():
        values = multihost_utils.global_array_to_host_local_array(values, mesh(), spec)
    return jax.tree.map(np.asarray, values)


def from_leader(compute: Callable[[], np.ndarray], shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """`compute()` of process 0, whose array has that shape and dtype, in all processes.

    Raises: InputError in all processes where process 0 raises it; where a process is gone, as all that follow do.
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
    return _together(multihost_utils.broadcast_one_to_all, value).astype(dtype)


def gather_rows(values: Float[np.ndarray, "A M"], own: Bool[np.ndarray, " A"]) -> Float[np.ndarray, "A M"]:
    """All rows in all processes, from those that each has; every row is some process' own."""
    if not is_parallel():
        return values
    words = np.ascontiguousarray(values, np.float64).view(np.uint32)  # JAX would round float64
    everyone, owners = (_together(multihost_utils.process_allgather, x) for x in (words, own))
    return everyone[owners.argmax(axis=0), np.arange(len(own))].view(np.float64)


def wait_for_all(what: str) -> None:
    """Wait until every process of the job comes here."""
    if is_parallel():
        _together(multihost_utils.sync_global_devices, what)


def _together(collective, argument) -> np.ndarray:
    try:
        return np.asarray(collective(argument))
    except (RuntimeError, ValueError) as error:  # which of them depends on the network's library
        problem = str(error).splitlines()[0]
        raise InputError(
            f"a process of this job is gone ({problem}): see what it printed, and start the same commands again, "
            "which go on"
        ) from error


def leave(code: int) -> None:
    """End this process because of an error, without the usual wait for the others: JAX then ends them."""
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
