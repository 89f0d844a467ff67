"""The networks of TransNAS-Bench-101 macro: modules of residual blocks that double channels or halve the image.

The skeleton is an argument of the call, see `jaxnas.networks.skeleton`. One compiled program serves all 3,256.

Source: Duan et al. 2021 (arXiv:2105.11871).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, Int32, PyTree

from jaxnas.data.batch import AnyArray
from jaxnas.networks.heads import HEADS
from jaxnas.networks.layers import OF_LAYERS, RunMode, rescaled, start_exponent
from jaxnas.networks.network import SearchNetwork
from jaxnas.networks.skeleton import PLAIN, Frame, SkeletonBlock, pack
from jaxnas.networks.skeleton_head import SkeletonHead
from jaxnas.networks.transnas101 import Stem, example_images, merge_pieces
from jaxnas.spaces.transnas101 import NUM_MODULES, TRANSNAS101_MACRO

BLOCKS_PER_MODULE = 2


class TransNAS101MacroNetwork(SearchNetwork):
    """Outputs of images under a skeleton int8[6]: a stem, 4 to 6 modules of residual blocks, a head.

    Images and outputs are those of `TransNAS101MicroNetwork`; for images to come out, H and W are multiples of 64.

    Attributes:
        num_classes: K.
        channels: After the stem.
        cells_per_stage: Blocks of each module.
        head: The kind of output, one of `heads`.
    """

    space = TRANSNAS101_MACRO
    heads = HEADS

    num_classes: int = 47
    channels: int = 64
    cells_per_stage: int = BLOCKS_PER_MODULE
    head: str = "classification"

    @nn.compact
    def __call__(
        self, images: Float[AnyArray, "N *P H W C"], arch: Int8[AnyArray, " D"], *, train: bool = True
    ) -> Float[Array, "N *h K"]:
        """Return the outputs of the head.

        Raises:
            InputError: The shape of the images does not fit the head.
        """
        images, arch = jnp.asarray(images), jnp.asarray(arch)
        mode = RunMode(self.norm == "all", train, self.reverse)
        x = Stem(self.channels, mode.norm, train, name="stem")(merge_pieces(images, self.head))
        frame = Frame(*x.shape[1:])
        blocks = nn.scan(
            SkeletonBlock,
            variable_axes=dict.fromkeys(OF_LAYERS, 0),
            split_rngs={"params": True},
            length=max(NUM_MODULES) * self.cells_per_stage,
        )
        packed = rescaled(pack(x, frame.size), start_exponent(self.keeps_range))
        start = packed, jnp.int32(0), jnp.int32(0)
        kinds = _kinds(arch, self.cells_per_stage)
        (state, width, strides), _ = blocks(frame, mode, name="blocks")(start, kinds)
        self.sow("features", "last", state[0][:, None, None, :])
        self.sow("exponent", "last", state[1])
        head = SkeletonHead(
            head=self.head,
            num_outputs=self.num_classes,
            channels=self.channels,
            norm=mode.norm,
            train=train,
            frame=frame,
            reverse=self.reverse,
            name="head",
        )
        return head(state, width, strides)

    def thinnest(self) -> SearchNetwork:
        """Return the classifier of two channels (some layers have half) and one block per module, with two classes."""
        return self.clone(channels=2, cells_per_stage=1, num_classes=2, head="classification")

    def example_images(self, params: PyTree) -> Float[Array, "1 *P H W C"]:
        """Return zeros of 64 x 64 pixels, or nine such pieces of a puzzle."""
        return example_images(self.head, 64, params)


def _kinds(arch: Int8[Array, " D"], blocks_per_module: int) -> Int32[Array, " L"]:
    """Return the kind of every block: the first of a module has that of the module, the others keep the shape."""
    later = jnp.where(arch > 0, PLAIN, 0)
    return jnp.stack([arch, *[later] * (blocks_per_module - 1)], axis=1).astype(jnp.int32).reshape(-1)
