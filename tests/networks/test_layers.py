"""Layers as they are drawn, and their taps against explicit definitions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.networks.layers import apply_layer, weight_layer


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


class Layers(nn.Module):
    """Two stacked convolutions with tanh behind, then a linear layer: all that `weight_layer` can declare."""

    @nn.compact
    def __call__(self, x, additions=(0.0, 0.0, 0.0)):
        stacked = weight_layer(self, "stacked", (3, 3, 2, 2), batch=len(x), stack=(2,), bias=True)
        last = weight_layer(self, "last", (2, 3), batch=len(x), bias=True)
        outputs = []
        for index in range(2):
            layer = jax.tree.map(lambda leaf, i=index: leaf[i], stacked)
            outputs.append(apply_layer(layer, x))
            x = jnp.tanh(outputs[-1] + additions[index])
        outputs.append(apply_layer(last, x.mean((1, 2))))
        return outputs[-1] + additions[2], outputs


@pytest.fixture
def case():
    """(loss of params, taps and additions; variables; layer outputs) at a random point."""
    rng = np.random.default_rng(2)
    images, probe = jnp.asarray(rng.normal(size=(3, 4, 5, 2))), rng.normal(size=(3, 3))
    variables = Layers().init(jax.random.key(0), images)
    variables = {
        **variables,
        "params": jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), variables["params"]),
    }

    def loss(variables, additions=(0.0, 0.0, 0.0)):
        return jnp.square(Layers().apply(variables, images, additions)[0] * probe).sum()

    return loss, variables, Layers().apply(variables, images)[1]


def test_taps_have_one_scale_per_layer_and_one_gate_per_image_and_channel(case):
    _, variables, _ = case
    assert jax.tree.map(jnp.shape, variables["scales"]) == {"stacked": (2,), "last": ()}
    assert jax.tree.map(jnp.shape, variables["gates"]) == {"stacked": (2, 3, 2), "last": (3, 3)}


def test_absent_taps_are_one(case):
    loss, variables, _ = case
    np.testing.assert_array_equal(loss({"params": variables["params"]}), loss(variables))


def test_derivative_along_a_scale_is_that_along_the_kernel(case):
    loss, variables, _ = case
    gradient = jax.grad(loss)(variables)
    for name, of_scale in gradient["scales"].items():
        products = variables["params"][name] * gradient["params"][name]
        np.testing.assert_allclose(of_scale, products.sum(tuple(range(of_scale.ndim, products.ndim))), rtol=1e-10)


def test_scale_leaves_the_bias_alone(case):
    """A finite difference: the layer is scale (x * kernel) + bias."""
    loss, variables, _ = case
    step = 1e-6

    def scaled(factor):
        params = {**variables["params"], "stacked": variables["params"]["stacked"] * factor}
        return loss({"params": params})

    expected = (scaled(1 + step) - scaled(1 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(loss)(variables)["scales"]["stacked"].sum(), expected, rtol=1e-7)


def test_gates_hold_the_sum_over_pixels_of_output_times_gradient(case):
    loss, variables, outputs = case
    additions = tuple(jnp.zeros_like(out) for out in outputs)
    products = [a * g for a, g in zip(outputs, jax.grad(loss, argnums=1)(variables, additions), strict=True)]
    gates = jax.grad(loss)(variables)["gates"]
    np.testing.assert_allclose(gates["stacked"], [product.sum((1, 2)) for product in products[:2]], rtol=1e-10)
    np.testing.assert_allclose(gates["last"], products[2], rtol=1e-10)


def test_kernels_and_biases_are_drawn_as_pytorch_draws_them():
    """U(-b, b), b = 1/sqrt(fan in): extremes within 2 % of b, standard deviation b / sqrt(3)."""

    class Wide(nn.Module):
        @nn.compact
        def __call__(self, x):
            return weight_layer(self, "conv", (3, 3, 40, 60), batch=len(x), stack=(3,), bias=True).kernel

    params = Wide().init(jax.random.key(0), jnp.zeros((1, 2, 2, 40)))["params"]
    bound = 360**-0.5
    for leaf in params.values():
        assert np.abs(leaf).max() < bound
    kernel = params["conv"]
    np.testing.assert_allclose([kernel.max(), -kernel.min()], bound, rtol=0.02)
    np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.02)
    assert not np.array_equal(kernel[0], kernel[1])
