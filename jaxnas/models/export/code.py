"""What the writers of Python code share: names of classes, and the statements of a block."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save as tensor_bytes

from jaxnas.models.graph import Block, Graph, Layer, Shape
from jaxnas.models.model import Model
from jaxnas.runtime.files import atomic_write
from jaxnas.runtime.host import package_version

Expression = Callable[[Layer, Sequence[str]], str]


def name_classes(graph: Graph) -> dict[str, str]:
    """Return the name of a class for each block, the same for blocks of one form."""
    by_form: dict[tuple[object, ...], str] = {}
    taken = {"Network", "RelativeAttention"}
    for block in graph.blocks:
        if block.form not in by_form:
            full = "".join(part.capitalize() for part in block.name.split("_"))
            short = re.sub(r"\d+$", "", full)
            by_form[block.form] = name = full if short in taken else short
            taken.add(name)
    return {block.name: by_form[block.form] for block in graph.blocks}


def distinct_blocks(graph: Graph) -> list[Block]:
    """Return the first block of each form."""
    return list({block.form: block for block in reversed(graph.blocks)}.values())[::-1]


def has_op(graph: Graph, op: str) -> bool:
    """Return whether a layer of the graph has that op."""
    return any(layer.op == op for block in graph.blocks for layer in block.layers)


def statements(block: Block, expression: Expression, inlined: Sequence[str]) -> list[str]:
    """Return the lines that compute a block from its arguments; the last returns the output.

    Layers of the ops `inlined` are written where they are read, if that is in one place.
    """
    uses = Counter(name for layer in block.layers for name in layer.inputs)
    values = {name: name for name in block.arguments}
    lines = []
    for layer in block.layers[:-1]:
        value = expression(layer, [values[name] for name in layer.inputs])
        if layer.op in inlined and uses[layer.name] == 1:
            values[layer.name] = value
        else:
            values[layer.name] = layer.name
            lines.append(f"{layer.name} = {value}")
    last = block.layers[-1]
    return [*lines, f"return {expression(last, [values[name] for name in last.inputs])}"]


def calls(graph: Graph) -> list[str]:
    """Return the lines that compute the blocks from `images`; the last returns the logits."""
    lines = [f"{block.name} = self.{block.name}({', '.join(block.inputs)})" for block in graph.blocks[:-1]]
    last = graph.blocks[-1]
    return [*lines, f"return self.{last.name}({', '.join(last.inputs)})"]


def heading(model: Model, kind: str, shape: str) -> str:
    """Return the opening of the module's docstring, without a closing quote."""
    space, arch = (re.sub(r"[^ -~]|[\"\\]", "?", text) for text in (model.space, model.arch))
    return (
        f'"""A {kind} network written by jaxnas {package_version()}.\n\n'
        f"Architecture of {space}:\n    {arch}\n\n"
        f"It maps float32 images {shape} in [0, 1], which it standardises, to logits [N, {len(model.class_names)}]."
    )


def terms(values: Sequence[float]) -> str:
    """Return numbers separated by commas, so that float32 reads them back to the bit."""
    return ", ".join(map(repr, values))


def shown(shape: Shape, *, channels_first: bool) -> str:
    """Return a shape with the axis of images in front."""
    ordered = (shape[-1], *shape[:-1]) if channels_first else shape
    return f"[N, {', '.join(map(str, ordered))}]"


def indent(lines: Sequence[str], depth: int) -> str:
    """Return lines, each `depth` levels deep and ended."""
    return "".join(f"{'    ' * depth}{line}\n" for line in lines)


def write_module(folder: Path, code: str, tensors: Mapping[str, np.ndarray]) -> list[Path]:
    """Write model.py and model.safetensors, which the code reads; return their paths."""
    paths = folder / "model.py", folder / "model.safetensors"
    with atomic_write(paths[1]) as partial:
        partial.write_bytes(tensor_bytes(dict(tensors)))
    with atomic_write(paths[0]) as partial:
        partial.write_text(code)
    return list(paths)
