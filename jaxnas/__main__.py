"""`python -m jaxnas` is `jaxnas`."""

import signal


def run() -> None:
    """Run the command line.

    Before a command begins and after its end, Ctrl-C ends the process at once, without a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from jaxnas.cli.__main__ import run as run_commands

    run_commands()


if __name__ == "__main__":
    run()
