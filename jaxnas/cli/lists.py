"""`jaxnas proxies`, `jaxnas data` and `jaxnas cache`."""

import json
from dataclasses import dataclass

import typer

from jaxnas.cli.command import takes
from jaxnas.cli.options import DataOptions, JsonOptions, PluginOptions
from jaxnas.cli.progress import emit, progress
from jaxnas.cli.stop import stoppable
from jaxnas.cli.terminal import console, print_data, print_proxies
from jaxnas.runtime.names import DownloadName
from jaxnas.runtime.settings import REQUIRED, setting

data_app = typer.Typer(rich_markup_mode="rich")


@takes("plugin", "as_json", plugins=PluginOptions, output=JsonOptions)
def list_proxies(plugins: PluginOptions, output: JsonOptions) -> None:
    """List the zero-cost proxies: what each reads and costs, whether higher is better, and who published it.

    \b
    Examples:
      jaxnas proxies
      jaxnas proxies --json
      jaxnas proxies --plugin mine.py
      jaxnas score --proxies nbsz,zico
    """
    from jaxnas.proxies import PROXIES, PROXY_SETS, about

    plugins.load()
    lines = [about(name) for name in PROXIES]
    if not output.as_json:
        return print_proxies(lines, PROXY_SETS)
    print(*(json.dumps(line._asdict()) for line in lines), sep="\n")


@dataclass(frozen=True)
class CacheOptions(JsonOptions):
    """What to do with the folder of compiled programs."""

    clear: bool = setting(False, "Remove all compiled and traced programs.")


@takes("clear", "as_json", output=CacheOptions)
def show_cache(output: CacheOptions) -> None:
    """Show or clear the folder of compiled and traced programs, which commands and Python share.

    JAXNAS_CACHE=0 keeps none; JAX_COMPILATION_CACHE_DIR names another folder.

    \b
    Examples:
      jaxnas cache
      jaxnas cache --clear
    """
    from jaxnas.runtime.cache import cache_folder, clear_cache, read_cache

    state = (clear_cache if output.clear else read_cache)(cache_folder())
    if output.as_json:
        return print(json.dumps({**state._asdict(), "folder": str(state.folder), "cleared": output.clear}))
    what = "removed" if output.clear else "the folder holds"
    console.print(
        f"{state.folder}: {what} {state.programs} compiled and {state.traces} traced programs "
        f"({state.size / 1e6:.1f} MB)",
        soft_wrap=True,
        highlight=False,
    )


@data_app.callback(invoke_without_command=True)
@takes("data_folder", "as_json", place=DataOptions, output=JsonOptions)
def data(context: typer.Context, place: DataOptions, output: JsonOptions) -> None:
    """List public tables and image sets; get one.

    Every entry has its description, size, licence, public address, local path, and whether it is present.

    \b
    Examples:
      jaxnas data
      jaxnas data --json
      jaxnas data get cifar10
    """
    from jaxnas.data.catalogue import list_data

    if context.invoked_subcommand is not None:
        return
    statuses = list_data(place.data_folder)
    if not output.as_json:
        return print_data(statuses)
    for data, present, path in statuses:
        fields = {name: getattr(data, name) for name in ("name", "kind", "about", "size", "licence", "address")}
        print(json.dumps({**fields, "present": present, "place": path and str(path)}))


@dataclass(frozen=True)
class DownloadOptions:
    """The data set to download, and its server."""

    name: str = setting(REQUIRED, "Name of the data set, see `jaxnas data`.", argument=True, suggestions=DownloadName)
    server: str | None = setting(None, "Folder of another server that has the files.", "Data", flag="--address")


@data_app.command()
@takes("server", "data_folder", "as_json", download=DownloadOptions, place=DataOptions, output=JsonOptions)
@stoppable()
def get(download: DownloadOptions, place: DataOptions, output: JsonOptions) -> None:
    """Download a data set into the data folder, with its checksum verified.

    \b
    Example:
      jaxnas data get cifar10
    """
    from jaxnas.data import catalogue

    with progress(output.as_json) as shown:
        path = catalogue.download(download.name, place.data_folder, shown, download.server)
    if output.as_json:
        return emit("done", name=download.name, place=str(path))
    console.print(f"{download.name} is in {path}", soft_wrap=True, highlight=False)
