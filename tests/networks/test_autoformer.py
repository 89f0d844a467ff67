"""AutoFormer-tiny: numbers of parameters, the space of the network, a search's first steps on tiny images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.networks import AutoFormerTinyNetwork, num_params
from jaxnas.networks.declared.network import DeclaredNetwork
from jaxnas.spaces import AUTOFORMER_TINY, sample

SMALLEST, LARGEST = ("192:12" + 14 * ":h3:r3.5", "240:14" + 14 * ":h4:r4")


def by_hand(width, depth, heads, ratio, relative, head=64):
    """Of an architecture with equal blocks at 224 pixels, for 1,000 classes."""
    inner, hidden = heads * head, int(width * ratio)
    attention = 3 * inner * (width + 1) + width * (inner + 1) + relative * 4 * 30 * head
    block = attention + hidden * (width + 1) + width * (hidden + 1) + 4 * width
    return (16 * 16 * 3 + 1) * width + 198 * width + depth * block + 2 * width + 1000 * (width + 1)


@pytest.mark.parametrize("relative", [0, 14])
def test_parameters_by_hand(relative):
    network = AutoFormerTinyNetwork(num_classes=1000, patch=16, relative=relative)
    images = jnp.zeros((1, 224, 224, 3))
    shapes = jax.eval_shape(network.init, jax.random.key(0), images, jnp.zeros(30, jnp.int8))["params"]
    for text, sizes in {SMALLEST: (192, 12, 3, 3.5), LARGEST: (240, 14, 4, 4)}.items():
        found = int(num_params(network, shapes, AUTOFORMER_TINY.parse(text), images))
        assert found == by_hand(*sizes, relative=relative > 0)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == by_hand(240, 14, 4, 4, relative > 0)


@pytest.mark.parametrize("fields", [{}, {"channels": 1}, {"relative": 3}])
def test_blocks_have_the_choices_of_the_space(fields):
    network = AutoFormerTinyNetwork(**fields)
    options = DeclaredNetwork("other", network.parts()).choice_options()
    assert tuple(map(len, options)) == AUTOFORMER_TINY.num_choices
    assert AUTOFORMER_TINY.parse(":".join(["240", *(str(one[-1]) for one in options[1:])])).tolist() == [
        2,
        2,
        *[1] * 28,
    ]


def test_there_are_no_stages():
    with pytest.raises(InputError, match="`cells_per_stage` must be 1 for autoformer-tiny"):
        AutoFormerTinyNetwork(cells_per_stage=2)


@pytest.mark.slow
def test_scores_of_tiny_images():
    data = jaxnas.standardize(jaxnas.load_images("digits"))
    network = AutoFormerTinyNetwork(num_classes=data.num_classes, channels=1)
    archs = sample(AUTOFORMER_TINY, 3, seed=0)
    batch = jaxnas.Batch(*jaxnas.minibatch(data, 8, seed=0))
    scores = jaxnas.score_archs(network, archs, batch, ["snip", "synflow", "params"])
    assert np.isfinite(scores).all()
    assert len({*map(tuple, scores.tolist())}) == 3
