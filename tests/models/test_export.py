"""Exported networks compute what ours does, in the real PyTorch, ONNX Runtime, Flax and XLA, without jaxnas."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.models.export import EXPORTS, export_model
from jaxnas.spaces import sample
from tests.integration import require

sys.path.append(str(Path(__file__).parents[2] / "experiments"))  # scripts, not a package
exports = importlib.import_module("exports")
FAST = "declared, images"
TOLERANCE = 1e-5
NEEDS = {"torch": ("torch",), "onnx": ("onnx", "onnxruntime")}

ALONE = {  # what people run who have no jaxnas; `images` [N H W C] are read from images.npy
    "torch": (
        "import torch, model\nnetwork = model.load_model()\nassert model.CLASSES == ['a', 'b', 'c']\n"
        "with torch.no_grad(): logits = network(torch.tensor(images.transpose(0, 3, 1, 2).copy())).numpy()\n"
    ),
    "flax": "import model\nlogits = model.Network().apply(model.load_variables(), images)\n",
    "onnx": (
        "import onnxruntime\nsession = onnxruntime.InferenceSession('model.onnx')\n"
        "assert session.get_modelmeta().custom_metadata_map['classes'] == 'a\\nb\\nc'\n"
        "(logits,) = session.run(None, {'images': images.transpose(0, 3, 1, 2).copy()})\n"
    ),
    "stablehlo": (
        "import jax.export, pathlib\n"
        "exported = jax.export.deserialize(bytearray(pathlib.Path('model.stablehlo').read_bytes()))\n"
        "logits = exported.call(images)\n"
    ),
}
HIDDEN = {
    "torch": ("jax", "flax", "onnx"),
    "onnx": ("jax", "flax", "torch"),
    "stablehlo": ("flax",),
    "flax": ("torch",),
}


def run_alone(to, folder, images):
    """Return the logits that a fresh process computes, which cannot import jaxnas or the packages of other formats."""
    np.save(folder / "images.npy", images)
    hidden = "".join(f"sys.modules[{name!r}] = None\n" for name in ("jaxnas", *HIDDEN[to]))
    code = f"import sys\nimport numpy as np\n{hidden}images = np.load('images.npy')\n{ALONE[to]}"
    code += "np.save('logits.npy', logits)\n"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, timeout=300)
    return np.load(folder / "logits.npy")


@pytest.fixture(scope="module")
def case():
    network, pixels = exports.CASES[FAST]
    arch = sample(network.space, 1, seed=0)[0]
    variables = exports.draw_variables(network, arch, pixels, trained=True)
    model, images = exports.cut_out(network, variables, arch, pixels), exports.draw_images(pixels)
    return model, images, model.logits(images)  # those of the supernet, see test_model


SLOW = ("flax", "stablehlo")


@pytest.mark.parametrize("to", [pytest.param(to, marks=[pytest.mark.slow] * (to in SLOW)) for to in EXPORTS])
def test_a_fresh_process_without_jaxnas_computes_the_same(to, case, tmp_path):
    for package in NEEDS.get(to, ()):
        require(package)
    model, images, expected = case
    files = export_model(model, to, tmp_path)
    assert sorted(files) == sorted(tmp_path.iterdir())
    assert exports.difference(run_alone(to, tmp_path, images), expected) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("name", exports.CASES)
def test_every_space(name, trained, tmp_path):
    for package in ("torch", "onnx", "onnxruntime"):
        require(package)
    for row in exports.compare(name, trained=trained, folder=tmp_path):
        assert row["difference"] < TOLERANCE, row


def test_an_unknown_format_is_named(case, tmp_path):
    with pytest.raises(InputError, match="unknown export 'tensorflow': choose from flax, torch, onnx, stablehlo"):
        export_model(case[0], "tensorflow", tmp_path)


def test_a_missing_package_is_named(case, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxnas.models.export.onnx_file.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'jaxnas\[export\]'"):
        export_model(case[0], "onnx", tmp_path)


@pytest.mark.parametrize("to", ["torch", "flax"])
def test_text_from_outside_cannot_leave_its_string(to, case, tmp_path):
    """Names of classes come from folders, architectures from files."""
    model = case[0]
    names = ('a"""', "b'\n", "c\\")
    graph = model.graph._replace(class_names=names)
    bad = type(model)('s"""', 'x"""\nimport os', graph, model.variables)
    (code, _) = export_model(bad, to, tmp_path)
    tree = compile(code.read_text(), "model.py", "exec", flags=0x400)  # to a tree alone
    assigned = {node.targets[0].id: node.value for node in tree.body if type(node).__name__ == "Assign"}
    assert tuple(element.value for element in assigned["CLASSES"].elts) == names
    imported = [name.name for node in tree.body if type(node).__name__ == "Import" for name in node.names]
    assert "os" not in imported


def test_blocks_of_one_form_share_a_class():
    from jaxnas.models.export.code import name_classes
    from jaxnas.models.graph import Block, Graph, Layer

    blocks = [
        Block(name, (source,), ("x",), ((4, 4, size),), (Layer("relu1", "relu", ("x",), (4, 4, size)),))
        for name, source, size in (("cell1", "images", 2), ("cell2", "cell1", 2), ("cell3", "cell2", 3))
    ]
    graph = Graph((4, 4, 2), (0.0, 0.0), (1.0, 1.0), ("a",), tuple(blocks))
    assert name_classes(graph) == {"cell1": "Cell", "cell2": "Cell", "cell3": "Cell3"}
