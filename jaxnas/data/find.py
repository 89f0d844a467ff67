"""The names of image sets, and the forms of files with images; imported without JAX."""

from pathlib import Path

from jaxnas.errors import InputError, unknown_name
from jaxnas.runtime.names import ImageName, names
from jaxnas.runtime.places import to_path

IMAGE_SETS = names(ImageName)
FORMS = (
    "a folder with a subfolder of pictures for each class, also below train, val and test; a CSV or Parquet file of "
    "paths and labels; Parquet files of pictures as the Hugging Face hub has them; an .npz file; CIFAR's batches"
)


def find_images(name_or_path: str | Path) -> Path | None:
    """Return the path of images, or None where a named set is meant.

    Raises:
      InputError: there is neither a set nor a file of that name.
    """
    name, path = str(name_or_path), to_path(name_or_path)
    if name in IMAGE_SETS:
        return None
    if path.exists():
        return path
    if len(path.parts) > 1 or path.suffix:
        raise InputError(f"{path}: no such file; give {FORMS}; or one of {', '.join(IMAGE_SETS)}")
    raise InputError(f"{unknown_name('image set', name, IMAGE_SETS)}; or give {FORMS}")
