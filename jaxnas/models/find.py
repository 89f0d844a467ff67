"""The folders of trained models, found before long work starts; imported without JAX."""

from pathlib import Path

from jaxnas.errors import InputError
from jaxnas.runtime.places import to_path

DESCRIPTION = "model.json"
MODEL = "model"  # folder of a model in that of a training
TRAINED = "trained"  # folder of a training in that of a search


def find_model(folder: Path | str) -> Path:
    """Return the folder that has model.json: the given one, that of its training, or that of its trained search.

    Raises:
      InputError: none of them has.
    """
    folder = to_path(folder)
    for found in (folder, folder / MODEL, folder / TRAINED / MODEL):
        if (found / DESCRIPTION).exists():
            return found
    hint = "give a folder of a model"
    if (folder / "result.json").exists():
        hint = f"train its architecture first by `jaxnas train {folder}`, or by your own code if it has ids alone"
    raise InputError(f"no trained model in {folder}: {hint}")
