"""Kernels of one row: networks of sequences, which are images of one row."""

import jax
import numpy as np
import pytest
from jax import lax

import jaxnas
from jaxnas.errors import InputError
from jaxnas.models.model import make_model
from jaxnas.networks import DeclaredNetwork, init_variables
from jaxnas.networks.batch_norm import BATCH_NORM_EPSILON
from jaxnas.networks.declared.network import Choose, Conv, Depthwise, Repeat, Residual, Skip, choice
from jaxnas.networks.declared.record import block_from_record, block_record
from jaxnas.testing import check_network, check_space

BLOCKS = (
    Conv(4, size=5, rows=1, activation=None),
    Repeat(choice(1, 2), Residual(Choose(Conv(size=3, rows=1), Depthwise(size=5, rows=1), Skip()))),
    Conv(choice(4, 8), size=3, stride=2, rows=1),
)
NETWORK = DeclaredNetwork("sequences", BLOCKS, num_classes=3)


def draw_sequences():
    random = np.random.default_rng(0)
    return jaxnas.Batch(random.normal(size=(8, 1, 12, 2)).astype(np.float32), random.integers(0, 3, 8).astype(np.int32))


def test_a_network_equals_one_dimensional_convolutions():
    blocks = (Conv(4, size=5, rows=1), Conv(6, stride=2, rows=1), Depthwise(rows=1), Conv(choice(5, 7), size=1))
    network, arch = DeclaredNetwork("line", blocks, num_classes=3), np.array([1], np.int8)
    images = np.asarray(draw_sequences().images, np.float64)
    with jax.enable_x64(True):
        params = init_variables(network, images.shape[1:], 1, 0)["params"]
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
        found = network.apply({"params": params}, images, arch, mutable=["batch_stats"])[0]
        x = images[:, 0]
        for number, stride in enumerate((1, 2, 1, 1), start=1):
            x = np.maximum(x, 0) if number > 1 else x
            x = convolve_steps(x, params[f"block{number}"][0], stride)
            x = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + BATCH_NORM_EPSILON)
            x = x * params[f"block{number}_norm_gamma"] + params[f"block{number}_norm_beta"]
    logits = np.maximum(x, 0).mean(1) @ params["classifier"] + params["classifier_bias"]
    np.testing.assert_allclose(found, logits, rtol=1e-9)


def convolve_steps(x, kernel, stride):
    """Return the same-padded convolution of sequences [N L C] with a kernel [k c O]."""
    pads, groups = [(len(kernel) // 2,) * 2], x.shape[-1] // kernel.shape[1]
    dimensions = ("NWC", "WIO", "NWC")
    return np.asarray(
        lax.conv_general_dilated(x, kernel, (stride,), pads, dimension_numbers=dimensions, feature_group_count=groups)
    )


def test_kernels_have_one_row_and_the_scores_are_finite():
    arch = np.array([1, 0, 1, 1], np.int8)
    scores = jaxnas.score_archs(NETWORK, arch[None], draw_sequences(), ("snip", "synflow", "params"))
    assert np.isfinite(scores).all()
    kernels = 5 * 2 * 4 + 3 * 4 * 4 + 5 * 4 + 3 * 4 * 8
    norms, classifier = 2 * (4 + 4 + 4 + 8), 8 * 3 + 3
    assert scores[0, 2] == pytest.approx((kernels + norms + classifier) / 1e6)


def test_names_and_records_keep_the_rows():
    assert NETWORK.space.format(np.array([1, 0, 1, 1], np.int8)) == "2:conv1x3:depthwise1x5:8"
    for block in BLOCKS:
        assert block_from_record(block_record(block)) == block


def test_spaces_of_sequences_fulfil_the_contract():
    check_space(NETWORK.space)


@pytest.mark.slow
def test_networks_of_sequences_fulfil_the_contract():
    check_network(NETWORK, NETWORK.space, draw_sequences().images)


def test_sequences_of_any_values_are_data_and_inputs_of_models():
    random = np.random.default_rng(0)
    x, y = 50 * random.normal(size=(40, 1, 12, 2)), np.arange(40) % 3
    data = jaxnas.from_arrays(x, y)
    assert data.train_images.shape[1:] == (1, 12, 2)
    np.testing.assert_array_equal(data.train_images[0], np.float32(x[0]))
    variables = jax.device_get(init_variables(NETWORK, (1, 12, 2), 4, 0))
    model = make_model(NETWORK, np.array([0, 2, 0, 0], np.int8), variables, (1, 12, 2))
    assert np.isfinite(model.logits(x)).all()
    x[3, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="sequences must be finite numbers"):
        jaxnas.from_arrays(x, y)


@pytest.mark.parametrize("kind", [Conv, Depthwise])
def test_other_numbers_of_rows_are_refused(kind):
    with pytest.raises(InputError, match="of 2 rows: give 1, or None for as many as columns"):
        kind(rows=2)
