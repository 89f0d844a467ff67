"""A space and its network from a list of blocks: choices of ops on edges, of widths, of depths.

    network = DeclaredNetwork(
        "mine",
        (Conv(choice(8, 16, 32)), Repeat(choice(1, 2, 3), Residual(Choose(Conv(), Conv(size=1), Skip()))), Conv(64)),
    )
    network.space  # 3 x 3 x 3 ... architectures, written like "16:2:conv3:skip:conv1"

Every place where a choice stands is a separate decision; in `Repeat`, each repetition has separate decisions too.
Choices of one name, as `choice(8, 16, name="width")`, are one decision. One compiled program serves all architectures:
a tensor has the size of its largest choice, and `params_for` sets to 0 what an architecture does not use and draws the
rest for the width that feeds it.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.data.batch import AnyArray
from jaxnas.errors import InputError
from jaxnas.networks.activations import ActivationName, activate, check_activation
from jaxnas.networks.declared.blocks import Cell, Repeat, Residual
from jaxnas.networks.declared.choices import choice, distinct
from jaxnas.networks.declared.flow import BlockFlow, Part, check_parts, part_name
from jaxnas.networks.declared.inverted import InvertedResidual
from jaxnas.networks.declared.layer import live_channels
from jaxnas.networks.declared.match import Match
from jaxnas.networks.declared.ops import Activation, Conv, Dense, Depthwise, GlobalAverage, Pool, Skip, Zero
from jaxnas.networks.declared.step import Block, Choose, KernelName
from jaxnas.networks.declared.tokens import ClassToken, LayerNorm, PatchEmbed, PatchMean
from jaxnas.networks.declared.transformer import Attention, Mlp
from jaxnas.networks.drop_path import DropPath
from jaxnas.networks.layers import (
    apply_batch_norm,
    apply_layer,
    batch_norm_layer,
    global_average,
    record_statistics,
)
from jaxnas.networks.network import KernelKind, SearchNetwork
from jaxnas.spaces.declared import choice_space
from jaxnas.spaces.space import SearchSpace

__all__ = [
    "Activation",
    "Attention",
    "Cell",
    "Choose",
    "ClassToken",
    "Conv",
    "DeclaredNetwork",
    "Dense",
    "Depthwise",
    "GlobalAverage",
    "InvertedResidual",
    "LayerNorm",
    "Match",
    "Mlp",
    "PatchEmbed",
    "PatchMean",
    "Pool",
    "Repeat",
    "Residual",
    "Skip",
    "Zero",
    "choice",
]

_SIDES = (256, 128, 64, 32, 16, 8, 4, 2, 1)  # of images; in large ones all strides halve
_STRIDES = (1, 2, 4, 8)  # of blocks before those that fit images of one size
_CLASSIFIER = "classifier"


class BlockNetwork(SearchNetwork):
    """Logits [N K] of images [N H W C], or of features [N 1 1 F], under an architecture of its `space`.

    A subclass defines `parts` and `space` and has a field `num_classes`, K. The blocks are followed by
    `last_activation`, the average over pixels and a linear classifier. `norm` acts everywhere ("all") or nowhere.

    A call with `drop_path`, a rate, drops for each image the path past which a block adds its input, and needs a
    generator of that name. The rate rises linearly from the first such block, where it is 0, to the last:
    see `DropPath`.
    """

    drop_path_rises = False

    def parts(self) -> tuple[Part, ...]:
        """Return the blocks, one after another.

        Raises:
            InputError: The subclass does not define it.
        """
        raise InputError(f"{type(self).__name__} does not define its blocks: give it a method `parts`")

    def last_activation(self) -> ActivationName | None:
        """Return the activation before the average over pixels; None for none."""
        return "relu"

    @property
    def is_homogeneous(self) -> bool:
        """See `SearchNetwork.is_homogeneous`."""
        return all(block.is_homogeneous for block in _all_blocks(self.parts()))

    @property
    def drops_paths(self) -> bool:
        """See `SearchNetwork.drops_paths`."""
        return self._depth > 0

    @property
    def _depth(self) -> int:
        return sum(block.depth for block in self.parts())

    def normalises_last(self) -> bool:
        """Return whether a normalisation precedes the last activation."""
        return False

    @property
    def kernel_kinds(self) -> dict[str, KernelKind]:
        """See `SearchNetwork.kernel_kinds`."""
        return {kernel.path: kernel.kind for kernel in self._kernels() if kernel.kind is not None}

    def choice_options(self) -> tuple[tuple[int | float | str, ...], ...]:
        """Return the options of each decision, in the order of the blocks.

        Raises:
            InputError: Two choices of one name have different options.
        """
        return tuple(one.options for one in distinct(one for block in self.parts() for one in block.choices()))

    @nn.compact
    def __call__(
        self,
        images: Float[AnyArray, "N H W C"],
        arch: Int8[AnyArray, " D"],
        *,
        train: bool = True,
        drop_path: Float[Array, ""] | None = None,
    ) -> Float[Array, "N K"]:
        """Return the logits.

        Raises:
            InputError: The shape of images or architecture does not fit the network.
        """
        images, arch = jnp.asarray(images), jnp.asarray(arch)
        if images.ndim != 4:
            raise InputError(f"images of shape {images.shape}: give [N, H, W, C], or features as [N, 1, 1, F]")
        if arch.shape != (len(self.space.num_choices),):
            raise InputError(
                f"architecture of shape {arch.shape}: {self.space.name!r} has {len(self.space.num_choices)}"
            )
        norm = self.norm == "all"
        drops = None if drop_path is None else DropPath(self.make_rng("drop_path"), drop_path, self._depth - 1)
        flow = BlockFlow(self, images, arch, norm=norm, train=train, keeps_range=self.keeps_range, drop_path=drops)
        flow.run(self.parts(), "")
        if self.normalises_last():
            self._normalise(flow, "last_norm", train=train)
        if (last := self.last_activation()) is not None:
            flow.sow_activation("last", last, flow.x, flow.live, jnp.ones((), bool))
        x = activate(last, flow.x, keeps_range=self.keeps_range)
        self.sow("features", "last", x)
        self.sow("exponent", "last", flow.exponent)
        return apply_layer(flow.classify(_CLASSIFIER, self.num_classes), global_average(self, x, flow.live))

    def _normalise(self, flow: BlockFlow, name: str, *, train: bool) -> None:
        """Apply the batch normalisation called `name`, if it acts."""
        channels = flow.x.shape[-1]
        norm = batch_norm_layer(self, name, channels)
        if flow.norm:
            flow.x, norm = apply_batch_norm(norm, flow.x, train=train)
            record_statistics(self, name, norm)
        if self.is_mutable_collection("multipliers"):
            for part in ("gamma", "beta"):
                self.sow("multipliers", f"{name}_{part}", 1.0 * live_channels(channels, flow.live))

    def params_for(self, params: PyTree, arch: Int8[AnyArray, " D"]) -> PyTree:
        """Return `params` as the architecture has them: 0 where it has none, drawn for its widths elsewhere."""
        return jax.tree.map(jnp.multiply, params, self._multipliers(params, jnp.asarray(arch)))

    def in_use(
        self, params: PyTree, arch: Int8[AnyArray, " D"], images: Float[AnyArray, "N H W C"] | None = None
    ) -> PyTree:
        """Return for every element of `params` whether the architecture uses it."""
        return jax.tree.map(lambda multiplier: multiplier > 0, self._multipliers(params, jnp.asarray(arch)))

    def _multipliers(self, params: PyTree, arch: Int8[Array, " D"]) -> dict[str, Array]:
        """Return the factors that blocks sow for `params`, which depend on the architecture alone.

        They are sown along the path of any images through the network, here zeros of the first size that fits.
        """
        dtype = jax.tree.leaves(params)[0].dtype
        full = {path: jnp.zeros(leaf.shape, dtype) for path, leaf in params.items()}  # `params` may be shapes alone
        first = next(kernel for kernel in self._kernels() if kernel.path in params)
        inputs, outputs = params[first.path].shape[-2:]
        channels = outputs if first.groups is None else first.groups * inputs
        plain = self.clone(capacity=None, reverse=False, keeps_range=False)
        has_convolutions = any(leaf.ndim == 4 for leaf in params.values())
        shapes = {path: leaf.shape for path, leaf in params.items()}
        only = [block.sides(part_name("", number), shapes) for number, block in enumerate(self.parts(), start=1)]
        sides = [(times * height, times * wide) for times in _STRIDES for height, wide in filter(None, only)]
        sides = sides or [(pixels, pixels) for pixels in (_SIDES if has_convolutions else _SIDES[-1:])]
        for height, wide in sides:
            images = jnp.zeros((1, height, wide, channels), dtype)
            with suppress(InputError):  # too large to be features where a Dense wants them
                factors: dict[str, Array] = _sow_multipliers(plain, full, images, jnp.asarray(arch))
                return factors
        raise InputError(f"no image fits {self.space.name!r}: Dense takes features, after as many strides as it needs")

    def _kernels(self) -> Iterator[KernelName]:
        """Yield the names that kernels may have, in the order in which images meet them."""
        for number, block in enumerate(self.parts(), start=1):
            yield from block.kernels(part_name("", number))
        yield KernelName(_CLASSIFIER)


def _all_blocks(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield blocks and those inside them."""
    for block in blocks:
        yield block
        yield from _all_blocks(block.parts())


