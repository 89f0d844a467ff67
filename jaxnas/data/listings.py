"""Labelled pictures in files: folders of classes, CSV and Parquet lists of files, Parquet files with the pictures."""

import csv
import io
import json
import math
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from jaxnas.data.examples import Example
from jaxnas.data.find import FORMS
from jaxnas.data.pictures import ENDINGS
from jaxnas.errors import InputError, first_line
from jaxnas.runtime.files import read_text
from jaxnas.runtime.records import Record

LISTS = (".csv", ".tsv", ".parquet")
_TRAIN, _VAL, _TEST = ("train", "training"), ("val", "valid", "validation", "dev"), ("test", "testing")
SUBSETS = {**dict.fromkeys(_TRAIN, "train"), **dict.fromkeys(_VAL, "val"), **dict.fromkeys(_TEST, "test")}
_PICTURE = ("image", "img", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path")
_LABEL = ("label", "labels", "class", "category", "target", "y", "fine_label")
_SUBSET = ("split", "subset", "set", "partition")
_WHOLE = re.compile(r"(0|[1-9][0-9]*)(?:\.0*)?")

Rows: TypeAlias = Iterator[Mapping[str, object]]


class Listing(NamedTuple):
    """The pictures of a source.

    Attributes:
      examples: the labelled pictures in an order that is the same in every call.
      class_names: the names of the classes where they are known apart from the labels.
    """

    examples: list[Example]
    class_names: list[str]


def list_folder(folder: Path) -> Listing:
    """List the pictures of a folder.

    Validation pictures are test pictures where there are no others, and are added to the training pictures where there
    are: a search splits its own validation images off these.

    Raises:
      InputError: it has none of the known forms, or train and test without folders of classes.
    """
    subfolders = _subfolders(folder)
    by_name = {subfolder.name.lower(): subfolder for subfolder in subfolders}
    if any(name in _TRAIN for name in by_name) and any(_subfolders(one) for one in subfolders):
        if other := [one.name for name, one in by_name.items() if name not in SUBSETS]:
            raise InputError(f"{folder}: the folder {other[0]!r} is next to train and not val or test: move it away")
        subsets = {SUBSETS[name]: one for name, one in by_name.items() if _subfolders(one)}
    elif by_name and all(name in SUBSETS and _pictures(one) for name, one in by_name.items()):
        raise InputError(
            f"{folder}: {' and '.join(one.name for one in subfolders)} have no folders of classes: move the pictures "
            "of each class into a subfolder, or give a CSV file of paths and labels"
        )
    elif any(_pictures(one) for one in subfolders):
        subsets = {"train": folder}
    else:
        return _list_files(folder)
    classes = {name: _subfolders(one) for name, one in subsets.items()}
    names = sorted({_class_name(one) for folders in classes.values() for one in folders}, key=_natural)
    labelled = [
        (subset, Example(str(path.relative_to(folder)), path, _class_name(one)))
        for subset, folders in classes.items()
        for one in sorted(folders, key=lambda one: names.index(_class_name(one)))
        for path in _pictures(one)
    ]
    flat = [] if subsets.get("train") == folder else [one for one in subfolders if not _subfolders(one)]
    labelled += [("test", Example(str(path), path, None)) for one in flat for path in _pictures(one)]
    return Listing(split_subsets(labelled), names)


def list_file(path: Path) -> Listing:
    """List the pictures of a CSV, TSV or Parquet file, whose columns are known by their names.

    Paths are relative to the folder of the file.

    Raises:
      InputError: it is damaged, or has no column of pictures or of labels.
    """
    return _list_tables([path])


def _list_files(folder: Path) -> Listing:
    """List the pictures of the lists in a folder, as a data set of the hub has them."""
    parquet = sorted(folder.rglob("*.parquet"))
    lists = parquet or sorted(path for path in folder.iterdir() if path.suffix.lower() in LISTS)
    if not lists or (len(lists) > 1 and not parquet):
        raise InputError(f"{folder}: no labelled images; jaxnas reads {FORMS}")
    return _list_tables(lists)


def _list_tables(paths: Sequence[Path]) -> Listing:
    labelled: list[tuple[str, Example]] = []
    names: list[str] = []
    for path in paths:
        columns, names, rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
        picture, label = find_column("pictures", columns, path), find_column("labels", columns, path)
        subset = next((name for name in columns if name.strip().lower() in _SUBSET), None)
        own = _subset_of(path) if len(paths) > 1 else "train"  # a single list has all, whatever its folder is called
        for number, row in enumerate(rows, start=1):
            where, source = _picture_of(row[picture], path, number)
            part = str(row[subset]).strip().lower() if subset else own
            if part not in SUBSETS:
                raise InputError(f"{path}, row {number}: {subset} must be train, val or test, got {part!r}")
            labelled.append((SUBSETS[part], Example(where, source, label_of(row[label], bool(names)))))
    return Listing(split_subsets(labelled), names)


def split_subsets(labelled: Iterable[tuple[str, Example]]) -> list[Example]:
    """Return the examples with their subset: val is test where there is no test set."""
    examples: dict[str, list[Example]] = defaultdict(list)
    for subset, example in labelled:
        examples[subset].append(example)
    tests = examples["test"] if any(one.label is not None for one in examples["test"]) else examples["val"]
    training = [*examples["train"], *(examples["val"] if tests is not examples["val"] else [])]
    unlabelled = examples["test"] if tests is not examples["test"] else []
    return [*training, *(example._replace(is_test=True) for example in (*tests, *unlabelled))]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir() and not _is_hidden(one.name))


