"""MobileNets: published numbers of parameters, the space of the network, a search's first steps on tiny images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.networks import MobileNetNetwork, num_params
from jaxnas.networks.declared.network import (
    Activation,
    Conv,
    DeclaredNetwork,
    Dense,
    GlobalAverage,
    InvertedResidual,
    choice,
)
from jaxnas.spaces import MOBILENET, sample

V2_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
V3_BLOCKS = (  # kernel, hidden channels, channels, gate, activation, stride; Howard et al. 2019, table 1
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hardswish", 2),
    (3, 200, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 480, 112, True, "hardswish", 1),
    (3, 672, 112, True, "hardswish", 1),
    (5, 672, 160, True, "hardswish", 2),
    (5, 960, 160, True, "hardswish", 1),
    (5, 960, 160, True, "hardswish", 1),
)


def mobilenet_v2():
    """Sandler et al. 2018, table 2."""
    blocks = [Conv(32, stride=2, activation=None), Activation("relu6")]
    for expansion, width, times, stride in V2_STAGES:
        for number in range(times):
            first = stride if number == 0 else 1
            blocks.append(InvertedResidual(width, expansion, stride=first, activation="relu6"))
    return DeclaredNetwork("v2", (*blocks, Conv(choice(1280), size=1, activation=None)), 1000, "relu6")


def mobilenet_v3_large():
    blocks, channels = [Conv(16, stride=2, activation=None), Activation("hardswish")], 16
    for size, hidden, width, squeeze, activation, stride in V3_BLOCKS:
        blocks.append(InvertedResidual(width, hidden / channels, size, stride, squeeze, activation))
        channels = width
    end = (Conv(960, size=1, activation=None), Activation("hardswish"), GlobalAverage())
    return DeclaredNetwork("v3", (*blocks, *end, Dense(choice(1280), activation=None)), 1000, "hardswish")


def shapes_of(network, images):
    arch = jnp.zeros(len(network.space.num_choices), jnp.int8)
    return jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(images), arch)["params"]


@pytest.mark.parametrize(("make", "published"), [(mobilenet_v2, 3_504_872), (mobilenet_v3_large, 5_483_032)])
def test_published_numbers_of_parameters(make, published):
    """Those of torchvision's models, 3.50 and 5.48 million; only shapes are computed."""
    shapes = shapes_of(make(), (1, 224, 224, 3))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == published


@pytest.mark.parametrize("fields", [{}, {"channels": 4, "cells_per_stage": 2}, {"stem": "imagenet"}])
def test_blocks_have_the_choices_of_the_space(fields):
    network = MobileNetNetwork(**fields)
    assert DeclaredNetwork("other", network.parts()).space.op_names == MOBILENET.op_names
    assert tuple(map(len, network.choice_options())) == MOBILENET.num_choices
    text = ":".join(str(options[-1]) for options in network.choice_options())
    assert MOBILENET.parse(text).tolist() == [2] * 30


def test_the_stem_is_known():
    with pytest.raises(InputError, match="`stem` must be 'cifar' or 'imagenet', got 'patch'"):
        MobileNetNetwork(stem="patch")


def params_by_hand(text, classes):
    """Of an architecture at 16 channels: kernels, biases, two numbers for each normalised channel."""
    total, channels = 27 * 16 + 2 * 16 + 9 * 16 + 16 * 16 + 4 * 16, 16
    widths, gates = (24, 40, 80, 112, 160), (False, True, False, True, True)
    texts = text.split(":")
    for stage, (width, gate) in enumerate(zip(widths, gates, strict=True)):
        size, first, further, *others = texts[6 * stage : 6 * stage + 6]
        for expansion in (first, *others[: int(further)]):
            hidden = channels * int(expansion[1:])
            total += hidden * (channels + int(size[1:]) ** 2 + width) + 4 * hidden + 2 * width
            quarter = 24 if hidden == 72 else (hidden // 4 + 4) // 8 * 8  # 16 is below 90 % of 18
            total += gate * (2 * hidden * quarter + quarter + hidden)
            channels = width
    return total + 160 * 960 + 2 * 960 + 960 * 1280 + 1280 + 1280 * classes + classes


@pytest.mark.slow
def test_parameters_of_an_architecture_by_hand():
    network = MobileNetNetwork(num_classes=7)
    shapes = shapes_of(network, (1, 32, 32, 3))
    arch = sample(MOBILENET, 1, seed=3)[0]
    assert int(num_params(network, shapes, arch)) == params_by_hand(MOBILENET.format(arch), 7)


@pytest.mark.slow
def test_scores_of_tiny_images():
    data = jaxnas.standardize(jaxnas.load_images("digits"))
    network = MobileNetNetwork(num_classes=data.num_classes, channels=1)
    archs = sample(MOBILENET, 3, seed=0)
    batch = jaxnas.Batch(*jaxnas.minibatch(data, 8, seed=0))
    scores = jaxnas.score_archs(network, archs, batch, ["snip", "synflow", "params"])
    assert np.isfinite(scores).all()
    assert len({*map(tuple, scores.tolist())}) == 3
    with pytest.raises(InputError, match=r"nwot, naswot and swap must be left out: .* got hardswish"):
        jaxnas.score_archs(network, archs, batch, ["nwot"])
