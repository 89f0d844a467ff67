"""`jaxnas export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from jaxnas.cli.command import takes
from jaxnas.cli.options import DataOptions, JsonOptions
from jaxnas.cli.progress import emit
from jaxnas.cli.stop import stoppable
from jaxnas.cli.terminal import configure_jax, console
from jaxnas.models.find import find_model
from jaxnas.run.find import find_result
from jaxnas.runtime.names import ExportName
from jaxnas.runtime.places import to_path
from jaxnas.runtime.settings import REQUIRED, setting


@dataclass(frozen=True)
class FormatOptions:
    """The format and the params of an export."""

    to: ExportName = setting(REQUIRED, "Format.", kind="export")
    untrained: bool = setting(False, "Export the initial params of a search, which need no training.")


@dataclass(frozen=True)
class ExportOutput(JsonOptions):
    """The folder of an export, and the form of what is printed."""

    out: Path | None = setting(None, "Folder to write.", "Output", shown="a folder of RUN named after the format")


@takes("to", "out", chosen=FormatOptions, data=DataOptions, output=ExportOutput)
@stoppable()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a trained search, of a training, or of a model.")],
    chosen: FormatOptions,
    data: DataOptions,
    output: ExportOutput,
) -> None:
    """Write the selected network alone in a format that other programs read, with its outputs.

    flax and torch are readable code and a file of tensors; onnx needs the extra `export`. The network takes images in
    [0, 1] and standardises them.

    \b
    Examples:
      jaxnas export runs/nasbench201-digits-seed0 --to torch
      jaxnas export runs/mine --to onnx --out deploy
    """
    run = to_path(run)
    if chosen.untrained:
        find_result(run)
    else:
        find_model(run)
    configure_jax()
    from jaxnas.models.export import export_model
    from jaxnas.models.files import load_model
    from jaxnas.run.train import untrained_model

    model = untrained_model(run, data_folder=data.data_folder) if chosen.untrained else load_model(run)
    paths = export_model(model, chosen.to, output.out or run / chosen.to)
    if output.as_json:
        return emit("done", files=[str(path) for path in paths], parameters=model.num_params)
    shape = ", ".join(map(str, model.image_shape))
    summary = f"{model.num_params:,} parameters, images [N, {shape}], {len(model.class_names)} classes"
    console.print(summary, highlight=False, soft_wrap=True)
    for path in paths:
        console.print(f"wrote {path} ({path.stat().st_size / 1e3:,.0f} kB)", highlight=False, soft_wrap=True)
