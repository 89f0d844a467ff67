"""A space and its network from a list of blocks: choices of ops on edges, of widths, of depths.

    network = DeclaredNetwork(
        "mine",
        (Conv(choice(8, 16, 32)), Repeat(choice(1, 2, 3), Residual(Choose(Conv(), Conv(size=1), Skip()))), Conv(64)),
    )
    network.space  # 3 x 3 x 3 ... architectures, written like "16:2:conv3:skip:conv1"

Every place where a choice stands is a decision of its own; in `Repeat` also of each repetition. One compiled program
serves all architectures: a tensor has the size of its largest choice, and `params_for` sets to 0 what an architecture
does not use and draws the rest for the width that feeds it.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.errors import InputError
from jaxnas.networks.declared.flow import Flow
from jaxnas.networks.declared.ops import (
    Choice,
    Choose,
    Conv,
    Dense,
    Op,
    Pool,
    Skip,
    Tensors,
    Zero,
    check_width,
    choice,
    width_choices,
)
from jaxnas.networks.kernels.pools import average_pool_2x2
from jaxnas.networks.layers import apply_layer, global_average, weight_layer
from jaxnas.networks.network import SearchNetwork
from jaxnas.spaces.declared import choice_space
from jaxnas.spaces.space import SearchSpace

__all__ = ["Cell", "Choose", "Conv", "DeclaredNetwork", "Dense", "Pool", "Repeat", "Residual", "Skip", "Zero", "choice"]


_SIDES = (256, 128, 64, 32, 16, 8, 4, 2, 1)  # of images; in large ones all strides halve


@dataclass(frozen=True)
class _Blocks:
    blocks: tuple

    def choices(self):
        """See `Skip.choices`."""
        for block in self.blocks:
            yield from block.choices()


@dataclass(frozen=True)
class Residual(_Blocks):
    """x + blocks(x). Where they change shape or width, x goes through 2x2 averages (if they halve) and a 1x1 layer."""

    def __init__(self, *blocks):
        object.__setattr__(self, "blocks", blocks)

    def __call__(self, flow, name):
        x, live, fresh, exponent = flow.x, flow.live, flow.fresh, flow.exponent
        flow.run(self.blocks, name)
        x = flow.in_present_units(x, exponent)
        out, out_live = flow.x, flow.live
        if out.shape[-1] != x.shape[-1] or out_live is not live or _strides(self):
            halves = out.shape[1:3] != x.shape[1:3]
            flow.x, flow.live = average_pool_2x2(x) if halves else x, live
            if flow.x.shape[1:3] != out.shape[1:3]:
                raise InputError(f"Residual of {x.shape[1:3]} and {out.shape[1:3]} pixels: its blocks may halve once")
            x = flow.plain(f"{name}_shortcut", out.shape[-1], out_live, flow.active)
        flow.x, flow.live, flow.fresh = out + x, out_live, fresh and flow.fresh


@dataclass(frozen=True)
class Repeat(_Blocks):
    """The blocks again and again, each time with decisions of their own; they keep shape and width.

    With a choice of `times` all of the most repetitions are computed, and those beyond the choice passed by.
    """

    times: int | Choice = 1
    blocks: tuple = field(default=())

    def __init__(self, times: int | Choice, *blocks):
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "blocks", blocks)

    @property
    def most(self) -> int:
        """Of the possible numbers of repetitions."""
        return max(self.times.options) if isinstance(self.times, Choice) else self.times

    def choices(self):
        if isinstance(self.times, Choice):
            yield self.times.options
        for _ in range(self.most):
            yield from super().choices()

    def __call__(self, flow, name):
        times, active = flow.take(self.times), flow.active
        for number in range(self.most):
            x, live, exponent = flow.x, flow.live, flow.exponent
            if isinstance(self.times, Choice):
                flow.active = active & (number < times)
            flow.run(self.blocks, f"{name}_{number + 1}")
            if isinstance(self.times, Choice):
                if flow.x.shape != x.shape or flow.live is not live:
                    raise InputError("Repeat with a choice of times takes blocks that keep shape and width")
                flow.x = jnp.where(number < times, flow.x, flow.in_present_units(x, exponent))
        flow.active = active


@dataclass(frozen=True)
class Cell:
    """Nodes 0..n, node j the sum over i < j of the op of edge (i, j) on node i; gives the last.

    Edges come as in NAS-Bench-201: (0, 1), (0, 2), (1, 2), (0, 3), ... One op, or one for each edge; those of edges
    from node 0 go to `width` channels, a Skip or Pool there through a 1x1 layer where it is another number.
    """

    ops: tuple[Op | Choose, ...]
    nodes: int = 3
    width: int | Choice | None = None

    def __init__(self, *ops: Op | Choose, nodes: int = 3, width: int | Choice | None = None):
        edges = nodes * (nodes + 1) // 2
        if len(ops) not in (1, edges):
            raise InputError(f"a cell of {nodes} nodes after its input has {edges} edges: give one op, or one for each")
        check_width(width)
        object.__setattr__(self, "ops", ops * edges if len(ops) == 1 else ops)
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "width", width)

    def choices(self):
        """See `Skip.choices`."""
        yield from width_choices(self.width)
        for op in self.ops:
            yield from op.choices()

    def __call__(self, flow, name):
        start = flow.x, flow.live, flow.fresh
        width, out_live = flow.width(self.width)
        nodes, ops = [start], iter(self.ops)
        for target in range(1, self.nodes + 1):
            total: Any = 0
            fresh = True
            for source in range(target):
                flow.x, flow.live, flow.fresh = nodes[source]
                flow.op(next(ops), f"{name}_{source}to{target}", width, out_live)
                total, fresh = total + flow.x, fresh and flow.fresh
            nodes.append((total, out_live, fresh))
        flow.x, flow.live, flow.fresh = nodes[-1]


def _strides(block) -> bool:
    """Does the block halve images, as far as they can be?"""
    parts = getattr(block, "blocks", getattr(block, "ops", ()))
    return getattr(block, "stride", 1) > 1 or any(map(_strides, parts))


class DeclaredNetwork(SearchNetwork):
    """Logits [N K] of images [N H W C], or of features [N 1 1 F], under an architecture of its `space`.

    The blocks, a last ReLU, the average over pixels, a linear classifier. Attributes: `space_name`; `blocks`, see the
    classes above; `norm`: normalisation everywhere ("all") or nowhere; `keeps_range`: see `layers.rescaled`.
    """

    space_name: str
    blocks: tuple
    num_classes: int = 10

    @property
    def space(self) -> SearchSpace:
        """All combinations of the choices, in the order of the blocks."""
        return choice_space(self.space_name, tuple(option for block in self.blocks for option in block.choices()))

    @nn.compact
    def __call__(
        self, images: Float[Array, "N H W C"], arch: Int8[Array, " D"], *, train: bool = True
    ) -> Float[Array, "N K"]:
        if images.ndim != 4:
            raise InputError(f"images of shape {images.shape}: give [N, H, W, C], or features as [N, 1, 1, F]")
        if arch.shape != (len(self.space.num_choices),):
            raise InputError(
                f"architecture of shape {arch.shape}: {self.space_name!r} has {len(self.space.num_choices)}"
            )
        flow = Flow(self, images, jnp.asarray(arch), self.norm == "all", train, self.keeps_range)
        flow.run(self.blocks, "")
        flow.sow_relu("last", jnp.ones((), bool))
        x = nn.relu(flow.x)
        self.sow("features", "last", x)
        self.sow("exponent", "last", flow.exponent)
        declare = dict(batch=len(x), bias=True, exponent=flow.exponent)
        layer = weight_layer(self, "classifier", (x.shape[-1], self.num_classes), **declare)
        flow.say("classifier", Tensors(layer, None), None, True)
        return apply_layer(layer, global_average(self, x, flow.live))

    def params_for(self, params: PyTree, arch: Int8[Array, " D"]) -> PyTree:
        """`params` as the architecture has them: 0 where it has none, drawn for its own widths elsewhere."""
        return jax.tree.map(jnp.multiply, params, self._multipliers(params, arch))

    def in_use(self, params: PyTree, arch: Int8[Array, " D"], images: Float[Array, "N H W C"] | None = None) -> PyTree:
        """For every element of `params`, whether the architecture uses it."""
        return jax.tree.map(lambda multiplier: multiplier > 0, self._multipliers(params, arch))

    def _multipliers(self, params, arch):
        """They depend on the architecture alone, and are said on the way of any image through the network."""
        dtype = jax.tree.leaves(params)[0].dtype
        full = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, dtype), params)  # `params` may be shapes alone
        arch, channels = jnp.asarray(arch), params[_first_kernel(params)].shape[-2]
        apply = jax.jit(partial(self.apply, mutable=["multipliers"]))
        ranks = {leaf.ndim for path, leaf in params.items() if path != "classifier"}
        for pixels in _SIDES[-1:] if 4 not in ranks else _SIDES:
            images = jnp.zeros((1, pixels, pixels, channels), dtype)
            with suppress(InputError):  # too large to be features where a Dense wants them
                _, said = apply({"params": full}, images, arch)
                return {path: jnp.asarray(said["multipliers"][path][0], dtype) for path in params}
        raise InputError(f"no image fits {self.space_name!r}: Dense takes features, after as many strides as it needs")


def _first_kernel(params):
    """The path of a kernel that images go into."""
    kernels = [path for path, leaf in params.items() if leaf.ndim in (2, 4) and path != "classifier"]
    return min(kernels, key=lambda path: [int(number) for number in re.findall(r"\d+", path)], default="classifier")
