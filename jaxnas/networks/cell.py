"""The cell of NAS-Bench-201 and of TransNAS-Bench-101 micro as a supernet: every edge holds the tensors of all ops.

Ops are called by their names in `spaces`; both spaces give the two convolutions the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int8

from jaxnas.networks.blocks import halve
from jaxnas.networks.kernels.dispatch import Dispatch, Kind, add_switch, add_switch_backwards, mixed
from jaxnas.networks.kernels.pools import average_pool_3x3
from jaxnas.networks.layers import (
    OF_LAYERS,
    BatchNorm,
    FanMode,
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


@dataclass(frozen=True)
class CellConfig:
    """The settings that all cells of a network share.

    Attributes:
      op_names: names of the ops of an edge, in the order of the search space.
      affine: normalisation has gamma and beta, and convolutions no bias; or the reverse.
      draw: how the convolutions are drawn, see `layers.weight_layer`.
      norm: whether batch normalisation acts.
      train: whether it uses the statistics of the minibatch.
      capacity: see `SearchNetwork.capacity`.
      reverse: see `SearchNetwork.reverse`.
    """

    op_names: tuple[str, ...]
    affine: bool
    draw: FanMode
    norm: bool
    train: bool
    capacity: Capacity = None
    reverse: bool = False


class NormalCell(nn.Module):
    """One cell: node j is the sum over edges (i, j) of op(node i). Maps [N H W C] to [N H W C], see `rescaled`."""

    config: CellConfig

    @nn.compact
    def __call__(self, state, arch):
        """The state after the cell, and None as the output of a scan."""
        x, exponent = state
        layers = declare_edges(self, self.config, arch, x.shape, exponent)
        nodes, norms = [x, *[None] * (NUM_NODES - 1)], []
        for edge, (source, target) in enumerate(EDGES):
            tensors = layer_at(layers, edge)
            nodes[target], moved = add_edge(self, self.config, edge, arch[edge], nodes[target], nodes[source], tensors)
            norms.append(moved)
        record_statistics(self, "norm", jax.tree.map(lambda *edges: jnp.stack(edges), *norms))
        return rescaled(end_of_block(self, "output", nodes[-1]), exponent), None


class ReducingCell(nn.Module):
    """A cell whose edges from its input halve height and width: maps [N H W C] to [N h w O], h = ceil(H / 2).

    A convolution there has stride 2; a skip takes every second pixel through one 1x1 convolution and the pixels right
    below those through another, O/2 channels each, and normalises them.
    """

    config: CellConfig
    channels: int  # O

    @nn.compact
    def __call__(self, state, arch):
        """The state after the cell."""
        x, exponent = state
        n, h, w, _ = x.shape
        entries = self._declare_entries(x, arch[jnp.array(ENTRIES)], exponent)
        half = (n, -(-h // 2), -(-w // 2), self.channels)
        layers = declare_edges(self, self.config, arch[jnp.array(INNER)], half, exponent)
        nodes: list[Any] = [x, *[None] * (NUM_NODES - 1)]
        norms: list[BatchNorm] = []
        entry_norms: list[BatchNorm] = []
        for edge, (source, target) in enumerate(EDGES):
            op, node = arch[edge], nodes[source]
            if edge in ENTRIES:
                self.sow("relus", f"edge{edge}", (node, op != NONE))
                tensors = layer_at(entries, ENTRIES.index(edge))
                nodes[target], moved = add_reducing_op(op, nodes[target], node, tensors, config=self.config)
                entry_norms.append(moved)
            else:
                tensors = layer_at(layers, INNER.index(edge))
                nodes[target], moved = add_edge(self, self.config, edge, op, nodes[target], node, tensors)
                norms.append(moved)
        for name, statistics in (("norm", norms), ("entry_norm", entry_norms)):
            record_statistics(self, name, jax.tree.map(lambda *edges: jnp.stack(edges), *statistics))
        return rescaled(end_of_block(self, "output", nodes[-1]), exponent)

    def _declare_entries(self, x, ops, exponent):
        """The layers of the edges from the input, and their normalisation; `ops` are those that the edges chose."""
        channels, half = x.shape[-1], self.channels // 2
        is_skip = ops == SKIP_CONNECT
        declare = partial(declare_conv, self, self.config, len(x), exponent)
        return (
            declare("entry_conv_1x1", (1, 1, channels, self.channels), ops == NOR_CONV_1X1),
            declare("entry_conv_3x3", (3, 3, channels, self.channels), ops == NOR_CONV_3X3),
            declare("entry_skip_even", (1, 1, channels, half), is_skip),
            declare("entry_skip_odd", (1, 1, channels, self.channels - half), is_skip),
            declare_norm(self, self.config, "entry_norm", self.channels, is_conv(ops) | is_skip),
        )


def scan_cells(num_cells: int, config: CellConfig, name: str) -> nn.Module:
    """`num_cells` equal normal cells one after another, compiled once whatever their number.

    A cell keeps nothing for a backward pass but its input, or the inputs of its edges: the rest is computed again,
    which takes less time and several times less memory.
    """
    keeps_inputs = config.reverse and config.capacity is None
    cells = nn.scan(
        NormalCell if keeps_inputs else nn.remat(NormalCell, prevent_cse=False),
        variable_axes=dict.fromkeys(OF_LAYERS, 0),
        split_rngs={"params": True},
        in_axes=nn.broadcast,
        length=num_cells,
    )
    return cells(config, name=name)


def is_conv(ops: Int8[Array, "*E"]) -> Bool[Array, "*E"]:
    """Which ops are convolutions."""
    return (ops == NOR_CONV_1X1) | (ops == NOR_CONV_3X3)


def declare_edges(cell, config, ops, shape, exponent):
    """The layers of edges between nodes of one shape, which chose `ops`: two convolutions and their normalisation."""
    channels = shape[-1]
    declare = partial(declare_conv, cell, config, shape[0], exponent)
    return (
        declare("conv_1x1", (1, 1, channels, channels), ops == NOR_CONV_1X1),
        declare("conv_3x3", (3, 3, channels, channels), ops == NOR_CONV_3X3),
        declare_norm(cell, config, "norm", channels, is_conv(ops)),
    )


def declare_conv(cell, config, batch, exponent, name, shape, used):
    """One convolution for each of the edges of a cell; `used` says which edges chose it."""
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


def declare_norm(cell, config, name, channels, used):
    """One normalisation for each of the edges of a cell."""
    return batch_norm_layer(cell, name, channels, stack=used.shape, affine=config.affine, used=used)


def layer_at(stack, number):
    """One of the layers that are stacked in the first axis of the leaves."""
    return jax.tree.map(lambda leaf: leaf[number], stack)


def add_edge(cell, config, edge, op, total, x, layers):
    """total + op(x) on an edge of `cell`, and its normalisation moved on."""
    cell.sow("relus", f"edge{edge}", (x, is_conv(op)))
    cell.sow("pools", f"edge{edge}", 9.0 * x.size * (op == AVG_POOL_3X3))
    capacity = config.capacity and config.capacity[edge]
    return add_op(op, total, x, *layers, config=replace(config, capacity=None), capacity=capacity)


@partial(jax.jit, static_argnames=("config", "capacity"))
def add_op(op, total, x, conv_1x1, conv_3x3, norm, *, config, capacity):
    """total + op(x), and the edge's normalisation with its running statistics moved on where the op has one.

    `capacity` is that of the edge. Jitted so that its derivatives are traced once per stage and not once per edge.
    """
    op = op.astype(jnp.int32)
    if capacity is not None:
        out, moved = _apply_op_grouped(op, x, conv_1x1, conv_3x3, norm, config, capacity)
        return (out if total is None else total + out), moved
    branches = tuple(partial(_BRANCHES[name], config=config) for name in config.op_names)
    switch = add_switch_backwards if config.reverse else add_switch
    return switch(op, branches, total, x, conv_1x1, conv_3x3, norm)


def _relu_conv_norm(layer, x, norm, config, stride=1):
    out = apply_layer(layer, nn.relu(x), stride)
    return apply_batch_norm(norm, out, train=config.train) if config.norm else (out, norm)


_BRANCHES: dict[str, Callable] = {
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


def _apply_op_grouped(op, x, conv_1x1, conv_3x3, norm, config, capacity):
    """The op for batches: what is linear in groups, the elementwise rest for all, kept where the op has it."""
    dispatch = Dispatch(tuple(_KINDS[name] for name in config.op_names), capacity)
    convolves = is_conv(op)
    product = mixed(op, jnp.where(convolves, nn.relu(x), x), (conv_1x1.kernel, conv_3x3.kernel), dispatch)
    layers = (conv_1x1._replace(kernel=None), conv_3x3._replace(kernel=None))
    layer = jax.tree.map(lambda one, three: jnp.where(op == NOR_CONV_1X1, one, three), *layers)
    if layer.places is not None:  # the others pass through it too
        layer, norm = layer._replace(places=convolves * layer.places), norm._replace(places=convolves * norm.places)
    out, moved = apply_taps(layer, product), norm
    if config.norm:
        out, moved = apply_batch_norm(norm, out, train=config.train)
    return jax.tree.map(lambda new, old: jnp.where(convolves, new, old), (out, moved), (product, norm))


@partial(jax.jit, static_argnames="config")
def add_reducing_op(op, total, x, layers, *, config):
    """`add_op` on an edge that halves the image; for batches under `vmap` each architecture computes all ops."""
    branches = tuple(partial(_REDUCING_BRANCHES[name], config=config) for name in config.op_names)
    switch = add_switch_backwards if config.reverse else add_switch
    return switch(op.astype(jnp.int32), branches, total, x, *layers)


def _zeros_of_half(x, one, three, even, odd, norm, config):
    n, h, w, _ = x.shape
    return jnp.zeros((n, -(-h // 2), -(-w // 2), one.kernel.shape[-1]), x.dtype), norm


def _factorized(x, one, three, even, odd, norm, config):
    out = halve(even, odd, nn.relu(x))
    return apply_batch_norm(norm, out, train=config.train) if config.norm else (out, norm)


_REDUCING_BRANCHES: dict[str, Callable] = {
    "none": _zeros_of_half,
    "skip_connect": _factorized,
    "nor_conv_1x1": lambda x, one, three, even, odd, norm, config: _relu_conv_norm(one, x, norm, config, stride=2),
    "nor_conv_3x3": lambda x, one, three, even, odd, norm, config: _relu_conv_norm(three, x, norm, config, stride=2),
}
