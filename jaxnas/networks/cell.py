"""The cell of NAS-Bench-201 and of TransNAS-Bench-101 micro as a supernet: every edge holds the tensors of all ops.

Ops are called by their names in `spaces`; both spaces give the two convolutions the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int8

from jaxnas.networks.blocks import halve
from jaxnas.networks.kernels.dispatch import Dispatch, Kind, mixed
from jaxnas.networks.kernels.pools import average_pool_3x3
from jaxnas.networks.kernels.switch import add_chosen
from jaxnas.networks.layers import (
    OF_LAYERS,
    BatchNorm,
    Exponent,
    FanMode,
    WeightLayer,
    apply_batch_norm,
    apply_layer,
    apply_taps,
    batch_norm_layer,
    end_of_block,
    record_statistics,
    rescaled,
    weight_layer,
)
from jaxnas.networks.network import Capacity
from jaxnas.spaces.cell import EDGES, NONE, NUM_NODES
from jaxnas.spaces.nasbench201 import AVG_POOL_3X3, NOR_CONV_1X1, NOR_CONV_3X3, SKIP_CONNECT

ENTRIES = tuple(edge for edge, (source, _) in enumerate(EDGES) if source == 0)  # from the input of the cell
INNER = tuple(edge for edge in range(len(EDGES)) if edge not in ENTRIES)

State: TypeAlias = tuple[Float[Array, "N H W C"], Exponent]  # what passes from cell to cell, see `rescaled`
ReducingResult: TypeAlias = tuple[Float[Array, "N h w O"], BatchNorm]  # of an edge that halves the image
OpResult: TypeAlias = tuple[Float[Array, "N H W C"], BatchNorm]  # an output, and the normalisation with new statistics
Stacked = TypeVar("Stacked")


@dataclass(frozen=True)
class CellConfig:
    """The settings that all cells of a network share.

    Attributes:
        op_names: Names of the ops of an edge, in the order of the search space.
        affine: Normalisation has gamma and beta, and convolutions no bias; or the reverse.
        draw: The distribution of the convolutions, see `layers.weight_layer`.
        norm: Whether batch normalisation acts.
        train: Whether it uses the statistics of the minibatch.
        capacity: See `SearchNetwork.capacity`.
        reverse: See `SearchNetwork.reverse`.
        fused: See `SearchNetwork.fused`.
    """

    op_names: tuple[str, ...]
    affine: bool
    draw: FanMode
    norm: bool
    train: bool
    capacity: Capacity = None
    reverse: bool = False
    fused: bool = False


class EdgeLayers(NamedTuple):
    """Layers of an edge between nodes of one shape; leading axes stack edges."""

    conv_1x1: WeightLayer
    conv_3x3: WeightLayer
    norm: BatchNorm


class EntryLayers(NamedTuple):
    """Layers of an edge that halves height and width; leading axes stack edges."""

    conv_1x1: WeightLayer
    conv_3x3: WeightLayer
    skip_even: WeightLayer
    skip_odd: WeightLayer
    norm: BatchNorm


class NormalCell(nn.Module):
    """One cell: node j is the sum over edges (i, j) of op(node i). Maps [N H W C] to [N H W C], see `rescaled`."""

    config: CellConfig

    @nn.compact
    def __call__(self, state: State, arch: Int8[Array, " D"]) -> tuple[State, None]:
        """Return the state after the cell, and None as the output of a scan."""
        x, exponent = state
        layers = declare_edges(self, self.config, arch, x.shape, exponent)
        nodes: list[Array | None] = [x, *[None] * (NUM_NODES - 1)]
        norms = []
        for edge, (source, target) in enumerate(EDGES):
            tensors, node = layer_at(layers, edge), _computed(nodes[source])
            nodes[target], moved = add_edge(self, self.config, edge, arch[edge], nodes[target], node, tensors)
            norms.append(moved)
        record_statistics(self, "norm", _stack(norms))
        return rescaled(end_of_block(self, "output", _computed(nodes[-1])), exponent), None


class ReducingCell(nn.Module):
    """A cell whose edges from its input halve height and width: maps [N H W C] to [N h w O], h = ceil(H / 2).

    A convolution there has stride 2; a skip takes every second pixel through one 1x1 convolution and the pixels right
    below those through another, O/2 channels each, and normalises them.

    Attributes:
        config: The settings of all cells.
        channels: O.
    """

    config: CellConfig
    channels: int

    @nn.compact
    def __call__(self, state: State, arch: Int8[Array, " D"]) -> tuple[Float[Array, "N h w O"], Exponent]:
        """Return the state after the cell."""
        x, exponent = state
        n, h, w, _ = x.shape
        entries = self._declare_entries(x, arch[jnp.array(ENTRIES)], exponent)
        half = (n, -(-h // 2), -(-w // 2), self.channels)
        layers = declare_edges(self, self.config, arch[jnp.array(INNER)], half, exponent)
        nodes: list[Array | None] = [x, *[None] * (NUM_NODES - 1)]
        norms: list[BatchNorm] = []
        entry_norms: list[BatchNorm] = []
        for edge, (source, target) in enumerate(EDGES):
            op, node = arch[edge], _computed(nodes[source])
            if edge in ENTRIES:
                self.sow("relus", f"edge{edge}", (node, op != NONE))
                entry = layer_at(entries, ENTRIES.index(edge))
                nodes[target], moved = add_reducing_op(op, nodes[target], node, entry, config=self.config)
                entry_norms.append(moved)
            else:
                inner = layer_at(layers, INNER.index(edge))
                nodes[target], moved = add_edge(self, self.config, edge, op, nodes[target], node, inner)
                norms.append(moved)
        for name, statistics in (("norm", norms), ("entry_norm", entry_norms)):
            record_statistics(self, name, _stack(statistics))
        return rescaled(end_of_block(self, "output", _computed(nodes[-1])), exponent)

    def _declare_entries(self, x: Float[Array, "N H W C"], ops: Int8[Array, " E"], exponent: Exponent) -> EntryLayers:
        """Declare the layers of the edges from the input, and their normalisation, for edges that chose `ops`."""
        channels, half = x.shape[-1], self.channels // 2
        is_skip = ops == SKIP_CONNECT
        declare = partial(declare_conv, self, self.config, len(x), exponent)
        return EntryLayers(
            declare("entry_conv_1x1", (1, 1, channels, self.channels), ops == NOR_CONV_1X1),
            declare("entry_conv_3x3", (3, 3, channels, self.channels), ops == NOR_CONV_3X3),
            declare("entry_skip_even", (1, 1, channels, half), is_skip),
            declare("entry_skip_odd", (1, 1, channels, self.channels - half), is_skip),
            declare_norm(self, self.config, "entry_norm", self.channels, is_conv(ops) | is_skip),
        )


def _computed(node: Array | None) -> Array:
    """Return a node that at least one edge has fed."""
    assert node is not None, "edges come in the order of their targets"
    return node


def _stack(norms: list[BatchNorm]) -> BatchNorm:
    """Return the normalisations of edges as one, with an axis of edges in front."""
    stacked: BatchNorm = jax.tree.map(lambda *edges: jnp.stack(edges), *norms)
    return stacked


def scan_cells(num_cells: int, config: CellConfig, name: str) -> nn.Module:
    """Return `num_cells` equal normal cells one after another, compiled once whatever their number.

    A cell keeps nothing for a backward pass except its input, or the inputs of its edges: the rest is computed again,
    which takes less time and several times less memory.
    """
    keeps_inputs = config.reverse and config.capacity is None and not config.fused
    cells = nn.scan(
        NormalCell if keeps_inputs else nn.remat(NormalCell, prevent_cse=False),
        variable_axes=dict.fromkeys(OF_LAYERS, 0),
        split_rngs={"params": True},
        in_axes=nn.broadcast,
        length=num_cells,
    )
    return cells(config, name=name)


def is_conv(ops: Int[Array, "*E"]) -> Bool[Array, "*E"]:
    """Return which ops are convolutions."""
    return (ops == NOR_CONV_1X1) | (ops == NOR_CONV_3X3)


def declare_edges(
    cell: nn.Module, config: CellConfig, ops: Int8[Array, " E"], shape: tuple[int, ...], exponent: Exponent
) -> EdgeLayers:
    """Declare the layers of edges between nodes of one shape, which chose `ops`: convolutions and normalisation."""
    channels = shape[-1]
    declare = partial(declare_conv, cell, config, shape[0], exponent)
    return EdgeLayers(
        declare("conv_1x1", (1, 1, channels, channels), ops == NOR_CONV_1X1),
        declare("conv_3x3", (3, 3, channels, channels), ops == NOR_CONV_3X3),
        declare_norm(cell, config, "norm", channels, is_conv(ops)),
    )


def declare_conv(
    cell: nn.Module,
    config: CellConfig,
    batch: int,
    exponent: Exponent,
    name: str,
    shape: tuple[int, ...],
    used: Bool[Array, " E"],
) -> WeightLayer:
    """Declare one convolution for each of the edges of a cell; `used` says which edges chose it."""
    return weight_layer(
        cell,
        name,
        shape,
        batch=batch,
        stack=used.shape,
        bias=not config.affine,
        normalised=config.norm,
        draw=config.draw,
        exponent=exponent,
        used=used,
    )


def declare_norm(cell: nn.Module, config: CellConfig, name: str, channels: int, used: Bool[Array, " E"]) -> BatchNorm:
    """Declare one normalisation for each of the edges of a cell; `used` says which edges chose it."""
    return batch_norm_layer(cell, name, channels, stack=used.shape, affine=config.affine, used=used)


def layer_at(stack: Stacked, number: int) -> Stacked:
    """Return one of the layers that are stacked in the first axis of the leaves."""
    layer: Stacked = jax.tree.map(lambda leaf: leaf[number], stack)
    return layer


def add_edge(
    cell: nn.Module,
    config: CellConfig,
    edge: int,
    op: Int8[Array, ""],
    total: Float[Array, "N H W C"] | None,
    x: Float[Array, "N H W C"],
    layers: EdgeLayers,
) -> OpResult:
    """Return total + op(x) on an edge of `cell`, and its normalisation with new running statistics."""
    cell.sow("relus", f"edge{edge}", (x, is_conv(op)))
    cell.sow("pools", f"edge{edge}", 9.0 * x.size * (op == AVG_POOL_3X3))
    capacity = config.capacity and config.capacity[edge]
    result: OpResult = add_op(op, total, x, layers, config=replace(config, capacity=None), capacity=capacity)
    return result


@partial(jax.jit, static_argnames=("config", "capacity"))
def add_op(
    op: Int8[Array, ""],
    total: Float[Array, "N H W C"] | None,
    x: Float[Array, "N H W C"],
    layers: EdgeLayers,
    *,
    config: CellConfig,
    capacity: tuple[int, ...] | None,
) -> OpResult:
    """Return total + op(x), and the normalisation of the edge, with new running statistics where the op has one.

    `capacity` is that of the edge. Jitted so that its derivatives are traced once per stage and not once per edge.
    """
    op = op.astype(jnp.int32)
    if capacity is not None or config.fused:
        out, moved = _apply_op_of_batch(op, x, layers, config, capacity)
        return (out if total is None else total + out), moved
    branches = tuple(partial(_BRANCHES[name], config=config) for name in config.op_names)
    return add_chosen(op, branches, total, x, *layers, reverse=config.reverse)


def _relu_conv_norm(layer: WeightLayer, x: Array, norm: BatchNorm, config: CellConfig, stride: int = 1) -> OpResult:
    return _normalise(apply_layer(layer, nn.relu(x), stride), norm, config)


def _normalise(out: Array, norm: BatchNorm, config: CellConfig) -> OpResult:
    return apply_batch_norm(norm, out, train=config.train) if config.norm else (out, norm)


_BRANCHES: dict[str, Callable[..., OpResult]] = {
    "none": lambda x, one, three, norm, config: (jnp.zeros_like(x), norm),
    "skip_connect": lambda x, one, three, norm, config: (x, norm),
    "nor_conv_1x1": lambda x, one, three, norm, config: _relu_conv_norm(one, x, norm, config),
    "nor_conv_3x3": lambda x, one, three, norm, config: _relu_conv_norm(three, x, norm, config),
    "avg_pool_3x3": lambda x, one, three, norm, config: (average_pool_3x3(x), norm),
}


_KINDS: dict[str, Kind] = {
    "none": "zero",
    "skip_connect": "identity",
    "nor_conv_1x1": 1,
    "nor_conv_3x3": 3,
    "avg_pool_3x3": "pool",
}


def _apply_op_of_batch(
    op: Int[Array, ""],
    x: Float[Array, "N H W C"],
    layers: EdgeLayers,
    config: CellConfig,
    capacity: tuple[int, ...] | None,
) -> OpResult:
    """Apply the op for batches: what is linear by `mixed`, the elementwise rest for all, where the op has it."""
    conv_1x1, conv_3x3, norm = layers
    dispatch = Dispatch(tuple(_KINDS[name] for name in config.op_names), capacity, config.fused)
    convolves = is_conv(op)
    taps = [layer._replace(kernel=None) for layer in (conv_1x1, conv_3x3)]  # type: ignore[arg-type]
    layer: WeightLayer = jax.tree.map(lambda one, three: jnp.where(op == NOR_CONV_1X1, one, three), *taps)
    if layer.places is not None and norm.places is not None:
        layer, norm = layer._replace(places=convolves * layer.places), norm._replace(places=convolves * norm.places)
    scale, gate = (tap if tap is None else jnp.where(convolves, tap, 1) for tap in (layer.scale, layer.gate))
    layer = layer._replace(scale=scale, gate=gate)
    bias = None if layer.bias is None else jnp.where(convolves, layer.bias, 0)
    is_inside = layer.scale is None  # the bias comes after the scale
    product = mixed(op, x, x, (conv_1x1.kernel, conv_3x3.kernel), dispatch, bias if is_inside else None)
    out = apply_taps(layer._replace(bias=None if is_inside else bias), product)
    if not config.norm:
        return out, norm
    return apply_batch_norm(norm, out, train=config.train, chosen=convolves, fused=config.fused)


@partial(jax.jit, static_argnames="config")
def add_reducing_op(
    op: Int8[Array, ""],
    total: Float[Array, "N h w O"] | None,
    x: Float[Array, "N H W C"],
    layers: EntryLayers,
    *,
    config: CellConfig,
) -> ReducingResult:
    """Do as `add_op` does, on an edge that halves the image.

    For batches under `vmap` each architecture computes all ops.
    """
    branches = tuple(partial(_REDUCING_BRANCHES[name], config=config) for name in config.op_names)
    return add_chosen(op.astype(jnp.int32), branches, total, x, *layers, reverse=config.reverse)


def _zeros_of_half(
    x: Array,
    one: WeightLayer,
    three: WeightLayer,
    even: WeightLayer,
    odd: WeightLayer,
    norm: BatchNorm,
    config: CellConfig,
) -> ReducingResult:
    n, h, w, _ = x.shape
    return jnp.zeros((n, -(-h // 2), -(-w // 2), one.kernel.shape[-1]), x.dtype), norm


_REDUCING_BRANCHES: dict[str, Callable[..., ReducingResult]] = {
    "none": _zeros_of_half,
    "skip_connect": lambda x, one, three, even, odd, norm, config: _normalise(
        halve(even, odd, nn.relu(x)), norm, config
    ),
    "nor_conv_1x1": lambda x, one, three, even, odd, norm, config: _relu_conv_norm(one, x, norm, config, stride=2),
    "nor_conv_3x3": lambda x, one, three, even, odd, norm, config: _relu_conv_norm(three, x, norm, config, stride=2),
}
