"""The shared quantities against explicit derivatives of a tiny network in float64, and the cost of each."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.special import log_softmax
from tiny import CONV, SKIP, TinyNetwork

from jaxnas.proxies import PROXIES, Batch, Quantities
from jaxnas.proxies.loss import cross_entropy
from jaxnas.proxies.passes import replace_kernels, sum_over_kernels

NETWORK = TinyNetwork()
ARCH = np.array([SKIP, CONV], np.int8)
NAMES = ("kernels", "logits", "loss", "gradient", "curvature", "channel_gradient", "input_jacobian")


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def case():
    """Return random params and a batch, both in float64."""
    rng = np.random.default_rng(0)
    batch = Batch(rng.normal(size=(5, 4, 4, 2)), np.array([0, 2, 1, 1, 0], np.int32))
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0), batch.images, ARCH)["params"]
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes), batch


@pytest.fixture(scope="module")
def ours(case):
    with jax.enable_x64(True):

        @jax.jit
        def program(params, batch, arch):
            q = Quantities(NETWORK, params, arch, batch)
            return {name: getattr(q, name) for name in NAMES}

        return jax.device_get(program(*case, ARCH))


def loss(params, batch):
    logits = NETWORK.apply({"params": params}, batch.images, ARCH)
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(logits) * jax.nn.one_hot(batch.labels, 3), 1))


def of_weights(case):
    """Return the loss as a function of the kernels."""
    params, batch = case
    weights = {name: params[name] for name in ("stem", "conv", "classifier")}
    return lambda weights: loss({**params, **weights}, batch), weights


def test_weights_are_kernels_without_biases_and_normalisation(case, ours):
    assert ours["kernels"].keys() == {"stem", "conv", "classifier"}
    assert case[0].keys() > ours["kernels"].keys()
    jax.tree.map(np.testing.assert_array_equal, ours["kernels"], of_weights(case)[1])


def test_logits_and_loss(case, ours):
    params, batch = case
    expected = NETWORK.apply({"params": params}, batch.images, ARCH)
    np.testing.assert_allclose(ours["logits"], expected, rtol=1e-12)
    chosen = log_softmax(np.asarray(expected), axis=1)[np.arange(5), batch.labels]
    np.testing.assert_allclose(ours["loss"], -chosen.mean(), rtol=1e-12)


def test_gradient(case, ours):
    function, weights = of_weights(case)
    expected = jax.grad(function)(weights)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14), ours["gradient"], dict(expected)
    )
    np.testing.assert_array_equal(ours["gradient"]["conv"][0], 0)  # decision 0 is a skip
    assert np.abs(ours["gradient"]["conv"][1]).max() > 1e-4


def test_curvature_is_the_whole_hessian_between_weights_and_gradient(case, ours):
    function, weights = of_weights(case)
    flat, unravel = ravel_pytree(weights)

    def on_flat(flat):
        return function(unravel(flat))

    hessian, gradient = jax.jit(lambda flat: (jax.hessian(on_flat)(flat), jax.grad(on_flat)(flat)))(flat)
    np.testing.assert_allclose(ours["curvature"], flat @ hessian @ gradient, rtol=1e-10)


def of_precision(case, precision, names):
    """Return quantities in float32, with products of that precision."""
    params, images = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (case[0], case[1].images))

    @jax.jit
    def program(params, batch):
        q = Quantities(NETWORK, params, ARCH, batch)
        return {name: getattr(q, name) for name in names}

    with jax.enable_x64(False), jax.default_matmul_precision(precision):
        return jax.device_get(program(params, Batch(images, case[1].labels)))


def test_curvature_is_of_float32_products_in_every_precision_and_the_gradient_is_not(case):
    names = ("gradient", "curvature")
    exact, rounded = (of_precision(case, precision, names) for precision in ("float32", "bfloat16"))
    np.testing.assert_allclose(rounded["curvature"], exact["curvature"], rtol=1e-5)
    assert np.abs(rounded["gradient"]["stem"] / exact["gradient"]["stem"] - 1).max() > 1e-3
    alone = of_precision(case, "bfloat16", ("gradient",))["gradient"]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), rounded["gradient"], alone)


@pytest.mark.slow
def test_float32_leaves_out_of_the_curvature_what_is_of_the_order_of_epsilon(case, monkeypatch):
    """The stem is normalised: L depends on its scale only through epsilon, which is visible only in float64."""

    class Normalised(TinyNetwork):
        normalised = True

    params, batch = jax.tree.map(jnp.asarray, case)
    params["stem"] = params["stem"] / 30  # variances of 0.01, near enough to the epsilons below

    def curvature(epsilon, dtype):
        monkeypatch.setattr("jaxnas.networks.batch_norm.BATCH_NORM_EPSILON", epsilon)
        params_, images = jax.tree.map(lambda leaf: leaf.astype(dtype), (params, batch.images))
        return float(Quantities(Normalised(), params_, ARCH, Batch(images, batch.labels)).curvature)

    left_out = [curvature(eps, jnp.float32) / curvature(eps, jnp.float64) - 1 for eps in (1e-3, 1e-4, 0.0)]
    assert 1e-2 < abs(left_out[0]) < 1
    assert 5 < left_out[0] / left_out[1] < 20
    assert abs(left_out[2]) < 1e-5


def test_channel_gradient_of_the_classifier_is_logit_times_its_gradient(case, ours):
    """This layer's output is known without a tap; `test_proxies` and the tests of the layers cover the others."""
    batch = case[1]
    logits = ours["logits"]
    expected = logits * (np.exp(log_softmax(logits, axis=1)) - np.eye(3)[batch.labels]) / len(logits)
    np.testing.assert_allclose(ours["channel_gradient"]["classifier"], expected, rtol=1e-10)
    assert ours["channel_gradient"]["conv"].shape == (2, 5, 4)
    np.testing.assert_array_equal(ours["channel_gradient"]["conv"][0], 0)


