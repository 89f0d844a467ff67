"""What a search was made of, kept with it: the network and the images, so that its architecture can be trained."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped

from jaxnas.data.images import ImageData, fingerprint
from jaxnas.data.public import DATASETS
from jaxnas.errors import InputError
from jaxnas.networks import NETWORKS, DeclaredNetwork, SearchNetwork
from jaxnas.networks.declared.record import block_from_record, block_record
from jaxnas.networks.params import fields_of
from jaxnas.run.inputs import load_standardized
from jaxnas.runtime.events import Listener
from jaxnas.runtime.files import atomic_write, read_npz
from jaxnas.runtime.places import to_path
from jaxnas.runtime.records import Record

IMAGES = "images.npz"
_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def describe_origin(network: SearchNetwork, data: ImageData, name: str, pixels: int | None = None) -> Record:
    """Return the network and the images of a search as plain JSON values; images have a `name` to load them by.

    A relative path becomes an absolute one, so that the run can be trained from any folder.
    """
    if name not in DATASETS and to_path(name).exists():
        name = str(to_path(name).resolve())
    images = {"name": name, "pixels": pixels, "fingerprint": _print_of(data), "file": None}
    return {"network": network_record(network), "images": images}


def keep_origin(folder: Path, network: SearchNetwork, data: ImageData) -> Record:
    """Describe the origin of a search on images in memory, and write those that have no name into the folder."""
    record = describe_origin(network, data, data.name)
    if data.name in DATASETS and DATASETS[data.name].kind == "images":
        with suppress(InputError):
            if _print_of(load_standardized(data.name)) == record["images"]["fingerprint"]:
                return record
    kept = {name: getattr(data, name) for name in _ARRAYS}
    if data.mean is not None and data.std is not None:
        kept.update(mean=data.mean, std=data.std)
    for name in ("train_images", "test_images"):
        kept[name] = _as_bytes(kept[name], data)
    with atomic_write(folder / IMAGES) as partial:
        np.savez_compressed(partial, **kept)
    record["images"] |= {"file": IMAGES, "class_names": list(data.class_names)}
    return record


def load_origin_images(
    record: Mapping[str, object], folder: Path, data_folder: Path | None = None, on_event: Listener | None = None
) -> ImageData:
    """Return the standardised images of a search from the `images` of its origin.

    Raises:
      InputError: they are missing, or have changed since the search.
    """
    images: Record = dict(record)
    if images["file"] is None:
        data = load_standardized(images["name"], data_folder, pixels=images["pixels"], on_event=on_event)
    else:
        data = _read(folder / IMAGES, images)
    if _print_of(data) != images["fingerprint"]:
        raise InputError(f"the images {images['name']} have changed since the search in {folder}: give the data")
    return data


def network_record(network: SearchNetwork) -> Record | None:
    """Return class and fields of a network of jaxnas as plain JSON values, None for any other network."""
    kind = type(network)
    if kind is not DeclaredNetwork and kind not in NETWORKS.values():
        return None
    record: Record = {"class": kind.__name__, **fields_of(network)}
    if isinstance(network, DeclaredNetwork):
        try:
            record["blocks"] = [block_record(block) for block in network.blocks]
        except InputError:
            return None
    return record


def network_from_record(record: Mapping[str, object]) -> SearchNetwork:
    """Read back what `network_record` returned, also through JSON.

    Raises:
      LookupError, TypeError, InputError: not the record of a network.
    """
    values: Record = dict(record)
    name = values.pop("class")
    classes: list[type[SearchNetwork]] = [DeclaredNetwork, *NETWORKS.values()]
    kinds = {kind.__name__: kind for kind in classes}
    if "blocks" in values:
        values["blocks"] = tuple(map(block_from_record, values["blocks"]))
    return kinds[name](**values)


def _print_of(data: ImageData) -> str:
    return fingerprint(*(getattr(data, name) for name in _ARRAYS))


def _as_bytes(images: Float32[np.ndarray, "N H W C"], data: ImageData) -> Shaped[np.ndarray, "N H W C"]:
    """Return standardised images as the uint8 that they were made of, or unchanged if they were made of others."""
    if data.mean is None or data.std is None:
        return images
    raw = np.rint((images * data.std + data.mean) * 255)
    if raw.min() < 0 or raw.max() > 255:
        return images
    found = raw.astype(np.uint8)
    return found if np.array_equal(_from_bytes(found, data.mean, data.std), images) else images


def _from_bytes(
    images: Shaped[np.ndarray, "N H W C"], mean: Float32[np.ndarray, " C"], std: Float32[np.ndarray, " C"]
) -> Float32[np.ndarray, "N H W C"]:
    standardized: np.ndarray = (images / np.float32(255) - mean) / std
    return standardized


def _read(path: Path, images: Record) -> ImageData:
    arrays = read_npz(path)
    if missing := [name for name in _ARRAYS if name not in arrays]:
        raise InputError(f"{path} has no array {missing[0]}: search again")
    mean, std = arrays.get("mean"), arrays.get("std")
    for name in ("train_images", "test_images"):
        if arrays[name].dtype == np.uint8 and mean is not None and std is not None:
            arrays[name] = _from_bytes(arrays[name], mean, std)
    names = tuple(map(str, images["class_names"]))
    classes = len(names) or int(arrays["train_labels"].max()) + 1
    given = {name: arrays[name] for name in _ARRAYS}
    return ImageData(str(images["name"]), num_classes=classes, class_names=names, mean=mean, std=std, **given)
