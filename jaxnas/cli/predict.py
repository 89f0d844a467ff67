"""`jaxnas predict`."""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from jaxnas.cli.command import takes
from jaxnas.cli.options import JsonOptions
from jaxnas.cli.progress import emit
from jaxnas.cli.stop import stoppable
from jaxnas.cli.terminal import configure_jax, console
from jaxnas.errors import InputError
from jaxnas.models.find import find_model
from jaxnas.runtime.bars import warn
from jaxnas.runtime.settings import setting


@dataclass(frozen=True)
class PredictionOptions(JsonOptions):
    """The form of predictions."""

    as_csv: bool = setting(False, "Print CSV with the probability of every class.", "Output", flag="--csv")

    def __post_init__(self) -> None:
        """Check that one form is chosen."""
        if self.as_csv and self.as_json:
            raise InputError("`--csv` and `--json` exclude each other: give one of them")


@takes("as_csv", "as_json", output=PredictionOptions)
@stoppable()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a model, of its training, or of a trained search.")],
    files: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    output: PredictionOptions,
) -> None:
    """Predict the class of pictures by a trained model: one line for each file.

    Pictures are brought to the size and the channels that the model takes. Unreadable ones are named and skipped.

    \b
    Examples:
      jaxnas predict runs/nasbench201-digits-seed0 three.png seven.png
      jaxnas predict runs/mine pictures --csv > classes.csv
    """
    folder = find_model(model)
    configure_jax()
    from jaxnas.models.files import load_model
    from jaxnas.models.predict import find_pictures, predict_files

    loaded, pictures = load_model(folder), find_pictures(files)
    table = csv.writer(sys.stdout, lineterminator="\n")
    if output.as_csv:
        table.writerow(["file", "class", "probability", *loaded.class_names])
    skipped = 0
    for found in predict_files(loaded, pictures):
        if found.problem:
            skipped += 1
            warn(f"{found.file} is skipped: {found.problem}")
        elif output.as_csv:
            table.writerow([found.file, found.class_name, found.probability, *found.probabilities])
        elif output.as_json:
            every = dict(zip(loaded.class_names, found.probabilities, strict=True))
            named = {"name": found.class_name, "probability": found.probability}
            emit("prediction", path=str(found.file), predicted=named, probabilities=every)
        else:
            line = f"{found.file}  {found.class_name}  {100 * found.probability:.1f} %"
            console.print(line, highlight=False, soft_wrap=True, markup=False)
    if skipped == len(pictures):
        raise InputError("none of the files is a readable picture: give PNG, JPEG, WebP, BMP, GIF, TIFF or PPM files")
