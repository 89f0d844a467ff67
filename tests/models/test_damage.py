"""A model's files that were edited or damaged give the same model, or one line that names the file."""

import json

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

import jaxnas
from jaxnas.cli import main
from jaxnas.errors import InputError
from jaxnas.models.builder import GraphBuilder, Tensors
from jaxnas.models.find import find_model
from jaxnas.models.graph import Graph
from jaxnas.models.model import Model
from tests.edits import DEEP, Altered, damage, edit, fuzzed, read_or_refuse


def make_model():
    """Return a small model that has every op."""
    draw = np.random.default_rng(0)
    builder = GraphBuilder((5, 5, 3))
    block = builder.begin("stem", "images")
    kernels = {"conv": (3, 3, 3, 4), "even": (1, 1, 4, 2), "odd": (1, 1, 4, 2), "head": (4, 2)}
    norm = {"norm_gamma": np.ones(4), "norm_beta": np.zeros(4), "head_bias": np.zeros(2)}
    params = {name: draw.normal(size=shape) for name, shape in kernels.items()} | norm
    tensors = Tensors(params, {"norm_mean": np.zeros(4), "norm_variance": np.ones(4)})
    x = block.relu(block.norm(block.conv(0, tensors, "conv"), tensors, "norm"))
    x = block.add(block.pool(x, "avg"), block.pool(x, "max"))
    name = block.end(x)
    block = builder.begin("body", name)
    block.end(block.concat(block.split_halves(0, tensors, "even", "odd"), block.halve(0)))
    block = builder.begin("classifier", name)
    block.end(block.dense(block.mean(0), tensors, "head"))
    graph = Graph((5, 5, 3), (0.5,) * 3, (0.2,) * 3, ("cat", "dog"), tuple(builder.blocks))
    return Model("mine", "0:1", graph, builder.variables, {"data": "pets", "test_accuracy": 87.5})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folder of a model."""
    folder = tmp_path_factory.mktemp("saved")
    make_model().save(folder)
    return folder


def parts_of(folder):
    """Return all that a model computes with, and says."""
    model = jaxnas.load_model(folder)
    tensors = {path: leaf.tolist() for path, leaf in jaxnas.models.files.flatten(model.variables).items()}
    return model.graph, tensors, model.space, model.arch, model.about


@pytest.fixture(scope="module")
def parts(saved):
    return parts_of(saved)


def check_equal(found, expected):
    assert found == expected


@fuzzed(draw=st.data())
def test_an_edited_description_is_that_of_the_same_model_or_refused(saved, parts, draw):
    path = saved / "model.json"
    with Altered(path, json.dumps(edit(draw, json.loads(path.read_text())))):
        read_or_refuse(lambda: check_equal(parts_of(saved), parts), str(path))


@fuzzed(draw=st.data(), of_tensors=st.booleans())
def test_an_altered_byte_is_named_or_changes_nothing(saved, parts, draw, of_tensors):
    path = next(saved.glob("*.safetensors")) if of_tensors else saved / "model.json"
    with Altered(path, damage(draw, path.read_bytes())):
        read_or_refuse(lambda: check_equal(parts_of(saved), parts), str(path))


@fuzzed(draw=st.data())
def test_a_description_of_an_earlier_version_is_read_or_refused(saved, parts, draw):
    path = saved / "model.json"
    record = json.loads(path.read_text())
    del record["check"]
    with Altered(path, json.dumps(record)):
        check_equal(parts_of(saved), parts)
    with Altered(path, json.dumps(edit(draw, record))):
        read_or_refuse(lambda: parts_of(saved), str(saved))


@pytest.mark.parametrize(
    ("layer", "setting", "value"),
    [
        ("conv1", "stride", 0),
        ("conv1", "groups", 0),
        ("conv1", "size", 2**40),
        ("conv1", "features", -1),
        ("conv1", "dilation", 2**70),
        ("avg_pool1", "stride", -1),
        ("norm1", "affine", 0),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(saved, layer, setting, value):
    path = saved / "model.json"
    record = json.loads(path.read_text())
    del record["check"]
    (found,) = [one for one in record["graph"]["blocks"][0]["layers"] if one["name"] == layer]
    found["settings"][setting] = value
    with Altered(path, json.dumps(record)), pytest.raises(InputError, match=str(saved)) as caught:
        jaxnas.load_model(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "1", "{", "null", DEEP, '{"format": 1}', "\x00"], ids=range(8))
def test_a_description_of_another_form_is_refused(saved, content):
    with (
        Altered(saved / "model.json", content),
        pytest.raises(InputError, match=r"model\.json is damaged or not of a model"),
    ):
        jaxnas.load_model(saved)


@pytest.mark.parametrize("content", ["{}", '{"outcomes": {}}', '{"outcomes": {"robot": {}}}', "[]", DEEP], ids=range(5))
def test_a_damaged_search_does_not_keep_its_model_from_being_found(tmp_path, content):
    make_model().save(tmp_path / "trained" / "model")
    (tmp_path / "result.json").write_text(content)
    assert find_model(tmp_path) == tmp_path / "trained" / "model"


@pytest.mark.parametrize("name", ["model.json", "tensors"])
def test_predict_names_the_damaged_file(saved, tmp_path, capsys, monkeypatch, name):
    Image.new("RGB", (5, 5)).save(tmp_path / "a.png")
    monkeypatch.setattr("sys.argv", ["jaxnas", "predict", str(saved), str(tmp_path / "a.png")])
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")  # JAX may have begun in this process
    path = next(saved.glob("*.safetensors")) if name == "tensors" else saved / name
    content = path.read_bytes()
    with Altered(path, content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]), pytest.raises(SystemExit) as stop:
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert line.startswith(f"error: {path} is damaged")
