"""The NAS-Bench-201 network: stem, three stages of equal cells with residual blocks between them, linear classifier.

Source: Dong & Yang 2020 (arXiv:2001.00326). The architecture is an argument of the call: every edge holds the tensors
of both convolutions (a supernet), and an architecture uses those of its ops. One compiled program serves all.
"""

from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.errors import InputError
from jaxnas.networks.dispatch import Dispatch, Kind, add_switch, add_switch_backwards, mixed
from jaxnas.networks.layers import (
    apply_batch_norm,
    apply_layer,
    apply_taps,
    average_pool_2x2,
    average_pool_3x3,
    batch_norm_layer,
    record_statistics,
    weight_layer,
)
from jaxnas.spaces.nasbench201 import EDGES, NASBENCH201, NOR_CONV_1X1, NOR_CONV_3X3, NUM_NODES, OP_NAMES


class Cell(nn.Module):
    """One cell: node j is the sum over edges (i, j) of op(node i); maps [N H W C] to [N H W C]."""

    affine: bool
    norm: bool
    train: bool
    capacity: tuple[tuple[int, ...], ...] | None
    reverse: bool

    @nn.compact
    def __call__(self, x, arch):
        channels = x.shape[-1]
        declare = dict(batch=x.shape[0], stack=(len(EDGES),), bias=not self.affine, normalised=self.norm)
        conv_1x1 = weight_layer(self, "conv_1x1", (1, 1, channels, channels), **declare)
        conv_3x3 = weight_layer(self, "conv_3x3", (3, 3, channels, channels), **declare)
        norm = batch_norm_layer(self, "norm", channels, stack=(len(EDGES),), affine=self.affine)
        nodes, norms = [x, *[None] * (NUM_NODES - 1)], []
        for edge, (source, target) in enumerate(EDGES):
            op, node = arch[edge], nodes[source]
            of_edge = jax.tree.map(lambda leaf, edge=edge: leaf[edge], (conv_1x1, conv_3x3, norm))
            self.sow("relus", f"edge{edge}", (node, (op == NOR_CONV_1X1) | (op == NOR_CONV_3X3)))
            capacity = self.capacity and self.capacity[edge]
            how = dict(normalise=self.norm, train=self.train, capacity=capacity, reverse=self.reverse)
            nodes[target], moved = add_op(op, nodes[target], node, *of_edge, **how)
            norms.append(moved)
        record_statistics(self, "norm", jax.tree.map(lambda *edges: jnp.stack(edges), *norms))
        return nodes[-1], None


@partial(jax.jit, static_argnames=("normalise", "train", "capacity", "reverse"))
def add_op(op, total, x, conv_1x1, conv_3x3, norm, *, normalise, train, capacity, reverse):
    """total + op(x), and the edge's normalisation with its running statistics moved on where the op has one.

    Jitted so that its derivatives are traced once per stage and not once per edge.
    """
    op = op.astype(jnp.int32)
    if capacity is not None:
        out, moved = _apply_op_grouped(op, x, conv_1x1, conv_3x3, norm, normalise, train, capacity)
        return (out if total is None else total + out), moved
    branches = tuple(partial(_BRANCHES[name], normalise=normalise, train=train) for name in OP_NAMES)
    switch = add_switch_backwards if reverse else add_switch
    return switch(op, branches, total, x, conv_1x1, conv_3x3, norm)


def _relu_conv_norm(layer, x, norm, normalise, train):
    out = apply_layer(layer, nn.relu(x))
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


def _apply_op_grouped(op, x, conv_1x1, conv_3x3, norm, normalise, train, capacity):
    """The same for batches: what is linear in groups, the elementwise rest for all, kept where the op has it."""
    dispatch = Dispatch(tuple(_KINDS[name] for name in OP_NAMES), capacity)
    is_conv = (op == NOR_CONV_1X1) | (op == NOR_CONV_3X3)
    product = mixed(op, jnp.where(is_conv, nn.relu(x), x), (conv_1x1.kernel, conv_3x3.kernel), dispatch)
    layers = (conv_1x1._replace(kernel=None), conv_3x3._replace(kernel=None))
    layer = jax.tree.map(lambda one, three: jnp.where(op == NOR_CONV_1X1, one, three), *layers)
    out, moved = apply_taps(layer, product), norm
    if normalise:
        out, moved = apply_batch_norm(norm, out, train=train)
    return jax.tree.map(lambda new, old: jnp.where(is_conv, new, old), (out, moved), (product, norm))


