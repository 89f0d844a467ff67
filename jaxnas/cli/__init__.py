"""The command `jaxnas` parses, calls the library, shows progress and prints."""

import errno
import sys
from contextlib import suppress
from typing import Annotated, cast

import typer

from jaxnas.cli.export import export
from jaxnas.cli.lists import data_app, list_proxies, show_cache
from jaxnas.cli.predict import predict
from jaxnas.cli.report import report
from jaxnas.cli.score import score
from jaxnas.cli.search import compare, search
from jaxnas.cli.terminal import console
from jaxnas.cli.train import train
from jaxnas.errors import InputError
from jaxnas.runtime.bars import status

# The base class of all usage errors, which Typer does not export.
UsageError = cast(type[typer.BadParameter], typer.BadParameter.__mro__[1])

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what writing to a stream raises

app = typer.Typer(
    pretty_exceptions_enable=False, rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]}
)
for command in (score, search, train, predict, export, compare, report):
    app.command()(command)
app.command("proxies")(list_proxies)
app.command("cache")(show_cache)
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line; wrong usage, an InputError or a full disk become one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        command = error.ctx.command_path if error.ctx else "jaxnas"
        message = " ".join(error.format_message().splitlines())
        _print_error(f"{message.rstrip('.')}: see `{command} --help`")
        sys.exit(error.exit_code)
    except typer.Abort:
        _print_error("aborted")
        sys.exit(1)
    except InputError as error:
        _print_error(str(error))
        if "jaxnas.runtime.distributed" not in sys.modules:  # nothing that imports JAX ran
            sys.exit(2)
        from jaxnas.runtime.distributed import leave

        leave(2)
    except BrokenPipeError:  # the reader of stdout has seen enough
        sys.exit(1)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _print_error(f"cannot use {str(error.filename)[:60]}...: {error.strerror}")
            sys.exit(2)
        if error.filename is not None or error.errno not in FULL:  # not of a stream, but of a function of the user's
            raise
        _print_error(f"cannot write to standard output: {error.strerror}")
        sys.exit(2)
    sys.exit(code)  # None, or the code of a typer.Exit


def _print_error(message: str) -> None:
    with suppress(OSError):  # stderr on a full disk
        status.print(f"error: {message}", style="bold red", highlight=False, soft_wrap=True)


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Training-free neural architecture search on JAX."""
    if show_version:
        from jaxnas.runtime.host import package_version

        console.print(package_version(), highlight=False)
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.get_help()  # prints it
