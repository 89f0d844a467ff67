"""Reading CIFAR-10 and CIFAR-100 as published: python or binary batches, in a folder or in the .tar.gz."""

import gzip
import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Integer, UInt8

from jaxnas.errors import InputError
from jaxnas.runtime.files import read_bytes, read_pickle

Images: TypeAlias = UInt8[np.ndarray, "_ 32 32 3"]
Labels: TypeAlias = Integer[np.ndarray, " _"]


class _Batches(NamedTuple):
    """The original files of one CIFAR set; in the binary edition their names end in .bin.

    Attributes:
      train: names of the training batches.
      test: name of the test batch.
      label_key: key of the labels in the python edition.
      label_bytes: bytes before the pixels of an image in the binary edition; the last of them is the label.
    """

    train: tuple[str, ...]
    test: str
    label_key: bytes
    label_bytes: int


_BATCHES = (
    _Batches(tuple(f"data_batch_{i}" for i in range(1, 6)), "test_batch", b"labels", 1),
    _Batches(("train",), "test", b"fine_labels", 2),
)
_NAMES = {name + ending for batches in _BATCHES for name in (*batches.train, batches.test) for ending in ("", ".bin")}


def is_cifar(path: Path) -> bool:
    """Return whether a path is an archive, or a folder with a batch of CIFAR."""
    if path.is_dir():
        return any((path / name).is_file() for name in _NAMES)
    return path.name.endswith((".tar.gz", ".tgz"))


def read_cifar(path: Path) -> tuple[Images, Labels, Images, Labels]:
    """Read training images and labels, test images and labels; the labels of CIFAR-100 are the fine ones.

    Args:
      path: folder of the batches, or the published .tar.gz.

    Raises:
      InputError: a batch is missing, truncated or corrupt, or a pickle contains anything but arrays of bytes and lists.
    """
    members = _folder_members(path) if path.is_dir() else _tar_members(path)
    for batches in _BATCHES:
        for ending, decode in (("", _python_batch), (".bin", _binary_batch)):
            names = [name + ending for name in (*batches.train, batches.test)]
            missing = [name for name in names if name not in members]
            if len(missing) == len(names):
                continue
            if missing:
                raise InputError(f"{path}: the batch {missing[0]} is missing; all batches of the set are needed")
            parts = [decode(members[name], f"{path}, {name}", batches) for name in names]
            images, labels = [part[0] for part in parts], [part[1] for part in parts]
            return np.concatenate(images[:-1]), np.concatenate(labels[:-1]), images[-1], labels[-1]
    raise InputError(f"{path}: no CIFAR batches; it must have data_batch_1 to 5 and test_batch, or train and test")


def _folder_members(path: Path) -> dict[str, bytes]:
    return {name: read_bytes(path / name) for name in _NAMES if (path / name).is_file()}


def _tar_members(path: Path) -> dict[str, bytes]:
    members, content = {}, read_bytes(path)
    try:
        # The whole stream first: tarfile stops before the end, where gzip keeps its checksum.
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content)), mode="r:") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in _NAMES and (file := archive.extractfile(member)):
                    members[name] = file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path}: truncated or corrupt archive ({error}); download it again") from error
    return members


def _python_batch(content: bytes, source: str, batches: _Batches) -> tuple[Images, Labels]:
    batch = read_pickle(content, source, arrays=True)
    pixels = batch.get(b"data") if isinstance(batch, dict) else None
    labels = batch.get(batches.label_key) if isinstance(batch, dict) else None
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != 3072:
        raise InputError(f"{source}: not a CIFAR batch: 'data' must be uint8 [N, 3072]")
    if not isinstance(labels, list) or not all(isinstance(label, int) and 0 <= label < 256 for label in labels):
        raise InputError(f"{source}: not a CIFAR batch: {batches.label_key.decode()!r} must be a list of classes")
    return _channels_last(np.asarray(pixels)), np.array(labels, np.int64)


def _binary_batch(content: bytes, source: str, batches: _Batches) -> tuple[Images, Labels]:
    length = batches.label_bytes + 3072
    if len(content) % length:
        raise InputError(
            f"{source}: {len(content)} bytes are not a multiple of the {length} of one image; download it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    return _channels_last(records[:, -3072:]), records[:, batches.label_bytes - 1]


def _channels_last(pixels: np.ndarray) -> Images:
    return pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
