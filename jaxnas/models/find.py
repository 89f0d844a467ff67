"""The folders of trained models, found before long work starts; imported without JAX."""

import json
from contextlib import suppress
from pathlib import Path

from jaxnas.errors import InputError
from jaxnas.runtime.places import to_path

RESULT = "result.json"
DESCRIPTION = "model.json"
MODEL = "model"  # folder of a model in that of a training
TRAINED = "trained"  # folder of a training in that of a search


def find_model(folder: Path | str) -> Path:
    """Return the folder that has model.json: the given one, that of its training, or that of its trained search.

    Raises:
      InputError: none of them has, or it is of another architecture than the search in the folder has selected since.
    """
    folder = to_path(folder)
    for found in (folder, folder / MODEL, folder / TRAINED / MODEL):
        if (found / DESCRIPTION).exists():
            if found == folder / TRAINED / MODEL:
                _check_selected(folder, found)
            return found
    hint = "give a folder of a model"
    if (folder / RESULT).exists():
        hint = f"train its architecture first by `jaxnas train {folder}`, in Python by the method `train` of the run"
    raise InputError(f"no trained model in {folder}: {hint}")


def _check_selected(folder: Path, found: Path) -> None:
    """Raise InputError if a model is of another architecture than the one that a search selected."""
    trained = selected = None
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):  # readers name damage
        record = json.loads((folder / RESULT).read_text())
        first, *_ = record["outcomes"].values()
        selected = first["selected"]
        trained = json.loads((found / DESCRIPTION).read_text())["arch"]
    if trained is not None and trained != selected:
        raise InputError(
            f"the model in {found} is of {trained}, but the search in {folder} has since selected {selected}: train "
            f"that by `jaxnas train {folder} --out {folder / 'trained-again'}`, or name the folder {found}"
        )