class ConvNorm(nn.Module):
    """Convolution (3x3, pad 1, no bias) and affine batch normalisation; stride 1 or 2."""

    channels: int
    stride: int
    norm: bool
    train: bool

    @nn.compact
    def __call__(self, x):
        layer = weight_layer(self, "conv", (3, 3, x.shape[-1], self.channels), batch=x.shape[0], normalised=self.norm)
        norm = batch_norm_layer(self, "norm", self.channels)
        out = apply_layer(layer, x, self.stride)
        if self.norm:
            out, norm = apply_batch_norm(norm, out, train=self.train)
            record_statistics(self, "norm", norm)
        return out


class ReductionBlock(nn.Module):
    """Residual block that halves the image and doubles the channels; the shortcut has no normalisation."""

    norm: bool
    train: bool

    @nn.compact
    def __call__(self, x):
        channels = 2 * x.shape[-1]
        self.sow("relus", "a", (x, True))
        out = ConvNorm(channels, 2, self.norm, self.train, name="conv_a")(nn.relu(x))
        self.sow("relus", "b", (out, True))
        out = ConvNorm(channels, 1, self.norm, self.train, name="conv_b")(nn.relu(out))
        shortcut = weight_layer(self, "shortcut", (1, 1, x.shape[-1], channels), batch=x.shape[0])
        return out + apply_layer(shortcut, average_pool_2x2(x))


class NASBench201Network(nn.Module):
    """Logits [N K] of images [N H W C] under an architecture int8[6].

    Attributes: `affine`: cell normalisation has gamma and beta and cell convolutions no bias (official training),
    or the reverse (zero-cost-nas). `norm`: where batch normalisation acts: everywhere ("all"), only inside the two
    residual blocks ("reduction"), nowhere ("none"); the parameters are the same, so params fit every setting.
    `capacity`: how the op of an edge is chosen, which decides speed alone. None: by a `switch`, best where
    architectures come one by one. Else for batches under `vmap`: how many of a batch may choose each op, [D][ops].
    `reverse`: derivatives are taken backwards alone, for which a `switch` can do with less; see `add_switch_backwards`.
    """

    space = NASBENCH201  # of the architectures it takes

    num_classes: int = 10
    channels: int = 16
    cells_per_stage: int = 5
    affine: bool = False
    norm: Literal["all", "reduction", "none"] = "all"
    capacity: tuple[tuple[int, ...], ...] | None = None
    reverse: bool = False

    @nn.compact
    def __call__(
        self, images: Float[Array, "N H W C"], arch: Int8[Array, " D"], *, train: bool = True
    ) -> Float[Array, "N K"]:
        if images.ndim != 4 or images.shape[1] % 4 or images.shape[2] % 4:
            raise InputError(
                f"images of shape {images.shape} do not fit NAS-Bench-201: give [N H W C] with H and W multiples of 4"
            )
        everywhere = self.norm == "all"
        x = ConvNorm(self.channels, 1, everywhere, train, name="stem")(images)
        for stage in range(3):
            if stage > 0:
                x = ReductionBlock(self.norm != "none", train, name=f"reduction{stage}")(x)
            cells, how = self._stage(), (self.affine, everywhere, train, self.capacity, self.reverse)
            x, _ = cells(*how, name=f"stage{stage + 1}")(x, arch)
        norm = batch_norm_layer(self, "norm", x.shape[-1])
        if everywhere:
            x, norm = apply_batch_norm(norm, x, train=train)
            record_statistics(self, "norm", norm)
        self.sow("relus", "last", (x, True))
        x = nn.relu(x)
        self.sow("features", "last", x)
        classifier = weight_layer(self, "classifier", (x.shape[-1], self.num_classes), batch=x.shape[0], bias=True)
        return apply_layer(classifier, x.mean((1, 2)))

    def in_use(self, params: PyTree, arch: Int8[Array, " D"]) -> PyTree:
        """For every leaf of `params` a mask over its layers (shape: its leading axes): does `arch` use the layer?"""
        conv_1x1, conv_3x3 = arch == NOR_CONV_1X1, arch == NOR_CONV_3X3
        of_name = {"conv_1x1": conv_1x1, "conv_3x3": conv_3x3, "norm": conv_1x1 | conv_3x3}

        def mask(path, leaf):
            if not path[0].key.startswith("stage"):
                return jnp.ones((), bool)
            edges = next(edges for name, edges in of_name.items() if path[-1].key.startswith(name))
            return jnp.broadcast_to(edges, leaf.shape[:2])  # [cells edges]

        return jax.tree_util.tree_map_with_path(mask, params)

    def _stage(self):
        """A scan over the cells of a stage: compiled once, whatever their number.

        A cell keeps nothing for a backward pass but its input, or the inputs of its edges: the rest is computed again,
        which takes less time and several times less memory.
        """
        return nn.scan(
            Cell if self.reverse and self.capacity is None else nn.remat(Cell, prevent_cse=False),
            variable_axes={
                name: 0 for name in ("params", "batch_stats", "scales", "normalised_scales", "gates", "relus")
            },
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=self.cells_per_stage,
        )
