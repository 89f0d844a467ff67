"""Proxies of blocks of declared networks against a plain loop: each repetition that an architecture has is a block."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.networks.declared.network import Conv, DeclaredNetwork, Repeat, Residual, choice
from jaxnas.networks.params import init_variables
from jaxnas.proxies import Batch, Quantities, az_expressivity, az_progressivity, az_trainability

BLOCKS = (
    Repeat(choice(0, 1, 2), Conv(3)),  # the first repetition takes images
    Repeat(2, Conv(4, size=1)),  # of other widths
    Repeat(choice(1, 2, 3), Residual(Conv()), Conv()),
    Conv(5, stride=2),
    Repeat(choice(0, 1), Residual(Conv())),
)
NETWORK = DeclaredNetwork("repeated", BLOCKS, num_classes=3)
TIMES = list(itertools.product(range(3), range(3), range(2)))  # an architecture has the place of each number
PROXIES = {"expressivity": az_expressivity, "progressivity": az_progressivity, "trainability": az_trainability}
BATCH = Batch(np.random.default_rng(0).normal(size=(3, 6, 6, 3)), np.array([0, 1, 2]))


def scores_of(q):
    return {name: proxy(q) for name, proxy in PROXIES.items()}


@pytest.fixture(scope="module")
def params():
    with jax.enable_x64(True):
        return init_variables(NETWORK, BATCH.images.shape[1:], 3, 0)["params"]


@pytest.fixture(scope="module")
def seen(params):
    """Return what proxies read and what they return, by one program."""

    def program(arch):
        q = Quantities(NETWORK, params, arch, BATCH)
        drawn = {"images": q.noise.images, "params": q._kaiming}
        return drawn | {"blocks": q.blocks, "pairs": q.block_jacobians, "present": q.has_block} | scores_of(q)

    compiled = jax.jit(program, compiler_options={"xla_backend_optimization_level": 0})

    def run(times):
        with jax.enable_x64(True):
            return jax.device_get(compiled(jnp.array(times, jnp.int8)))

    return run


def loop(params, first, repeated, last):
    """Return the blocks of an architecture as functions, one for each repetition that it has."""

    def conv(x, name, *, size=3, stride=1, lead=True):
        margins = [(size // 2, size // 2)] * 2
        x = jnp.maximum(x, 0) if lead else x
        x = jax.lax.conv_general_dilated(
            x, params[name], (stride,) * 2, margins, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        mean, variance = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
        return (x - mean) / jnp.sqrt(variance + 1e-5)

    def both(number):
        def run(x):
            return conv(x + conv(x, f"block3_{number}_1_1"), f"block3_{number}_2")

        return run

    yield from [lambda x: conv(x, "block1_1_1", lead=False), lambda x: conv(x, "block1_2_1")][:first]
    yield from (lambda x: conv(x, "block2_1_1", size=1), lambda x: conv(x, "block2_2_1", size=1))
    yield from [both(number) for number in (1, 2, 3)[:repeated]]
    yield lambda x: conv(x, "block4", stride=2)
    yield from [lambda x: x + conv(x, "block5_1_1_1")][:last]


def entropy(x):
    shares = np.linalg.eigvalsh(np.cov(x.reshape(-1, x.shape[-1]).T))
    shares = np.maximum(shares, 0) / shares.sum()
    return -(shares * np.log(shares + 1e-8)).sum()


def largest(signs, pulled):
    """The largest singular value of the mean product over the pixels of the output."""
    stride = pulled.shape[1] // signs.shape[1]
    total = np.zeros((stride**2 * pulled.shape[-1], signs.shape[-1]))
    for n, row, column in np.ndindex(signs.shape[:3]):
        square = pulled[n, stride * row : stride * (row + 1), stride * column : stride * (column + 1)]
        total += np.outer(square.reshape(-1), signs[n, row, column])
    return np.linalg.svd(total / signs[..., 0].size, compute_uv=False)[0]


@pytest.mark.parametrize("times", [(0, 0, 0), (1, 2, 0), (2, 1, 1), (0, 2, 1)])
def test_each_repetition_of_the_architecture_is_a_block(times, seen):
    found = seen(times)
    at = np.flatnonzero(found["present"])
    assert len(found["present"]) == 2 + 2 + 3 + 1 + 1
    x, entropies, terms = found["images"], [], []
    with jax.enable_x64(True):
        blocks = list(loop(found["params"], times[0], times[1] + 1, times[2]))
        assert len(blocks) == len(at)
        for number, (place, block) in enumerate(zip(at, blocks, strict=True)):
            out, pullback = jax.vjp(block, x)
            np.testing.assert_allclose(found["blocks"][place], out, rtol=1e-9, atol=1e-9)
            entropies.append(entropy(np.asarray(out)))
            if number:
                signs, pulled = found["pairs"][place - 1]
                (expected,) = pullback(jnp.asarray(signs))
                np.testing.assert_allclose(pulled, expected, rtol=1e-9, atol=1e-9)
                norm = largest(signs, np.asarray(expected))
                terms.append(2 - norm - 1 / (norm + 1e-6))
            x = out
    np.testing.assert_allclose(found["expressivity"], sum(entropies), rtol=1e-8)
    np.testing.assert_allclose(found["progressivity"], np.diff(entropies).min(), rtol=1e-8)
    np.testing.assert_allclose(found["trainability"], np.mean(terms), rtol=1e-8)


@pytest.mark.slow
def test_architectures_together_have_the_scores_of_each_alone(params, seen):
    with jax.enable_x64(True):
        together = jax.jit(jax.vmap(lambda arch: scores_of(Quantities(NETWORK, params, arch, BATCH))))
        found = together(jnp.array(TIMES, jnp.int8))
    for number, times in enumerate(TIMES):
        alone = seen(times)
        for name in PROXIES:
            np.testing.assert_allclose(found[name][number], alone[name], rtol=1e-8)


@pytest.mark.parametrize("present", [[True], [False, True, False]])
def test_without_two_blocks_there_is_neither_growth_nor_a_jacobian(present, params):
    x = np.random.default_rng(0).normal(size=(2, 2, 2, 3))

    def program(x, present):
        q = Quantities(NETWORK, params, jnp.zeros(3, jnp.int8), BATCH)
        others = len(present) - 1
        vars(q).update(blocks=[x, *[x] * others], has_block=present, block_jacobians=[(jnp.sign(x), x)] * others)
        return scores_of(q)

    with jax.enable_x64(True):
        found = jax.jit(program)(x, jnp.array(present))
    assert [name for name in PROXIES if np.isnan(found[name])] == ["progressivity", "trainability"]
    np.testing.assert_allclose(found["expressivity"], entropy(x), rtol=1e-8)
