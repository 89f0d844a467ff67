"""`jaxnas proxies` and `jaxnas data`."""

import json
from typing import Annotated

import typer

from jaxnas import names
from jaxnas.cli.completion import one_of
from jaxnas.cli.options import FolderOption, JsonOption
from jaxnas.cli.progress import emit, progress
from jaxnas.cli.stop import stoppable
from jaxnas.cli.terminal import console, print_data, print_proxies

data_app = typer.Typer(rich_markup_mode=None)


def list_proxies(as_json: JsonOption = False) -> None:
    """List the zero-cost proxies: what each reads and costs, which way is better, and who published it.

    \b
    Examples:
      jaxnas proxies
      jaxnas proxies --json
      jaxnas score --proxies nbsz,zico
    """
    from jaxnas.proxies import PROXIES, PROXY_SETS, about

    lines = [about(name) for name in PROXIES]
    if not as_json:
        return print_proxies(lines, PROXY_SETS)
    print(*(json.dumps(line._asdict()) for line in lines), sep="\n")


@data_app.callback(invoke_without_command=True)
def data(context: typer.Context, data_folder: FolderOption = None, as_json: JsonOption = False) -> None:
    """List public tables and image sets; get one.

    Of each: what it is, size, licence, public address, where it is looked for, present or not.

    \b
    Examples:
      jaxnas data
      jaxnas data --json
      jaxnas data get cifar10
    """
    from jaxnas.data.catalogue import list_data

    if context.invoked_subcommand is not None:
        return
    found = list_data(data_folder)
    if not as_json:
        return print_data(found)
    for data, present, path in found:
        told = {field: getattr(data, field) for field in ("name", "kind", "about", "size", "licence", "address")}
        print(json.dumps({**told, "present": present, "place": path and str(path)}))


@data_app.command()
@stoppable()
def get(
    name: Annotated[
        str,
        typer.Argument(help="Name of the data set, see `jaxnas data`.", autocompletion=one_of(names.DownloadName)),
    ],
    data_folder: FolderOption = None,
    address: Annotated[str | None, typer.Option(help="Another server's folder that has the files.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Download a data set into the data folder, with its checksum verified.

    \b
    Example:
      jaxnas data get cifar10
    """
    from jaxnas.data.catalogue import download

    with progress(as_json) as shown:
        path = download(name, data_folder, shown.downloaded, address)
    if as_json:
        return emit("done", name=name, place=str(path))
    console.print(f"{name} is in {path}", soft_wrap=True, highlight=False)
