"""PyTorch: a readable module in model.py, and its tensors in model.safetensors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

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
from jaxnas.models.graph import Block, Layer, Shape
from jaxnas.models.model import Model
from jaxnas.networks.declared.tokens import LAYER_NORM_EPSILON

_LOADER = '''

def load_model(path=Path(__file__).with_name("model.safetensors")):
    """Return the network with the tensors of a file, ready to predict."""
    network = Network()
    network.load_state_dict(load_file(path))
    return network.eval()
'''

_RELATIVE_ATTENTION = '''

class RelativeAttention(nn.Module):
    """Attention with learned positions of keys and values, by rows and columns, of a first token and a square image."""

    def __init__(self, heads, width, length, distance):
        super().__init__()
        self.heads = heads
        tables = (nn.Parameter(torch.zeros(2 * distance + 2, width)) for _ in range(4))
        self.key_rows, self.key_columns, self.value_rows, self.value_columns = tables
        number, side = torch.arange(length - 1), math.isqrt(length - 1)
        for name, along in (("rows", number // side), ("columns", number % side)):
            places = (along[None, :] - along[:, None]).clamp(-distance, distance) + distance + 1
            self.register_buffer(name, F.pad(places, (1, 0, 1, 0)), persistent=False)

    def forward(self, x):
        parts = x.reshape(len(x), 3, self.heads, -1, x.shape[-1])
        query, key, value = parts.permute(1, 0, 2, 4, 3)
        keys = self.key_rows[self.rows] + self.key_columns[self.columns]
        values = self.value_rows[self.rows] + self.value_columns[self.columns]
        logits = query @ key.transpose(2, 3) + torch.einsum("nhqd,qkd->nhqk", query, keys)
        weights = (logits * query.shape[-1] ** -0.5).softmax(-1)
        out = weights @ value + torch.einsum("nhqk,qkd->nhqd", weights, values)
        return out.transpose(2, 3).reshape(len(x), -1, 1, x.shape[-1])
'''

_FUNCTIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "hardswish": "hardswish",
    "silu": "silu",
    "gelu": "gelu",
    "hard_sigmoid": "hardsigmoid",
}


def write_torch(model: Model, folder: Path) -> list[Path]:
    """Write model.py, which needs torch and safetensors alone, and model.safetensors; return their paths."""
    return write_module(folder, torch_code(model), torch_tensors(model))


def torch_tensors(model: Model) -> dict[str, np.ndarray]:
    """Return the state dictionary of the module."""
    tensors: dict[str, np.ndarray] = {}
    for block, layers in model.variables["params"].items():
        for layer, values in layers.items():
            tensors |= {
                f"{block}.{layer}.{_NAMES.get(kind, kind)}": _moved(kind, value) for kind, value in values.items()
            }
    for block, layers in model.variables["batch_stats"].items():
        for layer, values in layers.items():
            tensors[f"{block}.{layer}.running_mean"] = values["mean"]
            tensors[f"{block}.{layer}.running_var"] = values["var"]
            tensors[f"{block}.{layer}.num_batches_tracked"] = np.zeros((), np.int64)
    return tensors


def torch_code(model: Model) -> str:
    """Return the source of the module."""
    graph, names = model.graph, name_classes(model.graph)
    text = heading(model, "PyTorch", shown(graph.image_shape, channels_first=True))
    text += '\n\n    network = load_model()\n    probabilities = network(images).softmax(-1)\n"""\n\n'
    positions = has_op(graph, "relative_attend")
    text += "import math\n" if positions else ""
    text += "from pathlib import Path\n\nimport torch\nimport torch.nn.functional as F\n"
    text += "from safetensors.torch import load_file\nfrom torch import nn\n\n"
    text += f"CLASSES = {list(graph.class_names)!r}\n"
    text += _RELATIVE_ATTENTION if positions else ""
    for block in distinct_blocks(graph):
        text += _class_of(block, names[block.name])
    layers = [f"self.{block.name} = {names[block.name]}()" for block in graph.blocks]
    text += '\n\nclass Network(nn.Module):\n    """The whole network."""\n\n    def __init__(self):\n'
    text += indent(["super().__init__()", *map(_buffer, ("mean", "std"), (graph.mean, graph.std)), *layers], 2)
    text += "\n    def forward(self, images):\n"
    return text + indent(["images = (images - self.mean) / self.std", *calls(graph)], 2) + _LOADER


def _class_of(block: Block, name: str) -> str:
    """Return the class of a block."""
    inputs = " and ".join(shown(shape, channels_first=True) for shape in block.shapes)
    output = shown(block.layers[-1].shape, channels_first=True)
    text = f'\n\nclass {name}(nn.Module):\n    """Maps {inputs} to {output}."""\n'
    shapes: dict[str, Shape] = dict(zip(block.arguments, block.shapes, strict=True))
    declared = []
    for layer in block.layers:
        if declaration := _declare(layer, shapes[layer.inputs[0]][-1]):
            declared.append(f"self.{layer.name} = {declaration}")
        shapes[layer.name] = layer.shape
    if declared:
        text += "\n    def __init__(self):\n" + indent(["super().__init__()", *declared], 2)
    text += f"\n    def forward(self, {', '.join(block.arguments)}):\n"
    return text + indent(
        statements(block, _value, (*_FUNCTIONS, "squeeze", "conv", "shift", "halve", "max_halve", "truncate")), 2
    )


