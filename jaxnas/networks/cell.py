"""The cell of NAS-Bench-201 and of TransNAS-Bench-101 micro as a supernet: every edge holds the tensors of all ops.

Ops are called by their names in `spaces`; both spaces give the two convolutions the same numbers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int8

from jaxnas.networks.blocks import halve
from jaxnas.networks.kernels.dispatch import Dispatch, Kind, add_switch, add_switch_backwards, mixed
from jaxnas.networks.kernels.pools import average_pool_3x3
from jaxnas.networks.layers import (
    OF_LAYERS,
    BatchNorm,
    apply_batch_norm,
    apply_layer,
    apply_taps,
    batch_norm_layer,
    end_of_block,
    record_statistics,
    rescaled,
    weight_layer,
)
from jaxnas.spaces.cell import EDGES, NONE, NUM_NODES
from jaxnas.spaces.nasbench201 import AVG_POOL_3X3, NOR_CONV_1X1, NOR_CONV_3X3, SKIP_CONNECT

ENTRIES = tuple(edge for edge, (source, _) in enumerate(EDGES) if source == 0)  # from the input of the cell
INNER = tuple(edge for edge in range(len(EDGES)) if edge not in ENTRIES)

Capacity = tuple[tuple[int, ...], ...] | None


class Cell(nn.Module):
    """One cell: node j is the sum over edges (i, j) of op(node i); maps [N H W C] to [N H W C], see `rescaled`."""

    op_names: tuple[str, ...]
    affine: bool
    draw: str  # of the convolutions, see `weight_layer`
    norm: bool
    train: bool
    capacity: Capacity
    reverse: bool

    @nn.compact
    def __call__(self, state, arch):
        x, exponent = state
        layers = declare_edges(self, len(EDGES), x.shape, exponent)
        nodes, norms = [x, *[None] * (NUM_NODES - 1)], []
        for edge, (source, target) in enumerate(EDGES):
            of_edge = layer_of(layers, edge)
            nodes[target], moved = add_edge(self, edge, arch[edge], nodes[target], nodes[source], of_edge)
            norms.append(moved)
        record_statistics(self, "norm", jax.tree.map(lambda *edges: jnp.stack(edges), *norms))
        return rescaled(end_of_block(self, "output", nodes[-1]), exponent), None


class ReducingCell(nn.Module):
    """The same with edges from its input that halve height and width: maps [N H W C] to [N h w O], h = ceil(H / 2).

    A convolution there has stride 2; a skip takes every second pixel through one 1x1 convolution and the pixels right
    below those through another, O/2 channels each, and normalises them.
    """

    op_names: tuple[str, ...]
    channels: int  # O
    affine: bool
    draw: str  # of the convolutions, see `weight_layer`
    norm: bool
    train: bool
    capacity: Capacity
    reverse: bool

    @nn.compact
    def __call__(self, state, arch):
        x, exponent = state
        n, h, w, c = x.shape
        declare = declaration(self, n, len(ENTRIES), exponent)
        entries = (
            weight_layer(self, "entry_conv_1x1", (1, 1, c, self.channels), **declare),
            weight_layer(self, "entry_conv_3x3", (3, 3, c, self.channels), **declare),
            weight_layer(self, "entry_skip_even", (1, 1, c, self.channels // 2), **declare),
            weight_layer(self, "entry_skip_odd", (1, 1, c, self.channels - self.channels // 2), **declare),
            batch_norm_layer(self, "entry_norm", self.channels, stack=(len(ENTRIES),), affine=self.affine),
        )
        half = (n, -(-h // 2), -(-w // 2), self.channels)
        layers = declare_edges(self, len(INNER), half, exponent)
        nodes: list[Any] = [x, *[None] * (NUM_NODES - 1)]
        norms: list[BatchNorm] = []
        entry_norms: list[BatchNorm] = []
        for edge, (source, target) in enumerate(EDGES):
            op, node = arch[edge], nodes[source]
            if edge in ENTRIES:
                of_edge = layer_of(entries, ENTRIES.index(edge))
                self.sow("relus", f"edge{edge}", (node, op != NONE))
                how = dict(op_names=self.op_names, normalise=self.norm, train=self.train, reverse=self.reverse)
                nodes[target], moved = add_reducing_op(op, nodes[target], node, of_edge, **how)
                entry_norms.append(moved)
            else:
                of_edge = layer_of(layers, INNER.index(edge))
                nodes[target], moved = add_edge(self, edge, op, nodes[target], node, of_edge)
                norms.append(moved)
        for name, moved in (("norm", norms), ("entry_norm", entry_norms)):
            record_statistics(self, name, jax.tree.map(lambda *edges: jnp.stack(edges), *moved))
        return rescaled(end_of_block(self, "output", nodes[-1]), exponent)


def scan_cells(num_cells: int, how: tuple, name: str) -> nn.Module:
    """`num_cells` equal cells one after another, compiled once whatever their number; `how` are the fields of `Cell`.

    A cell keeps nothing for a backward pass but its input, or the inputs of its edges: the rest is computed again,
    which takes less time and several times less memory.
    """
    *_, capacity, reverse = how
    cells = nn.scan(
        Cell if reverse and capacity is None else nn.remat(Cell, prevent_cse=False),
        variable_axes=dict.fromkeys(OF_LAYERS, 0),
        split_rngs={"params": True},
        in_axes=nn.broadcast,
        length=num_cells,
    )
    return cells(*how, name=name)


def edges_in_use(arch: Int8[Array, " 6"], name: str) -> Array:
    """Which edges use the layer or normalisation of that name in a cell; all six, or those that the cell declares."""
    is_conv = (arch == NOR_CONV_1X1) | (arch == NOR_CONV_3X3)
    of_name = {
        "conv_1x1": arch == NOR_CONV_1X1,
        "conv_3x3": arch == NOR_CONV_3X3,
        "norm": is_conv,
        "entry_conv_1x1": arch == NOR_CONV_1X1,
        "entry_conv_3x3": arch == NOR_CONV_3X3,
        "entry_skip": arch == SKIP_CONNECT,
        "entry_norm": is_conv | (arch == SKIP_CONNECT),
    }
    return next(edges for start, edges in of_name.items() if name.startswith(start))


def declare_edges(cell, num_edges, shape, exponent):
    """The layers of `num_edges` edges between nodes of one shape: both convolutions, and their normalisation."""
    channels = shape[-1]
    declare = declaration(cell, shape[0], num_edges, exponent)
    return (
        weight_layer(cell, "conv_1x1", (1, 1, channels, channels), **declare),
        weight_layer(cell, "conv_3x3", (3, 3, channels, channels), **declare),
        batch_norm_layer(cell, "norm", channels, stack=(num_edges,), affine=cell.affine),
    )


def declaration(cell, batch, num_edges, exponent):
    """What the layers of a cell's edges have in common."""
    stack = dict(batch=batch, stack=(num_edges,), exponent=exponent)
    return dict(stack, bias=not cell.affine, normalised=cell.norm, draw=cell.draw)


