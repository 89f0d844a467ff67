"""`jaxnas train`."""

from pathlib import Path
from typing import Annotated

import typer

from jaxnas import names
from jaxnas.cli.completion import one_of
from jaxnas.cli.options import (
    CellsOption,
    ChannelsOption,
    DataOption,
    EpochsOption,
    FolderOption,
    JsonOption,
    OutOption,
    SeedOption,
)
from jaxnas.cli.progress import emit, progress
from jaxnas.cli.stop import keeping, stoppable
from jaxnas.cli.terminal import configure_jax, console, print_trained


@stoppable()
def train(
    arch: Annotated[str, typer.Argument(help="Architecture, such as a genotype, or the folder of a search.")],
    space: Annotated[
        str,
        typer.Option(help="Its space; default: the one that can read it.", autocompletion=one_of(names.SpaceName)),
    ] = "",
    data: DataOption = "cifar10",
    data_folder: FolderOption = None,
    channels: ChannelsOption = None,
    cells: CellsOption = None,
    epochs: EpochsOption = None,
    batch_size: Annotated[int | None, typer.Option(help="Images of a training step; of darts 96.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the first step; of darts 0.025.")] = None,
    cutout: Annotated[int | None, typer.Option(help="Side of the square cut out of images; of darts 16.")] = None,
    drop_path: Annotated[float | None, typer.Option(help="Rate at the end; of darts 0.2.")] = None,
    auxiliary_weight: Annotated[float | None, typer.Option(help="Of the second head; of darts 0.4.")] = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train one architecture on all training images by the published recipe of its space, and test it.

    Checkpoints come every minute: after Ctrl-C or a kill the same command goes on.

    \b
    Examples:
      jaxnas train runs/darts-cifar10-seed0
      jaxnas train "Genotype(normal=[('sep_conv_3x3', 0), ...], ...)" --epochs 20 --channels 16 --cells 2
    """
    configure_jax()
    from jaxnas.report import save_trained, trained_record
    from jaxnas.run.train import train_arch, train_config

    config = train_config(
        arch,
        space,
        data,
        network={"channels": channels, "cells_per_stage": cells},
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        cutout=cutout,
        drop_path=drop_path,
        auxiliary_weight=auxiliary_weight,
        seed=seed,
    )
    folder = out or Path("runs", f"train-{config.space}-{Path(data).stem}-seed{seed}")
    with keeping(folder), progress(as_json) as shown:
        shown.start("training")
        trained = train_arch(config, folder, data_folder=data_folder, on_progress=lambda at: shown.trained([0], at))
        save_trained(folder, trained)
    if as_json:
        return emit("done", out=str(folder), result=trained_record(trained))
    print_trained(trained)
    console.print(f"result.json and the checkpoint are in {folder}", soft_wrap=True, highlight=False)
