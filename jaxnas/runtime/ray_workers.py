"""Workers in the processes of a Ray cluster, which come and go.

Ray's protocol carries pickles, is not encrypted, and asks for a token at most: a cluster is started on the loopback
interface alone, and joining one over a network causes a warning.
"""

import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import jax

from jaxnas.errors import InputError, first_line
from jaxnas.runtime.host import num_cores
from jaxnas.runtime.records import Record
from jaxnas.runtime.workers import ItemT, ResultT, SharedCall, SharedT

if TYPE_CHECKING:
    from ray import ObjectRef

    Reference: TypeAlias = ObjectRef[object]
else:
    Reference = object  # Ray is an extra

AHEAD = 2  # items given out for each worker, so that none waits for the driver
RETRIES = 4  # of an item whose worker died
LOOPBACK = "127.0.0.1"
TOKEN = Path("~/.ray/auth_token")  # where Ray keeps its token
PATIENCE = 10  # seconds for a cluster to answer


class RayWorkers:
    """Processes of a Ray cluster with a core each, or with a GPU each where the cluster has GPUs.

    A worker that dies is replaced and its item given out again; workers of machines that join receive items too.
    """

    def __init__(self, num_workers: int | None = None):
        """Use the cluster that this process has joined, at most `num_workers` of it."""
        self._most = num_workers
        self._needs: Record = {"num_cpus": 1}
        if _resources().get("GPU", 0):
            self._needs["num_gpus"] = 1

    @property
    def num_workers(self) -> int:
        """The number of workers that the cluster has room for now, at most the requested number."""
        kind = "GPU" if "num_gpus" in self._needs else "CPU"
        room = max(1, int(_resources().get(kind, 1)))
        return min(room, self._most or room)

    def share(self, function: Callable[[SharedT, ItemT], ResultT], shared: SharedT) -> SharedCall[ItemT, ResultT]:
        """See `Workers.share`."""
        import ray

        return SharedCall(ray.put((function, shared)))

    def map(self, call: SharedCall[ItemT, ResultT], items: Iterable[ItemT]) -> Iterator[tuple[int, ResultT]]:
        """See `Workers.map`."""
        import ray

        shared = cast(Reference, call.handle)
        run = ray.remote(max_retries=RETRIES, **self._needs)(_call)
        waiting = enumerate(items)
        running: dict[Reference, int] = {}
        try:
            while True:
                while len(running) < AHEAD * self.num_workers and (following := next(waiting, None)):
                    number, item = following
                    running[run.remote([shared], item)] = number
                if not running:
                    return
                (done, *_), _ = ray.wait(list(running), num_returns=1)
                yield running.pop(done), cast(ResultT, _result(done))
        finally:
            for left in running:
                ray.cancel(left, force=True)


@contextmanager
def open_cluster(address: str | None, num_workers: int | None, warn: Callable[[str], None]) -> Iterator[RayWorkers]:
    """Start a cluster on this machine, or join the one at an address, for as long as the body runs.

    Args: see `open_workers`.

    Raises:
      InputError: Ray is not installed, or no cluster answers.
    """
    if not find_spec("ray"):
        raise InputError("engine ray needs the package of that name: pip install 'jaxnas[ray]'")
    _prepare_environment(address)
    import ray

    cache = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    variables = {"JAX_NUM_CPU_DEVICES": "1", **({"JAX_COMPILATION_CACHE_DIR": cache} if cache else {})}
    local: Record = dict(address="local", num_cpus=num_workers or num_cores(), include_dashboard=False)
    cluster = local if address is None else {"address": address}
    try:
        _check_answers(address)
        with warnings.catch_warnings():  # of a fork where JAX has threads: what is forked starts another program
            warnings.simplefilter("ignore", RuntimeWarning)
            ray.init(**cluster, runtime_env={"env_vars": variables}, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"no Ray cluster could be used at {address or 'this machine'} ({first_line(error)}): see `ray start`"
        ) from error
    try:
        host = ray.get_runtime_context().gcs_address.rpartition(":")[0]
        if host not in (LOOPBACK, "localhost"):
            warn(
                f"Ray's traffic with {host} is not encrypted, and who reaches it (and has its token, if it asks for "
                "one) can run code here: use it within a network that you trust"
            )
        yield RayWorkers(num_workers)
    finally:
        ray.shutdown()


def _prepare_environment(address: str | None) -> None:
    """Set the variables that Ray reads when it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:  # without it a local cluster listens on all interfaces
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    elif any(map(os.environ.get, ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))) or TOKEN.expanduser().exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # a cluster that asks for none ignores it


def _check_answers(address: str | None) -> None:
    """Raise OSError or ValueError unless something listens at HOST:PORT: Ray would wait for it for many minutes."""
    if address not in (None, "auto"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError("give HOST:PORT, or auto")
        with socket.create_connection((host, int(port)), timeout=PATIENCE):
            pass


def _resources() -> dict[str, float]:
    import ray

    resources: Callable[[], dict[str, float]] = ray.cluster_resources
    return resources()


def _result(reference: Reference) -> object:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise InputError(str(error.cause)) from error
        raise
    except RayError as error:
        raise InputError(
            f"workers died {RETRIES + 1} times of the same piece of work ({type(error).__name__}: "
            f"{first_line(error)}): give them more memory, or fewer of them with --workers, and run the same command "
            "again, which resumes"
        ) from error


# The function and the argument that were shared last, with what they keep, such as compiled programs.
_of_worker: Record = {}


def _call(references: list[Reference], item: object) -> object:
    """Call the shared function, in a worker."""
    import ray

    (reference,) = references
    if reference.hex() not in _of_worker:
        _of_worker.clear()
        _of_worker[reference.hex()] = ray.get(reference)
    function, shared = _of_worker[reference.hex()]
    return function(shared, item)
