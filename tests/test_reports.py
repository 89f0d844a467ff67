"""Kinds of faults that users reported publicly about neighbouring projects, and what jaxnas does there.

Each test names a report and what went wrong in it. Kinds that a test near the code checks already are not repeated.
"""

import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import jaxnas
from jaxnas.data.images import fingerprint, split_validation
from jaxnas.data.load import load_images
from jaxnas.errors import InputError
from jaxnas.objectives.tabular import load_ids, load_table
from jaxnas.run.comparison import compare_methods
from jaxnas.run.config import CompareConfig
from jaxnas.search import METHODS
from jaxnas.spaces import NASBENCH201, enumerate_archs
from jaxnas.table.normalize import normalize

ARCHS = [f"n{row}" for row in range(12)]
TABLE = np.random.default_rng(0).random((12, 3))
VALUES = 50 + 10 * TABLE[:, 0]


def write_pictures(folder, classes, names=range(5)):
    """Write a picture of one grey for each class and name, another one each."""
    for label, kind in enumerate(classes):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names):
            Image.new("L", (4, 4), 20 * label + number).save(folder / kind / f"{name}.png")
    return folder


def study_in(folder, **options):
    return jaxnas.create_study(folder, TABLE, ARCHS, **{"budget": 6, "method": "random", **options})


# https://github.com/apache/arrow/issues/46853: ids such as 001 in a CSV file become the number 1.
def test_labels_with_leading_zeros_are_other_classes(tmp_path):
    write_pictures(tmp_path, ["p"], range(15))
    rows = "".join(f"p/{number}.png,{('1', '01', '001')[number % 3]}\n" for number in range(15))
    (tmp_path / "list.csv").write_text(f"path,label\n{rows}")
    assert set(load_images(tmp_path / "list.csv").class_names) == {"1", "01", "001"}


# https://github.com/pandas-dev/pandas/issues/48712: a label called "null" is read as a missing value.
def test_ids_and_classes_called_null_are_names(tmp_path):
    (tmp_path / "ids.csv").write_text("arch,acc\nnull,1\nNA,2\nnan,3\nNone,4\n")
    assert load_ids(tmp_path / "ids.csv") == ["null", "NA", "nan", "None"]
    data = load_images(write_pictures(tmp_path / "set", ["None", "null", "nan"]))
    assert data.class_names == ("None", "nan", "null")


# https://github.com/pandas-dev/pandas/issues/9067: a header "name, amount" makes a column " amount" that nobody finds.
@pytest.mark.parametrize("header", ["arch, acc,a", " arch ,acc ,  a"])
def test_spaces_around_the_names_of_columns_do_not_count(tmp_path, header):
    (tmp_path / "t.csv").write_text(f"{header}\n007, 1, 2\nn2, 3, 4\n")
    assert load_ids(tmp_path / "t.csv") == ["007", "n2"]
    space = jaxnas.spaces.ids.id_space(["007", "n2"])
    np.testing.assert_array_equal(load_table(tmp_path / "t.csv", space).columns["acc"], [1, 3])


# https://github.com/milvus-io/milvus/issues/33197: the index that pandas writes into Parquet files becomes a column.
def test_the_index_of_a_data_frame_is_no_proxy(tmp_path):
    columns = {"arch": ARCHS, "acc": VALUES, "__index_level_0__": np.arange(12)}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    space = jaxnas.spaces.ids.id_space(ARCHS)
    assert load_table(tmp_path / "t.parquet", space).columns.keys() == {"acc"}


# https://github.com/huggingface/datasets/issues/7468: a folder named [data] is taken for a pattern.
@pytest.mark.parametrize("name", ["[data]", "a*b", "what?"])
def test_a_folder_whose_name_looks_like_a_pattern(tmp_path, name):
    write_pictures(tmp_path / "ad", ["wrong", "others"])
    data = load_images(write_pictures(tmp_path / name, ["c[1]", "d*"]))
    assert (data.class_names, len(data.train_labels)) == (("c[1]", "d*"), 8)


# https://github.com/tensorflow/tensorflow/issues/46595: .ipynb_checkpoints, made by a notebook, becomes a class.
def test_what_a_notebook_leaves_in_a_folder_is_neither_a_class_nor_a_picture(tmp_path):
    write_pictures(tmp_path, ["cat", "dog"])
    before = fingerprint(*load_images(tmp_path)[1:5])
    write_pictures(tmp_path, [".ipynb_checkpoints", "cat/.ipynb_checkpoints", "dog/__MACOSX/deep"])
    assert fingerprint(*load_images(tmp_path)[1:5]) == before


# https://github.com/ultralytics/ultralytics/issues/13936: a class without test pictures shifts the labels of the next.
def test_a_test_set_without_a_class_keeps_the_labels_of_the_others(tmp_path):
    write_pictures(tmp_path / "train", ["a", "b", "c"])
    write_pictures(tmp_path / "test", ["a", "c"])
    assert load_images(tmp_path).test_labels.tolist() == [0] * 5 + [2] * 5


