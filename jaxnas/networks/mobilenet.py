"""Networks like MobileNetV3-Large, whose expansions, kernel sizes and depths an architecture decides."""

from typing import Literal, NamedTuple

from jaxnas.errors import InputError
from jaxnas.networks.activations import ActivationName
from jaxnas.networks.declared.blocks import Repeat
from jaxnas.networks.declared.choices import choice
from jaxnas.networks.declared.flow import Part
from jaxnas.networks.declared.inverted import InvertedResidual, multiple_of_eight
from jaxnas.networks.declared.network import BlockNetwork
from jaxnas.networks.declared.ops import Activation, Conv, Dense, GlobalAverage
from jaxnas.networks.network import SearchNetwork
from jaxnas.spaces.mobilenet import EXPANSIONS, FURTHER, MOBILENET, SIZES


class Stage(NamedTuple):
    """Blocks of one width.

    Attributes:
        width: Channels, where the stem has 16.
        stride: Of the first block.
        squeeze: Whether blocks have a gate.
        activation: Of the blocks.
    """

    width: int
    stride: int
    squeeze: bool
    activation: ActivationName


STAGES = (
    Stage(24, 2, squeeze=False, activation="relu"),
    Stage(40, 2, squeeze=True, activation="relu"),
    Stage(80, 2, squeeze=False, activation="hardswish"),
    Stage(112, 1, squeeze=True, activation="hardswish"),
    Stage(160, 2, squeeze=True, activation="hardswish"),
)
PUBLISHED_CHANNELS, LAST, HEAD = 16, 960, 1280  # of the stem, of the last convolution and of the layer after the mean


class MobileNetNetwork(BlockNetwork):
    """Logits [N K] of images [N H W C] under an architecture int8[30] of `jaxnas.spaces.mobilenet.MOBILENET`.

    A convolution, an inverted residual block of expansion 1, the five stages, a convolution of 1x1 pixels, the average
    over pixels, a linear layer and the classifier, as in MobileNetV3-Large. Its batch normalisation has the epsilon
    1e-5 here.

    Attributes:
        num_classes: K.
        channels: Of the stem; all widths are in proportion, rounded to multiples of 8.
        cells_per_stage: Equal blocks at the start of each stage.
        stem: "cifar", which halves the image three times, or "imagenet", which also halves it in the stem and in the
            first stage.

    Source: Howard et al. 2019 (arXiv:1905.02244), Cai et al. 2020 (arXiv:1908.09791).
    """

    space = MOBILENET

    num_classes: int = 10
    channels: int = PUBLISHED_CHANNELS
    cells_per_stage: int = 1
    stem: Literal["cifar", "imagenet"] = "cifar"

    def __post_init__(self) -> None:
        """Check the stem."""
        if self.stem not in ("cifar", "imagenet"):
            raise InputError(f"`stem` must be 'cifar' or 'imagenet', got {self.stem!r}")
        super().__post_init__()

    def parts(self) -> tuple[Part, ...]:
        """See `BlockNetwork.parts`."""
        halves = self.stem == "imagenet"
        first = self._width(PUBLISHED_CHANNELS)
        blocks: list[Part] = [
            Conv(first, stride=2 if halves else 1, activation=None),
            Activation("hardswish"),
            InvertedResidual(first, expansion=1),
        ]
        for number, stage in enumerate(STAGES, start=1):
            blocks += self._stage(number, stage._replace(stride=stage.stride if halves or number > 1 else 1))
        return (
            *blocks,
            Conv(self._width(LAST), size=1, activation=None),
            Activation("hardswish"),
            GlobalAverage(),
            Dense(self._width(HEAD), activation=None),
        )

    def last_activation(self) -> ActivationName | None:
        """See `BlockNetwork.last_activation`."""
        return "hardswish"

    def thinnest(self) -> SearchNetwork:
        """Return the network of the fewest channels, which has two classes."""
        return self.clone(channels=1, cells_per_stage=1, num_classes=2, stem="cifar")

    def _stage(self, number: int, stage: Stage) -> tuple[Part, ...]:
        """Return the blocks of a stage."""
        size = choice(*SIZES, name=f"size {number}")

        def block(width: int | None, stride: int, name: str | None) -> InvertedResidual:
            expansion = choice(*EXPANSIONS, name=name)
            return InvertedResidual(width, expansion, size, stride, stage.squeeze, stage.activation)

        width, tied = self._width(stage.width), f"expansion {number}"
        equal = [block(None, 1, tied) for _ in range(self.cells_per_stage - 1)]
        return block(width, stage.stride, tied), *equal, Repeat(choice(*FURTHER), block(None, 1, None))

    def _width(self, published: int) -> int:
        return multiple_of_eight(round(published * self.channels / PUBLISHED_CHANNELS))
