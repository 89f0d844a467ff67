"""The smallest search space and network that use every part of the contract: compiled in a second."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnas.networks.layers import (
    apply_batch_norm,
    apply_layer,
    batch_norm_layer,
    end_of_block,
    global_average,
    record_statistics,
    weight_layer,
)
from jaxnas.networks.network import SearchNetwork
from jaxnas.spaces import SearchSpace

NONE, SKIP, CONV = range(3)

TINY = SearchSpace(
    name="tiny",
    op_names=("none", "skip", "conv"),
    num_choices=(3, 3),
    parse=lambda text: np.array([int(digit) for digit in text], np.int8),
    format=lambda arch: "".join(map(str, arch)),
    canonicalize=lambda archs: archs,
    network_class=lambda archs: np.ravel_multi_index(tuple(np.asarray(archs).T), (3, 3)),
)


class TinyNetwork(SearchNetwork):
    """A 3x3 convolution with normalisation, two decisions among nothing, identity and ReLU-conv1x1, a classifier."""

    space = TINY

    num_classes: int = 3
    normalised = False  # whether the stem is declared as normalised; its scale then does not affect the curvature

    @nn.compact
    def __call__(self, images, arch, *, train=True):
        declare = dict(batch=images.shape[0])
        normalised = self.normalised and self.norm == "all"
        x = apply_layer(
            weight_layer(self, "stem", (3, 3, images.shape[-1], 4), normalised=normalised, **declare), images
        )
        norm = batch_norm_layer(self, "norm", 4)
        if self.norm == "all":
            x, norm = apply_batch_norm(norm, x, train=train)
            record_statistics(self, "norm", norm)
        x = end_of_block(self, "after_stem", x)
        convs = weight_layer(self, "conv", (1, 1, 4, 4), stack=(2,), bias=True, used=arch == CONV, **declare)
        for decision in range(2):
            conv = jax.tree.map(lambda leaf, d=decision: leaf[d], convs)
            self.sow("relus", f"conv{decision}", (x, arch[decision] == CONV))
            branches = [jnp.zeros_like, lambda x: x, lambda x, conv=conv: apply_layer(conv, nn.relu(x))]
            x = end_of_block(self, f"after_conv{decision}", lax.switch(arch[decision].astype(jnp.int32), branches, x))
        self.sow("relus", "last", (x, True))
        x = nn.relu(x)
        self.sow("features", "last", x)
        classifier = weight_layer(self, "classifier", (4, self.num_classes), bias=True, **declare)
        return apply_layer(classifier, global_average(self, x))

    def example_images(self, params):
        return jnp.zeros((1, 4, 4, params["stem"].shape[-2]))
