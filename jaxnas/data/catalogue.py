"""The public tables and image sets that jaxnas reads: where it looks for them, and their download."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxnas.errors import InputError, unknown_name
from jaxnas.runtime.events import Downloaded, Listener, ignore
from jaxnas.runtime.files import atomic_write, read_bytes
from jaxnas.runtime.places import to_path

_CHUNK = 1 << 16
_TIMEOUT = 60.0  # seconds without a byte


class PublicFile(NamedTuple):
    """A file to download.

    Attributes:
      path: path within the data folder; its last part is also the last part of `address`.
      address: URL of the file.
      checksum: "md5:" or "sha256:", followed by the hexadecimal digest.
    """

    path: str
    address: str
    checksum: str


class PublicData(NamedTuple):
    """One data set and its source.

    Attributes:
      name: key in `DATASETS`.
      kind: "table" or "images".
      about: one line of description.
      size: bytes; 0 for a part of an installed package.
      licence: licence or terms of use.
      address: public page of the data or of its sources.
      places: glob patterns within the data folder in order of preference; one match is enough.
      files: files that `download` fetches, all of which are needed; empty if there is no direct download.
      num_classes: classes of an image set; None for a table.
      class_names: the names of the classes; empty if they have numbers alone.
    """

    name: str
    kind: str
    about: str
    size: int
    licence: str
    address: str
    places: tuple[str, ...] = ()
    files: tuple[PublicFile, ...] = ()
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()


class DataStatus(NamedTuple):
    """A data set and its local path.

    Attributes:
      data: the data set.
      present: whether it is on this machine.
      path: its path, or the first place that was searched; None for a part of an installed package.
    """

    data: PublicData
    present: bool
    path: Path | None


CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
CIFAR100_CLASSES = tuple(_CIFAR100_CLASSES.split())


def _cifar(num_classes: int, size: int, folders: tuple[str, str], md5: str) -> PublicData:
    python, binary = f"cifar-{num_classes}-python.tar.gz", f"cifar-{num_classes}-binary.tar.gz"
    return PublicData(
        f"cifar{num_classes}",
        "images",
        f"60,000 photographs, 32x32 colour, {num_classes} classes",
        size,
        "none stated; cite Krizhevsky 2009",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        (f"cifar{num_classes}/*.npz", folders[0], python, folders[1], binary),
        (PublicFile(python, f"https://www.cs.toronto.edu/~kriz/{python}", f"md5:{md5}"),),
        num_classes,
        CIFAR10_CLASSES if num_classes == 10 else CIFAR100_CLASSES,
    )


def _robot(file: str, sha256: str) -> PublicFile:
    address = "https://raw.githubusercontent.com/hzf1174/RoBoT/1202f032a841735a2a45d41942372f1e95aa0cf1/data"
    return PublicFile(f"nb201/robot_raw/{file}", f"{address}/{file}", f"sha256:{sha256}")


DATASETS: dict[str, PublicData] = {
    "digits": PublicData(
        "digits",
        "images",
        "1,797 handwritten digits, 8x8 grey, 10 classes",
        0,
        "BSD-3-Clause (scikit-learn)",
        "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        num_classes=10,
    ),
    "cifar10": _cifar(
        10, 170_498_071, ("cifar-10-batches-py", "cifar-10-batches-bin"), "c58f30108f718f92721af3b95e74349a"
    ),
    "cifar100": _cifar(100, 169_001_437, ("cifar-100-python", "cifar-100-binary"), "eb9058c3a382ffc7106e4002c42a8d85"),
    "tiny16": PublicData(
        "tiny16",
        "images",
        "12,000 photographs of Tiny ImageNet, 16x16 colour, 120 classes (stands in for ImageNet16-120)",
        8_844_277,
        "ImageNet terms: non-commercial research",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        ("tiny16/*.npz",),
        num_classes=120,
    ),
    "nasbench201": PublicData(
        "nasbench201",
        "table",
        "NAS-Bench-201: accuracies of 15,625 architectures on three data sets, 12 and 200 epochs",
        1_172_856,
        "MIT (NATS-Bench), Apache-2.0 (NASGraph, RoBoT)",
        "https://github.com/D-X-Y/NATS-Bench",
        ("nb201/nb201_table.npz",),
    ),
    "nasbench201-proxies": PublicData(
        "nasbench201-proxies",
        "table",
        "NAS-Bench-Suite-Zero: 13 proxies of the NAS-Bench-201 architectures on three data sets",
        2_637_390,
        "Apache-2.0",
        "https://github.com/automl/NASLib/tree/zerocost",
        ("nb201/nb201_proxies.npz",),
    ),
    "robot": PublicData(
        "robot",
        "table",
        "NAS-Bench-201 as RoBoT published it: 12-epoch CIFAR-10 validation, 200-epoch test accuracies",
        3_183_339,
        "Apache-2.0",
        "https://github.com/hzf1174/RoBoT",
        files=(
            _robot("nb2_cf10_hp12_info.p", "1217bae8967cc2539bb7a09a2ebe47b8ca19e1813d959bc0b2ad6472e6a67497"),
            _robot("nb2_cf10_test_accuracy.p", "c3c3f4b9a091886cad445149dcf608e1025b82ffca30fcf405f144cd7da078f4"),
            _robot("nb2_cf100_test_accuracy.p", "fd1db96cd490146a33455dc9e3b33cf4ed4c68e1dba552d7d6de0898616ac1b6"),
            _robot("nb2_im120_test_accuracy.p", "312e7e45215d0f40ec0a35deae6f3d224dd39ab4ace539909d9f95c8e82ab09c"),
        ),
    ),
}


def data_folder(folder: Path | str | None = None) -> Path:
    """Return the folder of public data: `folder`, else $JAXNAS_DATA, else jaxnas/data in the user's cache folder."""
    if folder is None:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = os.environ.get("JAXNAS_DATA") or Path(cache, "jaxnas", "data")
    return to_path(folder)


