"""What commands have in common: options, and how Ctrl-C ends them."""

import _thread
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from jaxnas.progress import status

SpaceArgument = Annotated[str, typer.Argument(help="Search space.")]
DataOption = Annotated[str, typer.Option("--data", help="digits, cifar10, cifar100, tiny16, or the path of an npz.")]
FolderOption = Annotated[
    Path | None,
    typer.Option("--data-folder", help="Folder of data sets; default JAXNAS_DATA, or ~/.cache/jaxnas/data."),
]
ProxiesOption = Annotated[
    str, typer.Option(help="Comma-separated proxies or sets, see `jaxnas proxies`; default: robot.")
]
ChannelsOption = Annotated[int, typer.Option(help="Channels of the first stage (16 at full size).", min=1)]
CellsOption = Annotated[int, typer.Option(help="Cells per stage (5 at full size).", min=1)]
BatchOption = Annotated[int, typer.Option("--batch-size", help="Images of the minibatch that proxies see.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything drawn at random.", min=0)]
CoordinatorOption = Annotated[
    str | None,
    typer.Option(help="HOST:PORT of process 0, where several processes score together without a launcher."),
]
NumProcessesOption = Annotated[int | None, typer.Option(help="How many processes those are.", min=1)]
ProcessIdOption = Annotated[int | None, typer.Option(help="Which of them this is, from 0 on.", min=0)]


EngineOption = Annotated[str, typer.Option(help="local, or ray: processes that may come and go (extra: ray).")]
AddressOption = Annotated[
    str | None, typer.Option(help="HOST:PORT of a running Ray cluster, or auto; default: one on this machine.")
]
WorkersOption = Annotated[int | None, typer.Option(help="Workers of Ray; default: one on each core or GPU.", min=1)]


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C in the body ends the command with one line and exit code 130.

    JAX has a callback in Python's garbage collector, where an exception is lost: there Ctrl-C comes again a bit later.
    """

    def come_again(lost):
        if lost.exc_type is KeyboardInterrupt:
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            sys.__unraisablehook__(lost)

    before, sys.unraisablehook = sys.unraisablehook, come_again
    try:
        yield
    except KeyboardInterrupt:
        status.print("stopped: all that is finished is kept, the same command goes on", soft_wrap=True)
        sys.stdout.flush()
        os._exit(130)  # JAX that was interrupted while it compiled may crash as Python shuts down
    finally:
        sys.unraisablehook = before
