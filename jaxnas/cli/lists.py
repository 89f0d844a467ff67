"""`jaxnas proxies` and `jaxnas data`."""

import json
from typing import Annotated

import typer

from jaxnas.cli.options import FolderOption
from jaxnas.progress import progress
from jaxnas.terminal import console, print_data, print_proxies

data_app = typer.Typer(rich_markup_mode=None)


def list_proxies(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per proxy instead.")] = False,
) -> None:
    """List the zero-cost proxies: what each reads and costs, which way is better, and who published it.

    \b
    Example:
      jaxnas score --proxies nbsz,zico
    """
    from jaxnas.proxies import PROXIES, PROXY_SETS, about

    lines = [about(name) for name in PROXIES]
    if not as_json:
        return print_proxies(lines, PROXY_SETS)
    print(*(json.dumps(line._asdict()) for line in lines), sep="\n")


@data_app.callback(invoke_without_command=True)
def data(context: typer.Context, data_folder: FolderOption = None) -> None:
    """List public tables and image sets; get one.

    Of each: what it is, size, licence, public address, where it is looked for, present or not.
    """
    from jaxnas.catalogue import list_data

    if context.invoked_subcommand is None:
        print_data(list_data(data_folder))


@data_app.command()
def get(
    name: Annotated[str, typer.Argument(help="Name of the data set, see `jaxnas data`.")],
    data_folder: FolderOption = None,
    address: Annotated[str | None, typer.Option(help="Another server's folder that has the files.")] = None,
) -> None:
    """Download a data set into the data folder, with its checksum verified.

    \b
    Example:
      jaxnas data get cifar10
    """
    from jaxnas.catalogue import download

    with progress() as bars:
        path = download(name, data_folder, bars.downloaded, address)
    console.print(f"{name} is in {path}", soft_wrap=True, highlight=False)