def _is_hidden(name: str) -> bool:
    """Return whether a file or folder is made by an editor, a notebook or a system: .ipynb_checkpoints, __MACOSX."""
    return name.startswith((".", "__"))


def _pictures(folder: Path) -> list[Path]:
    """Return the files in a folder and below whose ending is one of pictures; links of folders are followed.

    A link whose target is missing is one of them, so that it is named as a picture that cannot be read.
    """
    found, seen = [], set[str]()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [name for name in folders if not _is_hidden(name)] if real not in seen else []
        found += [Path(place, name) for name in files if real not in seen and not name.startswith(".")]
        seen.add(real)
    return sorted(path for path in found if path.suffix.lower() in ENDINGS)


def _class_name(folder: Path) -> str:
    """Return the name of a folder with composed characters: copies from macOS may have "e" and an accent for "é"."""
    return unicodedata.normalize("NFC", folder.name)


def _natural(text: str) -> tuple[int, str]:
    """Return a key that sorts numbers by value, before texts."""
    return (int(text), text) if text.isdecimal() else (2**63, text)


def _subset_of(path: Path) -> str:
    """Return the subset that the name of a file begins with, or that its folder is called; else "train"."""
    candidates = (path.stem.lower().replace("_", "-").partition("-")[0], path.parent.name.lower())
    return next((name for name in candidates if name in SUBSETS), "train")


def _read_csv(path: Path) -> tuple[list[str], list[str], Rows]:
    """Return columns, no names of classes, and rows of a CSV file separated by commas, semicolons or tabs."""
    text = read_text(path)
    first = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), restval="")
    return list(reader.fieldnames or []), [], reader


def _read_parquet(path: Path) -> tuple[list[str], list[str], Rows]:
    """Return columns, names of classes and rows of a Parquet file; the hub's metadata have the names."""
    try:
        with pq.ParquetFile(path) as file:
            schema, features = file.schema_arrow, _features(file.schema_arrow)
            wanted = [name for name in schema.names if name.strip().lower() in (*_PICTURE, *_LABEL, *_SUBSET)]
            table = file.read(columns=wanted)
    except (OSError, pa.ArrowException) as error:
        reason = first_line(error)
        raise InputError(f"{path}: unreadable Parquet file ({reason})") from error
    names = list(map(str, features.get(find_column("labels", table.column_names, path), {}).get("names", [])))
    return table.column_names, names, (row for batch in table.to_batches(256) for row in batch.to_pylist())


def _features(schema: pa.Schema) -> dict[str, Record]:
    """Return what the Hugging Face hub's metadata say of the columns; nothing where there are none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}


def find_column(what: Literal["pictures", "labels"], columns: Iterable[str], source: Path | str = "data set") -> str:
    """Return the column of pictures or labels, the one whose name comes first among those known.

    Raises:
      InputError: no column has such a name.
    """
    known = _PICTURE if what == "pictures" else _LABEL
    columns = list(columns)
    by_name = {name.strip().lower(): name for name in reversed(columns)}
    found = next((by_name[name] for name in known if name in by_name), None)
    if found is None:
        has = ", ".join(columns) or "none"
        raise InputError(f"{source}: no column of {what} ({', '.join(known)}); it has {has}: rename one")
    return found


def _picture_of(value: object, path: Path, number: int) -> tuple[str, Path | bytes]:
    """Return the place of a picture for messages, and its path or content."""
    if isinstance(value, bytes):
        return f"{path.name}, row {number}", value
    if isinstance(value, dict):
        content, value = value.get("bytes"), value.get("path")
        if isinstance(content, bytes):
            return str(value or f"{path.name}, row {number}"), content
    if not isinstance(value, str) or not value.strip():
        return f"{path.name}, row {number}", b""
    return value, path.parent / value.strip()


def label_of(value: object, is_number: bool) -> Hashable:
    """Return a label: whole numbers as such, everything else as text, None where it is missing.

    Whole numbers as floats, such as 3.0, are those that pandas writes of a column with missing ones.
    """
    if isinstance(value, float):
        value = None if math.isnan(value) else int(value) if value.is_integer() else value
    if value is None or (is_number and value == -1):
        return None
    if isinstance(value, str):
        text = value.strip()
        whole = _WHOLE.fullmatch(text)
        return int(whole[1]) if whole else text or None
    return value if isinstance(value, int) else str(value)
