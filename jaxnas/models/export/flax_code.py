"""Flax: a readable linen module in model.py, and its variables in model.safetensors."""

from collections.abc import Sequence
from pathlib import Path

from jaxnas.models.export.code import (
    calls,
    distinct_blocks,
    has_op,
    heading,
    indent,
    name_classes,
    shown,
    statements,
    terms,
    write_module,
)
from jaxnas.models.files import flatten
from jaxnas.models.graph import Block, Layer
from jaxnas.models.model import Model
from jaxnas.networks.declared.tokens import LAYER_NORM_EPSILON
from jaxnas.networks.layers import BATCH_NORM_EPSILON

_LOADER = '''

def load_variables(path=Path(__file__).with_name("model.safetensors")):
    """Return the variables of a file: the collections "params" and "batch_stats"."""
    variables = {"params": {}, "batch_stats": {}}
    for name, tensor in load_file(path).items():
        collection, block, layer, kind = name.split("/")
        variables[collection].setdefault(block, {}).setdefault(layer, {})[kind] = tensor
    return variables
'''

_RELATIVE_ATTENTION = '''

class RelativeAttention(nn.Module):
    """Attention with learned positions of keys and values, by rows and columns, of a first token and a square image."""

    heads: int
    distance: int

    @nn.compact
    def __call__(self, x):
        parts = x.reshape(x.shape[0], x.shape[2], 3, self.heads, -1)
        query, key, value = jnp.moveaxis(parts, 2, 0)
        positions = []
        for kind in ("key", "value"):
            tables = [self._table(f"{kind}_{axis}", query.shape[-1]) for axis in ("rows", "columns")]
            positions.append(sum(table[place] for table, place in zip(tables, self._places(x.shape[2]))))
        keys, values = positions
        logits = jnp.einsum("nqhd,nkhd->nhqk", query, key) + jnp.einsum("nqhd,qkd->nhqk", query, keys)
        weights = nn.softmax(logits * query.shape[-1] ** -0.5)
        out = jnp.einsum("nhqk,nkhd->nqhd", weights, value) + jnp.einsum("nhqk,qkd->nqhd", weights, values)
        return out.reshape(x.shape[0], 1, x.shape[2], -1)

    def _table(self, name, width):
        return self.param(name, nn.initializers.normal(0.02), (2 * self.distance + 2, width))

    def _places(self, length):
        number, side = jnp.arange(length - 1), math.isqrt(length - 1)
        for along in (number // side, number % side):
            places = jnp.clip(along[None, :] - along[:, None], -self.distance, self.distance)
            yield jnp.pad(places + self.distance + 1, ((1, 0), (1, 0)))
'''

_FUNCTIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "hardswish": "hard_swish",
    "silu": "silu",
    "hard_sigmoid": "hard_sigmoid",
}


def write_flax(model: Model, folder: Path) -> list[Path]:
    """Write model.py, which needs flax and safetensors alone, and model.safetensors; return their paths."""
    return write_module(folder, flax_code(model), flatten(model.variables))


def flax_code(model: Model) -> str:
    """Return the source of the module."""
    graph, names = model.graph, name_classes(model.graph)
    text = heading(model, "Flax", shown(graph.image_shape, channels_first=False))
    text += '\n\n    logits = Network().apply(load_variables(), images)\n"""\n\n'
    positions = has_op(graph, "relative_attend")
    text += "import math\n" if positions else ""
    text += (
        "from functools import partial\nfrom pathlib import Path\n\nimport flax.linen as nn\nimport jax.numpy as jnp\n"
    )
    text += "from safetensors.flax import load_file\n\n"
    text += f"CLASSES = {list(graph.class_names)!r}\nMEAN = [{terms(graph.mean)}]\nSTD = [{terms(graph.std)}]\n"
    text += f"\nNorm = partial(nn.BatchNorm, momentum=0.9, epsilon={BATCH_NORM_EPSILON:g})\n"
    text += _RELATIVE_ATTENTION if positions else ""
    for block in distinct_blocks(graph):
        text += _class_of(block, names[block.name])
    text += '\n\nclass Network(nn.Module):\n    """The whole network; `train` normalises by the minibatch."""\n\n'
    text += "    train: bool = False\n\n    def setup(self):\n"
    text += indent([f"self.{block.name} = {names[block.name]}(self.train)" for block in graph.blocks], 2)
    text += "\n    def __call__(self, images):\n"
    standardise = "images = (images - jnp.array([[[MEAN]]])) / jnp.array([[[STD]]])"
    return text + indent([standardise, *calls(graph)], 2) + _LOADER