@partial(jax.jit, static_argnames="network")
def _sow_multipliers(
    network: BlockNetwork, params: PyTree, images: Float[Array, "N H W C"], arch: Int8[Array, " D"]
) -> dict[str, Array]:
    """Return the factors alone: whatever else the call computes is unused, and removed before compilation."""
    _, sown = network.apply({"params": params}, images, arch, mutable=["multipliers"])
    return {path: jnp.asarray(sown["multipliers"][path][0], leaf.dtype) for path, leaf in params.items()}


class DeclaredNetwork(BlockNetwork):
    """The network of a list of blocks, which define its space: see `BlockNetwork`.

    Attributes:
        space_name: Name of the space.
        blocks: The blocks, one after another: ops, `Choose`, `Residual`, `Repeat` and `Cell`.
        num_classes: K.
        activation: The function before the average over pixels; None for none.
    """

    space_name: str
    blocks: tuple[Part, ...]
    num_classes: int = 10
    activation: ActivationName | None = "relu"

    def __post_init__(self) -> None:
        """Check blocks and activation."""
        check_parts(f"network {self.space_name!r}", self.blocks)
        check_activation(self.activation)
        super().__post_init__()

    @property
    def space(self) -> SearchSpace:
        """All combinations of the choices, in the order of the blocks."""
        return choice_space(self.space_name, self.choice_options())

    def parts(self) -> tuple[Part, ...]:
        """See `BlockNetwork.parts`."""
        return self.blocks

    def last_activation(self) -> ActivationName | None:
        """See `BlockNetwork.last_activation`."""
        return self.activation
