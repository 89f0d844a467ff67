"""Exports of a model: files that compute its outputs, up to rounding, in other people's code, without jaxnas."""

from collections.abc import Callable
from pathlib import Path

from jaxnas.errors import unknown_name
from jaxnas.models.export.flax_code import write_flax
from jaxnas.models.export.onnx_file import write_onnx
from jaxnas.models.export.stablehlo import write_stablehlo
from jaxnas.models.export.torch_code import write_torch
from jaxnas.models.model import Model
from jaxnas.runtime.places import to_path

EXPORTS: dict[str, Callable[[Model, Path], list[Path]]] = {
    "flax": write_flax,
    "torch": write_torch,
    "onnx": write_onnx,
    "stablehlo": write_stablehlo,
}
"""By format: writes the files of a model into a folder, each atomically, and returns their paths."""


def export_model(model: Model, to: str, folder: Path | str) -> list[Path]:
    """Write a model in another format; all take images in [0, 1] and standardise them themselves.

    Args:
      model: the model.
      to: "flax" or "torch" (readable code and safetensors), "onnx" (extra: export), or "stablehlo".
      folder: folder of the files.

    Returns:
      The files, the one to open first in front.

    Raises:
      InputError: the format is unknown, a package is missing, or the folder cannot be written into.
    """
    if to not in EXPORTS:
        raise unknown_name("export", to, EXPORTS)
    return EXPORTS[to](model, to_path(folder))
