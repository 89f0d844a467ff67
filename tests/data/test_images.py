import io
import pickle
import tarfile

import jax.numpy as jnp
import numpy as np
import pytest
import python2_pickle
from hypothesis import given
from hypothesis import strategies as st

from jaxnas.data.batch import Batch, to_batch
from jaxnas.data.images import (
    ImageData,
    fingerprint,
    from_arrays,
    minibatch,
    resize,
    split_validation,
    standardize,
    stratified_folds,
)
from jaxnas.data.load import load_images
from jaxnas.data.public import DATASETS
from jaxnas.errors import InputError


def toy(counts, seed=0):
    """A set with this many training images per class and one test image each; every training image is unique."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    images = rng.random((len(labels), 4, 5, 3), np.float32)
    test = rng.random((len(counts), 4, 5, 3), np.float32)
    return ImageData("toy", images, labels, test, np.arange(len(counts), dtype=np.int32), len(counts))


def test_a_set_is_shown_in_one_line():
    expected = "<ImageData toy: 1,003 training and 2 test images of 4x5x3, 2 classes>"
    assert repr(toy([1000, 3])) == expected


def write_npz(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (6, 4, 5, 3), np.uint8),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": rng.integers(0, 256, (3, 4, 5, 3), np.uint8),
        "y_test": np.array([0, 1, 2]),
    } | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return arrays


def test_digits_are_split_by_class_and_complete():
    data = load_images("digits")
    assert (data.train_images.shape, data.test_images.shape) == ((1442, 8, 8, 1), (355, 8, 8, 1))
    assert (data.train_images.dtype, data.train_labels.dtype) == (np.float32, np.int32)
    share = np.bincount(data.test_labels) / (np.bincount(data.train_labels) + np.bincount(data.test_labels))
    assert np.all(abs(share - 0.2) < 0.01)
    assert (data.train_images.min(), data.train_images.max()) == (0, 1)
    assert fingerprint(*data[1:5]) == "2e4be44749ff702f"


def test_an_npz_keeps_pixels_and_labels(tmp_path):
    arrays = write_npz(tmp_path / "mine.npz")
    data = load_images(tmp_path / "mine.npz")
    assert (data.name, data.num_classes) == ("mine", 3)
    np.testing.assert_array_equal(np.rint(data.train_images * 255), arrays["x_train"])
    np.testing.assert_array_equal(data.test_labels, arrays["y_test"])


def test_an_npz_may_be_grey_float_with_a_column_of_labels_and_a_val_set(tmp_path):
    grey = np.random.default_rng(0).random((6, 4, 5))
    write_npz(
        tmp_path / "grey.npz",
        x_train=grey,
        y_train=np.arange(6)[:, None] % 3,
        x_test=None,
        y_test=None,
        x_val=grey[:3].astype(np.float16),
        y_val=np.arange(3, dtype=np.uint8),
    )
    data = load_images(str(tmp_path / "grey.npz"))
    np.testing.assert_array_equal(data.train_images, grey[..., None].astype(np.float32))
    assert data.test_images.shape == (3, 4, 5, 1)
    assert (data.train_labels.shape, data.test_labels.dtype) == ((6,), np.int32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, "no array 'x_train'; it has y_train, x_test, y_test"),
        ({"x_train": np.zeros((6, 4, 5, 3), np.int64)}, "training images must be uint8 or float, got int64"),
        ({"x_train": np.zeros((6, 60), np.uint8)}, r"training images must be .*, got \(6, 60\)"),
        ({"x_train": np.zeros((0, 4, 5, 3), np.uint8)}, "at least one image"),
        ({"x_train": np.full((6, 4, 5, 3), 2.0)}, r"got 2\.0 to 2\.0"),
        ({"x_train": np.full((6, 4, 5, 3), np.nan)}, "got nan to nan"),
        ({"x_test": np.zeros((3, 4, 4, 3), np.uint8)}, r"must have one shape, got \(4, 5, 3\) and \(4, 4, 3\)"),
        ({"y_train": np.arange(5)}, r"training labels must have shape \[6\], one for each image, got \(5,\)"),
        ({"y_train": np.arange(6.0)}, "float64"),
        ({"y_train": np.array(list("abcabc"))}, "<U1"),
        ({"y_train": np.arange(6) - 1}, "-1 to 4"),
        ({"y_train": np.array([0, 1, 3] * 2)}, "labels of bad must be 0 to 2, got 3 classes, labels 0 to 3"),
        ({"y_train": np.zeros(6, int)}, "1 classes"),
        ({"y_test": np.array([0, 1, 3])}, "test labels must be 0 to 2, as for training, got 3"),
    ],
)
def test_an_npz_that_is_no_labelled_image_set_is_refused(tmp_path, changes, message):
    write_npz(tmp_path / "bad.npz", **changes)
    with pytest.raises(InputError, match=message) as error:
        load_images(tmp_path / "bad.npz")
    assert "\n" not in str(error.value)


def test_arrays_of_ones_own():
    rng = np.random.default_rng(0)
    images, labels = rng.random((20, 7, 5, 2)), np.arange(20) % 2
    data = from_arrays(images, labels, images[:4], labels[:4], name="mine")
    np.testing.assert_array_equal(data.test_images, images[:4].astype(np.float32))
    assert (data.name, data.num_classes) == ("mine", 2)
    held_out = from_arrays(images.tolist(), labels.tolist())
    np.testing.assert_array_equal(held_out.test_images, images[[8, 9, 18, 19]].astype(np.float32))
    assert len(held_out.train_labels) == 16


def test_classes_have_names():
    images, labels = np.zeros((10, 2, 2), np.uint8), np.repeat([0, 1], 5)
    assert from_arrays(images, labels).class_names == ("0", "1")
    assert standardize(from_arrays(images, labels, class_names=["cat", "dog"])).class_names == ("cat", "dog")
    for wrong in (["cat"], ["cat", "cat"]):
        with pytest.raises(InputError, match="`class_names` must be 2 different names"):
            from_arrays(images, labels, class_names=wrong)


def test_rows_of_features_are_images_of_one_pixel():
    rows = 100 * np.random.default_rng(0).normal(size=(10, 3))
    data = from_arrays(rows, np.arange(10) % 2)
    assert data.train_images.shape == (8, 1, 1, 3)
    np.testing.assert_allclose(data.train_images[0, 0, 0], rows[0], rtol=1e-6)
    np.testing.assert_allclose(standardize(data).train_images.std((0, 1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros(6)}, r"training images must be \[N, H, W, C\] .*, got \(6,\)"),
        ({"x_train": np.full((6, 3), np.nan)}, r"must be finite numbers \[N, F\]"),
        ({"x_train": np.array([["a"] * 3] * 6)}, r"must be finite numbers \[N, F\]"),
        ({"x_train": np.zeros((0, 3)), "y_train": np.zeros(0, int)}, "at least one row"),
        ({"y_train": np.arange(5)}, r"training labels must have shape \[6\], one for each image, got \(5,\)"),
        ({"y_train": np.arange(6) % 2}, "no class has five images"),
        ({"y_test": np.arange(6)}, "must be given together"),
        ({"x_test": np.zeros((6, 4)), "y_test": np.arange(6)}, r"must have one shape, got \(1, 1, 3\) and \(1, 1, 4\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, message):
    given = {"x_train": np.zeros((6, 3)), "y_train": np.zeros(6, int)}
    with pytest.raises(InputError, match=message):
        from_arrays(**(given | changes))


def test_the_test_set_is_preferred_to_a_validation_set(tmp_path):
    arrays = write_npz(tmp_path / "both.npz", x_val=np.zeros((3, 4, 5, 3), np.uint8), y_val=np.arange(3))
    np.testing.assert_array_equal(np.rint(load_images(tmp_path / "both.npz").test_images * 255), arrays["x_test"])


def test_a_named_set_must_have_its_number_of_classes(tmp_path):
    write_npz(tmp_path / "cifar10" / "mine.npz")
    with pytest.raises(InputError, match="labels of cifar10 must be 0 to 9, got 3 classes, labels 0 to 2"):
        load_images("cifar10", tmp_path)


def test_unknown_and_missing_sets(tmp_path):
    with pytest.raises(InputError, match="unknown image set 'cifra10': did you mean 'cifar10'"):
        load_images("cifra10", tmp_path)
    with pytest.raises(InputError, match="unknown image set 'robot'"):
        load_images("robot", tmp_path)
    with pytest.raises(InputError, match=r"none\.npz: no such file"):
        load_images(tmp_path / "none.npz")
    with pytest.raises(
        InputError, match=r"looked for cifar10/\*\.npz, .*`jaxnas data get cifar10` \(https://www\.cs\."
    ):
        load_images("cifar10", tmp_path)
    with pytest.raises(InputError, match="get it from http"):
        load_images("tiny16", tmp_path)
    (tmp_path / "table.npz").write_text("a,b\n")
    with pytest.raises(InputError, match=r"not an \.npz file"):
        load_images(tmp_path / "table.npz")


def cifar_files(num_classes, binary):
    """The files of a tiny CIFAR set, and its training and test images and labels."""
    rng = np.random.default_rng(0)
    train_names = [f"data_batch_{i}" for i in range(1, 6)] if num_classes == 10 else ["train"]
    test_name = "test_batch" if num_classes == 10 else "test"
    files, sets = {}, []
    for name in (*train_names, test_name):
        images = rng.integers(0, 256, (num_classes, 32, 32, 3), np.uint8)
        labels = rng.permutation(num_classes)
        sets.append((images, labels))
        if binary:
            pixels = images.transpose(0, 3, 1, 2).reshape(num_classes, 3072)
            coarse = [] if num_classes == 10 else [labels[:, None] // 5]
            files[f"{name}.bin"] = np.hstack([*coarse, labels[:, None], pixels]).astype(np.uint8).tobytes()
        else:
            files[name] = python2_pickle.batch(images, labels, "labels" if num_classes == 10 else "fine_labels")
    train = [np.concatenate(parts) for parts in zip(*sets[:-1], strict=True)]
    return files, train, sets[-1]


FOLDERS = {
    (10, False): "cifar-10-batches-py",
    (10, True): "cifar-10-batches-bin",
    (100, False): "cifar-100-python",
    (100, True): "cifar-100-binary",
}


def write_folder(folder, files):
    folder.mkdir(parents=True)
    for name, content in (files | {"readme.html": b"<html>"}).items():
        (folder / name).write_bytes(content)
    return folder


def write_tar(path, folder, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(("num_classes", "binary"), FOLDERS, ids=FOLDERS.values())
def test_cifar_as_published_in_a_folder_and_in_the_archive(tmp_path, num_classes, binary):
    files, train, test = cifar_files(num_classes, binary)
    folder = write_folder(tmp_path / "a" / FOLDERS[num_classes, binary], files)
    (tmp_path / "b").mkdir()
    archive = DATASETS[f"cifar{num_classes}"].places[4 if binary else 2]
    write_tar(tmp_path / "b" / archive, folder.name, files)
    name = f"cifar{num_classes}"
    loaded = [load_images(name, tmp_path / "a"), load_images(name, tmp_path / "b"), load_images(folder)]
    for data in loaded:
        np.testing.assert_array_equal(np.rint(data.train_images * 255), train[0])
        np.testing.assert_array_equal(data.train_labels, train[1])
        np.testing.assert_array_equal(np.rint(data.test_images * 255), test[0])
        np.testing.assert_array_equal(data.test_labels, test[1])
        assert data.num_classes == num_classes


def test_the_python_2_batches_of_these_tests_are_real_pickles():
    images, labels = np.zeros((2, 32, 32, 3), np.uint8), np.array([3, 1])
    batch = pickle.loads(python2_pickle.batch(images, labels, "labels"), encoding="bytes")
    assert batch[b"labels"] == [3, 1]
    np.testing.assert_array_equal(batch[b"data"], np.zeros((2, 3072), np.uint8))


@pytest.mark.parametrize(
    ("binary", "changes", "message"),
    [
        (False, {"data_batch_3": None}, "batch data_batch_3 is missing"),
        (False, {"data_batch_3": b"\x80\x02}("}, "data_batch_3: unreadable or unsafe pickle"),
        (False, {"data_batch_3": pickle.dumps([1])}, "'data' must be uint8"),
        (False, {"data_batch_3": pickle.dumps({b"data": 1})}, "'data' must be uint8"),
        (
            False,
            {"data_batch_3": python2_pickle.batch(np.zeros((1, 32, 32, 3), np.uint8), [0], "fine")},
            "must be a list of classes",
        ),
        (False, {"data_batch_3": pickle.dumps(print, 2)}, r"global __builtin__\.print is refused"),
        (True, {"data_batch_3.bin": bytes(3072)}, "3072 bytes are not a multiple of the 3073 of one image"),
        (True, {"test_batch.bin": b""}, "at least one image"),
    ],
)
def test_damaged_batches_are_refused(tmp_path, binary, changes, message):
    files = cifar_files(10, binary)[0] | changes
    folder = write_folder(
        tmp_path / "batches", {name: content for name, content in files.items() if content is not None}
    )
    with pytest.raises(InputError, match=message):
        load_images(folder)


def test_damaged_archives_are_refused(tmp_path):
    path = write_tar(tmp_path / "cifar-10-python.tar.gz", "x", cifar_files(10, False)[0])
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:1000] + bytes(100) + content[1100:], b"", b"<html>"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="truncated or corrupt archive"):
            load_images("cifar10", tmp_path)
    write_tar(path, "x", {"readme": b""})
    with pytest.raises(InputError, match="no CIFAR batches"):
        load_images("cifar10", tmp_path)


def test_standardize_uses_the_training_images_alone():
    data = toy([20, 30])
    data.train_images[..., 2] = 0.25  # a constant channel
    result = standardize(data)
    mean, std = result.train_images.mean((0, 1, 2), np.float64), result.train_images.std((0, 1, 2), np.float64)
    np.testing.assert_allclose(mean, 0, atol=1e-6)
    np.testing.assert_allclose(std, [1, 1, 0], atol=1e-6)
    shift, scale = data.train_images[..., 0].mean(), data.train_images[..., 0].std()
    np.testing.assert_allclose(result.test_images[..., 0], (data.test_images[..., 0] - shift) / scale, rtol=1e-4)
    np.testing.assert_array_equal(result.test_images[..., 2], data.test_images[..., 2] - np.float32(0.25))
    assert result.train_images.dtype == np.float32


def rows(images):
    return {image.tobytes() for image in images}


def test_standardize_names_what_prepares_other_images():
    data = toy([30, 30])
    done = standardize(data)
    np.testing.assert_array_equal((data.test_images - done.mean) / done.std, done.test_images)
    assert (data.mean, data.std) == (None, None)


def test_split_validation_is_stratified_and_loses_no_image():
    data = toy([40, 10, 2, 3])
    training, images, labels = split_validation(data, 0.25, seed=1)
    np.testing.assert_array_equal(np.bincount(labels), [10, 2, 1, 1])  # 2.5 rounds to even, at least one
    assert rows(training.train_images) | rows(images) == rows(data.train_images)
    assert not rows(training.train_images) & rows(images)
    of_image = dict(zip([image.tobytes() for image in data.train_images], data.train_labels, strict=True))
    assert [of_image[image.tobytes()] for image in images] == labels.tolist()
    assert training.test_images is data.test_images
    assert len(np.bincount(split_validation(data, 0.999, seed=1)[0].train_labels)) == 4


def test_split_validation_depends_on_its_seed_alone():
    data = toy([40, 10])
    first, second, other = (split_validation(data, 0.5, seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert rows(first) != rows(other)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, float("nan")])
def test_split_validation_refuses_a_fraction_outside(fraction):
    with pytest.raises(InputError, match="fraction"):
        split_validation(toy([4, 4]), fraction, seed=0)


def test_split_validation_refuses_a_class_of_one_image():
    with pytest.raises(InputError, match="class 1 of toy has 1 training images"):
        split_validation(toy([4, 1]), 0.5, seed=0)


@pytest.mark.parametrize(
    ("size", "counts"), [(2, [1, 1, 0]), (6, [3, 2, 1]), (17, [8, 8, 1]), (61, [40, 20, 1]), (9, [4, 4, 1])]
)
def test_minibatch_is_balanced_as_far_as_possible(size, counts):
    data = toy([40, 20, 1])
    images, labels = minibatch(data, size, seed=3)
    assert len(images) == len(rows(images)) == size
    found = sorted(np.bincount(labels, minlength=3).tolist(), reverse=True)
    assert found == counts
    of_image = dict(zip([image.tobytes() for image in data.train_images], data.train_labels, strict=True))
    assert [of_image[image.tobytes()] for image in images] == labels.tolist()


def test_minibatch_depends_on_its_seed_alone():
    data = toy([40, 20])
    draws = [minibatch(data, 8, seed)[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert rows(draws[0]) != rows(draws[2])


@pytest.mark.parametrize("size", [-1, 0, 1, 62])
def test_minibatch_refuses_a_size_outside(size):
    message = f"`minibatch size` must be from 2 to 61, the training images of toy, got {size}"
    with pytest.raises(InputError, match=message):
        minibatch(toy([40, 20, 1]), size, seed=0)


def test_fingerprint_tells_value_dtype_shape_and_order_apart():
    zeros = np.zeros((2, 3), np.float32)
    different = [(zeros,), (zeros + 1,), (zeros.astype(np.int32),), (zeros.T,), (zeros, zeros), (zeros[:, :0],), ()]
    assert len({fingerprint(*arrays) for arrays in different}) == len(different)
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert len(fingerprint(jnp.ones(3, jnp.bfloat16))) == 16
    assert fingerprint(values) == fingerprint(jnp.asarray(values)) == fingerprint(np.asfortranarray(values))
    assert len(bytes.fromhex(fingerprint(values))) == 8


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "train", "test"),
    [
        ("cifar10", (10_000, 32, 32, 3), (2_000, 32, 32, 3)),
        ("cifar100", (10_000, 32, 32, 3), (2_000, 32, 32, 3)),
        ("tiny16", (9_600, 16, 16, 3), (2_400, 16, 16, 3)),
    ],
)
def test_public_subsets(data_folder, name, train, test):
    data = load_images(name, data_folder)
    assert (data.train_images.shape, data.test_images.shape) == (train, test)
    assert len(set(np.bincount(data.train_labels))) == 1
    assert data.num_classes == DATASETS[name].num_classes


def test_resize_keeps_what_is_linear():
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32)[None, :, None, None], (1, 8, 8, 1))
    large = resize(ramp, 16)
    assert large.shape == (1, 16, 16, 1)
    np.testing.assert_allclose(np.diff(large[0, 1:-1, 0, 0]), 0.5, rtol=1e-5)
    np.testing.assert_array_equal(resize(ramp, 8), ramp)


PIXELS = np.random.default_rng(0).random((10, 3, 8, 6), np.float32)
CLASSES = np.arange(10) % 2


@pytest.mark.parametrize("shape", [(10, 3, 8, 6), (10, 1, 28, 28), (10, 4, 5, 5), (10, 2, 64, 64)])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_images_that_look_channels_first_are_refused_with_the_transpose(shape, kind, tmp_path):
    images = np.ones(shape, kind)
    message = r"look like \[N, C, H, W\]: transpose them by images.transpose\(0, 2, 3, 1\)"
    with pytest.raises(InputError, match=message):
        from_arrays(images, CLASSES)
    with pytest.raises(InputError, match=message):
        from_arrays(images.transpose(0, 2, 3, 1), CLASSES, images, CLASSES)
    for number, names in enumerate([("x", "y"), ("x_train", "y_train", "x_test", "y_test"), ("images", "labels")]):
        path = tmp_path / f"{number}.npz"
        np.savez(path, **{name: CLASSES if name[0] in "yl" or name.endswith("labels") else images for name in names})
        with pytest.raises(InputError, match=message):
            load_images(path)
    with pytest.warns(UserWarning, match=message):
        to_batch(Batch(images.astype(np.float32), CLASSES))
    assert from_arrays(images.transpose(0, 2, 3, 1), CLASSES).train_images.shape[1:] == (*shape[2:], shape[1])


def test_channels_first_moves_the_channels_or_keeps_few_rows():
    moved = from_arrays(PIXELS, CLASSES, PIXELS, CLASSES, channels_first=True)
    same = from_arrays(PIXELS.transpose(0, 2, 3, 1), CLASSES, PIXELS.transpose(0, 2, 3, 1), CLASSES)
    np.testing.assert_array_equal(moved.train_images, same.train_images)
    np.testing.assert_array_equal(moved.test_images, same.test_images)
    assert from_arrays(PIXELS, CLASSES, channels_first=False).train_images.shape[1:] == (3, 8, 6)


@pytest.mark.parametrize("shape", [(10, 8, 8, 1), (10, 4, 4, 3), (10, 1, 1, 30), (10, 3, 3, 8), (10, 5, 4, 3)])
def test_images_and_features_of_usual_layout_are_taken(shape):
    assert from_arrays(np.ones(shape), CLASSES).train_images.shape[1:] == shape[1:]
    assert from_arrays(np.ones((10, 64)), CLASSES).train_images.shape[1:] == (1, 1, 64)


@given(st.lists(st.integers(2, 40), min_size=1, max_size=8), st.integers(2, 7), st.integers(0, 9))
def test_folds_share_the_classes_equally(counts, folds, seed):
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    if folds > len(labels):
        with pytest.raises(InputError, match=rf"folds must be from 2 to {len(labels)}"):
            stratified_folds(labels, folds, seed)
        return
    fold = stratified_folds(labels, folds, seed)
    sizes = np.array([np.bincount(fold[labels == label], minlength=folds) for label in range(len(counts))])
    assert (np.ptp(sizes, axis=1) <= 1).all()
    assert np.ptp(sizes.sum(0)) <= 1
    assert (sizes.sum(1) == counts).all()
    assert (sizes.sum(1, keepdims=True) - sizes >= 1).all()  # every training has every class
    np.testing.assert_array_equal(fold, stratified_folds(labels, folds, seed))


def test_folds_refuse_a_class_of_one_image():
    with pytest.raises(InputError, match="class 1 has 1 training image"):
        stratified_folds(np.array([0, 0, 1], np.int32), 2, seed=0)


def test_standardising_twice_names_the_mean_and_std_of_the_original_images():
    images = np.random.default_rng(0).uniform(0.2, 0.9, (20, 2, 2, 3)).astype(np.float32)
    raw = from_arrays(images, np.arange(20) % 2)
    twice = standardize(standardize(raw))
    np.testing.assert_allclose((raw.test_images - twice.mean) / twice.std, twice.test_images, atol=1e-5)


@pytest.mark.parametrize("argument", ["x_train", "y_train"])
def test_masked_entries_are_refused(argument):
    arrays = {"x_train": np.zeros((20, 2, 2, 1)), "y_train": np.arange(20) % 2}
    arrays[argument] = np.ma.array(arrays[argument])
    arrays[argument][3] = np.ma.masked
    with pytest.raises(InputError, match=f"`{argument}` has masked entries"):
        from_arrays(**arrays)
