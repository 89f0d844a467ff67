"""ONNX: one file with the network, its tensors and the names of its classes."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxnas.errors import InputError
from jaxnas.models.graph import Block, Layer, Shape
from jaxnas.models.model import Model
from jaxnas.networks.declared.tokens import LAYER_NORM_EPSILON
from jaxnas.networks.declared.transformer import relative_places
from jaxnas.networks.layers import BATCH_NORM_EPSILON
from jaxnas.runtime.files import atomic_write
from jaxnas.runtime.host import package_version

if TYPE_CHECKING:
    import onnx

_FUNCTIONS = {"relu": "Relu", "hardswish": "HardSwish", "squeeze": "GlobalAveragePool", "scale": "Mul"}
OPSET, IR_VERSION = 18, 9  # read by ONNX Runtime from 1.15 on


def write_onnx(model: Model, folder: Path) -> list[Path]:
    """Write model.onnx: float32 images [N, C, H, W] in [0, 1], "images", to "logits" [N, K]; return its path.

    Raises:
      InputError: the package onnx is missing.
    """
    if find_spec("onnx") is None:
        raise InputError("the export to onnx needs the package onnx: pip install 'jaxnas[export]'")
    import onnx

    made = onnx_model(model)
    onnx.checker.check_model(made, full_check=True)
    path = folder / "model.onnx"
    with atomic_write(path) as partial:
        partial.write_bytes(made.SerializeToString())
    return [path]


def onnx_model(model: Model) -> "onnx.ModelProto":
    """Return the model as a message of ONNX, whose metadata have the names of the classes and the architecture."""
    from onnx import TensorProto, helper

    graph = _OnnxGraph()
    height, width, channels = model.image_shape
    for name, values in (("mean", model.graph.mean), ("std", model.graph.std)):
        graph.tensor(name, np.array(values, np.float32).reshape(1, channels, 1, 1))
    graph.node("Sub", ["images", "mean"], "centred")
    graph.node("Div", ["centred", "std"], "standardised")
    outputs = {"images": "standardised"}
    for block in model.graph.blocks:
        outputs[block.name] = graph.add_block(block, [outputs[name] for name in block.inputs], model)
    graph.node("Identity", [outputs[model.graph.blocks[-1].name]], "logits")
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", channels, height, width])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(model.class_names)])
    body = helper.make_graph(graph.nodes, "network", [images], [logits], list(graph.initializers.values()))
    made = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="jaxnas",
        producer_version=package_version(),
    )
    helper.set_model_props(made, {"classes": "\n".join(model.class_names), "space": model.space, "arch": model.arch})
    return made


class _OnnxGraph:
    """Nodes and tensors under construction."""

    def __init__(self) -> None:
        """Start without any."""
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def tensor(self, name: str, values: np.ndarray) -> str:
        """Add a constant tensor; layers may share one by its name."""
        from onnx import numpy_helper

        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node with the name of its output."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def add_block(self, block: Block, inputs: Sequence[str], model: Model) -> str:
        """Add the layers of a block, and return the name of its output."""
        values = dict(zip(block.arguments, inputs, strict=True))
        shapes = dict(zip(block.arguments, block.shapes, strict=True))
        for layer in block.layers:
            name = f"{block.name}.{layer.name}"
            params = model.variables["params"].get(block.name, {}).get(layer.name, {})
            stats = model.variables["batch_stats"].get(block.name, {}).get(layer.name, {})
            given, first = [values[x] for x in layer.inputs], shapes[layer.inputs[0]]
            values[layer.name] = self._add(layer, name, given, first, {**params, **stats})
            shapes[layer.name] = layer.shape
        return values[block.layers[-1].name]

    def _add(self, layer: Layer, name: str, inputs: list[str], shape: Shape, tensors: Mapping[str, np.ndarray]) -> str:
        """Add one layer, whose first input has that shape, and return the name of its output."""
        if layer.op in ("conv", "row_conv"):
            return self._add_conv(layer, name, inputs, tensors)
        if layer.op in ("patches", "tokens", "layer_norm", "attend", "relative_attend", "first", "rest"):
            return self._add_tokens(layer, name, inputs[0], tensors)
        if layer.op == "norm":
            ones = np.ones(layer.shape[-1], np.float32)
            order = {"scale": ones, "bias": 0 * ones, **tensors}
            given = [self.tensor(f"{name}.{kind}", order[kind]) for kind in ("scale", "bias", "mean", "var")]
            return self.node("BatchNormalization", [*inputs, *given], name, epsilon=BATCH_NORM_EPSILON)
        if layer.op == "dense":
            given = [self.tensor(f"{name}.{kind}", tensors[kind]) for kind in ("kernel", "bias") if kind in tensors]
            return self.node("Gemm", [*inputs, *given], name)
        if layer.op in ("avg_pool", "max_pool"):
            stride = layer.setting("stride")
            window = {"kernel_shape": [3, 3], "strides": [stride, stride], "pads": [1, 1, 1, 1]}
            return self.node("AveragePool" if layer.op == "avg_pool" else "MaxPool", inputs, name, **window)
        if layer.op == "concat":
            return self.node("Concat", inputs, name, axis=1)
        if layer.op == "mean":
            return self.node("Flatten", [self.node("GlobalAveragePool", inputs, f"{name}.pixels")], name)
        if layer.op == "add":
            return self.node("Sum", inputs, name)
        if layer.op == "zeros":
            return self._add_zeros(layer, name, inputs[0])
        if layer.op == "shift":
            return self._add_shift(name, inputs[0])
        if layer.op == "halve":
            return self._add_halve(name, inputs[0], (shape[0] % 2, shape[1] % 2))
        if layer.op == "max_halve":
            return self.node("MaxPool", inputs, name, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
        if layer.op == "truncate":
            bounds = {"starts": 0, "ends": layer.setting("features"), "axes": 1}
            given = [self.tensor(f"{name}.{key}", np.array([value])) for key, value in bounds.items()]
            return self.node("Slice", [*inputs, *given], name)
        return self._add_function(layer.op, name, inputs)

    def _add_tokens(self, layer: Layer, name: str, x: str, tensors: Mapping[str, np.ndarray]) -> str:
        """Add a layer of tokens [N, C, 1, L], or of the patches that become tokens."""
        _, length, features = layer.shape
        if layer.op == "patches":
            size = layer.setting("size")
            given = [self.tensor(f"{name}.kernel", tensors["kernel"].transpose(3, 2, 0, 1))]
            given += [self.tensor(f"{name}.bias", tensors["bias"])] if "bias" in tensors else []
            return self.node("Conv", [x, *given], name, kernel_shape=[size, size], strides=[size, size])
        if layer.op == "tokens":
            row = self._reshape(x, f"{name}.row", (0, features, 1, -1))
            if layer.setting("class_token"):
                pads = self.tensor(f"{name}.pads", np.array([0, 0, 0, 1, 0, 0, 0, 0]))
                row = self.node("Pad", [row, pads], f"{name}.padded")
            table = tensors["embedding"].T[None, :, None]
            return self.node("Add", [row, self.tensor(f"{name}.embedding", table)], name)
        if layer.op == "layer_norm":
            last = self.node("Transpose", [x], f"{name}.last", perm=[0, 2, 3, 1])
            given = [self.tensor(f"{name}.{kind}", tensors[kind]) for kind in ("scale", "bias")]
            out = self.node("LayerNormalization", [last, *given], f"{name}.out", axis=-1, epsilon=LAYER_NORM_EPSILON)
            return self.node("Transpose", [out], name, perm=[0, 3, 1, 2])
        if layer.op in ("attend", "relative_attend"):
            return self._add_attention(layer, name, x, tensors)
        bounds = {"starts": [0], "ends": [1]} if layer.op == "first" else {"starts": [1], "ends": [length + 1]}
        given = [self.tensor(f"{name}.{key}", np.array(at)) for key, at in {**bounds, "axes": [3]}.items()]
        return self.node("Slice", [x, *given], name)

    def _add_attention(self, layer: Layer, name: str, x: str, tensors: Mapping[str, np.ndarray]) -> str:
        """Add softmax(q k' / sqrt(head width)) v of each head, with relative positions where there are tables."""
        (_, length, features), heads = layer.shape, layer.setting("heads")
        width = features // heads
        parts = self._reshape(x, f"{name}.parts", (0, 3, heads, width, length))
        query, key, value = (
            self.node("Gather", [parts, self.tensor(f"{name}.at{at}", np.array([at]))], f"{name}.part{at}", axis=1)
            for at in range(3)
        )
        turned = self.node("Transpose", [query], f"{name}.query", perm=[0, 1, 2, 4, 3])
        scale = self.tensor(f"{name}.scale", np.array(width**-0.5, np.float32))
        scaled = self.node("Mul", [turned, scale], f"{name}.scaled")
        logits = self.node("MatMul", [scaled, key], f"{name}.logits")
        if tensors:
            keys = self._add_positions(layer, name, "key", tensors)
            moved = self.node("Einsum", [scaled, keys], f"{name}.key_logits", equation="nahqd,qkd->nahqk")
            logits = self.node("Add", [logits, moved], f"{name}.all_logits")
        weights = self.node("Softmax", [logits], f"{name}.weights", axis=-1)
        across = self.node("Transpose", [weights], f"{name}.across", perm=[0, 1, 2, 4, 3])
        out = self.node("MatMul", [value, across], f"{name}.heads")
        if tensors:
            values = self._add_positions(layer, name, "value", tensors)
            moved = self.node("Einsum", [weights, values], f"{name}.moved", equation="nahqk,qkd->nahdq")
            out = self.node("Add", [out, moved], f"{name}.moved_heads")
        return self._reshape(out, name, (0, features, 1, length))

    def _add_positions(self, layer: Layer, name: str, kind: str, tensors: Mapping[str, np.ndarray]) -> str:
        """Add the relative positions [L L d] of keys or values."""
        length, distance = layer.shape[1], layer.setting("distance")
        found = []
        for axis, places in zip(("rows", "columns"), relative_places(length, distance), strict=True):
            table = self.tensor(f"{name}.{kind}_{axis}", tensors[f"{kind}_{axis}"])
            at = self.tensor(f"{axis}.{length}.{distance}", places)
            found.append(self.node("Gather", [table, at], f"{name}.{kind}_{axis}_places", axis=0))
        return self.node("Add", found, f"{name}.{kind}_places")

    def _reshape(self, x: str, name: str, shape: tuple[int, ...]) -> str:
        """Add a new shape, in which 0 keeps an axis."""
        return self.node("Reshape", [x, self.tensor(f"{name}.shape", np.array(shape))], name)

    def _add_function(self, op: str, name: str, inputs: list[str]) -> str:
        """Add a function of each number, the mean over pixels, or a product."""
        if op == "relu6":
            ends = {"min": 0.0, "max": 6.0}
            bounds = [self.tensor(f"{name}.{end}", np.array(value, np.float32)) for end, value in ends.items()]
            return self.node("Clip", [*inputs, *bounds], name)
        if op == "silu":
            return self.node("Mul", [*inputs, self.node("Sigmoid", inputs, f"{name}.sigmoid")], name)
        if op == "gelu":
            return self._add_gelu(name, inputs[0])
        if op == "hard_sigmoid":
            return self.node("HardSigmoid", inputs, name, alpha=1 / 6, beta=0.5)
        return self.node(_FUNCTIONS[op], inputs, name)

    def _add_gelu(self, name: str, x: str) -> str:
        """Add x (1 + erf(x / sqrt 2)) / 2; ONNX has the whole from opset 20 on."""
        numbers = {"root": 2**0.5, "one": 1.0, "half": 0.5}
        given = {key: self.tensor(f"{name}.{key}", np.array(value, np.float32)) for key, value in numbers.items()}
        erf = self.node("Erf", [self.node("Div", [x, given["root"]], f"{name}.scaled")], f"{name}.erf")
        share = self.node("Mul", [self.node("Add", [erf, given["one"]], f"{name}.sum"), given["half"]], f"{name}.share")
        return self.node("Mul", [x, share], name)

    def _add_conv(self, layer: Layer, name: str, inputs: list[str], tensors: Mapping[str, np.ndarray]) -> str:
        stride, dilation, groups = (layer.setting(key) for key in ("stride", "dilation", "groups"))
        given = [self.tensor(f"{name}.kernel", tensors["kernel"].transpose(3, 2, 0, 1))]
        if "bias" in tensors:
            given.append(self.tensor(f"{name}.bias", tensors["bias"]))
        return self.node(
            "Conv",
            [*inputs, *given],
            name,
            kernel_shape=list(layer.window),
            strides=[stride, stride],
            dilations=[dilation, dilation],
            pads=[*layer.margins] * 2,
            group=groups,
        )

    def _add_zeros(self, layer: Layer, name: str, x: str) -> str:
        height, width, channels = layer.shape
        count = self.node("Shape", [x], f"{name}.count", start=0, end=1)
        rest = self.tensor(f"{name}.rest", np.array([channels, height, width]))
        return self.node("ConstantOfShape", [self.node("Concat", [count, rest], f"{name}.shape", axis=0)], name)

    def _add_shift(self, name: str, x: str) -> str:
        far = np.iinfo(np.int64).max
        bounds = {"starts": [1, 1], "ends": [far, far], "axes": [2, 3]}
        given = [self.tensor(f"{name}.{key}", np.array(values)) for key, values in bounds.items()]
        return self._pad(self.node("Slice", [x, *given], f"{name}.slice"), name, (1, 1), "constant")

    def _add_halve(self, name: str, x: str, odd: tuple[int, int]) -> str:
        """Repeat an odd last row or column, so that its smaller blocks have their mean."""
        padded = self._pad(x, f"{name}.padded", odd, "edge") if any(odd) else x
        return self.node("AveragePool", [padded], name, kernel_shape=[2, 2], strides=[2, 2])

    def _pad(self, x: str, name: str, margins: tuple[int, int], mode: str) -> str:
        pads = self.tensor(f"{name}.pads", np.array([0, 0, 0, 0, 0, 0, *margins]))
        return self.node("Pad", [x, pads], name, mode=mode)
