"""The networks of DARTS, for CIFAR and ImageNet: two stems, cells that see the last two cells' outputs, a classifier.

Source: Liu, Simonyan and Yang 2019 (arXiv:1806.09055). The genotype is an argument of the call: a cell is a scan over
its eight edges, each with the tensors of all ops, that reads the chosen node and adds the chosen op's output to its
own. One compiled program serves all genotypes.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, Self

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.networks.blocks import ConvNorm, halve
from jaxnas.networks.kernels.dispatch import add_switch, add_switch_backwards
from jaxnas.networks.kernels.pools import average_pool_3x3, max_pool_3x3
from jaxnas.networks.layers import (
    OF_LAYERS,
    RunMode,
    apply_batch_norm,
    apply_depthwise,
    apply_layer,
    batch_norm_layer,
    end_of_block,
    global_average,
    record_statistics,
    rescaled,
    start_exponent,
    weight_layer,
)
from jaxnas.networks.network import SearchNetwork
from jaxnas.spaces.darts import CELLS, DARTS, NODES, OP_NAMES, PAIRS

NUM_EDGES = 2 * len(NODES)
SKIP = OP_NAMES.index("skip_connect")
POOLS = tuple(OP_NAMES.index(name) for name in ("max_pool_3x3", "avg_pool_3x3"))
CONVOLUTIONS: dict[str, tuple[int, int, int]] = {  # size, dilation, times that ReLU, depthwise, 1x1, norm follow
    "sep_conv_3x3": (3, 1, 2),
    "sep_conv_5x5": (5, 1, 2),
    "dil_conv_3x3": (3, 2, 1),
    "dil_conv_5x5": (5, 2, 1),
}
SOURCES = np.zeros((len(NODES), max(map(len, PAIRS)), 2), np.int32)  # of each node and pair: what feeds it
for _row, _pairs in zip(SOURCES, PAIRS, strict=True):
    _row[: len(_pairs)] = _pairs


class GenotypeCell(nn.Module):
    """Outputs of the two cells before [N H W *], to [N h w 4C]: the four nodes side by side. h = H/2 if it `reduces`.

    `halves_first`: the first input is twice as large as the second, as after a cell that reduces.
    """

    channels: int  # C
    reduces: bool
    halves_first: bool
    mode: RunMode

    @nn.compact
    def __call__(self, state, decisions, drop_path):
        """The outputs of the last two cells after this one, and None as the output of a scan."""
        (before, last), exponent = state
        if self.has_variable("probes", "output") and not self.is_initializing():
            before = jax.lax.stop_gradient(before)  # a cell pulls back to the block before it alone
        first = Squeeze(self.channels, self.halves_first, self.mode, name="first")(before)
        second = Squeeze(self.channels, False, self.mode, name="second")(last)
        sources = jnp.asarray(SOURCES)[jnp.arange(len(NODES)), decisions[:, 0].astype(jnp.int32)].reshape(-1)
        ops = decisions[:, 1:].reshape(-1).astype(jnp.int32)
        layers, norms = self._declare(len(last), ops, sources)
        sows = self.is_mutable_collection("relus") and not self.is_initializing()
        branches = [partial(_OPS[name], stride=1, mode=self.mode, sows=sows) for name in OP_NAMES]
        pair = jnp.stack([first, second])
        if self.reduces:
            halving = [partial(_HALVING_OPS[name], stride=2, mode=self.mode, sows=sows) for name in OP_NAMES]
            branches = [*map(_from_pair, halving), *map(_from_nodes, branches)]
        run = add_switch_backwards if self.mode.reverse else add_switch
        n, h, w, c = first.shape
        shape = (n, -(-h // 2), -(-w // 2), c) if self.reduces else first.shape
        nodes = jnp.zeros((len(NODES), *shape), first.dtype)
        start = nodes if self.reduces else jnp.concatenate([pair, nodes])

        def edge(states, inputs):
            """The chosen op on the chosen input, added to the node that the edge feeds."""
            layers, norms, source, op, target, key = inputs
            if self.reduces:
                x = pair[jnp.minimum(source, 1)], states[jnp.maximum(source - 2, 0)]
                op = op + len(OP_NAMES) * (source >= 2)
            else:
                x, target = states[source], target + 2
            out, rest = run(op, tuple(branches), None, x, layers, norms)
            if drop_path is not None:
                out = jnp.where(op == keeps, out, drop(key, out, drop_path))
            return states.at[target].add(out), (x if sows else None, *rest)

        targets, keys = jnp.arange(NUM_EDGES) // 2, None
        keeps = SKIP + len(OP_NAMES) * self.reduces  # what `edge` calls an identity
        if drop_path is not None:
            keys = jax.random.split(self.make_rng("drop_path"), NUM_EDGES)
        states, (x, moved, middle) = jax.lax.scan(edge, start, (layers, norms, sources, ops, targets, keys))
        for name, norm in moved.items():
            record_statistics(self, name, norm)
        if sows:
            self._sow_relus(x, middle, ops, sources)
        self.sow("pools", "edges", 9.0 * nodes[0].size * jnp.isin(ops, jnp.array(POOLS)))
        out = end_of_block(self, "output", jnp.concatenate(list(states[-len(NODES) :]), axis=-1))
        return rescaled((last, out), exponent), None

    def _declare(self, batch, ops, sources):
        """Layers and normalisations by name, of all edges; `ops` and `sources` are those that the edges chose."""
        layers, norms, c = {}, {}, self.channels
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

    def _sow_relus(self, x, middle, ops, sources):
        starts = np.array([name in CONVOLUTIONS for name in OP_NAMES])
        twice = np.array([CONVOLUTIONS.get(name, (0, 0, 0))[2] == 2 for name in OP_NAMES])
        if self.reduces:
            large, small = x
            halves = sources < 2
            self.sow("relus", "large", (large, halves & (jnp.asarray(starts)[ops] | (ops == SKIP))))
            self.sow("relus", "small", (small, ~halves & jnp.asarray(starts)[ops]))
        else:
            self.sow("relus", "edges", (x, jnp.asarray(starts)[ops]))
        self.sow("relus", "middle", (middle, jnp.asarray(twice)[ops]))


def drop(key, x, rate):
    """x of each image with probability 1 - rate, divided by that, else 0."""
    kept = jax.random.bernoulli(key, 1 - rate, (len(x), 1, 1, 1))
    return jnp.where(kept, x / (1 - rate), 0)


class Squeeze(nn.Module):
    """ReLU, 1x1 convolution to C channels, norm; one that `halves` takes even and odd pixels to C/2 channels each."""

    channels: int
    halves: bool
    mode: RunMode

    @nn.compact
    def __call__(self, x):
        """The features [N H W C], or [N h w C] if it `halves`."""
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


def _pool(function):
    """A pooling op; its result is the first and the rest has nothing new."""
    return lambda x, layers, norms, *, stride, mode, sows: (
        function(x)[:, ::stride, ::stride],
        (norms, jnp.zeros_like(x[:, ::stride, ::stride]) if sows else None),
    )


def _convolve(x, layers, norms, *, op, stride, mode, sows):
    """ReLU, depthwise, 1x1, norm, once or twice; the input of the second ReLU is the last of the rest."""
    (_, dilation, times), middle = CONVOLUTIONS[op], None
    moved = dict(norms)
    for number in range(times):
        middle = x if number else None
        x = apply_depthwise(layers[f"{op}_depthwise{number}"], nn.relu(x), 1 if number else stride, dilation)
        x = apply_layer(layers[f"{op}_pointwise{number}"], x)
        if mode.norm:
            name = f"{op}_norm{number}"
            x, moved[name] = apply_batch_norm(norms[name], x, train=mode.train)
    return x, (moved, (jnp.zeros_like(x) if middle is None else middle) if sows else None)


def _halving_skip(x, layers, norms, *, stride, mode, sows):
    out, moved = halve(layers["skip_connect_even"], layers["skip_connect_odd"], nn.relu(x)), dict(norms)
    if mode.norm:
        out, moved["skip_connect_norm"] = apply_batch_norm(norms["skip_connect_norm"], out, train=mode.train)
    return out, (moved, jnp.zeros_like(out) if sows else None)


_OPS: dict[str, Callable] = {
    "max_pool_3x3": _pool(max_pool_3x3),
    "avg_pool_3x3": _pool(average_pool_3x3),
    "skip_connect": _pool(lambda x: x),
    **{op: partial(_convolve, op=op) for op in CONVOLUTIONS},
}
_HALVING_OPS = _OPS | {"skip_connect": _halving_skip}


def _from_pair(op):
    """The op on the first of two inputs."""
    return lambda x, layers, norms: op(x[0], layers, norms)


def _from_nodes(op):
    """The op on the second of two inputs."""
    return lambda x, layers, norms: op(x[1], layers, norms)


class AuxiliaryHead(nn.Module):
    """Logits from features in the middle of the network: 2x2 averages over 5x5 windows, 1x1, 2x2, linear layer."""

    num_classes: int
    mode: RunMode

    @nn.compact
    def __call__(self, x):
        """Logits [N K] of features [N H W C]."""
        x, size = nn.relu(x), min(5, *x.shape[1:3])
        x = jnp.stack([x[:, :size], x[:, -size:]], 1).mean(2)
        x = jnp.stack([x[:, :, :size], x[:, :, -size:]], 2).mean(3)
        for name, channels in (("conv_a", 128), ("conv_b", 768)):
            x = x if name == "conv_a" else x.reshape(len(x), 1, 1, -1)  # the 2x2 convolution, which leaves one pixel
            layer = weight_layer(self, name, (1, 1, x.shape[-1], channels), batch=len(x), normalised=self.mode.norm)
            x, norm = apply_layer(layer, x), batch_norm_layer(self, f"{name}_norm", channels)
            if self.mode.norm:
                x, norm = apply_batch_norm(norm, x, train=self.mode.train)
                record_statistics(self, f"{name}_norm", norm)
            x = nn.relu(x)
        return _classify(self, x, self.num_classes)


def _classify(module, x, num_classes, exponent=None):
    declare = dict(batch=len(x), bias=True, exponent=exponent)
    layer = weight_layer(module, "classifier", (x.shape[-1], num_classes), **declare)
    return apply_layer(layer, global_average(module, x))


class DARTSNetwork(SearchNetwork):
    """Logits [N K] of images [N H W C] under a genotype int8[24].

    A call with `drop_path`, a rate, drops the output of an edge for each image with that probability, except of an
    identity, and needs a generator of that name. `norm` "reduction" and "none" are the same here: no normalisation.

    Attributes:
      num_classes: K.
      channels: of the nodes of a normal cell before the first reduction.
      cells_per_stage: normal cells n in each of three stages with a reduction cell between them; the `layers` of DARTS
        are 3 n + 2: 6 for 20, 4 for 14, 2 for 8, 1 for 5.
      stem: "cifar", or "imagenet", which first halves the image three times.
      auxiliary: whether there is a second head after the second reduction, whose logits are sown as "auxiliary".
    """

    space = DARTS
    drops_paths = True

    num_classes: int = 10
    channels: int = 36
    cells_per_stage: int = 6
    stem: Literal["cifar", "imagenet"] = "cifar"
    auxiliary: bool = False

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "N H W C"],
        arch: Int8[Array, " D"],
        *,
        train: bool = True,
        drop_path: Float[Array, ""] | None = None,
    ) -> Float[Array, "N K"]:
        mode = RunMode(self.norm == "all", train, self.reverse)
        state = rescaled(self._stem(images, mode.norm, train), start_exponent(self.keeps_range))
        of_cell = dict(zip(CELLS, arch.reshape(len(CELLS), len(NODES), 3), strict=True))
        halves_first = self.stem == "imagenet"
        for stage in range(3):
            channels = self.channels * 2**stage
            if stage > 0:
                cell = GenotypeCell(channels, True, halves_first, mode, name=f"stage{stage + 1}_reduce")
                state, _ = cell(state, of_cell["reduce"], drop_path)
                halves_first = True
            if stage == 2 and self.auxiliary:
                logits = AuxiliaryHead(self.num_classes, mode, name="auxiliary")(state[0][1])
                self.sow("auxiliary", "logits", logits)
            for number in range(self.cells_per_stage):
                left, outputs = self.cells_per_stage - number, len(NODES) * channels
                if left > 1 and not halves_first and all(x.shape[-1] == outputs for x in state[0]):
                    cells = _equal_cells(left, channels, mode, f"stage{stage + 1}")
                    state, _ = cells(state, of_cell["normal"], drop_path)
                    break
                cell = GenotypeCell(channels, False, halves_first, mode, name=f"stage{stage + 1}_cell{number + 1}")
                state, _ = cell(state, of_cell["normal"], drop_path)
                halves_first = False
        (_, x), exponent = state
        self.sow("features", "last", x)
        self.sow("exponent", "last", exponent)
        return _classify(self, x, self.num_classes, exponent)

    def _stem(self, images, norm, train):
        """What the first cell sees."""
        if self.stem == "cifar":
            x = end_of_block(self, "after_stem", ConvNorm(3 * self.channels, 1, norm, train, name="stem")(images))
            return x, x
        x = ConvNorm(self.channels // 2, 2, norm, train, name="stem1")(images)
        self.sow("relus", "in_stem1", (x, True))
        first = ConvNorm(self.channels, 2, norm, train, name="stem2")(nn.relu(x))
        self.sow("relus", "in_stem2", (first, True))
        second = ConvNorm(self.channels, 2, norm, train, name="stem3")(nn.relu(first))
        return first, end_of_block(self, "after_stem", second)

    @property
    def has_auxiliary_head(self) -> bool:
        """Whether the call sows the logits of a second head as "auxiliary"."""
        return self.auxiliary

    def thinnest(self) -> Self:
        """The network of two channels (some layers have half) and one cell per stage, with two classes."""
        return self.clone(channels=2, cells_per_stage=1, num_classes=2)

    def example_images(self, params: PyTree) -> Float[Array, "1 H W C"]:
        """Zeros [1, 32, 32, C], C the channels that the stem takes."""
        stem = params["stem" if self.stem == "cifar" else "stem1"]
        return jnp.zeros((1, 32, 32, stem["conv"].shape[-2]))


def _equal_cells(num_cells: int, channels: int, mode: RunMode, name: str) -> nn.Module:
    """Normal cells whose inputs are all of one shape, compiled once."""
    cells = nn.scan(
        GenotypeCell,
        variable_axes=dict.fromkeys(OF_LAYERS, 0),
        split_rngs={"params": True, "drop_path": True},
        in_axes=nn.broadcast,
        length=num_cells,
    )
    return cells(channels, False, False, mode, name=name)
