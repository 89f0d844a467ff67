"""The six proxies against plain second definitions, their invariances, and the contract for any proxy."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from tiny import TINY, TinyNetwork

from jaxnas.networks import NASBench201Network
from jaxnas.proxies import PROXIES, ROBOT_PROXIES, Batch, Quantities, synflow
from jaxnas.spaces import enumerate_archs
from jaxnas.testing import check_proxy

MIXED = np.array([3, 4, 2, 1, 0, 3], np.int8)  # every op
TWO_PATHS = np.array([3, 2, 0, 1, 4, 3], np.int8)  # nodes 1 and 2 are exchangeable
ALL_NONE = np.zeros(6, np.int8)
DISCONNECTED = np.array([3, 2, 1, 0, 0, 0], np.int8)


def assert_equal(scores, expected, rtol=1e-9, names=ROBOT_PROXIES):
    for name in names:
        np.testing.assert_allclose(scores[name], expected[name], rtol=rtol, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("arch", [MIXED, TWO_PATHS])
def test_equal_to_second_definitions(score, params, batch, arch):
    with jax.enable_x64(True):
        expected = oracles.proxies(params, arch, batch)
    assert expected.keys() == set(ROBOT_PROXIES)
    assert_equal(score(params, arch, batch)[0], expected, rtol=1e-8)


@pytest.mark.slow
def test_the_order_of_the_batch_does_not_matter(score, params, batch):
    order = np.random.default_rng(2).permutation(len(batch.labels))
    shuffled = Batch(batch.images[order], batch.labels[order])
    assert_equal(score(params, MIXED, shuffled)[0], score(params, MIXED, batch)[0])


def test_synflow_does_not_depend_on_data_and_the_others_do(score, params, batch):
    other = Batch(batch.images[::-1] + 1, batch.labels)
    scores, expected = (score(params, MIXED, data)[0] for data in (batch, other))
    assert scores["synflow"] == expected["synflow"]
    assert all(scores[name] != expected[name] for name in ROBOT_PROXIES if name != "synflow")


def test_weights_that_are_not_used_do_not_matter(score, params, batch):
    in_use = NASBench201Network(channels=4, cells_per_stage=1).in_use(params, MIXED)
    changed = jax.tree.map(
        lambda leaf, used: np.where(np.reshape(used, used.shape + (1,) * (leaf.ndim - used.ndim)), leaf, 7.0),
        params,
        in_use,
    )
    assert_equal(score(changed, MIXED, batch)[0], score(params, MIXED, batch)[0], rtol=1e-12)


def test_isomorphic_cells_score_the_same(score, params, batch):
    """Exchange nodes 1 and 2 together with the params of their edges."""
    order = np.array([1, 0, 2, 3, 5, 4])
    exchanged = {
        name: jax.tree.map(lambda leaf: leaf[:, order], tree) if "stage" in name else tree
        for name, tree in params.items()
    }
    assert_equal(score(exchanged, TWO_PATHS[order], batch)[0], score(params, TWO_PATHS, batch)[0])


def test_a_branch_that_reaches_no_output_does_not_matter(score, params, batch):
    dead, without = np.array([3, 0, 0, 2, 0, 0], np.int8), np.array([0, 0, 0, 2, 0, 0], np.int8)
    assert_equal(score(params, dead, batch)[0], score(params, without, batch)[0], rtol=1e-12)


def test_synflow_is_linear_in_the_classifier_and_free_of_its_bias(score, params, batch):
    scaled = {**params, "classifier": -3 * params["classifier"], "classifier_bias": 5 + params["classifier_bias"]}
    scores, expected = (score(p, MIXED, batch)[0]["synflow"] for p in (scaled, params))
    np.testing.assert_allclose(scores, 3 * expected, rtol=1e-12)


def test_scale_of_a_normalised_kernel_matters_to_grad_norm_alone(score, params, batch):
    """Normalisation cancels the scale up to its epsilon: w g and a dL/da are unchanged; the norm of g shrinks."""
    scaled = {**params, "stem": {**params["stem"], "conv": 10 * params["stem"]["conv"]}}
    scores, expected = (score(p, MIXED, batch)[0] for p in (scaled, params))
    assert_equal(scores, expected, rtol=1e-3, names=("snip", "fisher", "jacob_cov"))
    assert scores["grad_norm"] < 0.99 * expected["grad_norm"]


def test_signs(score, params, batch):
    scores = score(params, MIXED, batch)[0]
    assert all(scores[name] > 0 for name in ("grad_norm", "snip", "fisher", "synflow"))
    assert scores["jacob_cov"] <= -len(batch.labels)


@pytest.mark.parametrize("arch", [ALL_NONE, DISCONNECTED])
def test_disconnected_cells_are_nan_in_jacob_cov_and_finite_elsewhere(score, params, batch, arch):
    scores = score(params, arch, batch)[0]
    assert np.isnan(scores["jacob_cov"])
    assert all(np.isfinite(scores[name]) for name in ROBOT_PROXIES if name != "jacob_cov")


def test_nan_in_an_image_comes_out_as_nan(score, params, batch):
    images = batch.images.copy()
    images[0, 0, 0, 0] = np.nan
    scores = score(params, MIXED, Batch(images, batch.labels))[0]
    assert all(np.isnan(scores[name]) for name in ROBOT_PROXIES if name != "synflow")
    assert np.isfinite(scores["synflow"])


@pytest.mark.slow
def test_synflow_of_a_deep_network_does_not_overflow_in_a_float32_process(draw_params):
    assert not jax.config.jax_enable_x64
    network, arch = NASBench201Network(channels=16, cells_per_stage=5), np.full(6, 3, np.int8)
    batch = Batch(np.zeros((2, 8, 8, 3), np.float32), np.zeros(2, np.int32))
    params = jax.tree.map(np.float32, draw_params(network, batch.images))
    value = jax.jit(lambda params, arch: synflow(Quantities(network, params, arch, batch)))(params, arch)
    assert value.dtype == np.float64
    assert 1e38 < float(value) < np.inf


@pytest.fixture(scope="module")
def tiny():
    """Return network, params, architectures and batch: the arguments of check_proxy after the proxy."""
    images = jax.random.normal(jax.random.key(0), (4, 4, 4, 2))
    network, archs = TinyNetwork(), enumerate_archs(TINY)[[0, 4, 5, 8]]
    params = jax.jit(network.init)(jax.random.key(1), images, archs[0])["params"]
    return network, params, archs, Batch(images, jnp.array([0, 1, 2, 0]))


FAST = (*ROBOT_PROXIES, "vkdnw", "near", "params")  # of gradients, features, labels, no data, and counts


@pytest.mark.parametrize("name", [pytest.param(x, marks=[pytest.mark.slow] * (x not in FAST)) for x in PROXIES])
def test_contract(name, tiny):
    check_proxy(PROXIES[name], *tiny)
