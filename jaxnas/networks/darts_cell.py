"""The cells of DARTS: a scan over eight edges, each with the tensors of all ops.

An edge reads the chosen node and adds the output of the chosen op to the node that it feeds.

Source: Liu, Simonyan and Yang 2019 (arXiv:1806.09055).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int8, PRNGKeyArray

from jaxnas.networks.blocks import halve
from jaxnas.networks.drop_path import drop
from jaxnas.networks.kernels.pools import average_pool_3x3, max_pool_3x3
from jaxnas.networks.kernels.switch import add_chosen
from jaxnas.networks.layers import (
    OF_LAYERS,
    BatchNorm,
    Exponent,
    RunMode,
    WeightLayer,
    apply_batch_norm,
    apply_depthwise,
    apply_layer,
    batch_norm_layer,
    end_of_block,
    record_statistics,
    rescaled,
    weight_layer,
)
from jaxnas.spaces.darts import NODES, OP_NAMES, PAIRS


class SeparableForm(NamedTuple):
    """A convolution op.

    Attributes:
        size: k of the depthwise kernel.
        dilation: Dilation of the depthwise kernel.
        times: The number of times that ReLU, depthwise, 1x1 and normalisation follow.
    """

    size: int
    dilation: int
    times: int


NUM_EDGES = 2 * len(NODES)
SKIP = OP_NAMES.index("skip_connect")
POOLS = tuple(OP_NAMES.index(name) for name in ("max_pool_3x3", "avg_pool_3x3"))
CONVOLUTIONS = {
    "sep_conv_3x3": SeparableForm(3, 1, 2),
    "sep_conv_5x5": SeparableForm(5, 1, 2),
    "dil_conv_3x3": SeparableForm(3, 2, 1),
    "dil_conv_5x5": SeparableForm(5, 2, 1),
}
SOURCES = np.zeros((len(NODES), max(map(len, PAIRS)), 2), np.int32)  # of each node and pair: what feeds it
for _row, _pairs in zip(SOURCES, PAIRS, strict=True):
    _row[: len(_pairs)] = _pairs

State: TypeAlias = tuple[tuple[Array, Array], Exponent]  # the outputs of the last two cells, see `rescaled`
Layers: TypeAlias = dict[str, WeightLayer]
Norms: TypeAlias = dict[str, BatchNorm]
OpResult: TypeAlias = tuple[Array, tuple[Norms, Array | None]]  # output, normalisations, input of the second ReLU
Inputs: TypeAlias = Array | tuple[Array, Array]  # of an edge; in a cell that reduces, one of each size


class GenotypeCell(nn.Module):
    """Outputs of the two cells before [N H W *], to [N h w 4C]: the four nodes concatenated.

    Attributes:
        channels: C.
        reduces: Whether the cell halves the image, h = ceil(H / 2).
        halves_first: Whether the first input is twice as large as the second, as after a cell that reduces.
        mode: The settings of the call.
    """

    channels: int
    reduces: bool
    halves_first: bool
    mode: RunMode

    @nn.compact
    def __call__(
        self, state: State, decisions: Int8[Array, "M 3"], drop_path: Float[Array, ""] | None
    ) -> tuple[State, None]:
        """Return the outputs of the last two cells after this one, and None as the output of a scan.

        Args:
            state: The outputs of the two cells before.
            decisions: For each node, the pair of nodes that feeds it and the two ops.
            drop_path: The rate at which the output of an edge is dropped, except of an identity; None for no dropping.
        """
        (before, last), exponent = state
        if self.has_variable("probes", "output") and not self.is_initializing():
            before = jax.lax.stop_gradient(before)  # a cell pulls back to the block before it alone
        first = Squeeze(self.channels, self.halves_first, self.mode, name="first")(before)
        second = Squeeze(self.channels, False, self.mode, name="second")(last)
        sources = jnp.asarray(SOURCES)[jnp.arange(len(NODES)), decisions[:, 0].astype(jnp.int32)].reshape(-1)
        ops = decisions[:, 1:].reshape(-1).astype(jnp.int32)
        layers, norms = self._declare(len(last), ops, sources)
        sows = self.is_mutable_collection("relus") and not self.is_initializing()
        branches: list[Callable[..., OpResult]]
        branches = [partial(_OPS[name], stride=1, mode=self.mode, sows=sows) for name in OP_NAMES]
        pair = jnp.stack([first, second])
        if self.reduces:
            halving = [partial(_HALVING_OPS[name], stride=2, mode=self.mode, sows=sows) for name in OP_NAMES]
            branches = [*map(_from_pair, halving), *map(_from_nodes, branches)]
        n, h, w, c = first.shape
        shape = (n, -(-h // 2), -(-w // 2), c) if self.reduces else first.shape
        nodes = jnp.zeros((len(NODES), *shape), first.dtype)
        start = nodes if self.reduces else jnp.concatenate([pair, nodes])

        def edge(
            states: Array, inputs: tuple[Layers, Norms, Array, Array, Array, PRNGKeyArray | None]
        ) -> tuple[Array, tuple[Inputs | None, Norms, Array | None]]:
            """Add the chosen op on the chosen input to the node that the edge feeds."""
            layers, norms, source, op, target, key = inputs
            x: Inputs
            if self.reduces:
                x = pair[jnp.minimum(source, 1)], states[jnp.maximum(source - 2, 0)]
                op = op + len(OP_NAMES) * (source >= 2)
            else:
                x, target = states[source], target + 2
            out, rest = add_chosen(op, tuple(branches), None, x, layers, norms, reverse=self.mode.reverse)
            if drop_path is not None and key is not None:
                out = jnp.where(op == keeps, out, drop(key, out, drop_path))
            return states.at[target].add(out), (x if sows else None, *rest)

        targets, keys = jnp.arange(NUM_EDGES) // 2, None
        keeps = SKIP + len(OP_NAMES) * self.reduces  # what `edge` calls an identity
        if drop_path is not None:
            keys = jax.random.split(self.make_rng("drop_path"), NUM_EDGES)
        states, (x, moved, middle) = jax.lax.scan(edge, start, (layers, norms, sources, ops, targets, keys))
        for name, norm in moved.items():
            record_statistics(self, name, norm)
        if x is not None and middle is not None:
            self._sow_relus(x, middle, ops, sources)
        self.sow("pools", "edges", 9.0 * nodes[0].size * jnp.isin(ops, jnp.array(POOLS)))
        out = end_of_block(self, "output", jnp.concatenate(list(states[-len(NODES) :]), axis=-1))
        return rescaled((last, out), exponent), None

    def _declare(self, batch: int, ops: Int[Array, " E"], sources: Int[Array, " E"]) -> tuple[Layers, Norms]:
        """Declare layers and normalisations of all edges, by name, for edges that chose these ops and sources."""
        layers: Layers = {}
        norms: Norms = {}
        c = self.channels
        declare = partial(weight_layer, self, batch=batch, stack=(NUM_EDGES,), normalised=self.mode.norm)
        declare_norm = partial(batch_norm_layer, self, channels=c, stack=(NUM_EDGES,))
        for op, (size, _, times) in CONVOLUTIONS.items():
            used = ops == OP_NAMES.index(op)
            for number in range(times):
                for name, shape in (("depthwise", (size, size, 1, c)), ("pointwise", (1, 1, c, c))):
                    name = f"{op}_{name}{number}"
                    layers[name] = declare(name, shape, used=used)
                norms[f"{op}_norm{number}"] = declare_norm(f"{op}_norm{number}", used=used)
        if self.reduces:  # a skip has layers on edges that halve the image, from the two inputs of the cell
            used = (ops == SKIP) & (sources < 2)
            for name, channels in (("skip_connect_even", c // 2), ("skip_connect_odd", c - c // 2)):
                layers[name] = declare(name, (1, 1, c, channels), used=used)
            norms["skip_connect_norm"] = declare_norm("skip_connect_norm", used=used)
        return layers, norms

    def _sow_relus(self, x: Inputs, middle: Array, ops: Int[Array, " E"], sources: Int[Array, " E"]) -> None:
        """Sow the inputs of the ReLUs of all edges: those of the first ones `x`, those of the second ones `middle`."""
        starts = np.array([name in CONVOLUTIONS for name in OP_NAMES])
        twice = np.array([name in CONVOLUTIONS and CONVOLUTIONS[name].times == 2 for name in OP_NAMES])
        if self.reduces:
            large, small = x
            halves = sources < 2
            self.sow("relus", "large", (large, halves & (jnp.asarray(starts)[ops] | (ops == SKIP))))
            self.sow("relus", "small", (small, ~halves & jnp.asarray(starts)[ops]))
        else:
            self.sow("relus", "edges", (x, jnp.asarray(starts)[ops]))
        self.sow("relus", "middle", (middle, jnp.asarray(twice)[ops]))


def scan_equal_cells(num_cells: int, channels: int, mode: RunMode, name: str) -> nn.Module:
    """Return normal cells whose inputs are all of one shape, one after another, compiled once."""
    cells = nn.scan(
        GenotypeCell,
        variable_axes=dict.fromkeys(OF_LAYERS, 0),
        split_rngs={"params": True, "drop_path": True},
        in_axes=nn.broadcast,
        length=num_cells,
    )
    return cells(channels, False, False, mode, name=name)


class Squeeze(nn.Module):
    """ReLU, 1x1 convolution to C channels, normalisation.

    Attributes:
        channels: C.
        halves: Whether even and odd pixels pass different convolutions to C/2 channels each, see `halve`.
        mode: The settings of the call.
    """

    channels: int
    halves: bool
    mode: RunMode

    @nn.compact
    def __call__(self, x: Float[Array, "N H W D"]) -> Float[Array, "N h w C"]:
        """Return the features, h = ceil(H / 2) if it `halves`, else H."""
        declare = partial(weight_layer, self, batch=len(x), normalised=self.mode.norm)
        self.sow("relus", "input", (x, True))
        norm = batch_norm_layer(self, "norm", self.channels)
        if self.halves:
            half = self.channels // 2
            even = declare("even", (1, 1, x.shape[-1], half))
            odd = declare("odd", (1, 1, x.shape[-1], self.channels - half))
            out = halve(even, odd, nn.relu(x))
        else:
            out = apply_layer(declare("conv", (1, 1, x.shape[-1], self.channels)), nn.relu(x))
        if self.mode.norm:
            out, norm = apply_batch_norm(norm, out, train=self.mode.train)
            record_statistics(self, "norm", norm)
        return out


def _pool(function: Callable[[Array], Array]) -> Callable[..., OpResult]:
    """Return a pooling op, whose normalisations are those that it was given."""
    return lambda x, layers, norms, *, stride, mode, sows: (
        function(x)[:, ::stride, ::stride],
        (norms, jnp.zeros_like(x[:, ::stride, ::stride]) if sows else None),
    )


def _convolve(x: Array, layers: Layers, norms: Norms, *, op: str, stride: int, mode: RunMode, sows: bool) -> OpResult:
    """Apply ReLU, depthwise, 1x1 and norm, once or twice."""
    _, dilation, times = CONVOLUTIONS[op]
    middle: Array | None = None
    moved = dict(norms)
    for number in range(times):
        middle = x if number else None
        x = apply_depthwise(layers[f"{op}_depthwise{number}"], nn.relu(x), 1 if number else stride, dilation)
        x = apply_layer(layers[f"{op}_pointwise{number}"], x)
        if mode.norm:
            name = f"{op}_norm{number}"
            x, moved[name] = apply_batch_norm(norms[name], x, train=mode.train)
    return x, (moved, (jnp.zeros_like(x) if middle is None else middle) if sows else None)


def _halving_skip(x: Array, layers: Layers, norms: Norms, *, stride: int, mode: RunMode, sows: bool) -> OpResult:
    out, moved = halve(layers["skip_connect_even"], layers["skip_connect_odd"], nn.relu(x)), dict(norms)
    if mode.norm:
        out, moved["skip_connect_norm"] = apply_batch_norm(norms["skip_connect_norm"], out, train=mode.train)
    return out, (moved, jnp.zeros_like(out) if sows else None)


_OPS: dict[str, Callable[..., OpResult]] = {
    "max_pool_3x3": _pool(max_pool_3x3),
    "avg_pool_3x3": _pool(average_pool_3x3),
    "skip_connect": _pool(lambda x: x),
    **{op: partial(_convolve, op=op) for op in CONVOLUTIONS},
}
_HALVING_OPS = _OPS | {"skip_connect": _halving_skip}


def _from_pair(op: Callable[..., OpResult]) -> Callable[..., OpResult]:
    """Return the op on the first of two inputs."""
    return lambda x, layers, norms: op(x[0], layers, norms)


def _from_nodes(op: Callable[..., OpResult]) -> Callable[..., OpResult]:
    """Return the op on the second of two inputs."""
    return lambda x, layers, norms: op(x[1], layers, norms)
