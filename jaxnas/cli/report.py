"""`jaxnas report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from jaxnas.cli.command import takes
from jaxnas.cli.options import JsonOptions
from jaxnas.cli.progress import emit
from jaxnas.cli.stop import stoppable
from jaxnas.cli.terminal import console
from jaxnas.run.find import find_results
from jaxnas.runtime.host import check_memory_limit
from jaxnas.runtime.places import to_path
from jaxnas.runtime.settings import setting


@dataclass(frozen=True)
class PageOptions(JsonOptions):
    """The file of the page."""

    out: Path | None = setting(None, "File to write.", "Output", shown="report.html in the first folder")


@takes("out", "as_json", output=PageOptions)
@stoppable()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished searches and comparisons.")],
    output: PageOptions,
) -> None:
    """Write one HTML page about a search, or about several side by side (extra: report).

    The page opens without a network and shows the result, every query, the weights, the selected cell, the proxies and
    the settings.

    \b
    Examples:
      jaxnas report runs/nasbench201-digits-seed0
      jaxnas report runs/robot-* runs/random-* --out comparison.html
      jaxnas report runs/compare
    """
    runs = [to_path(folder) for folder in runs]
    for folder in runs:
        find_results(folder)
    check_memory_limit()
    from jaxnas.report import read_results, write_report

    path = output.out or runs[0] / "report.html"
    write_report([read_results(folder) for folder in runs], path)
    if output.as_json:
        emit("done", out=str(path), bytes=path.stat().st_size)
    else:
        console.print(f"the report is in {path} ({path.stat().st_size / 1e6:.1f} MB)", soft_wrap=True, highlight=False)