def layer_of(stack, number):
    """One of the layers that are stacked in the leaves' first axis."""
    return jax.tree.map(lambda leaf: leaf[number], stack)


def add_edge(cell, edge, op, total, x, layers):
    """total + op(x) on an edge of `cell`, and its normalisation moved on."""
    cell.sow("relus", f"edge{edge}", (x, (op == NOR_CONV_1X1) | (op == NOR_CONV_3X3)))
    cell.sow("pools", f"edge{edge}", 9.0 * x.size * (op == AVG_POOL_3X3))
    capacity = cell.capacity and cell.capacity[edge]
    how = dict(op_names=cell.op_names, normalise=cell.norm, train=cell.train, reverse=cell.reverse)
    return add_op(op, total, x, *layers, capacity=capacity, **how)


@partial(jax.jit, static_argnames=("op_names", "normalise", "train", "capacity", "reverse"))
def add_op(op, total, x, conv_1x1, conv_3x3, norm, *, op_names, normalise, train, capacity, reverse):
    """total + op(x), and the edge's normalisation with its running statistics moved on where the op has one.

    Jitted so that its derivatives are traced once per stage and not once per edge.
    """
    op = op.astype(jnp.int32)
    if capacity is not None:
        out, moved = _apply_op_grouped(op, x, conv_1x1, conv_3x3, norm, op_names, normalise, train, capacity)
        return (out if total is None else total + out), moved
    branches = tuple(partial(_BRANCHES[name], normalise=normalise, train=train) for name in op_names)
    switch = add_switch_backwards if reverse else add_switch
    return switch(op, branches, total, x, conv_1x1, conv_3x3, norm)


