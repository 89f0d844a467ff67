"""The flax module of a graph: a plain linen network without any choice, which also defines what each op computes."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.models.graph import RELATIVE, Block, Graph, Layer
from jaxnas.networks.activations import ACTIVATIONS, hard_sigmoid
from jaxnas.networks.declared.tokens import LAYER_NORM_EPSILON
from jaxnas.networks.declared.transformer import relative_places
from jaxnas.networks.layers import BATCH_NORM_EPSILON, SMALL_DEVIATION


class PlainNetwork(nn.Module):
    """Logits [N K] of images [N H W C] in [0, 1], which it standardises.

    Attributes:
      graph: the description of the network.
    """

    graph: Graph

    @nn.compact
    def __call__(self, images: Float[Array, "N H W C"]) -> Float[Array, "N K"]:
        """Return the logits."""
        mean, std = (jnp.asarray(values, jnp.float32)[None, None, None] for values in (self.graph.mean, self.graph.std))
        values = {"images": (images - mean) / std}
        for block in self.graph.blocks:
            values[block.name] = PlainBlock(block, name=block.name)(*(values[name] for name in block.inputs))
        return values[self.graph.blocks[-1].name]


class PlainBlock(nn.Module):
    """The layers of one block.

    Attributes:
      block: the description of the block.
    """

    block: Block

    @nn.compact
    def __call__(self, *inputs: Float[Array, "N ..."]) -> Float[Array, "N ..."]:
        """Return the output of the last layer."""
        values = dict(zip(self.block.arguments, inputs, strict=True))
        for layer in self.block.layers:
            values[layer.name] = _OPS[layer.op](layer, *(values[name] for name in layer.inputs))
        return values[self.block.layers[-1].name]


def _conv(layer: Layer, x: Array) -> Array:
    stride, dilation = (layer.setting(name) for name in ("stride", "dilation"))
    convolution = nn.Conv(
        layer.setting("features"),
        layer.window,
        strides=stride,
        padding=[(margin, margin) for margin in layer.margins],
        kernel_dilation=dilation,
        feature_group_count=layer.setting("groups"),
        use_bias=bool(layer.setting("bias")),
        name=layer.name,
    )
    return jnp.asarray(convolution(x))


def _norm(layer: Layer, x: Array) -> Array:
    affine = bool(layer.setting("affine"))
    norm = nn.BatchNorm(
        use_running_average=True, epsilon=BATCH_NORM_EPSILON, use_scale=affine, use_bias=affine, name=layer.name
    )
    return jnp.asarray(norm(x))


def _dense(layer: Layer, x: Array) -> Array:
    dense = nn.Dense(layer.setting("features"), use_bias=bool(layer.setting("bias")), name=layer.name)
    return jnp.asarray(dense(x))


def _avg_pool(layer: Layer, x: Array) -> Array:
    stride = layer.setting("stride")
    return jnp.asarray(nn.avg_pool(x, (3, 3), (stride, stride), ((1, 1), (1, 1)), count_include_pad=False))


def _max_pool(layer: Layer, x: Array) -> Array:
    stride = layer.setting("stride")
    return jnp.asarray(nn.max_pool(x, (3, 3), (stride, stride), ((1, 1), (1, 1))))


def _halve(layer: Layer, x: Array) -> Array:
    margins = ((0, x.shape[1] % 2), (0, x.shape[2] % 2))
    return jnp.asarray(nn.avg_pool(x, (2, 2), (2, 2), margins, count_include_pad=False))


def _patches(layer: Layer, x: Array) -> Array:
    size = layer.setting("size")
    convolution = nn.Conv(
        layer.setting("features"),
        (size, size),
        strides=size,
        padding="VALID",
        use_bias=bool(layer.setting("bias")),
        name=layer.name,
    )
    return jnp.asarray(convolution(x))


def _tokens(layer: Layer, x: Array) -> Array:
    length, features = layer.setting("length"), layer.setting("features")
    before = layer.setting("class_token")
    row = jnp.pad(x.reshape(x.shape[0], 1, -1, features), ((0, 0), (0, 0), (before, 0), (0, 0)))
    return jnp.asarray(row + nn.Embed(length, features, name=layer.name)(jnp.arange(length)[None, None]))


def _layer_norm(layer: Layer, x: Array) -> Array:
    return jnp.asarray(nn.LayerNorm(LAYER_NORM_EPSILON, name=layer.name)(x))


def _attend(layer: Layer, x: Array) -> Array:
    parts = x.reshape(x.shape[0], x.shape[1] * x.shape[2], 3, layer.setting("heads"), -1)
    out = nn.dot_product_attention(parts[:, :, 0], parts[:, :, 1], parts[:, :, 2])
    return jnp.asarray(out).reshape(*x.shape[:-1], -1)


class RelativeAttention(nn.Module):
    """Attention with learned positions of keys and values, by rows and columns, of a first token and a square image.

    Attributes:
      heads: the number of heads.
      distance: the largest distance; larger ones are clipped.
    """

    heads: int
    distance: int

    @nn.compact
    def __call__(self, x: Float[Array, "N 1 L C"]) -> Float[Array, "N 1 L F"]:
        """Return the attention of queries, keys and values, which are the thirds of the channels."""
        parts = x.reshape(x.shape[0], x.shape[2], 3, self.heads, -1)
        query, key, value = (parts[:, :, number] for number in range(3))
        rows, columns = relative_places(x.shape[2], self.distance)
        shape, drawn = (2 * self.distance + 2, query.shape[-1]), nn.initializers.normal(SMALL_DEVIATION)
        tables = [jnp.asarray(self.param(name, drawn, shape)) for name in RELATIVE]
        keys, values = tables[0][rows] + tables[1][columns], tables[2][rows] + tables[3][columns]
        logits = jnp.einsum("nqhd,nkhd->nhqk", query, key) + jnp.einsum("nqhd,qkd->nhqk", query, keys)
        weights = nn.softmax(logits * query.shape[-1] ** -0.5)
        out = jnp.einsum("nhqk,nkhd->nqhd", weights, value) + jnp.einsum("nhqk,qkd->nqhd", weights, values)
        return out.reshape(*x.shape[:-1], -1)


def _relative_attend(layer: Layer, x: Array) -> Array:
    attention = RelativeAttention(layer.setting("heads"), layer.setting("distance"), name=layer.name)
    return jnp.asarray(attention(x))


def _activate(function: Callable[[Array], Array], layer: Layer, x: Array) -> Array:
    return function(x)


_OPS: dict[str, Callable[..., Array]] = {
    "conv": _conv,
    "row_conv": _conv,
    "norm": _norm,
    "dense": _dense,
    **{name: partial(_activate, function) for name, function in (*ACTIVATIONS.items(), ("hard_sigmoid", hard_sigmoid))},
    "squeeze": lambda layer, x: x.mean((1, 2), keepdims=True),
    "scale": lambda layer, x, gate: x * gate,
    "add": lambda layer, *xs: sum(xs[1:], xs[0]),
    "concat": lambda layer, *xs: jnp.concatenate(xs, axis=-1),
    "zeros": lambda layer, x: jnp.zeros((x.shape[0], *layer.shape), x.dtype),
    "shift": lambda layer, x: jnp.pad(x[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0))),
    "avg_pool": _avg_pool,
    "max_pool": _max_pool,
    "halve": _halve,
    "max_halve": lambda layer, x: nn.max_pool(x, (2, 2), (2, 2), "SAME"),
    "truncate": lambda layer, x: x[..., : layer.setting("features")],
    "mean": lambda layer, x: x.mean((1, 2)),
    "patches": _patches,
    "tokens": _tokens,
    "layer_norm": _layer_norm,
    "attend": _attend,
    "relative_attend": _relative_attend,
    "first": lambda layer, x: x[:, :, :1],
    "rest": lambda layer, x: x[:, :, 1:],
}
