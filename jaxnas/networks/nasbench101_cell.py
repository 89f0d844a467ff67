"""The cells of NAS-Bench-101: a scan over five vertices, each with the tensors of all ops.

The vertices that feed the output share its channels, so that no vertex has more than half of them unless one feeds it
alone. A `switch` runs the cell at either width, of which a vertex may lack the last channels.

Source: Ying et al. 2019 (arXiv:1902.09635).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Int8

from jaxnas.data.batch import AnyArray
from jaxnas.networks.kernels.pools import max_pool_3x3
from jaxnas.networks.kernels.switch import add_chosen
from jaxnas.networks.layers import (
    OF_LAYERS,
    BatchNorm,
    Exponent,
    RunMode,
    WeightLayer,
    apply_batch_norm,
    apply_layer,
    batch_norm_layer,
    end_of_block,
    record_statistics,
    rescaled,
    weight_layer,
)
from jaxnas.spaces.cell_graphs import EDGES, INNER, INPUT, MAX_VERTICES, OUTPUT
from jaxnas.spaces.nasbench101 import OP_NAMES

SIZES = {"conv3x3-bn-relu": 3, "conv1x1-bn-relu": 1}  # of the kernels
CONVOLUTIONS = {name.removesuffix("-bn-relu"): SIZES[name] for name in OP_NAMES if name in SIZES}  # by op number
POOL, NO_OP = len(CONVOLUTIONS), len(OP_NAMES)
VERTICES = len(INNER)
MOST_FEEDERS = 4  # of the output: each needs an edge to it and one from an earlier vertex

State: TypeAlias = tuple[Float[Array, "N H W C"], Exponent]  # what passes from cell to cell, see `rescaled`
Layers: TypeAlias = dict[str, WeightLayer]
Norms: TypeAlias = dict[str, BatchNorm]
Inputs: TypeAlias = tuple[Array, Array] | None  # of the ReLUs of the projections from the input, and of the ops
Operands: TypeAlias = tuple[Array, ...]  # the fields of a `Plan` after the first
CellResult: TypeAlias = tuple[Float[Array, "N H W C"], tuple[Norms, Inputs]]
Applied: TypeAlias = tuple[Array, tuple[BatchNorm, Array | None]]  # output, normalisation, input of the ReLU


class Plan(NamedTuple):
    """What an architecture decides of a cell, in floats, as derivatives are taken of all operands of a `switch`.

    Attributes:
        adds_input: Whether the input of the cell is projected and added to its output.
        fan_in: The number of inner vertices that feed the output.
        op: The op of each inner vertex, `NO_OP` for none.
        channels: The channels of each inner vertex, 0 for one that does not exist.
        from_input: Whether the input of the cell feeds each inner vertex.
        sources: Which inner vertices feed each inner vertex.
        feeders: The numbers of the vertices that feed the output, in their order; then the others.
    """

    adds_input: Float[Array, ""]
    fan_in: Float[Array, ""]
    op: Float[Array, " V"]
    channels: Float[Array, " V"]
    from_input: Float[Array, " V"]
    sources: Float[Array, "V V"]
    feeders: Float[Array, " V"]


def make_plan(arch: Int8[AnyArray, " D"], channels: int) -> Plan:
    """Return the plan of an architecture for a cell of so many channels.

    The vertices that feed the output share the channels, the first ones with one more where they do not divide. Another
    vertex has as many as the widest vertex that it feeds.
    """
    edges = jnp.zeros((MAX_VERTICES, MAX_VERTICES), jnp.int32)
    edges = edges.at[tuple(jnp.array(EDGES).T)].set(arch[: len(EDGES)].astype(jnp.int32))
    inner = edges[1:OUTPUT, 1:OUTPUT]  # [source, target]
    feeds = edges[1:OUTPUT, OUTPUT]
    fan_in = feeds.sum()
    least = channels // jnp.maximum(fan_in, 1)
    wider = jnp.cumsum(feeds) <= channels - least * fan_in
    widths = [(least + wider[vertex]) * feeds[vertex] for vertex in range(VERTICES)]
    for vertex in reversed(range(VERTICES)):
        later = range(vertex + 1, VERTICES)
        widest = jnp.max(jnp.stack([jnp.zeros((), jnp.int32), *(widths[t] * inner[vertex, t] for t in later)]))
        widths[vertex] = jnp.where(feeds[vertex] > 0, widths[vertex], widest)
    width = jnp.stack(widths)
    op = jnp.where(width > 0, arch[len(EDGES) :].astype(jnp.int32), NO_OP)
    from_input, feeders = edges[INPUT, 1:OUTPUT] * (width > 0), jnp.argsort(1 - feeds, stable=True)
    fields = (edges[INPUT, OUTPUT], fan_in, op, width, from_input, inner.T, feeders)
    return Plan(*(field.astype(float) for field in fields))


class Form(NamedTuple):
    """The settings of all layers of a cell in one branch of a `switch`.

    Attributes:
        width: The channels of their outputs, the first of those that tensors have.
        mode: The settings of the call.
        sows: Whether the inputs of ReLUs are returned.
    """

    width: int
    mode: RunMode
    sows: bool


class GraphCell(nn.Module):
    """One cell: maps [N H W C] to [N H W C], the concatenated vertices that feed the output.

    Attributes:
        mode: The settings of the call.
    """

    mode: RunMode

    @nn.compact
    def __call__(self, state: State, arch: Int8[Array, " D"]) -> tuple[State, None]:
        """Return the state after the cell, and None as the output of a scan."""
        x, exponent = state
        channels = x.shape[-1]
        plan = make_plan(arch, channels)
        layers, norms, (exit_layer, exit_norm) = self._declare(x)
        sows = self.is_mutable_collection("relus") and not self.is_initializing()
        branches = tuple(partial(run, mode=self.mode, sows=sows) for run in (_run_wide, _run_narrow))
        several, operands = (plan.fan_in > 1).astype(int), (x, plan[1:], layers, norms)
        out, (moved, inputs) = add_chosen(several, branches, None, *operands, reverse=self.mode.reverse)
        for name, norm in moved.items():
            record_statistics(self, name, norm)
        ends = tuple(partial(end, form=Form(channels, self.mode, sows)) for end in (_zeros, _convolve))
        last_one = (x, exit_layer, exit_norm)
        out, (norm, last) = add_chosen(plan.adds_input.astype(int), ends, out, *last_one, reverse=self.mode.reverse)
        record_statistics(self, "exit_norm", norm)
        self._sow(plan, x, inputs, last)
        return rescaled(end_of_block(self, "output", out), exponent), None

    def _declare(self, x: Float[Array, "N H W C"]) -> tuple[Layers, Norms, tuple[WeightLayer, BatchNorm]]:
        """Declare the layers and normalisations of all inner vertices, by name, and those behind the last one."""
        channels = x.shape[-1]
        declare = partial(weight_layer, self, batch=len(x), normalised=self.mode.norm, draw="lecun")
        sizes = {"entry": 1, **CONVOLUTIONS}
        layers = {n: declare(n, (k, k, channels, channels), stack=(VERTICES,)) for n, k in sizes.items()}
        names = ("entry_norm", "op_norm")
        norms = {name: batch_norm_layer(self, name, channels, stack=(VERTICES,)) for name in names}
        ending = declare("exit", (1, 1, channels, channels))
        return layers, norms, (ending, batch_norm_layer(self, "exit_norm", channels))

    def _sow(self, plan: Plan, x: Float[Array, "N H W C"], inputs: Inputs, last: Array | None) -> None:
        """Sow the inputs of ReLUs, and the numbers in the windows of pools."""
        channels = x.shape[-1]
        windows = 9.0 * (x.size // channels) * plan.channels * (plan.op == POOL)
        self.sow("pools", "vertices", windows)
        if inputs is not None and last is not None:
            live = jnp.arange(channels)[None] < plan.channels[:, None]
            self.sow("relus", "entries", (inputs[0], live & (plan.from_input > 0)[:, None]))
            self.sow("relus", "ops", (inputs[1], live & (plan.op < POOL)[:, None]))
            self.sow("relus", "exit", (last, plan.adds_input > 0))


def scan_graph_cells(num_cells: int, mode: RunMode, name: str) -> nn.Module:
    """Return so many cells one after another, compiled once."""
    cells = nn.scan(
        GraphCell if mode.reverse else nn.remat(GraphCell, prevent_cse=False),
        variable_axes=dict.fromkeys(OF_LAYERS, 0),
        split_rngs={"params": True},
        in_axes=nn.broadcast,
        length=num_cells,
    )
    return cells(mode, name=name)


def _run_wide(
    x: Float[Array, "N H W C"], operands: Operands, layers: Layers, norms: Norms, *, mode: RunMode, sows: bool
) -> CellResult:
    """Return the vertex that feeds the output, normalisations, and the inputs of ReLUs; zeros if there is none."""
    nodes, kept = _run_vertices(x, operands, layers, norms, Form(x.shape[-1], mode, sows))
    return nodes[operands[-1][0].astype(int)], kept


def _run_narrow(
    x: Float[Array, "N H W C"], operands: Operands, layers: Layers, norms: Norms, *, mode: RunMode, sows: bool
) -> CellResult:
    """Do as `_run_wide` does where several vertices feed the output: return them concatenated."""
    channels = x.shape[-1]
    nodes, kept = _run_vertices(x, operands, layers, norms, Form(-(-channels // 2), mode, sows))
    fan_in, order = operands[0].astype(int), operands[-1].astype(int)

    def joined(number: int, nodes: Array, order: Array) -> Array:
        least, more = divmod(channels, number)
        parts = [nodes[order[rank]][..., : least + (rank < more)] for rank in range(number)]
        return jnp.concatenate(parts, axis=-1)

    branches = [partial(joined, number) for number in range(2, MOST_FEEDERS + 1)]
    out: Array = jax.lax.switch(fan_in - 2, branches, nodes, order)
    return out, kept


def _run_vertices(
    x: Float[Array, "N H W C"],
    operands: Operands,
    layers: Layers,
    norms: Norms,
    form: Form,
) -> tuple[Float[Array, "V N H W c"], tuple[Norms, Inputs]]:
    """Return the first channels of every inner vertex, as the form has, normalisations, and the inputs of ReLUs."""
    _, ops, widths, from_input, sources, _ = operands
    width, reverse = form.width, form.mode.reverse
    entries = tuple(partial(branch, form=form) for branch in (_zeros, _convolve))
    of_ops = [*((name, _convolve) for name in CONVOLUTIONS), ("conv1x1", _pool), ("conv1x1", _zeros)]
    branches = tuple(partial(_op, name=name, branch=branch, form=form) for name, branch in of_ops)

    def vertex(
        nodes: Array, inputs: tuple[tuple[Array, ...], Layers, Norms, Int[Array, ""]]
    ) -> tuple[Array, tuple[Norms, Inputs]]:
        """Compute one vertex from the input of the cell and the vertices before."""
        (op, live, is_fed, of), layers, norms, number = inputs
        total = jnp.sum(nodes * of[:, None, None, None, None], axis=0)
        entry = x, layers["entry"], norms["entry_norm"]
        total, (entry_norm, first) = add_chosen(is_fed.astype(int), entries, total, *entry, reverse=reverse)
        is_live = (jnp.arange(width) < live)[None, None, None]
        total = jnp.where(is_live, total, 0)
        kept = {name: layers[name] for name in CONVOLUTIONS}
        operands = total, kept, norms["op_norm"]
        out, (op_norm, second) = add_chosen(op.astype(int), branches, None, *operands, reverse=reverse)
        nodes = nodes.at[number].set(jnp.where(is_live, out, 0))
        relus = None if first is None or second is None else (first, second)
        return nodes, ({"entry_norm": entry_norm, "op_norm": op_norm}, relus)

    start = jnp.zeros((VERTICES, *x.shape[:-1], width), x.dtype)
    rows = (ops, widths, from_input, sources), layers, norms, jnp.arange(VERTICES)
    nodes, kept = jax.lax.scan(vertex, start, rows)
    return nodes, kept


def _op(x: Array, layers: Layers, norm: BatchNorm, *, name: str, branch: Callable[..., Applied], form: Form) -> Applied:
    """Return the branch with the layer of that name."""
    return branch(x, layers[name], norm, form=form)


def _convolve(x: Float[Array, "N H W c"], layer: WeightLayer, norm: BatchNorm, *, form: Form) -> Applied:
    """Return convolution, normalisation and ReLU from the channels of x to those of the form."""
    full, width = layer.kernel.shape[-1], form.width
    gate = None if layer.gate is None else layer.gate[:, :width]
    kernel = layer.kernel[:, :, : x.shape[-1], :width]
    out, moved = apply_layer(layer._replace(kernel=kernel, gate=gate), x), norm
    if form.mode.norm:
        first = jax.tree.map(lambda leaf: leaf[:width] if leaf.ndim else leaf, norm)
        out, new = apply_batch_norm(first, out, train=form.mode.train)
        moved = jax.tree.map(lambda leaf, part: leaf.at[:width].set(part) if leaf.ndim else part, norm, new)
    inputs = jnp.pad(out, ((0, 0),) * 3 + ((0, full - width),)) if form.sows else None
    return nn.relu(out), (moved, inputs)


def _pool(x: Array, layer: WeightLayer, norm: BatchNorm, *, form: Form) -> Applied:
    return max_pool_3x3(x), _zeros(x, layer, norm, form=form)[1]


def _zeros(x: Array, layer: WeightLayer, norm: BatchNorm, *, form: Form) -> Applied:
    """Return zeros."""
    shape, full = x.shape[:-1], layer.kernel.shape[-1]
    return jnp.zeros((*shape, form.width), x.dtype), (norm, jnp.zeros((*shape, full), x.dtype) if form.sows else None)
