"""The networks of NATS-Bench's size space: a fixed cell, and residual blocks that halve the image, of chosen widths."""

from jaxnas.networks.declared.blocks import Cell, Residual
from jaxnas.networks.declared.choices import choice
from jaxnas.networks.declared.flow import Part
from jaxnas.networks.declared.match import Match
from jaxnas.networks.declared.network import BlockNetwork
from jaxnas.networks.declared.ops import Conv, Skip
from jaxnas.networks.network import SearchNetwork
from jaxnas.spaces.natsbench_size import NATSBENCH_SIZE, WIDTHS


class NATSBenchSizeNetwork(BlockNetwork):
    """Logits [N K] of images [N H W C] under an architecture int8[5] of `jaxnas.spaces.NATSBENCH_SIZE`.

    A convolution and a cell of the first width, then twice a residual block that halves the image and a cell, of the
    next widths; normalisation, ReLU, the average over pixels and a linear layer. The cell is one of NAS-Bench-201,
    with a skip from its input to its output and nor_conv_3x3 on the other five edges; the skip is a normalised 1x1
    convolution where a cell changes the width.

    Attributes:
        num_classes: K.
        channels: The narrowest width; the others are 2 to 8 times as many.
        cells_per_stage: Cells of each of three stages, the further ones of the width of the first.

    Source: Dong et al. 2021 (arXiv:2009.00437).
    """

    space = NATSBENCH_SIZE

    num_classes: int = 10
    channels: int = WIDTHS[0]
    cells_per_stage: int = 1

    def parts(self) -> tuple[Part, ...]:
        """See `BlockNetwork.parts`."""
        width = choice(*(self.channels * option // WIDTHS[0] for option in WIDTHS))
        conv = Conv()
        equal = Cell(conv, conv, conv, Skip(), conv, conv)
        resizing = Cell(conv, conv, conv, Match(), conv, conv, width=width)
        rest = (equal,) * (self.cells_per_stage - 1)
        stage = (Residual(Conv(width, stride=2), conv), resizing, *rest)
        return (Conv(width), equal, *rest, *stage, *stage)

    def normalises_last(self) -> bool:
        """See `BlockNetwork.normalises_last`."""
        return True

    def thinnest(self) -> SearchNetwork:
        """Return the network of widths from 1 to 8 and one cell per stage, with two classes."""
        return self.clone(channels=1, cells_per_stage=1, num_classes=2)
