"""A model is the network of one architecture alone: its outputs are those of the supernet, through its files too."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.models.builder import GraphBuilder, Tensors
from jaxnas.models.graph import Graph, graph_from_record
from jaxnas.models.model import make_model
from jaxnas.networks.declared.step import Applied, Op
from jaxnas.run.config import TrainConfig
from jaxnas.run.trained import TrainedArch
from jaxnas.runtime.records import with_check
from jaxnas.spaces import sample

sys.path.append(str(Path(__file__).parents[2] / "experiments"))  # scripts, not a package
exports = importlib.import_module("exports")
FAST = "declared, images"


@pytest.fixture(scope="module")
def case():
    network, pixels = exports.CASES[FAST]
    arch = sample(network.space, 1, seed=0)[0]
    variables = exports.draw_variables(network, arch, pixels, trained=True)
    images = exports.draw_images(pixels)
    return exports.cut_out(network, variables, arch, pixels), images, (network, variables, images, arch)


def test_its_logits_are_those_of_the_supernet(case):
    model, images, supernet = case
    assert exports.difference(model.logits(images), exports.reference(*supernet)) < 1e-5
    np.testing.assert_array_equal(model.predict(images), model.logits(images).argmax(-1))
    np.testing.assert_allclose(model.predict_proba(images).sum(-1), 1, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", [name for name in exports.CASES if name != FAST])
def test_every_space(name, trained):
    network, pixels = exports.CASES[name]
    images = exports.draw_images(pixels)
    for arch in sample(network.space, 2, seed=0):
        variables = exports.draw_variables(network, arch, pixels, trained=trained)
        model = exports.cut_out(network, variables, arch, pixels)
        expected = exports.reference(network, variables, images, arch)
        assert exports.difference(model.logits(images), expected) < 1e-5


def test_it_is_read_back_as_it_was(case, tmp_path):
    model, images, _ = case
    model.save(tmp_path)
    model.save(tmp_path)
    read = jaxnas.load_model(tmp_path)
    assert (read.graph, read.arch, read.class_names) == (model.graph, model.arch, ("a", "b", "c"))
    np.testing.assert_array_equal(read.logits(images), model.logits(images))
    assert len(list(tmp_path.iterdir())) == 2
    assert {"jaxnas", "jax", "safetensors"} <= set(json.loads((tmp_path / "model.json").read_text())["packages"])


def damaged_tensors(folder):
    (path,) = folder.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def change(**fields):
    def damage(folder):
        record = json.loads((folder / "model.json").read_text())
        del record["check"]
        (folder / "model.json").write_text(json.dumps(with_check({**record, **fields})))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), "no trained model"),
        (lambda folder: (folder / "model.json").write_text("{"), r"model\.json is damaged"),
        (damaged_tensors, "does not match its name"),
        (change(format=2), "has format 2"),
        (change(graph={}), r"model\.json is damaged or not of a model \(field 'blocks'\)"),
        (change(tensors="../../etc/passwd"), "cannot read"),
    ],
)
def test_what_cannot_be_read_is_named(case, tmp_path, damage, message):
    case[0].save(tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        jaxnas.load_model(tmp_path)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 8, 9, 3)), r"\[N, 9, 9, 3\], got float64 of shape \(2, 8, 9, 3\)"),
        (np.full((1, 9, 9, 3), 2.0), "got 2.0 to 2.0"),
        (np.full((1, 9, 9, 3), np.nan), "got nan to nan"),
        (np.full((1, 9, 9, 3), "a"), "images must be numbers"),
    ],
)
def test_other_images_are_refused(case, images, message):
    with pytest.raises(InputError, match=message):
        case[0].predict(images)


def test_bytes_are_images_too(case):
    images = np.random.default_rng(0).integers(0, 256, (300, 9, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(case[0].logits(images), case[0].logits(images / np.float32(255)))
    assert case[0].predict(images[:0]).shape == (0,)


def test_the_description_is_json_and_checked(case):
    record = json.loads(json.dumps(case[0].graph.record()))
    assert graph_from_record(record) == case[0].graph
    record["blocks"][0]["layers"][0]["op"] = "eval"
    with pytest.raises(InputError, match="op 'eval'"):
        graph_from_record(record)


def test_layers_that_do_not_reach_the_output_are_dropped():
    builder = GraphBuilder((4, 4, 2))
    block = builder.begin("one", "images")
    kernel = np.ones((1, 1, 2, 2), np.float32)
    dead = block.conv(0, Tensors({"dead": kernel}, {}), "dead")
    block.relu(dead)
    zeros = block.zeros(0)
    live = block.conv(block.relu(0), Tensors({"live": 2 * kernel}, {}), "live")
    assert block.add(live, zeros, block.pool(zeros, "avg")) == live
    assert block.end(live) == "one"
    assert [layer.op for layer in builder.blocks[0].layers] == ["relu", "conv"]
    np.testing.assert_array_equal(builder.variables["params"]["one"]["conv1"]["kernel"], 2 * kernel)


class Unknown(Op):
    """An op of a user."""

    label = "unknown"

    def apply(self, tensors, x, mode):
        return Applied(x)


@pytest.mark.parametrize(
    ("change", "message"), [({"norm": "none"}, "norm='all'"), ({"blocks": (Unknown(),)}, "Unknown")]
)
def test_networks_without_a_description_are_refused(case, change, message):
    _, _, (network, variables, _, arch) = case
    with pytest.raises(InputError, match=message):
        make_model(network.clone(**change), arch, variables, (9, 9, 3))


def test_rows_of_bytes_are_features_and_not_pixels(case):
    """Training takes them as they are; pixels are divided by 255."""
    graph = case[0].graph._replace(image_shape=(1, 1, 5))
    model = replace(case[0], graph=graph)
    rows = np.array([[0, 1, 2, 250, 255]], np.uint8)
    np.testing.assert_array_equal(model.check_images(rows), rows.astype(np.float32)[:, None, None])


def test_a_model_is_shown_in_one_line(case):
    model = case[0]
    shape = "x".join(map(str, model.image_shape))
    assert repr(model) == (
        f"<Model {model.space}: {model.arch}, {model.num_params:,} params, images of {shape}, "
        f"{len(model.class_names)} classes>"
    )
    trained = TrainedArch(TrainConfig("nasbench201", "a"), 1234, [1.0, 0.5], [50.0, 75.0], 97.5, 3.0, model)
    assert repr(trained) == "<TrainedArch a: test accuracy 97.50 %, 1,234 params, 2 epochs>"
    assert "test accuracy -" in repr(trained._replace(test_accuracy=float("nan")))


def test_two_models_are_compared_by_identity_and_can_be_kept_in_sets(case):
    assert len({case[0], case[0], replace(case[0])}) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"std": [0.0]}, "std must be above 0"),
        ({"std": [float("nan")]}, "std must be 1 finite numbers"),
        ({"mean": []}, "mean must be 1 finite numbers"),
        ({"mean": [float("inf")]}, "mean must be 1 finite numbers"),
        ({"class_names": ["a", "a"]}, "class_names must differ"),
        ({"image_shape": [4, 4]}, "image_shape must be three sizes"),
    ],
)
def test_a_description_that_cannot_prepare_images_is_refused(fields, message):
    record = Graph((4, 4, 1), (0.0,), (1.0,), ("a", "b"), ()).record()
    assert graph_from_record(record).std == (1.0,)
    with pytest.raises(ValueError, match=message):
        graph_from_record({**record, **fields})