# https://github.com/huggingface/datasets/issues/7201: a picture train.png makes a folder a training set of one picture.
def test_pictures_and_classes_may_be_called_train_and_test(tmp_path):
    data = load_images(write_pictures(tmp_path / "files", ["cat", "dog"], ["train", "test", "val", "a", "b"]))
    assert (len(data.train_labels), len(data.test_labels)) == (8, 2)
    data = load_images(write_pictures(tmp_path / "kinds", ["bus", "train"]))  # as two classes of CIFAR-100
    assert (data.class_names, len(data.train_labels)) == (("bus", "train"), 8)


# https://github.com/pytorch/vision/issues/192: the order of files, and so every draw, depends on the machine.
def test_the_order_in_which_a_system_lists_files_does_not_count(tmp_path, monkeypatch):
    import os

    write_pictures(tmp_path, ["b", "a", "c"])
    expected = fingerprint(*load_images(tmp_path)[1:5])
    listdir, walk = os.listdir, os.walk
    monkeypatch.setattr(os, "listdir", lambda path=".": listdir(path)[::-1])
    monkeypatch.setattr(os, "walk", lambda *args, **options: ((a, b, c[::-1]) for a, b, c in walk(*args, **options)))
    assert fingerprint(*load_images(tmp_path)[1:5]) == expected


