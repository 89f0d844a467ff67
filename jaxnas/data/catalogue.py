"""The public tables and image sets that jaxnas reads: where they are looked for, and how to download them."""

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

_CHUNK = 1 << 16
_TIMEOUT = 60.0  # seconds without a byte


class PublicFile(NamedTuple):
    """One file that can be downloaded; the end of its address is the end of its path."""

    path: str  # in the data folder
    address: str
    checksum: str  # "md5:..." or "sha256:...", hex


class PublicData(NamedTuple):
    """One data set: what it is, where it comes from, where it is looked for."""

    name: str
    kind: str  # "table" or "images"
    about: str
    size: int  # bytes, 0 = part of an installed package
    licence: str
    address: str  # public page of the data or of its sources
    places: tuple[str, ...] = ()  # patterns in the data folder, in the order of preference; one of them is enough
    files: tuple[PublicFile, ...] = ()  # what `download` brings, all of them needed; empty = nothing to download
    num_classes: int | None = None


class DataStatus(NamedTuple):
    """A data set and where it is, or where it was looked for first."""

    data: PublicData
    present: bool
    path: Path | None  # None = part of an installed package


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
    """The folder of public data: `folder`, else $JAXNAS_DATA, else jaxnas/data in the user's cache folder."""
    if folder is None:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = os.environ.get("JAXNAS_DATA") or Path(cache, "jaxnas", "data")
    return Path(folder).expanduser()


def find_data(name: str, folder: Path | str | None = None) -> Path | None:
    """Where data set `name` is: the preferred of its places, or the folder of its files; None when it is not present.

    Raises:
      InputError: no data set has this name.
    """
    data, folder = _entry(name), data_folder(folder)
    found = [path for place in data.places for path in sorted(folder.glob(place))]
    if found:
        return found[0]
    files = [folder / file.path for file in data.files]
    return _common(files) if files and all(path.exists() for path in files) else None


def list_data(folder: Path | str | None = None) -> list[DataStatus]:
    """Every known data set with its place, in the order of DATASETS."""
    return [_status(data, data_folder(folder)) for data in DATASETS.values()]


def download(
    name: str,
    folder: Path | str | None = None,
    on_event: Listener = ignore,
    address: str | None = None,
) -> Path:
    """Brings the files of a data set, each checked against its checksum before it takes its name.

    A file already there with the right checksum is kept. A download that fails or is killed leaves no file under the
    final name and an older one untouched; the next call starts again.

    Args:
      name: key of DATASETS.
      folder: the data folder, see `data_folder`.
      on_event: given a `Downloaded` after each chunk of the present file.
      address: a folder on another server (mirror) that holds files of the same names.

    Returns:
      The downloaded file, or the folder of the files where there are several.

    Raises:
      InputError: unknown name, data without a download, no network, HTTP status, connection cut, wrong checksum,
        folder not writable.
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
    """The body of an address in chunks, with the bytes so far and in total; only network failures are caught here."""
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
