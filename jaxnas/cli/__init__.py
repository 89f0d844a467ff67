"""The command `jaxnas` parses, calls the library, shows progress and prints."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from jaxnas.cli.lists import data_app, list_proxies
from jaxnas.cli.progress import status
from jaxnas.cli.report import report
from jaxnas.cli.score import score
from jaxnas.cli.search import compare, search
from jaxnas.cli.terminal import console
from jaxnas.cli.train import train
from jaxnas.errors import InputError

app = typer.Typer(
    pretty_exceptions_enable=False, rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]}
)
for command in (score, search, train, compare, report):
    app.command()(command)
app.command("proxies")(list_proxies)
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line; an InputError becomes one line on stderr and exit code 2."""
    try:
        app()
    except InputError as error:
        status.print(f"error: {error}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        if "jaxnas.runtime.distributed" not in sys.modules:  # nothing that imports JAX ran
            sys.exit(2)
        from jaxnas.runtime.distributed import leave

        leave(2)


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Training-free neural architecture search on JAX."""
    if show_version:
        console.print(version("jaxnas"), highlight=False)
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.get_help()  # prints it