# https://github.com/huggingface/pytorch-image-models/pull/334: folders that are links are passed over without a word.
def test_links_are_followed_and_broken_ones_are_named(tmp_path):
    write_pictures(tmp_path / "set", ["cat", "dog"], range(3))
    write_pictures(tmp_path / "elsewhere", ["more"], range(3))
    (tmp_path / "set" / "cat" / "more").symlink_to(tmp_path / "elsewhere" / "more")
    (tmp_path / "set" / "cat" / "round").symlink_to(tmp_path / "set" / "cat")
    (tmp_path / "set" / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    notes = []
    data = load_images(tmp_path / "set", on_event=notes.append)
    assert np.bincount(np.concatenate([data.train_labels, data.test_labels])).tolist() == [6, 3]
    assert any("gone.png" in note.message and note.is_warning for note in notes)


# https://github.com/keras-team/keras/issues/14277: validation images are a block, of files that belong together.
def test_validation_images_are_drawn_from_all_of_a_class():
    images = np.repeat(np.arange(200) % 100, 4).reshape(200, 2, 2, 1).astype(np.uint8)
    data = jaxnas.from_arrays(images, np.arange(200) // 100)
    _, validation, labels = split_validation(data, 0.25, seed=0)
    for label in (0, 1):
        numbers = np.rint(255 * validation[labels == label][:, 0, 0, 0])
        assert np.histogram(numbers, 4, (0, 100))[0].min() >= 2


# https://github.com/keras-team/autokeras/issues/23: one-hot labels are "not the same number of instances".
def test_one_hot_labels_are_refused_with_the_conversion():
    with pytest.raises(InputError, match=r"one for each image, got \(10, 2\); .* take labels.argmax\(axis=1\)"):
        jaxnas.from_arrays(np.zeros((10, 4, 4), np.uint8), np.eye(2)[np.arange(10) % 2])


# https://github.com/lenstronomy/JAXtronomy/pull/98: big-endian arrays, as of FITS files, are no type of JAX.
# https://github.com/jax-ml/jax/issues/5091: arrays of float128 end in "Unknown NumPy type f size 16".
@pytest.mark.parametrize("kind", [">f8", ">f4", "<f2", np.longdouble])
def test_floats_of_any_size_and_byte_order_give_the_same_search(kind):
    table, values = np.round(TABLE * 64) / 64, np.round(VALUES * 4) / 4
    search = METHODS["single_proxy"]
    expected = search(table, values, budget=5, seed=0)
    found = search(table.astype(kind), values.astype(kind), budget=5, seed=0)
    assert (found.queries.tolist(), found.best) == (expected.queries.tolist(), expected.best)
    images = np.round(np.random.default_rng(0).random((10, 4, 4, 1)) * 64) / 64
    plain, other = (jaxnas.from_arrays(array, np.arange(10) % 2) for array in (images, images.astype(kind)))
    assert fingerprint(*plain[1:5]) == fingerprint(*other[1:5])


# https://github.com/pytorch/pytorch/issues/92680: a flipped array, whose strides are negative, is refused.
def test_arrays_may_be_views_of_any_strides():
    images, labels = np.random.default_rng(0).random((10, 4, 6, 3)), np.arange(10) % 2
    views = (images[::-1, :, ::-1], labels[::-1])
    plain = jaxnas.from_arrays(*(view.copy() for view in views))
    assert fingerprint(*jaxnas.from_arrays(*views)[1:5]) == fingerprint(*plain[1:5])
    fortran = jaxnas.from_arrays(np.asfortranarray(views[0]), views[1])
    assert fingerprint(*fortran[1:5]) == fingerprint(*plain[1:5])


# https://github.com/matplotlib/matplotlib/issues/5427: normalising changes the caller's data in place.
def test_arguments_are_not_changed_and_may_be_read_only():
    scores, values = TABLE.astype(np.float32), VALUES.copy()
    scores[3, 1] = np.inf
    images = np.random.default_rng(0).random((10, 4, 4, 1), np.float32)
    kept = [array.copy() for array in (scores, values, images)]
    for array in (scores, values, images):
        array.flags.writeable = False
    METHODS["random"](normalize(scores)[0], values, budget=3, seed=0)
    jaxnas.standardize(jaxnas.from_arrays(images, np.arange(10) % 2))
    for array, before in zip((scores, values, images), kept, strict=True):
        np.testing.assert_array_equal(array, before)


# https://github.com/keras-team/keras/issues/8906: a fit draws from NumPy's global generator and moves it on.
def test_the_global_generators_are_neither_used_nor_changed():
    def draw():
        archs = jaxnas.sample(NASBENCH201, 20, seed=3)
        data = jaxnas.from_arrays(np.arange(160, dtype=np.uint8).reshape(10, 4, 4), np.arange(10) % 2)
        batch, _ = jaxnas.minibatch(data, 4, seed=0)
        return archs.tolist(), batch.tolist(), METHODS["random"](TABLE, VALUES, budget=4, seed=1).queries.tolist()

    found = []
    for seed in (0, 1):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # of the user's program
        before = np.random.get_state()  # noqa: NPY002
        found.append(draw())
        np.testing.assert_equal(np.random.get_state(), before)  # noqa: NPY002  # beartype moves that of Python on
    assert found[0] == found[1]


# https://github.com/automl/NASLib/issues/142: a graph for each of the 15,625 architectures does not fit into memory.
def test_all_architectures_of_a_space_take_less_than_100_kilobytes():
    assert enumerate_archs(NASBENCH201).nbytes == 15_625 * 6


# https://github.com/python/cpython/issues/90650: output into `head` ends with a BrokenPipeError.
def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"PYTHONUNBUFFERED=1 {sys.executable} -m jaxnas proxies | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("proxy")
    assert done.stderr == ""


# https://github.com/Wuyxin/DIR-GNN/issues/3: over one seed the standard deviation is NaN.
def test_a_comparison_of_one_seed_has_finite_numbers(tmp_path):
    rows = "".join(f"{arch},{value},{score}\n" for arch, value, score in zip(ARCHS, VALUES, TABLE[:, 1], strict=True))
    (tmp_path / "t.csv").write_text(f"arch,acc,a\n{rows}")
    path = str(tmp_path / "t.csv")
    config = CompareConfig("ids", path, table=path, column="acc", test_column="acc", budget=3)
    (row,) = compare_methods(("random",), config, range(1), tmp_path).rows()
    assert (row["std"], *row["interval"]) == (0, row["mean"], row["mean"])


# https://github.com/optuna/optuna/issues/3132: `study.tell` of NaN leaves the trial RUNNING.
def test_a_trial_that_is_told_nan_has_failed(tmp_path):
    study = study_in(tmp_path, budget=2)
    study.tell(study.ask(), np.nan)
    assert [(trial.is_told, trial.failed) for trial in study.trials] == [(True, True)]
    assert study.ask(timeout=0.0).number == 1


# https://github.com/optuna/optuna/issues/913: a trial that Ctrl-C stopped stays RUNNING for ever.
def test_a_trial_that_ctrl_c_stopped_is_evaluated_by_the_same_call_again(tmp_path):
    asked = []

    def stops(arch):
        asked.append(arch)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return VALUES[ARCHS.index(arch)]

    with pytest.raises(KeyboardInterrupt):
        study_in(tmp_path).run(stops)
    assert len(study_in(tmp_path).run(stops).queries) == 6
    assert (asked[3], len(asked)) == (asked[2], 7)


# https://github.com/microsoft/nni/issues/5139: a search of more trials than the space has architectures never ends.
def test_a_search_ends_when_every_architecture_was_evaluated(tmp_path):
    study = study_in(tmp_path, count_failures=False)

    def fails(arch):
        if arch != "n5":
            raise MemoryError
        return 1.0

    assert study.run(fails, catch=MemoryError).best == 1
    assert len({trial.arch for trial in study.trials}) == len(study.trials) == 12


# https://github.com/D-X-Y/NATS-Bench/issues/38: which accuracies of NAS-Bench-201 are of validation, and which of test?
@pytest.mark.parametrize("images", ["c10", "c100"])
def test_a_column_of_validation_is_reported_on_the_test_images_of_its_data_set(images):
    config = CompareConfig(column=f"{images}_valid_val_12" if images == "c10" else f"{images}_val_12")
    assert (config.test_column, config.scores) == (f"robot_{images}_test", images.replace("c1", "cifar1"))