def test_input_jacobian_is_of_the_sum_of_all_logits(case, ours):
    params, batch = case
    expected = jax.grad(lambda images: NETWORK.apply({"params": params}, images, ARCH).sum())(batch.images)
    np.testing.assert_allclose(ours["input_jacobian"], expected, rtol=1e-9, atol=1e-14)


def test_replace_kernels_changes_only_their_places(case):
    params = {"outer": {"a": 1, "b": 2}, "c": 3}
    assert replace_kernels(params, {"outer/a": 5}) == {"outer": {"a": 5, "b": 2}, "c": 3}
    assert params["outer"]["a"] == 1


def test_sum_over_kernels_pairs_leaves_by_path():
    trees = (
        {"a": jnp.array([1.0, 2.0]), "b": jnp.array([[3.0]])},
        {"b": jnp.array([[10.0]]), "a": jnp.array([4.0, 5.0])},
    )
    assert sum_over_kernels(jnp.multiply, *trees) == 1 * 4 + 2 * 5 + 3 * 10


def test_cross_entropy_of_large_logits_is_finite():
    logits = jnp.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(cross_entropy(logits, jnp.array([1, 2])), (1e4 + np.log(3)) / 2, rtol=1e-12)


def flops(names, case):
    def program(params, batch, arch):
        q = Quantities(NETWORK, params, arch, batch)
        return [PROXIES[name](q) for name in names]

    return jax.jit(program).lower(*case, ARCH).compile().cost_analysis()["flops"]


def test_only_what_is_asked_for_is_computed_and_only_once(case):
    first_order, second_order = flops(["grad_norm"], case), flops(["grasp"], case)
    assert first_order < 0.7 * second_order
    assert flops(["synflow"], case) < 0.5 * first_order  # one image instead of five
    assert flops(["grad_norm", "snip", "fisher"], case) < 1.3 * first_order
    assert flops(["grad_norm", "snip", "fisher", "grasp"], case) < 1.3 * second_order
