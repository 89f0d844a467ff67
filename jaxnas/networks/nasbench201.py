"""The NAS-Bench-201 network: stem, three stages of equal cells with residual blocks between them, linear classifier.

Source: Dong and Yang 2020 (arXiv:2001.00326). The architecture is an argument of the call: every edge holds the tensors
of both convolutions (a supernet), and an architecture uses those of its ops. One compiled program serves all.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.data.batch import AnyArray
from jaxnas.networks.blocks import ConvNorm, classify
from jaxnas.networks.cell import CellConfig, scan_cells
from jaxnas.networks.kernels.pools import average_pool_2x2
from jaxnas.networks.layers import (
    Exponent,
    apply_batch_norm,
    apply_layer,
    batch_norm_layer,
    end_of_block,
    in_units,
    record_statistics,
    rescaled,
    start_exponent,
    weight_layer,
)
from jaxnas.networks.network import SearchNetwork, check_images
from jaxnas.spaces.nasbench201 import NASBENCH201, OP_NAMES


class ReductionBlock(nn.Module):
    """Residual block that halves the image and doubles the channels; the shortcut has no normalisation.

    Attributes:
        norm: Whether batch normalisation acts.
        train: Whether it uses the statistics of the minibatch.
    """

    norm: bool
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"], exponent: Exponent) -> Float[Array, "N h w O"]:
        """Return the output in the units of the input, whose `exponent` is given; O = 2 C."""
        channels = 2 * x.shape[-1]
        lifted = x
        if self.norm and exponent is not None:  # beyond 2^20 the epsilon of normalisation does not count
            lifted = in_units(x, -jnp.minimum(exponent, 20))
        self.sow("relus", "a", (x, True))
        out = ConvNorm(channels, 2, self.norm, self.train, name="conv_a")(nn.relu(lifted))
        self.sow("relus", "b", (out, True))
        out = ConvNorm(channels, 1, self.norm, self.train, name="conv_b")(nn.relu(out))
        out = in_units(out, exponent) if self.norm else out
        shortcut = weight_layer(self, "shortcut", (1, 1, x.shape[-1], channels), batch=x.shape[0])
        pooled = average_pool_2x2(x)
        self.sow("pools", "shortcut", 4.0 * pooled.size)
        return end_of_block(self, "output", out + apply_layer(shortcut, pooled))


class NASBench201Network(SearchNetwork):
    """Logits [N K] of images [N H W C] under an architecture int8[6].

    Attributes:
        num_classes: K.
        channels: Channels of the cells of the first stage; each later stage has twice those of the one before.
        cells_per_stage: Cells in each of the three stages.
        affine: The normalisation of cells has gamma and beta and their convolutions no bias, as in the official
            training; or the reverse, as in zero-cost-nas (arXiv:2101.08134).
    """

    space = NASBENCH201
    groups_ops = True

    num_classes: int = 10
    channels: int = 16
    cells_per_stage: int = 5
    affine: bool = False

    @nn.compact
    def __call__(
        self, images: Float[AnyArray, "N H W C"], arch: Int8[AnyArray, " D"], *, train: bool = True
    ) -> Float[Array, "N K"]:
        """Return the logits.

        Raises:
            InputError: The shape of the images is not [N, H, W, C].
        """
        images, arch = jnp.asarray(images), jnp.asarray(arch)
        check_images(images, "NAS-Bench-201")
        everywhere, exponent = self.norm == "all", start_exponent(self.keeps_range)
        config = CellConfig(OP_NAMES, self.affine, "fan_in", everywhere, train, self.capacity, self.reverse, self.fused)
        x = end_of_block(self, "after_stem", ConvNorm(self.channels, 1, everywhere, train, name="stem")(images))
        for stage in range(3):
            if stage > 0:
                x = ReductionBlock(self.norm != "none", train, name=f"reduction{stage}")(x, exponent)
                x, exponent = rescaled(x, exponent)
            (x, exponent), _ = scan_cells(self.cells_per_stage, config, name=f"stage{stage + 1}")((x, exponent), arch)
        norm = batch_norm_layer(self, "norm", x.shape[-1])
        if everywhere:
            x, norm = apply_batch_norm(norm, x, train=train)
            record_statistics(self, "norm", norm)
        self.sow("relus", "last", (x, True))
        x = nn.relu(x)
        self.sow("features", "last", x)
        self.sow("exponent", "last", exponent)
        return classify(self, x, self.num_classes, exponent)

    def thinnest(self) -> SearchNetwork:
        """Return the network of one channel and one cell per stage, with two classes."""
        return self.clone(channels=1, cells_per_stage=1, num_classes=2)

    def example_images(self, params: PyTree) -> Float[Array, "1 H W C"]:
        """Return zeros [1, 8, 8, C], C the channels that the stem takes."""
        return jnp.zeros((1, 8, 8, params["stem"]["conv"].shape[-2]))
