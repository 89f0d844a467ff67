"""The network of NAS-Bench-101: a stem, three stacks of equal cells with pools between them, a linear classifier.

The architecture is an argument of the call, as in `nasbench201`.

Source: Ying et al. 2019 (arXiv:1902.09635), github.com/google-research/nasbench.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.data.batch import AnyArray
from jaxnas.errors import InputError
from jaxnas.networks.blocks import ConvNorm, classify
from jaxnas.networks.kernels.pools import max_pool_2x2
from jaxnas.networks.layers import RunMode, end_of_block, rescaled, start_exponent
from jaxnas.networks.nasbench101_cell import CONVOLUTIONS, MOST_FEEDERS, POOL, State, make_plan, scan_graph_cells
from jaxnas.networks.network import SearchNetwork, check_images
from jaxnas.spaces.nasbench101 import NASBENCH101

STACKS = 3


class NASBench101Network(SearchNetwork):
    """Logits [N K] of images [N H W C] under an architecture int8[26].

    A vertex has 1 to `channels` channels, those that the output shares out. `params_for` sets to 0 what an architecture
    does not have and draws the rest for the channels that feed it. `norm` "reduction" and "none" are the same here: no
    normalisation at all.

    Attributes:
        num_classes: K.
        channels: Channels of the cells of the first stack, at least 4; each later stack has twice those of the one
            before.
        cells_per_stage: Cells in each of the three stacks.
    """

    space = NASBENCH101

    num_classes: int = 10
    channels: int = 128
    cells_per_stage: int = 3

    def __post_init__(self) -> None:
        """Check that all vertices that may feed an output can share the channels."""
        super().__post_init__()
        if self.channels < MOST_FEEDERS:
            raise InputError(f"`channels` of NAS-Bench-101 must be at least {MOST_FEEDERS}, got {self.channels}")

    @nn.compact
    def __call__(
        self, images: Float[AnyArray, "N H W C"], arch: Int8[AnyArray, " D"], *, train: bool = True
    ) -> Float[Array, "N K"]:
        """Return the logits.

        Raises:
            InputError: The shape of the images is not [N, H, W, C].
        """
        images, arch = jnp.asarray(images), jnp.asarray(arch)
        check_images(images, "NAS-Bench-101")
        mode = RunMode(self.norm == "all", train, self.reverse)
        x = ConvNorm(self.channels, 1, mode.norm, train, draw="lecun", name="stem")(images)
        self.sow("relus", "after_conv", (x, True))
        state: State = rescaled(end_of_block(self, "after_stem", nn.relu(x)), start_exponent(self.keeps_range))
        for stack in range(1, STACKS + 1):
            if stack > 1:
                x = max_pool_2x2(state[0])
                self.sow("pools", f"before{stack}", 4.0 * x.size)
                state = jnp.pad(x, ((0, 0),) * 3 + ((0, x.shape[-1]),)), state[1]  # to as many as the cells give
            state, _ = scan_graph_cells(self.cells_per_stage, mode, name=f"stack{stack}")(state, arch)
        x, exponent = state
        self.sow("features", "last", x)
        self.sow("exponent", "last", exponent)
        return classify(self, x, self.num_classes, exponent)

    def params_for(self, params: PyTree, arch: Int8[AnyArray, " D"]) -> PyTree:
        """Return `params` as the architecture has them: 0 where it has none, drawn for its channels elsewhere."""
        return jax.tree.map(jnp.multiply, params, _multipliers(params, jnp.asarray(arch)))

    def in_use(
        self, params: PyTree, arch: Int8[AnyArray, " D"], images: Float[AnyArray, "N H W C"] | None = None
    ) -> PyTree:
        """Return for every element of `params` whether the architecture uses it."""
        return jax.tree.map(lambda multiplier: multiplier > 0, _multipliers(params, jnp.asarray(arch)))

    def thinnest(self) -> SearchNetwork:
        """Return the network of four channels and one cell per stack, with two classes."""
        return self.clone(channels=MOST_FEEDERS, cells_per_stage=1, num_classes=2)

    def example_images(self, params: PyTree) -> Float[Array, "1 H W C"]:
        """Return zeros [1, 8, 8, C], C the channels that the stem takes."""
        return jnp.zeros((1, 8, 8, params["stem"]["conv"].shape[-2]))


def _multipliers(params: PyTree, arch: Int8[Array, " D"]) -> PyTree:
    """Return the factors of `params`, which may be shapes alone: 0 where the architecture has none."""

    def of_module(name: str, leaves: PyTree) -> PyTree:
        if not name.startswith("stack"):
            return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), leaves)
        factors = _cell_multipliers(arch, *leaves["exit"].shape[::4], doubles=name != "stack1")
        return {part: jnp.broadcast_to(factors[part], leaf.shape).astype(leaf.dtype) for part, leaf in leaves.items()}

    return {name: of_module(name, leaves) for name, leaves in params.items()}


def _cell_multipliers(arch: Int8[Array, " D"], num_cells: int, channels: int, *, doubles: bool) -> dict[str, Array]:
    """Return the factors of the params of equal cells, by name, with the last axes of these params.

    Where the stack `doubles` the channels, half of those that enter its first cell are zeros.
    """
    plan = make_plan(arch, channels)
    live = jnp.arange(channels)[None] < plan.channels[:, None]  # [vertices, channels]
    both = live[:, :, None] & live[:, None, :]  # [vertices, inputs, outputs]
    drawn = both * jnp.sqrt(channels / jnp.maximum(plan.channels, 1))[:, None, None]
    masks = {"entry": live & (plan.from_input > 0)[:, None], "op": live & (plan.op < POOL)[:, None]}
    masks["exit"] = jnp.broadcast_to(plan.adds_input > 0, (channels,))
    entering = jnp.where(jnp.arange(num_cells) == 0, channels // (2 if doubles else 1), channels)  # [cells]
    inputs = jnp.sqrt(channels / entering)[:, None] * (jnp.arange(channels)[None] < entering[:, None])
    factors = {
        "entry": inputs[:, None, None, None, :, None] * masks["entry"][None, :, None, None, None, :],
        "exit": inputs[:, None, None, :, None] * masks["exit"][None, None, None, None, :],
    }
    for number, name in enumerate(CONVOLUTIONS):
        factors[name] = (drawn * (plan.op == number)[:, None, None])[None, :, None, None]
    return factors | {f"{name}_norm_{part}": mask[None] for name, mask in masks.items() for part in ("gamma", "beta")}
