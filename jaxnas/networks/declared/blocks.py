"""Blocks of blocks: residual connections, repetitions and cells."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.errors import InputError
from jaxnas.networks.declared.choices import Choice, Width, check_width, choices_among
from jaxnas.networks.declared.flow import BlockFlow, Composite, Part, check_parts, part_name
from jaxnas.networks.declared.layer import Live
from jaxnas.networks.declared.scan import scan_blocks
from jaxnas.networks.declared.step import Block, Choose, KernelName, Op
from jaxnas.networks.kernels.pools import average_pool_2x2


@dataclass(frozen=True)
class _Parts(Composite):
    """Blocks one after another."""

    blocks: tuple[Part, ...]

    @property
    def stride(self) -> int:
        """The largest stride of the blocks."""
        return max((block.stride for block in self.blocks), default=1)

    @property
    def depth(self) -> int:
        """See `Block.depth`."""
        return max((block.depth for block in self.blocks), default=0)

    def choices(self) -> Iterator[Choice]:
        """See `Block.choices`."""
        for block in self.blocks:
            yield from block.choices()

    def parts(self) -> Iterator[Block]:
        """See `Block.parts`."""
        yield from self.blocks

    def kernels(self, name: str) -> Iterator[KernelName]:
        """See `Block.kernels`."""
        for number, block in enumerate(self.blocks, start=1):
            yield from block.kernels(part_name(name, number))


@dataclass(frozen=True)
class Residual(_Parts):
    """x + blocks(x).

    Where the blocks change shape or width, x passes through 2x2 averages (if they halve the image) and a 1x1 layer.

    Raises:
        InputError: One is no block, or they halve the image more than once.
    """

    def __init__(self, *blocks: Part):
        """Add to x the output of `blocks`, one after another."""
        object.__setattr__(self, "blocks", check_parts("Residual", blocks))

    @property
    def depth(self) -> int:
        """See `Block.depth`."""
        return 1

    def kernels(self, name: str) -> Iterator[KernelName]:
        """See `Block.kernels`; the last is that of the shortcut."""
        yield from super().kernels(name)
        yield KernelName(f"{name}_shortcut")

    def __call__(self, flow: BlockFlow, name: str) -> None:
        """See `Composite`."""
        x, live, fresh, exponent = flow.x, flow.live, flow.fresh, flow.exponent
        flow.run(self.blocks, name)
        x = flow.in_present_units(x, exponent)
        out, out_live = flow.x, flow.live
        if out.shape[-1] != x.shape[-1] or out_live is not live or self.stride > 1:
            halves = out.shape[1:3] != x.shape[1:3]
            flow.x, flow.live = average_pool_2x2(x) if halves else x, live
            if flow.x.shape[1:3] != out.shape[1:3]:
                raise InputError(f"Residual of {x.shape[1:3]} and {out.shape[1:3]} pixels: its blocks may halve once")
            x = flow.plain(f"{name}_shortcut", out.shape[-1], out_live, flow.active)
        flow.x = (out if flow.drop_path is None else flow.drop_path(out)) + x
        flow.live, flow.fresh = out_live, fresh and flow.fresh


@dataclass(frozen=True)
class Repeat(_Parts):
    """The blocks several times, each time with separate decisions; they keep shape and width.

    Each repetition is one block for the proxies of blocks, see `jaxnas.proxies.blocks`. With a choice of `times`, those
    that the architecture does not have are not computed; `jax.vmap` over architectures computes the largest number and
    keeps the output of the chosen one.

    Attributes:
        times: The number of repetitions.
        blocks: The blocks of one repetition.

    Raises:
        InputError: One is no block, or the number is a choice, and the blocks change shape or width.
    """

    ends_blocks = True

    times: int | Choice = 1
    blocks: tuple[Part, ...] = field(default=())

    def __init__(self, times: int | Choice, *blocks: Part):
        """Repeat `blocks` so many `times`."""
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "blocks", check_parts("Repeat", blocks))

    @property
    def most(self) -> int:
        """The largest of the possible numbers of repetitions."""
        return max(self.times.numbers) if isinstance(self.times, Choice) else self.times

    @property
    def depth(self) -> int:
        """See `Block.depth`: one for each repetition."""
        return self.most * (super().depth > 0)

    def choices(self) -> Iterator[Choice]:
        """See `Block.choices`."""
        yield from choices_among(self.times)
        for _ in range(self.most):
            yield from super().choices()

    def kernels(self, name: str) -> Iterator[KernelName]:
        """See `Block.kernels`."""
        for number in range(1, self.most + 1):
            yield from super().kernels(part_name(name, number))

    def __call__(self, flow: BlockFlow, name: str) -> None:
        """See `Composite`."""
        times = flow.take(self.times) if isinstance(self.times, Choice) else None
        active = flow.active
        for number in range(self.most):
            if number < 2 and scan_blocks(flow, self.blocks, name, range(number, self.most), times):
                break
            self._once(flow, name, number, times)
        flow.active = active

    def _once(self, flow: BlockFlow, name: str, number: int, times: Array | None) -> None:
        """Compute one repetition."""
        x, live, exponent, active, drop_path = flow.x, flow.live, flow.exponent, flow.active, flow.drop_path
        if times is not None:
            flow.active = active & (number < times)
        flow.drop_path = drop_path and drop_path.moved(number)
        flow.run(self.blocks, part_name(name, number + 1))
        flow.drop_path = drop_path
        if times is not None:
            if flow.x.shape != x.shape or flow.live is not live:
                raise InputError("Repeat with a choice of times takes blocks that keep shape and width")
            new, old = (flow.x, flow.exponent), (x, exponent)
            flow.x, flow.exponent = jax.tree.map(partial(jnp.where, number < times), new, old)
        flow.end_block(part_name(name, number + 1), True if times is None else number < times)
        flow.active = active


@dataclass(frozen=True)
class Cell(Composite):
    """Nodes 0..n, where node j is the sum over i < j of the op of edge (i, j) on node i; the output is the last.

    The order of edges is that of NAS-Bench-201: (0, 1), (0, 2), (1, 2), (0, 3), ... Give one op, or one for each edge.
    Those of edges from node 0 lead to `width` channels; a Skip or Pool there passes a 1x1 layer where it is another
    number.

    Attributes:
        ops: The op of each edge.
        nodes: n.

    Raises:
        InputError: The number of ops is neither 1 nor the number of edges, or the width is not positive.
    """

    ops: tuple[Op | Choose, ...]
    nodes: int = 3
    width: Width = None

    def __init__(self, *ops: Op | Choose, nodes: int = 3, width: Width = None):
        """Give every edge the one op, or its op."""
        edges = nodes * (nodes + 1) // 2
        if len(ops) not in (1, edges):
            raise InputError(f"a cell of {nodes} nodes after its input has {edges} edges: give one op, or one for each")
        check_width(width)
        object.__setattr__(self, "ops", ops * edges if len(ops) == 1 else ops)
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "width", width)

    @property
    def stride(self) -> int:
        """The largest stride of the ops."""
        return max((op.stride for op in self.ops), default=1)

    def parts(self) -> Iterator[Block]:
        """See `Block.parts`."""
        yield from self.ops

    @property
    def depth(self) -> int:
        """See `Block.depth`."""
        return max(op.depth for op in self.ops)

    def choices(self) -> Iterator[Choice]:
        """See `Block.choices`."""
        yield from choices_among(self.width)
        for op in self.ops:
            yield from op.choices()

    def kernels(self, name: str) -> Iterator[KernelName]:
        """See `Block.kernels`."""
        ops = iter(self.ops)
        for target in range(1, self.nodes + 1):
            for source in range(target):
                yield from next(ops).kernels(_edge_name(name, source, target))

    def __call__(self, flow: BlockFlow, name: str) -> None:
        """See `Composite`."""
        nodes: list[tuple[Float[Array, "N H W C"], Live, bool]] = [(flow.x, flow.live, flow.fresh)]
        width, out_live = flow.take_width(self.width)
        ops, drop_path = iter(self.ops), flow.drop_path
        for target in range(1, self.nodes + 1):
            total: Array | int = 0
            fresh = True
            for source in range(target):
                flow.x, flow.live, flow.fresh = nodes[source]
                flow.drop_path = drop_path and drop_path.part(target * self.nodes + source)
                flow.step(next(ops), _edge_name(name, source, target), width, out_live)
                total, fresh = total + flow.x, fresh and flow.fresh
            nodes.append((jnp.asarray(total), out_live, fresh))
        flow.x, flow.live, flow.fresh = nodes[-1]
        flow.drop_path = drop_path


def _edge_name(name: str, source: int, target: int) -> str:
    """Return the name of an edge of the cell called `name`."""
    return f"{name}_{source}to{target}"