def find_data(name: str, folder: Path | str | None = None) -> Path | None:
    """Return the path of a data set: its preferred place, or the folder of its files; None if it is not present.

    Raises:
      InputError: there is no data set of this name.
    """
    data, folder = _entry(name), data_folder(folder)
    found = [path for place in data.places for path in sorted(folder.glob(place))]
    if found:
        return found[0]
    files = [folder / file.path for file in data.files]
    return _common(files) if files and all(path.exists() for path in files) else None


def list_data(folder: Path | str | None = None) -> list[DataStatus]:
    """Return the status of every known data set, in the order of `DATASETS`."""
    return [_status(data, data_folder(folder)) for data in DATASETS.values()]


def download(
    name: str,
    folder: Path | str | None = None,
    on_event: Listener = ignore,
    address: str | None = None,
) -> Path:
    """Download the files of a data set, and verify the checksum of each before it gets its final name.

    Files that are present with the right checksum are kept. A download that fails or is killed leaves existing files
    unchanged; the next call restarts it.

    Args:
      name: key of `DATASETS`.
      folder: the data folder, see `data_folder`.
      on_event: receives a `Downloaded` after each chunk of a file.
      address: URL of a folder on another server that holds files of the same names.

    Returns:
      The path of the file, or of the folder of several files.

    Raises:
      InputError: the name is unknown, the data set has no direct download, the server cannot be reached or answers with
        an error, the connection is cut, the checksum is wrong, or the folder is not writable.
    """
    data, folder = _entry(name), data_folder(folder)
    if not data.files:
        raise InputError(_why_no_download(data, folder))
    paths = [folder / file.path for file in data.files]
    for path, file in zip(paths, data.files, strict=True):
        if not _is_there(path, file.checksum):
            source = f"{address.rstrip('/')}/{path.name}" if address else file.address
            _fetch(source, path, file.checksum, on_event)
    return _common(paths)


def _common(paths: list[Path]) -> Path:
    return paths[0] if len(paths) == 1 else paths[0].parent


def _entry(name: str) -> PublicData:
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    return DATASETS[name]


def _status(data: PublicData, folder: Path) -> DataStatus:
    if not data.size:
        return DataStatus(data, True, None)
    found = find_data(data.name, folder)
    first = data.files[0].path if data.files else data.places[0]
    return DataStatus(data, found is not None, found or folder / first)


def _why_no_download(data: PublicData, folder: Path) -> str:
    if not data.size:
        return f"{data.name!r} needs no download: it is part of an installed package"
    return f"{data.name!r} has no direct download: compile {folder / data.places[0]} from {data.address}"


def _is_there(path: Path, checksum: str) -> bool:
    method, _, expected = checksum.partition(":")
    return path.is_file() and hashlib.new(method, read_bytes(path)).hexdigest() == expected


def _fetch(address: str, path: Path, checksum: str, on_event: Listener) -> None:
    method, _, expected = checksum.partition(":")
    digest = hashlib.new(method)
    with atomic_write(path) as partial:
        with open(partial, "wb") as file:
            for chunk, done, total in _chunks(address):
                digest.update(chunk)
                file.write(chunk)
                on_event(Downloaded(done, total))
        if digest.hexdigest() != expected:
            raise InputError(f"{address}: wrong {method}: got {digest.hexdigest()}, expected {expected}; nothing kept")


def _chunks(address: str) -> Iterator[tuple[bytes, int, int | None]]:
    """Yield the body of a URL in chunks, each with the bytes so far and in total.

    Raises:
      InputError: the network fails; exceptions of the caller pass unchanged.
    """
    done, total = 0, None
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as response:
            length = response.headers.get("Content-Length")
            total = int(length) if length else None
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                yield chunk, done, total
    except urllib.error.HTTPError as error:
        raise InputError(f"{address}: the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise InputError(f"{address}: no connection ({error.reason}); check the network") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"{address}: connection failed after {done} bytes ({error}); run again") from error
    if total is not None and done < total:
        raise InputError(f"{address}: connection cut after {done} of {total} bytes; run again")
