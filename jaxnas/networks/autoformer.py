"""Networks of AutoFormer-tiny: vision transformers whose width, depth, heads and ratios an architecture decides."""

from jaxnas.errors import InputError
from jaxnas.networks.activations import ActivationName
from jaxnas.networks.declared.blocks import Repeat, Residual
from jaxnas.networks.declared.choices import choice
from jaxnas.networks.declared.flow import Part
from jaxnas.networks.declared.network import BlockNetwork
from jaxnas.networks.declared.tokens import LayerNorm, PatchEmbed, PatchMean
from jaxnas.networks.declared.transformer import Attention, Mlp
from jaxnas.networks.network import SearchNetwork
from jaxnas.spaces.autoformer import AUTOFORMER_TINY, DEPTHS, HEADS, RATIOS, WIDTHS

PUBLISHED_CHANNELS, PUBLISHED_HEAD = 16, 64


class AutoFormerTinyNetwork(BlockNetwork):
    """Logits [N K] of images [N H W C] under an architecture int8[30] of `jaxnas.spaces.autoformer.AUTOFORMER_TINY`.

    Patches with a class token and learned positions, blocks of attention and two layers with a gelu between them,
    layer normalisation, the mean over the patches and the classifier, as in AutoFormer. Kernels of the blocks, class
    token and positions are drawn from N(0, 0.02^2).

    Attributes:
        num_classes: K.
        channels: 16 gives the published widths of 192, 216 and 240, with 64 for each head; all are in proportion.
        cells_per_stage: 1, as there are no stages.
        patch: Side of a patch in pixels, which divides the sides of the images; published is 16, for 224 pixels.
        relative: The largest distance of relative positions, see `Attention`; 0 for none. Published is 14.

    Source: Chen et al. 2021 (arXiv:2107.00651), Touvron et al. 2021 (arXiv:2012.12877).
    """

    space = AUTOFORMER_TINY

    num_classes: int = 10
    channels: int = PUBLISHED_CHANNELS
    cells_per_stage: int = 1
    patch: int = 4
    relative: int = 0

    def __post_init__(self) -> None:
        """Check the number of cells."""
        if self.cells_per_stage != 1:
            raise InputError(
                f"`cells_per_stage` must be 1 for {AUTOFORMER_TINY.name}, which has no stages, got "
                f"{self.cells_per_stage}"
            )
        super().__post_init__()

    def parts(self) -> tuple[Part, ...]:
        """See `BlockNetwork.parts`."""
        attention = Attention(choice(*HEADS), self._scaled(PUBLISHED_HEAD), self.relative)
        return (
            PatchEmbed(choice(*map(self._scaled, WIDTHS)), self.patch),
            Repeat(
                choice(*DEPTHS),
                Residual(LayerNorm(), attention),
                Residual(LayerNorm(), Mlp(choice(*RATIOS))),
            ),
            LayerNorm(),
            PatchMean(),
        )

    def last_activation(self) -> ActivationName | None:
        """See `BlockNetwork.last_activation`."""
        return None

    def thinnest(self) -> SearchNetwork:
        """Return the network of the fewest channels, which has two classes and patches of one pixel."""
        return self.clone(channels=1, patch=1, num_classes=2)

    def _scaled(self, published: int) -> int:
        return round(published * self.channels / PUBLISHED_CHANNELS)
