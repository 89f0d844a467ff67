"""Where independent pieces of work are done: in this process, or in those of a Ray cluster, which come and go.

Ray's own protocol carries pickles, is not encrypted, and asks for a token at most: a cluster is started on the loopback
interface alone, and joining another one is told.
"""

import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax

from jaxnas.errors import InputError, unknown_name
from jaxnas.names import Engine, names
from jaxnas.runtime.host import num_cores

ENGINES = names(Engine)
AHEAD = 2  # pieces given out for each worker, so that none waits for the driver
RETRIES = 4  # of a piece whose worker died
LOOPBACK = "127.0.0.1"
TOKEN = Path("~/.ray/auth_token")  # where Ray keeps its own
PATIENCE = 10  # seconds for a cluster to answer


@runtime_checkable
class Workers(Protocol):
    """Call one function on many items."""

    @property
    def num_workers(self) -> int:
        """How many items are worked on at the same time."""

    def share(self, function: Callable[[Any, Any], Any], shared: Any) -> Any:
        """What `map` takes: `function`, of a module, and its first argument, which each worker gets once."""

    def map(self, call: Any, items: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """(number of the item, function(shared, item)) as they are done, every item once.

        Raises: what the function raises, its InputError as such; InputError where workers keep dying of one item.
        """


class Here:
    """This process, one item after another."""

    num_workers = 1

    def share(self, function: Callable[[Any, Any], Any], shared: Any) -> Any:
        """See `Workers`."""
        return partial(function, shared)

    def map(self, call: Any, items: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """See `Workers`."""
        for number, item in enumerate(items):
            yield number, call(item)


class OnRay:
    """Processes of a Ray cluster with a core each, or with a GPU each where the cluster has GPUs.

    A worker that dies is replaced and its item given out again; workers of machines that join get items too.
    """

    def __init__(self, num_workers: int | None = None):
        import ray

        self._most = num_workers
        self._needs: dict[str, Any] = {"num_cpus": 1}
        if ray.cluster_resources().get("GPU", 0):
            self._needs["num_gpus"] = 1

    @property
    def num_workers(self) -> int:
        """As many as the cluster has room for now, at most those asked for."""
        import ray

        kind = "GPU" if "num_gpus" in self._needs else "CPU"
        room = max(1, int(ray.cluster_resources().get(kind, 1)))
        return min(room, self._most or room)

    def share(self, function: Callable[[Any, Any], Any], shared: Any) -> Any:
        """See `Workers`."""
        import ray

        return ray.put((function, shared))

    def map(self, call: Any, items: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """See `Workers`."""
        import ray

        run = ray.remote(max_retries=RETRIES, **self._needs)(_call)
        waiting = enumerate(items)
        running: dict[Any, int] = {}
        try:
            while True:
                while len(running) < AHEAD * self.num_workers and (given := next(waiting, None)):
                    number, item = given
                    running[run.remote([call], item)] = number
                if not running:
                    return
                (done, *_), _ = ray.wait(list(running), num_returns=1)
                yield running.pop(done), _result(done)
        finally:
            for left in running:
                ray.cancel(left, force=True)


def _result(reference):
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise InputError(str(error.cause)) from error
        raise
    except RayError as error:
        problem = str(error).strip().splitlines()[0]
        raise InputError(
            f"workers died {RETRIES + 1} times of the same piece of work ({type(error).__name__}: {problem}): give "
            "them more memory or fewer of them with --workers; the same command goes on"
        ) from error


_of_worker: dict[str, Any] = {}  # what was shared last, and what it keeps, such as compiled programs


def _call(references, item):
    """In the worker."""
    import ray

    (reference,) = references
    if reference.hex() not in _of_worker:
        _of_worker.clear()
        _of_worker[reference.hex()] = ray.get(reference)
    function, shared = _of_worker[reference.hex()]
    return function(shared, item)


def _check_answers(address):
    """OSError or ValueError unless something listens at HOST:PORT: Ray would wait for it for many minutes."""
    if address not in (None, "auto"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if not host or not port.isdecimal():
            raise ValueError("give HOST:PORT, or auto")
        with socket.create_connection((host, int(port)), timeout=PATIENCE):
            pass


@contextmanager
def open_workers(
    engine: str = "local",
    address: str | None = None,
    num_workers: int | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> Iterator[Workers]:
    """Workers of an engine: "local", this process; "ray", a cluster on this machine, or that of `address`.

    `address` is HOST:PORT of a running cluster, or "auto"; `warn` gets one line where its traffic leaves the machine.

    Raises: InputError for an unknown engine, where Ray is not installed, or no cluster answers.
    """
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    if engine == "local":
        if address is not None or num_workers is not None:
            raise InputError("an address and workers are for --engine ray: leave them out")
        yield Here()
        return
    if not find_spec("ray"):
        raise InputError("engine ray needs the package of that name: pip install 'jaxnas[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:  # else Ray listens on all interfaces; it reads these when it is imported
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    elif any(map(os.environ.get, ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))) or TOKEN.expanduser().exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # a cluster that asks for none does not mind
    import ray

    cache = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    variables = {"JAX_NUM_CPU_DEVICES": "1", **({"JAX_COMPILATION_CACHE_DIR": cache} if cache else {})}
    own: dict[str, Any] = dict(address="local", num_cpus=num_workers or num_cores(), include_dashboard=False)
    given = own if address is None else {"address": address}
    try:
        _check_answers(address)
        with warnings.catch_warnings():  # of a fork where JAX has threads: what is forked starts another program
            warnings.simplefilter("ignore", RuntimeWarning)
            ray.init(**given, runtime_env={"env_vars": variables}, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        problem = str(error).strip().splitlines()[0]
        raise InputError(
            f"no Ray cluster could be used at {address or 'this machine'} ({problem}): see `ray start`"
        ) from error
    try:
        host = ray.get_runtime_context().gcs_address.rpartition(":")[0]
        if host not in (LOOPBACK, "localhost"):
            warn(
                f"Ray's traffic with {host} is not encrypted, and who reaches it (and has its token, if it asks for "
                "one) can run code here: use it within a network that you trust"
            )
        yield OnRay(num_workers)
    finally:
        ray.shutdown()
