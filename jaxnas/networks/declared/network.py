"""A space and its network from a list of blocks: choices of ops on edges, of widths, of depths.

    network = DeclaredNetwork(
        "mine",
        (Conv(choice(8, 16, 32)), Repeat(choice(1, 2, 3), Residual(Choose(Conv(), Conv(size=1), Skip()))), Conv(64)),
    )
    network.space  # 3 x 3 x 3 ... architectures, written like "16:2:conv3:skip:conv1"

Every place where a choice stands is a separate decision; in `Repeat`, each repetition has separate decisions too. One
compiled program serves all architectures: a tensor has the size of its largest choice, and `params_for` sets to 0 what
an architecture does not use and draws the rest for the width that feeds it.
"""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.data.batch import AnyArray
from jaxnas.errors import InputError
from jaxnas.networks.declared.blocks import Cell, Repeat, Residual
from jaxnas.networks.declared.flow import BlockFlow, Part, part_name
from jaxnas.networks.declared.ops import Choose, Conv, Dense, Pool, Skip, Zero, choice
from jaxnas.networks.layers import apply_layer, global_average
from jaxnas.networks.network import SearchNetwork
from jaxnas.spaces.declared import choice_space
from jaxnas.spaces.space import SearchSpace

__all__ = ["Cell", "Choose", "Conv", "DeclaredNetwork", "Dense", "Pool", "Repeat", "Residual", "Skip", "Zero", "choice"]

_SIDES = (256, 128, 64, 32, 16, 8, 4, 2, 1)  # of images; in large ones all strides halve
_CLASSIFIER = "classifier"


class DeclaredNetwork(SearchNetwork):
    """Logits [N K] of images [N H W C], or of features [N 1 1 F], under an architecture of its `space`.

    The blocks are followed by a last ReLU, the average over pixels and a linear classifier. `norm` acts everywhere
    ("all") or nowhere.

    Attributes:
        space_name: Name of the space.
        blocks: The blocks, one after another: ops, `Choose`, `Residual`, `Repeat` and `Cell`.
        num_classes: K.
    """

    space_name: str
    blocks: tuple[Part, ...]
    num_classes: int = 10

    @property
    def space(self) -> SearchSpace:
        """All combinations of the choices, in the order of the blocks."""
        return choice_space(self.space_name, tuple(option for block in self.blocks for option in block.choices()))

    @nn.compact
    def __call__(
        self, images: Float[AnyArray, "N H W C"], arch: Int8[AnyArray, " D"], *, train: bool = True
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
                f"architecture of shape {arch.shape}: {self.space_name!r} has {len(self.space.num_choices)}"
            )
        norm = self.norm == "all"
        flow = BlockFlow(self, images, arch, norm=norm, train=train, keeps_range=self.keeps_range)
        flow.run(self.blocks, "")
        flow.sow_relu("last", jnp.ones((), bool))
        x = flow.x = nn.relu(flow.x)
        self.sow("features", "last", x)
        self.sow("exponent", "last", flow.exponent)
        return apply_layer(flow.classify(_CLASSIFIER, self.num_classes), global_average(self, x, flow.live))

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
        first = next(path for path in self._kernels() if path in params)
        arch, channels = jnp.asarray(arch), params[first].shape[-2]
        apply = jax.jit(partial(self.apply, mutable=["multipliers"]))
        has_convolutions = any(leaf.ndim == 4 for leaf in params.values())
        for pixels in _SIDES if has_convolutions else _SIDES[-1:]:
            images = jnp.zeros((1, pixels, pixels, channels), dtype)
            with suppress(InputError):  # too large to be features where a Dense wants them
                _, sown = apply({"params": full}, images, arch)
                return {path: jnp.asarray(sown["multipliers"][path][0], dtype) for path in params}
        raise InputError(f"no image fits {self.space_name!r}: Dense takes features, after as many strides as it needs")

    def _kernels(self) -> Iterator[str]:
        """Yield the names that kernels may have, in the order in which images meet them."""
        for number, block in enumerate(self.blocks, start=1):
            yield from block.kernels(part_name("", number))
        yield _CLASSIFIER
