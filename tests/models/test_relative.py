"""Models and exports of attention with relative positions compute what the supernet does, and have its parameters."""

import importlib
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxnas.models.export import EXPORTS
from jaxnas.models.graph import RELATIVE, graph_from_record
from jaxnas.networks import num_params
from jaxnas.networks.declared.network import Attention, DeclaredNetwork, PatchEmbed, PatchMean, Repeat, Residual, choice
from tests.integration import require

sys.path.append(str(Path(__file__).parents[2] / "experiments"))  # scripts, not a package
exports = importlib.import_module("exports")
PIXELS, TOLERANCE = 6, 1e-5
PACKAGES = {"torch": ("torch",), "onnx": ("onnx", "onnxruntime")}


def network(distance):
    attention = Residual(Attention(choice(1, 2), head_width=4, relative=distance))
    return DeclaredNetwork("relative", (PatchEmbed(8, 2), Repeat(2, attention), PatchMean()), 3, activation=None)


def drawn(network, arch):
    """Larger params than those at initialisation, of which attention would be nearly uniform."""
    variables, rng = exports.draw_variables(network, arch, PIXELS, trained=False), np.random.default_rng(0)
    larger = jax.tree.map(
        lambda leaf: np.asarray(leaf + 0.3 * rng.normal(size=leaf.shape), np.float32), variables["params"]
    )
    return {**variables, "params": jax.device_get(network.params_for(larger, arch))}


@pytest.fixture(scope="module")
def cases():
    """Distances that an image of 3 x 3 patches clips, and larger ones than it has, with all choices of heads."""
    found = []
    for distance, heads in ((1, (0, 1)), (4, (1, 0))):
        of, arch = network(distance), np.array(heads, np.int8)
        variables, images = drawn(of, arch), exports.draw_images(PIXELS)
        model = exports.cut_out(of, variables, arch, PIXELS)
        found.append((model, images, exports.reference(of, variables, images, arch), (of, variables["params"], arch)))
    return found


def test_a_model_has_the_logits_of_the_supernet(cases):
    for model, images, expected, _ in cases:
        assert exports.difference(model.logits(images), expected) < TOLERANCE
        assert graph_from_record(model.graph.record()) == model.graph


def test_each_table_changes_the_logits(cases):
    model, images, expected, _ = cases[0]
    for table in RELATIVE:
        kept = jax.tree_util.tree_map_with_path(
            lambda path, leaf, table=table: 0 * leaf if path[-1].key == table else leaf, model.variables
        )
        changed = type(model)(model.space, model.arch, model.graph, kept)
        assert exports.difference(changed.logits(images), expected) > 1e-3


def test_a_model_has_the_parameters_that_count(cases):
    for (model, images, _, (of, params, arch)), entries in zip(cases, (4, 10), strict=True):
        first = params["block1_class_bias"].size  # class token and its position are one vector in a model
        assert model.num_params == num_params(of, params, arch, images[:1]) - first
        tables = [leaf.shape for path, leaf in jax.tree.leaves_with_path(model.params) if path[-1].key in RELATIVE]
        assert tables == 8 * [(entries, 4)]


@pytest.mark.parametrize("to", EXPORTS)
def test_exports_compute_the_same(to, cases, tmp_path):
    for package in PACKAGES.get(to, ()):
        require(package)
    for number, (model, images, expected, _) in enumerate(cases):
        found = exports.outputs(model, to, tmp_path / str(number), images)
        assert exports.difference(found, expected) < TOLERANCE
