"""The DARTS networks against a plain loop over edges in the NCHW layout, and published parameter counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from genotypes import DARTS_V2
from jax import lax

from jaxnas.networks import DARTSNetwork, num_params
from jaxnas.spaces import DARTS, sample

PAIRS = [[(a, b) for b in range(node) for a in range(b)] for node in range(6)]
OPS = ["max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"]
UNOPTIMISED = {"xla_backend_optimization_level": 0}  # both are run once or twice


def relu(x):
    return jnp.maximum(x, 0)


def norm(params, name, x):
    mean, variance = jnp.mean(x, (0, 2, 3), keepdims=True), jnp.var(x, (0, 2, 3), keepdims=True)
    gamma, beta = (params[f"{name}_{kind}"][None, :, None, None] for kind in ("gamma", "beta"))
    return (x - mean) / jnp.sqrt(variance + 1e-5) * gamma + beta


def conv(kernel, x, stride=1, dilation=1, groups=1):
    kernel, margin = jnp.transpose(kernel, (3, 2, 0, 1)), dilation * (kernel.shape[0] // 2)
    how = dict(rhs_dilation=(dilation, dilation), feature_group_count=groups)
    return lax.conv_general_dilated(x, kernel, (stride, stride), [(margin, margin)] * 2, **how)


def halve(even, odd, x):
    shifted = jnp.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)))[:, :, 1:, 1:]
    return jnp.concatenate([conv(even, x, 2), conv(odd, shifted, 2)], axis=1)


def window(x, stride, start, function):
    return lax.reduce_window(x, start, function, (1, 1, 3, 3), (1, 1, stride, stride), [(0, 0), (0, 0), (1, 1), (1, 1)])


def apply_op(params, op, x, stride):
    if op == "max_pool_3x3":
        return window(x, stride, -jnp.inf, lax.max)
    if op == "avg_pool_3x3":
        return window(x, stride, 0.0, lax.add) / window(jnp.ones_like(x), stride, 0.0, lax.add)
    if op == "skip_connect":
        if stride == 1:
            return x
        even, odd = params["skip_connect_even"], params["skip_connect_odd"]
        return norm(params, "skip_connect_norm", halve(even, odd, relu(x)))
    for number in range(2 if op.startswith("sep") else 1):
        kernel, dilation = params[f"{op}_depthwise{number}"], 2 if op.startswith("dil") else 1
        x = conv(kernel, relu(x), 1 if number else stride, dilation, groups=x.shape[1])
        x = norm(params, f"{op}_norm{number}", conv(params[f"{op}_pointwise{number}"], x))
    return x


def squeeze(params, x):
    x = relu(x)
    return norm(
        params, "norm", halve(params["even"], params["odd"], x) if "even" in params else conv(params["conv"], x)
    )


def cell(params, decisions, before, last, reduces):
    states = [squeeze(params["first"], before), squeeze(params["second"], last)]
    for node, (pair, *ops) in enumerate(decisions):
        # pairs in lexicographic order
        sources = sorted(PAIRS[node + 2])[pair]
        total = 0
        for slot, (source, op) in enumerate(zip(sources, ops, strict=True)):
            of_edge = {name: leaf[2 * node + slot] for name, leaf in params.items() if name not in ("first", "second")}
            total = total + apply_op(of_edge, OPS[op], states[source], 2 if reduces and source < 2 else 1)
        states.append(total)
    return jnp.concatenate(states[2:], axis=1)


def plain_logits(params, arch, images, num_cells, stem):
    normal, reduce = np.array(arch).reshape(2, 4, 3).tolist()
    x = jnp.moveaxis(images, -1, 1)
    if stem == "cifar":
        before = last = norm(params["stem"], "norm", conv(params["stem"]["conv"], x))
    else:
        stems = [params[f"stem{number}"] for number in (1, 2, 3)]
        x = relu(norm(stems[0], "norm", conv(stems[0]["conv"], x, 2)))
        before = norm(stems[1], "norm", conv(stems[1]["conv"], x, 2))
        last = norm(stems[2], "norm", conv(stems[2]["conv"], relu(before), 2))
    for stage in (1, 2, 3):
        if stage > 1:
            before, last = last, cell(params[f"stage{stage}_reduce"], reduce, before, last, True)
        for number in range(1, num_cells + 1):
            if f"stage{stage}_cell{number}" in params:
                of_cell = params[f"stage{stage}_cell{number}"]
            else:
                stack = params[f"stage{stage}"]
                position = number - 1 - (num_cells - len(stack["sep_conv_3x3_depthwise0"]))
                of_cell = jax.tree.map(lambda leaf, position=position: leaf[position], stack)
            before, last = last, cell(of_cell, normal, before, last, False)
    return last.mean((2, 3)) @ params["classifier"] + params["classifier_bias"][None]


SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in (("cifar", 4, 9), ("imagenet", 2, 32))]


@pytest.mark.parametrize(("stem", "num_cells", "pixels"), [("cifar", 1, 8), *SLOW])
def test_equals_the_plain_loop(stem, num_cells, pixels):
    """Also with sides that are odd, and with cells in a scan."""
    with jax.enable_x64(True):
        network = DARTSNetwork(num_classes=3, channels=4, cells_per_stage=num_cells, stem=stem)
        images = np.random.default_rng(0).normal(size=(2, pixels, pixels, 3))
        start = jnp.asarray(images), jnp.zeros(24, jnp.int8)
        shapes = jax.eval_shape(network.init, jax.random.key(0), *start)["params"]
        rng = np.random.default_rng(1)
        params = jax.tree.map(lambda leaf: 0.3 * rng.normal(size=leaf.shape), shapes)
        apply = jax.jit(network.apply, compiler_options=UNOPTIMISED)
        plain = jax.jit(plain_logits, static_argnums=(1, 3, 4), compiler_options=UNOPTIMISED)
        for arch in sample(DARTS, 2, seed=num_cells):
            expected = plain(params, tuple(arch.tolist()), images, num_cells, stem)
            np.testing.assert_allclose(apply({"params": params}, images, arch), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "pixels", "count"),
    [
        ({"channels": 36, "cells_per_stage": 6}, 32, 3_349_342),  # as DARTS' own log of DARTS_V2 says, 3.349342 M
        ({"channels": 48, "cells_per_stage": 4, "stem": "imagenet", "num_classes": 1000}, 224, 4_718_752),  # 4.7 M
    ],
)
def test_parameters_of_the_published_genotype(fields, pixels, count):
    network = DARTSNetwork(**fields)
    images, arch = jnp.zeros((2, pixels, pixels, 3)), DARTS.parse(DARTS_V2)
    params = jax.eval_shape(network.init, jax.random.key(0), images, arch)["params"]
    assert int(num_params(network, params, arch)) == count


def test_the_second_head_is_sown_in_training():
    network = DARTSNetwork(num_classes=5, channels=4, cells_per_stage=1, auxiliary=True)
    images, arch = jnp.zeros((2, 32, 32, 3)), jnp.zeros(24, jnp.int8)
    params = jax.eval_shape(network.init, jax.random.key(0), images, arch)["params"]
    apply = lambda params: network.apply({"params": params}, images, arch, mutable=["auxiliary"])  # noqa: E731
    logits, sown = jax.eval_shape(apply, params)
    assert logits.shape == sown["auxiliary"]["logits"][0].shape == (2, 5)
