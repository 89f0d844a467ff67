"""Workers call one function on many independent items: in this process, or in the processes of a Ray cluster."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar, cast, runtime_checkable

from jaxnas.errors import InputError, unknown_name
from jaxnas.runtime.names import Engine, names

ENGINES = names(Engine)

SharedT = TypeVar("SharedT")
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class SharedCall(Generic[ItemT, ResultT]):
    """A function with its first argument bound, in a form that is specific to the workers that made it.

    Attributes:
      handle: a function for `LocalWorkers`, a reference for `RayWorkers`.
    """

    handle: object


@runtime_checkable
class Workers(Protocol):
    """Call one function on many items."""

    @property
    def num_workers(self) -> int:
        """The number of items that are processed at the same time."""

    def share(self, function: Callable[[SharedT, ItemT], ResultT], shared: SharedT) -> SharedCall[ItemT, ResultT]:
        """Return what `map` calls: a function of a module and its first argument, which each worker receives once."""

    def map(self, call: SharedCall[ItemT, ResultT], items: Iterable[ItemT]) -> Iterator[tuple[int, ResultT]]:
        """Yield the number of each item and function(shared, item) in the order in which they finish.

        Raises:
          InputError: the function raised it, or workers keep dying of one item.
          Exception: any other exception that the function raised.
        """


class LocalWorkers:
    """This process, which works on one item after another."""

    num_workers = 1

    def share(self, function: Callable[[SharedT, ItemT], ResultT], shared: SharedT) -> SharedCall[ItemT, ResultT]:
        """See `Workers.share`."""
        return SharedCall(partial(function, shared))

    def map(self, call: SharedCall[ItemT, ResultT], items: Iterable[ItemT]) -> Iterator[tuple[int, ResultT]]:
        """See `Workers.map`."""
        function = cast(Callable[[ItemT], ResultT], call.handle)
        for number, item in enumerate(items):
            yield number, function(item)


def open_workers(
    engine: str = "local",
    address: str | None = None,
    num_workers: int | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> AbstractContextManager[Workers]:
    """Return a context whose value are the workers of an engine.

    Args:
      engine: "local", this process, or "ray", a cluster on this machine or at `address`.
      address: HOST:PORT of a running cluster, or "auto".
      num_workers: largest number of workers; by default all cores, or all GPUs, of the cluster.
      warn: receives one line where the traffic of the cluster leaves this machine.

    Raises:
      InputError: an unknown engine, Ray is not installed, or no cluster answers.
    """
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    if engine == "local":
        if address is not None or num_workers is not None:
            raise InputError("an address and workers are for --engine ray: leave them out")
        return nullcontext(LocalWorkers())
    from jaxnas.runtime.ray_workers import open_cluster

    return open_cluster(address, num_workers, warn)
