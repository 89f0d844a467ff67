"""The networks of TransNAS-Bench-101: an encoder that halves the image five times, and the head of a task.

Source: Duan et al. 2021 (arXiv:2105.11871). The architecture is an argument of the call, as in `nasbench201`.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.data.batch import AnyArray
from jaxnas.errors import InputError
from jaxnas.networks.blocks import ConvNorm
from jaxnas.networks.cell import CellConfig, ReducingCell, scan_cells
from jaxnas.networks.heads import HEADS, NUM_PIECES, Head
from jaxnas.networks.layers import end_of_block, rescaled, start_exponent
from jaxnas.networks.network import SearchNetwork
from jaxnas.spaces.transnas101 import OP_NAMES, TRANSNAS101_MICRO


class Stem(nn.Module):
    """Two normalised convolutions of stride 2, a ReLU between them.

    Attributes:
        channels: O, of the output.
        norm: Whether batch normalisation acts.
        train: Whether it uses the statistics of the minibatch.
    """

    channels: int
    norm: bool
    train: bool

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N h w O"]:
        """Return the features, h = ceil(ceil(H / 2) / 2)."""
        x = ConvNorm(self.channels // 2, 2, self.norm, self.train, draw="fan_out", name="first")(x)
        self.sow("relus", "stem", (x, True))
        return ConvNorm(self.channels, 2, self.norm, self.train, draw="fan_out", name="second")(nn.relu(x))


class TransNAS101MicroNetwork(SearchNetwork):
    """Outputs of images under an architecture int8[6]: a stem, five modules of cells, a head.

    Modules 1, 3 and 5 halve the image and double the channels in their first cell; equal cells in a row are one scan.
    Images are [N H W C], for head "jigsaw" the pieces [N 9 h w C]; outputs logits [N K], for head "segmentation" of
    every pixel [N H W K], for "image" an image [N H W K], with H and W multiples of 32.

    The normalisation of cells is affine. `norm` "reduction" and "none" are the same here: no normalisation at all.

    Attributes:
        num_classes: K.
        channels: After the stem.
        cells_per_stage: Cells of each module.
        head: The kind of output, one of `heads`.
    """

    space = TRANSNAS101_MICRO
    groups_ops = True
    heads = HEADS

    num_classes: int = 47
    channels: int = 64
    cells_per_stage: int = 2
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
        norm = self.norm == "all"
        x = Stem(self.channels, norm, train, name="stem")(merge_pieces(images, self.head))
        state = rescaled(end_of_block(self, "after_stem", x), start_exponent(self.keeps_range))
        config = CellConfig(OP_NAMES, True, "fan_out", norm, train, self.capacity, self.reverse, self.fused)
        for stage, num_modules in enumerate((2, 2, 1)):  # a module that reduces, and one that does not
            channels = self.channels * 2 ** (stage + 1)
            state = ReducingCell(config, channels, name=f"reduction{stage + 1}")(state, arch)
            if num_equal := num_modules * self.cells_per_stage - 1:
                state, _ = scan_cells(num_equal, config, name=f"stage{stage + 1}")(state, arch)
        x, exponent = state
        self.sow("features", "last", x)
        self.sow("exponent", "last", exponent)
        head = Head(
            head=self.head,
            num_outputs=self.num_classes,
            channels=self.channels,
            norm=norm,
            train=train,
            num_doublings=5,
            name="head",
        )
        return head(x, exponent)

    def thinnest(self) -> SearchNetwork:
        """Return the classifier of two channels (some layers have half) and one cell per module, with two classes."""
        return self.clone(channels=2, cells_per_stage=1, num_classes=2, head="classification")

    def example_images(self, params: PyTree) -> Float[Array, "1 *P H W C"]:
        """Return zeros of 32 x 32 pixels, or nine such pieces of a puzzle."""
        return example_images(self.head, 32, params)


def example_images(head: str, pixels: int, params: PyTree) -> Float[Array, "1 *P H W C"]:
    """Return zeros of the shape that a network with this head and these params takes."""
    pieces = (NUM_PIECES,) if head == "jigsaw" else ()
    return jnp.zeros((1, *pieces, pixels, pixels, params["stem"]["first"]["conv"].shape[-2]))


def merge_pieces(images: Float[Array, "N *P H W C"], head: str) -> Float[Array, "B H W C"]:
    """Return images as a batch, where the pieces of puzzles come one after another.

    Raises:
        InputError: The shape of the images does not fit the head.
    """
    if images.ndim != (5 if head == "jigsaw" else 4) or (head == "jigsaw" and images.shape[1] != NUM_PIECES):
        wanted = f"[N {NUM_PIECES} h w C], the pieces of each puzzle" if head == "jigsaw" else "[N H W C]"
        raise InputError(f"images of shape {images.shape} do not fit head {head!r}: give {wanted}")
    return images.reshape(-1, *images.shape[-3:])
