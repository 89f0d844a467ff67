"""Image sets from folders, lists, Parquet files of pictures, arrays in files, and objects of other libraries."""

import csv
import io
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from PIL import Image

from jaxnas.data.examples import Example, assemble
from jaxnas.data.images import fingerprint
from jaxnas.data.listings import label_of
from jaxnas.data.load import load_images
from jaxnas.data.sources import from_dataset
from jaxnas.errors import InputError
from jaxnas.runtime.events import Noted
from tests.edits import damage, fuzzed, read_or_refuse

CLASSES = ("cat", "dog", "eel")


def picture(number, size=(4, 4), mode="RGB"):
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def write_classes(folder, count=5, classes=CLASSES, **options):
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture(100 * label + number, **options).save(folder / name / f"{number}.png")
    return folder


def content_of(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def load(source, **options):
    notes = []
    return load_images(source, on_event=notes.append, **options), notes


def test_a_folder_of_classes(tmp_path):
    data, (note,) = load(write_classes(tmp_path / "pets"))
    assert (data.name, data.class_names, data.num_classes) == ("pets", CLASSES, 3)
    assert (data.train_images.shape, data.test_images.shape) == ((12, 4, 4, 3), (3, 4, 4, 3))
    np.testing.assert_array_equal(data.train_labels, np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(data.test_images[1], np.asarray(picture(104)) / np.float32(255))
    assert note == Noted("pets: 12 training and 3 test images of 3 classes (cat, dog, eel), 4x4 RGB")
    again = load_images(tmp_path / "pets")
    assert fingerprint(*again[1:5]) == fingerprint(*data[1:5])


@pytest.mark.parametrize("test", ["test", "val"])
def test_a_folder_with_subsets(tmp_path, test):
    write_classes(tmp_path / "train", 3)
    write_classes(tmp_path / test.upper(), 2, CLASSES[:2])
    data, _ = load(tmp_path)
    assert (len(data.train_labels), data.test_labels.tolist()) == (9, [0, 0, 1, 1])


def test_validation_pictures_are_for_training_where_there_is_a_test_set(tmp_path):
    for subset, count in (("train", 3), ("valid", 2), ("test", 1)):
        write_classes(tmp_path / subset, count)
    data, _ = load(tmp_path)
    assert (len(data.train_labels), len(data.test_labels)) == (15, 3)


def test_a_stray_folder_next_to_the_subsets_is_named(tmp_path):
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "old")
    with pytest.raises(InputError, match="the folder 'old' is next to train"):
        load(tmp_path)


def test_hidden_and_other_files_do_not_count(tmp_path):
    write_classes(tmp_path)
    for name in (".DS_Store", "Thumbs.db", "._0.png", "notes.txt"):
        (tmp_path / "cat" / name).write_bytes(b"x")
    write_classes(tmp_path / "__MACOSX")
    data, notes = load(tmp_path)
    assert (data.class_names, len(data.train_labels), len(notes)) == (CLASSES, 12, 1)


def test_a_class_is_one_however_a_system_composes_its_accents(tmp_path):
    write_classes(tmp_path / "train", classes=("caf\u00e9", "tea"))
    write_classes(tmp_path / "test", 1, ("cafe\u0301", "tea"))
    data, _ = load(tmp_path)
    assert (data.class_names, data.test_labels.tolist()) == (("caf\u00e9", "tea"), [0, 1])


def test_classes_that_are_numbers_are_sorted_by_value(tmp_path):
    data, _ = load(write_classes(tmp_path, classes=("10", "9", "1")))
    assert data.class_names == ("1", "9", "10")


def test_damaged_files_are_named_and_skipped(tmp_path):
    write_classes(tmp_path / "pets")
    (tmp_path / "pets" / "cat" / "2.png").write_bytes(b"")
    cut = (tmp_path / "pets" / "dog" / "1.png").read_bytes()[:-40]
    (tmp_path / "pets" / "dog" / "1.png").write_bytes(cut)
    data, (warning, _) = load(tmp_path / "pets")
    assert np.bincount(data.train_labels).tolist() == [4, 4, 4]
    assert warning.is_warning
    assert warning.message.startswith(
        "2 of 15 images of pets cannot be read: cat/2.png (not a picture, or damaged), dog"
    )
    with pytest.warns(UserWarning, match="2 of 15 images"):
        load_images(tmp_path / "pets")


def test_many_damaged_files_are_counted(tmp_path):
    write_classes(tmp_path, 20)
    for number in range(9):
        (tmp_path / "cat" / f"{number}.png").write_bytes(b"x")
    _, (warning, _) = load(tmp_path)
    assert warning.message.endswith("and 4 more; skipped")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "fox").mkdir(), "class 'fox' has no readable image"),
        (lambda folder: [path.write_bytes(b"") for path in (folder / "cat").iterdir()], "class 'cat' has no readable"),
        (lambda folder: [path.write_bytes(b"") for path in folder.rglob("*.png")], "15 of 15 images of .* cannot be"),
        (lambda folder: [path.unlink() for path in folder.rglob("*.png")], "no labelled images; jaxnas reads a folder"),
    ],
)
def test_a_folder_without_the_pictures_of_a_class_is_refused(tmp_path, spoil, message):
    spoil(write_classes(tmp_path))
    with pytest.raises(InputError, match=message):
        load(tmp_path)


