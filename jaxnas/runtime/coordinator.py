"""JAX's coordination service as a process of its own, which this file is when it runs; `jaxnas.runtime.fate` starts it.

The arguments of the service are given as JSON. The process writes one line to stdout, which is empty or says why there
is no service. It ends when stdin has `DONE`, or `LINGER` seconds after stdin ended without, as process 0 of the job has
died.
"""

import json
import os
import sys
import time

from jaxlib import _jax

DONE = b"done\n"
LINGER = 10  # seconds in which the other processes can end before they miss the service


def main() -> None:
    """Serve until process 0 of the job ends."""
    arguments, options = json.loads(sys.argv[1])
    try:
        service = _jax.get_distributed_runtime_service(*arguments, **options)
    except (RuntimeError, ValueError) as error:
        os.write(1, f"{str(error).splitlines()[0]}\n".encode())
        os._exit(1)  # its threads crash where it could not start
    os.write(1, b"\n")
    if sys.stdin.buffer.read() == DONE:
        service.shutdown()
    else:
        time.sleep(LINGER)
    os._exit(0)


if __name__ == "__main__":
    main()