def _class_of(block: Block, name: str) -> str:
    """Return the class of a block."""
    inputs = " and ".join(shown(shape, channels_first=False) for shape in block.shapes)
    output = shown(block.layers[-1].shape, channels_first=False)
    text = f'\n\nclass {name}(nn.Module):\n    """Maps {inputs} to {output}."""\n\n    train: bool\n\n'
    text += f"    @nn.compact\n    def __call__(self, {', '.join(block.arguments)}):\n"
    return text + indent(
        statements(block, _value, (*_FUNCTIONS, "gelu", "squeeze", "shift", "halve", "max_halve", "truncate")), 2
    )


def _value(layer: Layer, inputs: Sequence[str]) -> str:
    """Return the expression of a layer."""
    x, name = inputs[0], f'name="{layer.name}"'
    if layer.op in ("conv", "row_conv", "patches"):
        return f"{_conv(layer)}({x})"
    if layer.op == "norm":
        affine = "" if layer.setting("affine") else "use_scale=False, use_bias=False, "
        return f"Norm(not self.train, {affine}{name})({x})"
    if layer.op == "dense":
        rest = name if layer.setting("bias") else f"use_bias=False, {name}"
        return f"nn.Dense({layer.setting('features')}, {rest})({x})"
    if layer.op == "zeros":
        return f"jnp.zeros(({x}.shape[0], {', '.join(map(str, layer.shape))}))"
    if layer.op in ("avg_pool", "max_pool"):
        stride, rest = layer.setting("stride"), ", count_include_pad=False" if layer.op == "avg_pool" else ""
        return f"nn.{layer.op}({x}, (3, 3), ({stride}, {stride}), [(1, 1), (1, 1)]{rest})"
    if layer.op == "truncate":
        return f"{x}[..., :{layer.setting('features')}]"
    if layer.op in ("tokens", "layer_norm", "attend", "relative_attend"):
        return _token_value(layer, x)
    return {
        **{name: f"nn.{function}({x})" for name, function in _FUNCTIONS.items()},
        "gelu": f"nn.gelu({x}, approximate=False)",
        "squeeze": f"{x}.mean((1, 2), keepdims=True)",
        "scale": " * ".join(inputs),
        "add": " + ".join(inputs),
        "concat": f"jnp.concatenate(({', '.join(inputs)}), axis=-1)",
        "shift": f"jnp.pad({x}[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)))",
        "halve": f'nn.avg_pool({x}, (2, 2), (2, 2), "SAME", count_include_pad=False)',
        "max_halve": f'nn.max_pool({x}, (2, 2), (2, 2), "SAME")',
        "mean": f"{x}.mean((1, 2))",
        "first": f"{x}[:, :, :1]",
        "rest": f"{x}[:, :, 1:]",
    }[layer.op]


def _token_value(layer: Layer, x: str) -> str:
    """Return the expression of a layer of tokens."""
    _, length, features = layer.shape
    if layer.op == "layer_norm":
        return f'nn.LayerNorm(epsilon={LAYER_NORM_EPSILON:g}, name="{layer.name}")({x})'
    if layer.op == "attend":
        heads = layer.setting("heads")
        parts = f"jnp.moveaxis({x}.reshape({x}.shape[0], {length}, 3, {heads}, {features // heads}), 2, 0)"
        return f"nn.dot_product_attention(*{parts}).reshape({x}.shape[0], 1, {length}, {features})"
    if layer.op == "relative_attend":
        settings = f"{layer.setting('heads')}, {layer.setting('distance')}"
        return f'RelativeAttention({settings}, name="{layer.name}")({x})'
    row = f"{x}.reshape({x}.shape[0], 1, -1, {features})"
    row = f"jnp.pad({row}, ((0, 0), (0, 0), (1, 0), (0, 0)))" if layer.setting("class_token") else row
    return f'{row} + nn.Embed({length}, {features}, name="{layer.name}")(jnp.arange({length})[None, None])'


def _conv(layer: Layer) -> str:
    if layer.op == "patches":
        size, bias = layer.setting("size"), "" if layer.setting("bias") else ", use_bias=False"
        rest = f'strides={size}, padding="VALID"{bias}, name="{layer.name}"'
        return f"nn.Conv({layer.setting('features')}, ({size}, {size}), {rest})"
    stride, dilation, groups = (layer.setting(name) for name in ("stride", "dilation", "groups"))
    rows, columns = layer.margins
    options = {
        "strides": (stride, 1),
        "padding": (columns if layer.op == "conv" else ((rows, rows), (columns, columns)), None),
        "kernel_dilation": (dilation, 1),
        "feature_group_count": (groups, 1),
        "use_bias": (bool(layer.setting("bias")), True),
    }
    given = "".join(f", {key}={value}" for key, (value, default) in options.items() if value != default)
    return f'nn.Conv({layer.setting("features")}, {layer.window}{given}, name="{layer.name}")'