def _declare(layer: Layer, channels: int) -> str:
    """Return the module of a layer with tensors, an empty text for others."""
    if layer.op == "norm":
        return f"nn.BatchNorm2d({channels}{'' if layer.setting('affine') else ', affine=False'})"
    if layer.op == "dense":
        return f"nn.Linear({channels}, {layer.setting('features')}{'' if layer.setting('bias') else ', bias=False'})"
    if layer.op == "relative_attend":
        (_, length, features), heads = layer.shape, layer.setting("heads")
        return f"RelativeAttention({heads}, {features // heads}, {length}, {layer.setting('distance')})"
    if layer.op == "layer_norm":
        return f"nn.LayerNorm({channels}, eps={LAYER_NORM_EPSILON:g})"
    if layer.op == "tokens":
        return f"nn.Embedding({layer.setting('length')}, {layer.setting('features')})"
    if layer.op == "patches":
        size, bias = layer.setting("size"), "" if layer.setting("bias") else ", bias=False"
        return f"nn.Conv2d({channels}, {layer.setting('features')}, {size}, stride={size}{bias})"
    if layer.op not in ("conv", "row_conv"):
        return ""
    stride, dilation, groups = (layer.setting(name) for name in ("stride", "dilation", "groups"))
    is_square = layer.op == "conv"
    window, margins = (layer.window[0], layer.margins[0]) if is_square else (layer.window, layer.margins)
    options = {"stride": (stride, 1), "padding": (margins, 0), "dilation": (dilation, 1), "groups": (groups, 1)}
    text = f"nn.Conv2d({channels}, {layer.setting('features')}, {window}"
    text += "".join(f", {name}={value}" for name, (value, default) in options.items() if value != default)
    return text + (")" if layer.setting("bias") else ", bias=False)")


def _value(layer: Layer, inputs: Sequence[str]) -> str:
    """Return the expression of a layer."""
    x = inputs[0]
    if layer.op in ("conv", "row_conv", "norm", "dense", "patches", "relative_attend"):
        return f"self.{layer.name}({x})"
    if layer.op == "zeros":
        height, width, channels = layer.shape
        return f"{x}.new_zeros(len({x}), {channels}, {height}, {width})"
    if layer.op in ("avg_pool", "max_pool"):
        rest = ", count_include_pad=False" if layer.op == "avg_pool" else ""
        return f"F.{layer.op}2d({x}, 3, stride={layer.setting('stride')}, padding=1{rest})"
    if layer.op == "truncate":
        return f"{x}[:, :{layer.setting('features')}]"
    if layer.op in ("tokens", "attend"):
        return _token_value(layer, x)
    return {
        **{name: f"F.{function}({x})" for name, function in _FUNCTIONS.items()},
        "squeeze": f"{x}.mean((2, 3), keepdim=True)",
        "scale": " * ".join(inputs),
        "add": " + ".join(inputs),
        "concat": f"torch.cat(({', '.join(inputs)}), dim=1)",
        "shift": f"F.pad({x}[:, :, 1:, 1:], (0, 1, 0, 1))",
        "halve": f"F.avg_pool2d({x}, 2, ceil_mode=True, count_include_pad=False)",
        "max_halve": f"F.max_pool2d({x}, 2, ceil_mode=True)",
        "mean": f"{x}.mean((2, 3))",
        "layer_norm": f"self.{layer.name}({x}.movedim(1, -1)).movedim(-1, 1)",
        "first": f"{x}[..., :1]",
        "rest": f"{x}[..., 1:]",
    }[layer.op]


def _token_value(layer: Layer, x: str) -> str:
    """Return the expression of a layer of tokens [N, C, 1, L]."""
    _, length, features = layer.shape
    if layer.op == "attend":
        heads = layer.setting("heads")
        parts = f"{x}.reshape(len({x}), 3, {heads}, {features // heads}, {length}).permute(1, 0, 2, 4, 3)"
        attended = f"F.scaled_dot_product_attention(*{parts})"
        return f"{attended}.transpose(2, 3).reshape(len({x}), {features}, 1, {length})"
    row = f"F.pad({x}.flatten(2), (1, 0))" if layer.setting("class_token") else f"{x}.flatten(2)"
    return f"({row} + self.{layer.name}.weight.T).unsqueeze(2)"


def _buffer(name: str, values: Sequence[float]) -> str:
    tensor = f"torch.tensor([{terms(values)}])"
    return f'self.register_buffer("{name}", {tensor}.view(1, -1, 1, 1), persistent=False)'


_NAMES = {"kernel": "weight", "scale": "weight", "bias": "bias", "embedding": "weight"}


def _moved(kind: str, value: np.ndarray) -> np.ndarray:
    """Return a tensor in the order of axes of PyTorch: outputs, inputs, rows, columns."""
    if kind != "kernel":
        return value
    return np.ascontiguousarray(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T)