def _relu_conv_norm(layer, x, norm, normalise, train, stride=1):
    out = apply_layer(layer, nn.relu(x), stride)
    return apply_batch_norm(norm, out, train=train) if normalise else (out, norm)


_BRANCHES = {
    "none": lambda x, one, three, norm, **_: (jnp.zeros_like(x), norm),
    "skip_connect": lambda x, one, three, norm, **_: (x, norm),
    "nor_conv_1x1": lambda x, one, three, norm, **how: _relu_conv_norm(one, x, norm, **how),
    "nor_conv_3x3": lambda x, one, three, norm, **how: _relu_conv_norm(three, x, norm, **how),
    "avg_pool_3x3": lambda x, one, three, norm, **_: (average_pool_3x3(x), norm),
}


_KINDS: dict[str, Kind] = {
    "none": "zero",
    "skip_connect": "identity",
    "nor_conv_1x1": 1,
    "nor_conv_3x3": 3,
    "avg_pool_3x3": "pool",
}


def _apply_op_grouped(op, x, conv_1x1, conv_3x3, norm, op_names, normalise, train, capacity):
    """The same for batches: what is linear in groups, the elementwise rest for all, kept where the op has it."""
    dispatch = Dispatch(tuple(_KINDS[name] for name in op_names), capacity)
    is_conv = (op == NOR_CONV_1X1) | (op == NOR_CONV_3X3)
    product = mixed(op, jnp.where(is_conv, nn.relu(x), x), (conv_1x1.kernel, conv_3x3.kernel), dispatch)
    layers = (conv_1x1._replace(kernel=None), conv_3x3._replace(kernel=None))
    layer = jax.tree.map(lambda one, three: jnp.where(op == NOR_CONV_1X1, one, three), *layers)
    if layer.places is not None:  # the others pass through it too
        layer, norm = layer._replace(places=is_conv * layer.places), norm._replace(places=is_conv * norm.places)
    out, moved = apply_taps(layer, product), norm
    if normalise:
        out, moved = apply_batch_norm(norm, out, train=train)
    return jax.tree.map(lambda new, old: jnp.where(is_conv, new, old), (out, moved), (product, norm))


@partial(jax.jit, static_argnames=("op_names", "normalise", "train", "reverse"))
def add_reducing_op(op, total, x, layers, *, op_names, normalise, train, reverse):
    """`add_op` on an edge that halves the image; for batches under `vmap` each architecture computes all ops."""
    branches = tuple(partial(_REDUCING_BRANCHES[name], normalise=normalise, train=train) for name in op_names)
    switch = add_switch_backwards if reverse else add_switch
    return switch(op.astype(jnp.int32), branches, total, x, *layers)


def _zeros_of_half(x, one, three, even, odd, norm, **_):
    n, h, w, _ = x.shape
    return jnp.zeros((n, -(-h // 2), -(-w // 2), one.kernel.shape[-1]), x.dtype), norm


def _factorized(x, one, three, even, odd, norm, normalise, train):
    out = halve(even, odd, nn.relu(x))
    return apply_batch_norm(norm, out, train=train) if normalise else (out, norm)


_REDUCING_BRANCHES: dict[str, Callable] = {
    "none": _zeros_of_half,
    "skip_connect": _factorized,
    "nor_conv_1x1": lambda x, one, three, even, odd, norm, **how: _relu_conv_norm(one, x, norm, **how, stride=2),
    "nor_conv_3x3": lambda x, one, three, even, odd, norm, **how: _relu_conv_norm(three, x, norm, **how, stride=2),
}
