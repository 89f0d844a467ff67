"""The networks of DARTS, for CIFAR and ImageNet: two stems, cells that see the outputs of the last two, a classifier.

The genotype is an argument of the call, see `jaxnas.networks.darts_cell`. One compiled program serves all genotypes.

Source: Liu, Simonyan and Yang 2019 (arXiv:1806.09055).
"""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.data.batch import AnyArray
from jaxnas.networks.blocks import ConvNorm, classify
from jaxnas.networks.darts_cell import GenotypeCell, State, scan_equal_cells
from jaxnas.networks.layers import (
    RunMode,
    apply_batch_norm,
    apply_layer,
    batch_norm_layer,
    end_of_block,
    record_statistics,
    rescaled,
    start_exponent,
    weight_layer,
)
from jaxnas.networks.network import SearchNetwork
from jaxnas.spaces.darts import CELLS, DARTS, NODES


class AuxiliaryHead(nn.Module):
    """Logits from features in the middle of the network: 2x2 averages over 5x5 windows, 1x1, 2x2, linear layer.

    Attributes:
        num_classes: K.
        mode: The settings of the call.
    """

    num_classes: int
    mode: RunMode

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N K"]:
        """Return the logits."""
        x, size = nn.relu(x), min(5, *x.shape[1:3])
        x = jnp.stack([x[:, :size], x[:, -size:]], 1).mean(2)
        x = jnp.stack([x[:, :, :size], x[:, :, -size:]], 2).mean(3)
        for name, channels in (("conv_a", 128), ("conv_b", 768)):
            x = x if name == "conv_a" else x.reshape(len(x), 1, 1, -1)  # the 2x2 convolution, which leaves one pixel
            layer = weight_layer(self, name, (1, 1, x.shape[-1], channels), batch=len(x), normalised=self.mode.norm)
            x, norm = apply_layer(layer, x), batch_norm_layer(self, f"{name}_norm", channels)
            if self.mode.norm:
                x, norm = apply_batch_norm(norm, x, train=self.mode.train)
                record_statistics(self, f"{name}_norm", norm)
            x = nn.relu(x)
        return classify(self, x, self.num_classes)


class DARTSNetwork(SearchNetwork):
    """Logits [N K] of images [N H W C] under a genotype int8[24].

    A call with `drop_path`, a rate, drops the output of an edge for each image with that probability, except of an
    identity, and needs a generator of that name. `norm` "reduction" and "none" are the same here: no normalisation.

    Attributes:
        num_classes: K.
        channels: Channels of the nodes of a normal cell before the first reduction.
        cells_per_stage: Normal cells n in each of three stages with a reduction cell between them; the `layers` of
            DARTS are 3 n + 2: 6 for 20, 4 for 14, 2 for 8, 1 for 5.
        stem: "cifar", or "imagenet", which first halves the image three times.
        auxiliary: Whether a second head follows the second reduction, whose logits are sown as "auxiliary".
    """

    space = DARTS

    num_classes: int = 10
    channels: int = 36
    cells_per_stage: int = 6
    stem: Literal["cifar", "imagenet"] = "cifar"
    auxiliary: bool = False

    @property
    def drops_paths(self) -> bool:
        """See `SearchNetwork.drops_paths`."""
        return True

    @nn.compact
    def __call__(
        self,
        images: Float[AnyArray, "N H W C"],
        arch: Int8[AnyArray, " D"],
        *,
        train: bool = True,
        drop_path: Float[Array, ""] | None = None,
    ) -> Float[Array, "N K"]:
        """Return the logits."""
        images, arch = jnp.asarray(images), jnp.asarray(arch)
        mode = RunMode(self.norm == "all", train, self.reverse)
        state: State = rescaled(self._stem(images, mode.norm, train), start_exponent(self.keeps_range))
        decisions = dict(zip(CELLS, arch.reshape(len(CELLS), len(NODES), 3), strict=True))
        halves_first = self.stem == "imagenet"
        for stage in range(3):
            channels = self.channels * 2**stage
            if stage > 0:
                cell = GenotypeCell(channels, True, halves_first, mode, name=f"stage{stage + 1}_reduce")
                state, _ = cell(state, decisions["reduce"], drop_path)
                halves_first = True
            if stage == 2 and self.auxiliary:
                logits = AuxiliaryHead(self.num_classes, mode, name="auxiliary")(state[0][1])
                self.sow("auxiliary", "logits", logits)
            for number in range(self.cells_per_stage):
                left, outputs = self.cells_per_stage - number, len(NODES) * channels
                if left > 1 and not halves_first and all(x.shape[-1] == outputs for x in state[0]):
                    cells = scan_equal_cells(left, channels, mode, f"stage{stage + 1}")
                    state, _ = cells(state, decisions["normal"], drop_path)
                    break
                cell = GenotypeCell(channels, False, halves_first, mode, name=f"stage{stage + 1}_cell{number + 1}")
                state, _ = cell(state, decisions["normal"], drop_path)
                halves_first = False
        (_, x), exponent = state
        self.sow("features", "last", x)
        self.sow("exponent", "last", exponent)
        return classify(self, x, self.num_classes, exponent)

    def _stem(self, images: Float[Array, "N H W C"], norm: bool, train: bool) -> tuple[Array, Array]:
        """Return the two inputs of the first cell."""
        if self.stem == "cifar":
            x = end_of_block(self, "after_stem", ConvNorm(3 * self.channels, 1, norm, train, name="stem")(images))
            return x, x
        x = ConvNorm(self.channels // 2, 2, norm, train, name="stem1")(images)
        self.sow("relus", "in_stem1", (x, True))
        first = ConvNorm(self.channels, 2, norm, train, name="stem2")(nn.relu(x))
        self.sow("relus", "in_stem2", (first, True))
        second = ConvNorm(self.channels, 2, norm, train, name="stem3")(nn.relu(first))
        return first, end_of_block(self, "after_stem", second)

    @property
    def has_auxiliary_head(self) -> bool:
        """Whether the call sows the logits of a second head as "auxiliary"."""
        return self.auxiliary

    def thinnest(self) -> SearchNetwork:
        """Return the network of two channels (some layers have half) and one cell per stage, with two classes."""
        return self.clone(channels=2, cells_per_stage=1, num_classes=2)

    def example_images(self, params: PyTree) -> Float[Array, "1 H W C"]:
        """Return zeros [1, 32, 32, C], C the channels that the stem takes."""
        stem = params["stem" if self.stem == "cifar" else "stem1"]
        return jnp.zeros((1, 32, 32, stem["conv"].shape[-2]))
