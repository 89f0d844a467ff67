"""Pooling and normalisation against plain NumPy, and the taps against explicit definitions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.networks.kernels.pools import average_pool_2x2, average_pool_3x3
from jaxnas.networks.layers import BatchNorm, apply_batch_norm, apply_layer, weight_layer


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("shape", [(2, 5, 4, 3), (1, 1, 1, 2), (1, 1, 6, 1), (2, 2, 3, 1)])
def test_average_pool_3x3_counts_only_pixels_inside(shape):
    x = np.random.default_rng(0).normal(size=shape)
    expected = np.empty_like(x)
    for row in range(shape[1]):
        for column in range(shape[2]):
            window = x[:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            expected[:, row, column] = window.mean((1, 2))
    np.testing.assert_allclose(average_pool_3x3(x), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("shape", [(2, 4, 6, 3), (1, 5, 3, 2), (1, 1, 2, 1)])
def test_average_pool_2x2_takes_what_there_is_of_a_block(shape):
    x = np.random.default_rng(0).normal(size=shape)
    height, width = -(-shape[1] // 2), -(-shape[2] // 2)
    expected = np.empty((shape[0], height, width, shape[3]))
    for row in range(height):
        for column in range(width):
            expected[:, row, column] = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean((1, 2))
    np.testing.assert_allclose(average_pool_2x2(x), expected, rtol=1e-13)


def test_pools_keep_float32():
    x = np.ones((1, 4, 4, 1), np.float32)
    assert average_pool_3x3(x).dtype == average_pool_2x2(x).dtype == np.float32


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_equals_numpy(affine, train):
    rng = np.random.default_rng(1)
    x = rng.normal(2.0, 3.0, size=(4, 3, 5, 2))
    gamma, beta = rng.normal(size=(2, 2)) if affine else (None, None)
    mean, variance = rng.normal(size=2), rng.uniform(1, 2, size=2)
    out, moved = apply_batch_norm(BatchNorm(gamma, beta, mean, variance), x, train=train)
    of_batch = x.mean((0, 1, 2)), x.var((0, 1, 2))
    used_mean, used_variance = of_batch if train else (mean, variance)
    expected = (x - used_mean) / np.sqrt(used_variance + 1e-5)
    if affine:
        expected = expected * gamma + beta
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)
    if train:  # PyTorch's rule: momentum 0.1, the unbiased variance
        mean, variance = 0.9 * mean + 0.1 * of_batch[0], 0.9 * variance + 0.1 * x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(moved.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(moved.variance, variance, rtol=1e-13)


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
    images, probe = rng.normal(size=(3, 4, 5, 2)), rng.normal(size=(3, 3))
    variables = Layers().init(jax.random.key(0), images)
    variables = {**variables, "params": jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), variables["params"])}

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
