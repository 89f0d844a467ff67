"""The command line as a process, for `jaxnas.__main__`; `python -m jaxnas.cli` runs it too."""

import atexit
import logging
import os
import sys

from jaxnas.cli import main


def run() -> None:
    """Run the command line, and end the process with its exit code, whatever threads of libraries do meanwhile.

    Python joins threads and calls what libraries registered for the end of a process. The rest of its shutdown is left
    out: there the threads of XLA and Arrow sometimes abort a process whose work is done, with exit code 134.
    """
    code = 1  # of an exception, which Python prints before it calls `end`

    def end() -> None:
        logging.shutdown()
        status = code
        for stream in filter(None, (sys.stdout, sys.stderr)):  # None where the shell closed it
            try:
                stream.flush()
            except BrokenPipeError:
                status = status or 1
            except OSError as error:
                status = 2
                os.write(2, f"error: cannot write to {stream.name.strip('<>')}: {error.strerror}\n".encode())
        os._exit(status)

    atexit.register(end)  # before those of other libraries, which are therefore called first
    try:
        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        raise
    except KeyboardInterrupt:
        code = 130
        raise


if __name__ == "__main__":
    run()
