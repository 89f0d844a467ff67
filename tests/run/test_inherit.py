"""A final training takes data, network, space and classes from its search, and says what replaces them."""

import json

import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.networks import NETWORKS, DeclaredNetwork
from jaxnas.networks.declared.network import Cell, Choose, Conv, Dense, Pool, Repeat, Residual, Skip, Zero, choice
from jaxnas.run.inherit import inherit
from jaxnas.run.origin import keep_origin, load_origin_images, network_from_record, network_record
from tests.edits import without_check

BLOCKS = (Conv(choice(2, 4)), Residual(Choose(Conv(), Skip())))
SETTINGS = dict(
    pool=4, budget=1, proxies=("params",), batch_size=8, training=jaxnas.TrainingConfig(epochs=1, batch_size=8)
)


def draw_data(kind=np.uint8, name="mine", pixels=6):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (60, pixels, pixels, 1)).astype(np.uint8)
    images = images if kind is np.uint8 else (images / 256).astype(np.float32)
    data = jaxnas.from_arrays(images, np.arange(60) % 3, name=name, class_names=("cat", "dog", "owl"))
    return jaxnas.standardize(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    network = DeclaredNetwork("mine", BLOCKS, num_classes=3)
    return jaxnas.search_network(network, draw_data(), tmp_path_factory.mktemp("run"), **SETTINGS)


@pytest.fixture(scope="module")
def trained(run):
    notes = []
    return jaxnas.load_run(run.folder).train(epochs=2, batch_size=16, on_event=notes.append), notes


def test_a_declared_space_and_arrays_are_read_back(run):
    job = inherit(run.folder)
    assert job.network == DeclaredNetwork("mine", BLOCKS, num_classes=3)
    assert (job.config.space, job.config.arch, job.data.class_names) == ("mine", run.selected, ("cat", "dog", "owl"))
    np.testing.assert_array_equal(job.data.train_images, draw_data().train_images)
    assert (job.config.training.batch_size, job.config.training.crop_padding, job.config.training.flip) == (
        8,
        0,
        False,
    )


@pytest.mark.parametrize(("name", "pixels", "expected"), [("cifar10", 32, 4), ("cifar10", 16, 2), ("mine", 8, 1)])
def test_crops_keep_their_share_of_the_image_whatever_the_set(run, name, pixels, expected):
    training = inherit(run.folder, data=draw_data(name=name, pixels=pixels)).config.training
    assert training.crop_padding == expected
    assert training.batch_size == (8 if name == "mine" else 256)


def test_what_replaces_settings_is_said(trained):
    notes = [event.message for event in trained[1] if hasattr(event, "message")]
    assert notes[0].endswith("mine, mine (48 images of 6x6x1, 3 classes)")
    assert "epochs 2 instead of 200" in notes[1]
    assert "batch_size 16 instead of 256" in notes[1]


def test_the_model_is_kept_with_the_run(run, trained):
    model, data = jaxnas.load_run(run.folder).model(), draw_data()
    assert (model.arch, model.class_names, model.about["data"]) == (run.selected, ("cat", "dog", "owl"), "mine")
    raw = data.test_images * data.std + data.mean
    accuracy = 100 * (model.predict(np.clip(raw, 0, 1)) == data.test_labels).mean()
    assert accuracy == pytest.approx(trained[0].test_accuracy)
    assert model.num_params == trained[0].num_params
    record = json.loads((run.folder / "trained" / "result.json").read_text())
    assert (record["config"]["arch"], "model" in record) == (run.selected, False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 2}, "`epoch` must be one of channels"),
        ({"channels": 4}, "`channels` must be left out: DeclaredNetwork has no such size"),
        ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
        ({"data": "nowhere"}, "nowhere"),
    ],
)
def test_settings_that_do_not_fit_are_refused(run, settings, message):
    with pytest.raises(InputError, match=message):
        inherit(run.folder, **settings)


def test_other_data_change_the_classes(run):
    job = inherit(run.folder, data="digits")
    assert (job.network.num_classes, job.config.data) == (10, "digits")
    assert "data digits instead of mine" in job.notes


def test_a_run_without_its_images_says_so(run, tmp_path):
    record = without_check(json.loads((run.folder / "result.json").read_text()))
    record["origin"]["images"]["fingerprint"] = "other"
    (tmp_path / "result.json").write_text(json.dumps(record))
    (tmp_path / "images.npz").write_bytes((run.folder / "images.npz").read_bytes())
    with pytest.raises(InputError, match="images mine have changed since the search"):
        inherit(tmp_path)
    with pytest.raises(InputError, match=r"no trained model in .*: train its architecture first by `jaxnas train"):
        jaxnas.load_model(tmp_path)


def test_a_search_on_a_table_needs_data(run, tmp_path):
    record = without_check(json.loads((run.folder / "result.json").read_text()))
    record["config"] |= {"space": "nasbench201", "table": "mine.csv", "column": "val"}
    record["origin"] = None
    record["outcomes"]["proxy_gp"]["selected"] = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    (tmp_path / "result.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="looked accuracies up"):
        inherit(tmp_path)
    job = inherit(tmp_path, data="digits", channels=4)
    assert (job.network.channels, job.network.cells_per_stage, job.network.affine) == (4, 5, True)


@pytest.mark.parametrize(
    "data", [draw_data(), draw_data(float), draw_data(name="digits"), draw_data()._replace(mean=None)]
)
def test_images_are_kept_to_the_bit(data, tmp_path):
    record = json.loads(json.dumps(keep_origin(tmp_path, DeclaredNetwork("mine", BLOCKS), data)))
    read = load_origin_images(record["images"], tmp_path)
    np.testing.assert_array_equal(read.train_images, data.train_images)
    np.testing.assert_array_equal(read.test_labels, data.test_labels)
    assert (read.name, read.class_names) == (data.name, data.class_names)


def test_a_data_set_of_the_package_is_named_alone(tmp_path):
    data = jaxnas.standardize(jaxnas.load_images("digits"))
    record = keep_origin(tmp_path, DeclaredNetwork("mine", BLOCKS), data)
    assert (record["images"]["file"], list(tmp_path.iterdir())) == (None, [])
    np.testing.assert_array_equal(load_origin_images(record["images"], tmp_path).train_images, data.train_images)


@pytest.mark.parametrize(
    "network",
    [
        *(kind(channels=4, cells_per_stage=1, num_classes=3) for kind in NETWORKS.values()),
        DeclaredNetwork("one", (Cell(Choose(Conv(), Zero(), Pool("max")), nodes=2, width=choice(2, 4)),)),
        DeclaredNetwork(
            "two", (Dense(choice(2, 4)), Repeat(choice(0, 1), Residual(Dense(), Skip())), Repeat(2, Dense()))
        ),
    ],
    ids=lambda network: type(network).__name__,
)
def test_networks_are_read_back_through_json(network):
    assert network_from_record(json.loads(json.dumps(network_record(network)))) == network


def test_a_network_or_a_block_of_another_class_has_no_record():
    class Mine(DeclaredNetwork):
        pass

    class Own(Conv):
        pass

    assert network_record(Mine("mine", BLOCKS)) is None
    assert network_record(DeclaredNetwork("mine", (Own(8), Dense(4)))) is None
