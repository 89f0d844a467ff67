"""The processes of a job end together: when one dies, each of the others prints one line and ends with exit code 2.

JAX alone would end them too: within a minute, and by an abort with a C++ trace, at once where process 0 dies, because
JAX runs the coordination service inside it. Here the service is a process of its own, which outlives process 0 by some
seconds, and each process holds a connection to process 0, which the system closes when either of them dies. The
connections carry no data of the job.
"""

import atexit
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import BinaryIO

import jax
import numpy as np
from jax._src import distributed as internals
from jax.experimental import multihost_utils

from jaxnas.runtime import coordinator
from jaxnas.runtime.bars import status
from jaxnas.runtime.coordinator import DONE

GRACE = 3  # seconds in which a process can find the cause itself, which it names better
HELLO = 10  # seconds for a new connection

leaving = Event()
"""Set when this process ends because of an error that it prints itself."""


class _Service:
    """The coordination service in another process, with the method that JAX calls."""

    def __init__(self, *arguments: object, **options: object):
        """Start it; JAX gives the arguments."""
        given = json.dumps([arguments, options])
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(coordinator.__file__), given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # its log of lost processes, which these name themselves
            start_new_session=True,  # out of reach of Ctrl-C
        )
        assert self._process.stdout is not None
        answer = self._process.stdout.readline().decode()
        if answer != "\n":
            raise RuntimeError(f"no service at {arguments[0]}, which may be in use: {answer.strip() or 'it has ended'}")

    def shutdown(self) -> None:
        """End it after all processes have parted from it."""
        self._process.communicate(DONE)


@contextmanager
def service_apart() -> Iterator[None]:
    """Let `jax.distributed.initialize` in the body start the coordination service as a process of its own."""
    library = vars(internals)["_jax"]
    usual, library.get_distributed_runtime_service = library.get_distributed_runtime_service, _Service
    try:
        yield
    finally:
        library.get_distributed_runtime_service = usual


def share_fate(bind_host: str) -> None:
    """Watch the other processes of the job from now on, until this one ends; a collective call.

    Process 0 listens on a free port and accepts those that know a token, which it has sent by a collective. Where they
    cannot connect, JAX alone ends a job after a death.

    Args:
      bind_host: the name or address on which process 0 listens; "" for all.
    """
    server = _listen(bind_host) if jax.process_index() == 0 else None
    port = server.getsockname()[1] if server else 0
    known = np.array([port, *secrets.token_bytes(16)], np.int32)
    port, *token = np.asarray(multihost_utils.broadcast_one_to_all(known)).tolist()
    members: dict[int, socket.socket] = {}
    if server:
        Thread(target=_accept, args=(server, bytes(token), members), daemon=True).start()
    elif port:
        with suppress(OSError):
            members[0] = _connect(port, bytes(token))
            Thread(target=_watch, args=(members[0].makefile("rb"), 0, {}), daemon=True).start()
    atexit.register(_part, members)  # called before JAX's own, which is older


def _listen(host: str) -> socket.socket | None:
    with suppress(OSError):
        family, *_, address = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    return None


def _connect(port: int, token: bytes) -> socket.socket:
    """Connect to process 0 and say who this is."""
    host, _, _ = str(internals.global_state.coordinator_address).rpartition(":")
    connection = socket.create_connection((host.strip("[]"), port), timeout=HELLO)
    connection.settimeout(None)
    connection.sendall(f"{token.hex()} {jax.process_index()}\n".encode())
    return connection


def _accept(server: socket.socket, token: bytes, members: dict[int, socket.socket]) -> None:
    """Let in those that know the token, each of which a thread watches."""
    while True:
        connection, _ = server.accept()
        Thread(target=_admit, args=(connection, token, members), daemon=True).start()


def _admit(connection: socket.socket, token: bytes, members: dict[int, socket.socket]) -> None:
    with suppress(OSError, ValueError):
        connection.settimeout(HELLO)
        stream = connection.makefile("rb")
        shown, _, rank = stream.readline(64).decode("ascii").partition(" ")
        if secrets.compare_digest(shown, token.hex()):
            connection.settimeout(None)
            members[int(rank)] = connection
            _watch(stream, int(rank), members)
    connection.close()


def _watch(stream: BinaryIO, rank: int, members: dict[int, socket.socket]) -> None:
    """Wait for the end of a process; after a death pass its number on, and end this process."""
    try:
        word = stream.readline()
    except OSError:
        word = b""
    if word == DONE:
        return
    dead = int(word or rank)
    _send(members, b"%d\n" % dead)
    time.sleep(GRACE)
    if not leaving.is_set():
        status.print(
            f"error: process {dead} of this job is gone: see what it printed, and start the same commands again, which "
            "resume",
            style="bold red",
            highlight=False,
            soft_wrap=True,
        )
        os._exit(2)


def _part(members: dict[int, socket.socket]) -> None:
    """Wait until all processes have done their work, and say that what follows is no death."""
    jax.distributed.shutdown()
    _send(members, DONE)


def _send(members: dict[int, socket.socket], word: bytes) -> None:
    for connection in list(members.values()):
        with suppress(OSError):
            connection.sendall(word)