def test_fewer_than_two_classes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"at least two classes are needed, got 1 \(cat\)"):
        load(write_classes(tmp_path, classes=("cat",)))


def test_mixed_sizes_and_modes_become_one(tmp_path):
    write_classes(tmp_path / "pets", mode="L")
    picture(1, (90, 30)).save(tmp_path / "pets" / "cat" / "wide.jpg")
    data, (note,) = load(tmp_path / "pets")
    assert data.train_images.shape[1:] == (32, 32, 3)
    assert note.message.endswith("32x32 RGB (resized from 4x4 grey to 90x30 RGB; `pixels` sets the size)")
    data, (note,) = load(tmp_path / "pets", pixels=8)
    assert data.train_images.shape[1:] == (8, 8, 3)


def test_large_pictures_shrink_and_small_ones_keep_their_size(tmp_path):
    assert load(write_classes(tmp_path / "a", size=(65, 64)))[0].train_images.shape[1:] == (32, 32, 3)
    assert load(write_classes(tmp_path / "b", size=(64, 20), mode="L"))[0].train_images.shape[1:] == (20, 64, 1)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_of_paths_and_labels(tmp_path, delimiter):
    write_classes(tmp_path / "files", 3)
    rows = [[f"files/{name}/{n}.png", name, "test" if n == 2 else "train"] for name in CLASSES for n in range(3)]
    with open(tmp_path / "list.csv", "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([["Filename", "Label", "split"], *rows])
    data, _ = load(tmp_path / "list.csv")
    assert (data.class_names, len(data.train_labels), len(data.test_labels)) == (CLASSES, 6, 3)
    np.testing.assert_array_equal(data.test_images[0], np.asarray(picture(2)) / np.float32(255))


def test_a_csv_names_the_columns_that_it_lacks(tmp_path):
    (tmp_path / "list.csv").write_text("path,kind\na.png,1\n")
    with pytest.raises(InputError, match=r"no column of labels \(label, .*; it has path, kind: rename one"):
        load(tmp_path / "list.csv")


def test_a_csv_of_wrong_paths_names_them(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\nno.png,1\nnot.png,2\n")
    with pytest.raises(InputError, match=r"2 of 2 images of list cannot be read: no.png \(No such file"):
        load(tmp_path / "list.csv")


def write_hub(path, rows, names=CLASSES):
    """Write a Parquet file of (image, label) as the Hugging Face hub stores it."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    table = pa.table(
        {
            "image": pa.array([{"bytes": content_of(image), "path": None} for image, _ in rows], kind),
            "label": pa.array([label for _, label in rows], pa.int64()),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def test_parquet_files_of_the_hub(tmp_path):
    rows = [(picture(number), number % 3) for number in range(9)]
    write_hub(tmp_path / "data" / "train-00000-of-00002.parquet", rows[:3])
    write_hub(tmp_path / "data" / "train-00001-of-00002.parquet", rows[3:6])
    write_hub(tmp_path / "data" / "test-00000-of-00001.parquet", rows[6:])
    data, _ = load(tmp_path)
    assert (data.class_names, data.train_labels.tolist()) == (CLASSES, [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(data.test_images[2], np.asarray(rows[8][0]) / np.float32(255))


def test_a_test_set_of_the_hub_without_labels_does_not_count(tmp_path):
    write_hub(tmp_path / "train-0.parquet", [(picture(number), number % 3) for number in range(15)])
    write_hub(tmp_path / "test-0.parquet", [(picture(number), -1) for number in range(3)])
    data, _ = load(tmp_path)
    assert (len(data.train_labels), len(data.test_labels)) == (12, 3)


def test_a_parquet_of_paths_or_of_contents(tmp_path):
    write_classes(tmp_path, 5, CLASSES[:2])
    paths = [f"{name}/{number}.png" for name in CLASSES[:2] for number in range(5)]
    labels = [path[:3] for path in paths]
    contents = [(tmp_path / path).read_bytes() for path in paths]
    pq.write_table(pa.table({"path": paths, "label": labels}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": contents, "label": labels}), tmp_path / "b.parquet")
    (first, _), (second, _) = load(tmp_path / "a.parquet"), load(tmp_path / "b.parquet")
    assert fingerprint(*first[1:5]) == fingerprint(*second[1:5])
    assert first.class_names == second.class_names == ("cat", "dog")


def test_a_damaged_parquet_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=r"a.parquet: unreadable Parquet file"):
        load(tmp_path / "a.parquet")


@pytest.mark.parametrize("keys", [("x", "y"), ("images", "labels")])
def test_an_npz_without_test_images(tmp_path, keys):
    arrays = dict(zip(keys, (np.zeros((10, 3, 3), np.uint8), np.repeat([0, 1], 5)), strict=True))
    np.savez(tmp_path / "a.npz", **arrays)
    assert len(load(tmp_path / "a.npz")[0].test_labels) == 2


def test_pixels_resize_arrays_too(tmp_path):
    images = np.random.default_rng(0).random((10, 8, 6), np.float32)
    np.savez(tmp_path / "a.npz", x=images, y=np.repeat([0, 1], 5))
    data, (note,) = load(tmp_path / "a.npz", pixels=2)
    assert note.message == "a: images are resized from 6x8 to 2x2"
    np.testing.assert_allclose(data.train_images[0, 0, 0], images[0, :4, :3].mean(), atol=1e-6)
    assert load(tmp_path / "a.npz")[1] == []


@pytest.mark.parametrize("name", ["a.zip", "missing.npz", "no/such/folder"])
def test_what_is_not_read_says_what_is(tmp_path, name):
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"a subfolder of pictures for each class.*Hugging Face.*\.npz"):
        load(tmp_path / name)


PAIRS = [(np.asarray(picture(number)), number % 3) for number in range(15)]


class Tensor:
    """What is used of a torch tensor."""

    def __init__(self, array):
        self.array = np.asarray(array)
        self.ndim, self.shape = self.array.ndim, self.array.shape

    def detach(self):
        return self

    def cpu(self):
        return self

    def __array__(self, dtype=None, copy=None):
        return self.array

    def __iter__(self):
        return map(Tensor, self.array)


class Indexed:
    """A torch `Dataset`: it has no end and is not iterable."""

    classes = CLASSES

    def __len__(self):
        return len(PAIRS)

    def __getitem__(self, index):
        image, label = PAIRS[index % len(PAIRS)]
        return Tensor(np.moveaxis(image, -1, 0).astype(np.float32) / 255), label


class Rows(list):
    """A `datasets.Dataset`: a sequence of dictionaries with features."""

    features = {"image": None, "label": SimpleNamespace(names=list(CLASSES))}  # noqa: RUF012


def loader():
    """A torch `DataLoader` with batches of 4, the last of 3."""
    for start in range(0, 15, 4):
        images, labels = zip(*PAIRS[start : start + 4], strict=True)
        yield Tensor(np.moveaxis(np.stack(images), -1, 1).astype(np.float32) / 255), Tensor(labels)


SOURCES = {
    "pairs": lambda: PAIRS,
    "zip": lambda: zip(*zip(*PAIRS, strict=True), strict=True),
    "jax": lambda: [(jnp.asarray(image), jnp.asarray(label)) for image, label in PAIRS],
    "pillow": lambda: ((Image.fromarray(image), str(label)) for image, label in PAIRS),
    "contents": lambda: [(content_of(Image.fromarray(image)), label) for image, label in PAIRS],
    "torch dataset": Indexed,
    "torch loader": loader,
    "hub": lambda: Rows({"image": Image.fromarray(image), "label": label} for image, label in PAIRS),
    "hub dictionary": lambda: {"train": Rows({"img": image, "label": label} for image, label in PAIRS)},
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_source_gives_the_same_images(source):
    data, expected = from_dataset(source()), from_dataset(PAIRS)
    np.testing.assert_allclose(data.train_images, expected.train_images, atol=1e-6)
    np.testing.assert_array_equal(data.test_labels, expected.test_labels)
    assert data.class_names in (CLASSES, ("0", "1", "2"))


def test_sources_name_their_classes():
    assert from_dataset(Indexed()).class_names == CLASSES
    assert from_dataset(SOURCES["hub"]()).class_names == CLASSES
    assert from_dataset(PAIRS, class_names="abc").class_names == ("a", "b", "c")
    assert from_dataset([(image, CLASSES[label]) for image, label in PAIRS]).class_names == CLASSES


def test_a_test_set_is_kept():
    data = from_dataset(PAIRS[:12], PAIRS[12:])
    assert (len(data.train_labels), data.test_labels.tolist()) == (12, [0, 1, 2])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "int is not an iterable"),
        ([1, 2], "element 0 must be a pair"),
        ([], "no labelled images"),
        ([{"photo": 1, "label": 2}], r"no column of pictures .*; it has photo, label"),
        ([(np.full((3, 3), 2.0), 0)], "leave normalisation out"),
        ({"dev": []}, "no data set 'train' in the dictionary; it has dev"),
    ],
)
def test_a_source_of_something_else_is_refused(source, message):
    with pytest.raises(InputError, match=message):
        from_dataset(source)


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(InputError, match="label 3 is not one of the classes a, b, c"):
        assemble([Example("one", PAIRS[0][0], 3)], "set", ("a", "b", "c"))


@pytest.mark.slow  # its import takes seconds
def test_real_torch():
    torch = pytest.importorskip("torch")
    images = torch.tensor(np.stack([np.moveaxis(image, -1, 0) for image, _ in PAIRS])).float() / 255
    dataset = torch.utils.data.TensorDataset(images, torch.tensor([label for _, label in PAIRS]))
    for source in (dataset, torch.utils.data.DataLoader(dataset, batch_size=4)):
        np.testing.assert_allclose(from_dataset(source).train_images, from_dataset(PAIRS).train_images, atol=1e-6)


@pytest.mark.slow  # its import takes seconds
def test_a_real_data_set_of_the_hub(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
    columns = {"image": [Image.fromarray(image) for image, _ in PAIRS], "label": [label for _, label in PAIRS]}
    dataset = datasets.Dataset.from_dict(columns, features)
    dataset.to_parquet(tmp_path / "train.parquet")
    expected = from_dataset(PAIRS)
    for data in (from_dataset(dataset), load(tmp_path / "train.parquet")[0]):
        np.testing.assert_allclose(data.train_images, expected.train_images, atol=1e-6)
        assert data.class_names == CLASSES


def test_a_list_is_read_whatever_its_folder_is_called_and_with_spaces(tmp_path):
    write_classes(tmp_path / "dev" / "files", 3)
    rows = [f"files/{name}/{n}.png, {name}, {'Test' if n == 2 else 'train'} " for name in CLASSES for n in range(3)]
    (tmp_path / "dev" / "labels.csv").write_text("\n".join(["path, label, split", *rows]))
    data, _ = load(tmp_path / "dev" / "labels.csv")
    assert (len(data.train_labels), len(data.test_labels)) == (6, 3)


def test_minus_one_is_a_class_unless_labels_number_known_ones():
    signs = [(picture(number), 2 * (number % 2) - 1) for number in range(20)]
    assert from_dataset(signs).class_names == ("-1", "1")
    assert from_dataset([*PAIRS, (picture(99), -1)], class_names="abc").num_classes == 3


def test_a_dictionary_is_split_as_the_files_of_the_same_data_set():
    train, more = ([(picture(100 * part + n), n % 3) for n in range(15)] for part in (1, 2))
    unlabelled = [(picture(300 + n), -1) for n in range(3)]
    joined = from_dataset({"train": train, "validation": more, "test": more[:6]}, class_names="abc")
    assert (len(joined.train_labels), len(joined.test_labels)) == (30, 6)
    valid = from_dataset({"train": train, "validation": more, "test": unlabelled}, class_names="abc")
    assert (len(valid.train_labels), len(valid.test_labels)) == (15, 15)


@pytest.mark.parametrize(
    ("value", "label"),
    [(float("nan"), None), (" ", None), ("", None), (None, None), (10.0, 10), ("10.0", 10), ("01", "01"), (1.5, "1.5")],
)
def test_labels_of_lists(value, label):
    found = label_of(value, is_number=False)
    assert (found, type(found)) == (label, type(label))


def test_missing_labels_of_a_data_set_are_not_a_class():
    pairs = [(picture(number), number % 2 + 0.0) for number in range(20)]
    data = from_dataset([*pairs, (picture(1), float("nan")), (picture(1), " "), (picture(1), np.ma.masked)])
    assert data.class_names == ("0", "1")
    assert len(data.train_labels) + len(data.test_labels) == 20


def test_subsets_without_folders_of_classes_are_not_classes(tmp_path):
    write_classes(tmp_path, classes=("train", "test"))
    with pytest.raises(InputError, match="test and train have no folders of classes"):
        load(tmp_path)


def test_test_pictures_without_folders_of_classes_are_counted(tmp_path):
    write_classes(tmp_path / "train")
    write_classes(tmp_path, 2, ("test",))
    data, (note,) = load(tmp_path)
    assert (len(data.train_labels), len(data.test_labels)) == (12, 3)
    assert note.message.endswith("of 3 classes (cat, dog, eel), 4x4 RGB; 2 pictures without a label are left out")


HEADERS = st.lists(
    st.sampled_from(["path", "label", "split", " Label ", "image", "", "x"]) | st.text(max_size=4), max_size=4
)
CELLS = st.sampled_from(["a/0.png", "b/1.png", "a", "1", "01", "1.0", "nan", "", "test", "train"]) | st.text(max_size=5)


@fuzzed(header=HEADERS, rows=st.lists(st.lists(CELLS, max_size=5), max_size=12), delimiter=st.sampled_from(",;\t"))
def test_any_list_of_pictures_is_read_or_refused(pictures, header, rows, delimiter):
    with open(pictures / "list.csv", "w", newline="", encoding="utf-8", errors="replace") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    read_or_refuse(lambda: load(pictures / "list.csv"), "list")


@fuzzed(draw=st.data())
def test_any_damage_of_a_list_of_pictures_is_read_or_refused(pictures, draw):
    rows = "".join(f"{kind}/{number}.png,{kind}\n" for kind in "ab" for number in range(5))
    (pictures / "list.csv").write_bytes(damage(draw, f"path,label\n{rows}".encode()))
    read_or_refuse(lambda: load(pictures / "list.csv"), "list")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("pictures"), classes=("a", "b"))
