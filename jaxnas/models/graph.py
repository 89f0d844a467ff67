"""The plain description of one network: blocks of layers with shapes, without any choice of an architecture.

A description has neither arrays nor code, so that it can be written as JSON. The tensors are variables of flax, by
block and layer: `kernel` and `bias` of "conv", "row_conv" (whose kernel has one row) and "dense", `scale` and `bias` of
"norm" in the collection "params", `mean` and `var` of "norm" in "batch_stats"; "patches" and "layer_norm" have those of
"conv" and "norm" in "params", "tokens" has `embedding`, and "relative_attend" the tables in `RELATIVE`.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from jaxnas.errors import InputError
from jaxnas.runtime.records import Record

OPS = {
    "conv": ("features", "size", "stride", "dilation", "groups", "bias"),
    "row_conv": ("features", "size", "stride", "dilation", "groups", "bias"),
    "norm": ("affine",),
    "dense": ("features", "bias"),
    "relu": (),
    "relu6": (),
    "hardswish": (),
    "silu": (),
    "gelu": (),
    "hard_sigmoid": (),
    "squeeze": (),
    "scale": (),
    "add": (),
    "concat": (),
    "zeros": (),
    "shift": (),
    "avg_pool": ("stride",),
    "max_pool": ("stride",),
    "halve": (),
    "max_halve": (),
    "truncate": ("features",),
    "mean": (),
    "patches": ("features", "size", "bias"),
    "tokens": ("length", "features", "class_token"),
    "layer_norm": (),
    "attend": ("heads",),
    "relative_attend": ("heads", "distance"),
    "first": (),
    "rest": (),
}
"""The settings of each op; see `jaxnas.models.module` for what it computes."""

RELATIVE = ("key_rows", "key_columns", "value_rows", "value_columns")  # [2 distance + 2, head width] each

FLAGS = ("bias", "affine", "class_token")  # settings that are 0 or 1; all others are at least 1

Shape: TypeAlias = tuple[int, ...]  # (H, W, C) of features, (C,) after the mean over pixels


class Layer(NamedTuple):
    """One op of a block.

    Attributes:
      name: name of the layer and of its output, such as "conv2".
      op: a name in `OPS`.
      inputs: names of earlier layers of the block, or of its arguments.
      shape: shape of the output for one image.
      settings: pairs of names and values, those that `OPS` lists.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: Shape
    settings: tuple[tuple[str, int], ...] = ()

    def setting(self, name: str) -> int:
        """Return the setting of that name."""
        return dict(self.settings)[name]

    @property
    def window(self) -> tuple[int, int]:
        """Rows and columns of the kernel of a convolution."""
        size = self.setting("size")
        return (1 if self.op == "row_conv" else size), size

    @property
    def margins(self) -> tuple[int, int]:
        """Rows and columns of zeros on each side of the image of a convolution, which keep its size at stride 1."""
        rows, columns = self.window
        return self.setting("dilation") * (rows // 2), self.setting("dilation") * (columns // 2)


class Block(NamedTuple):
    """Layers with one output, that of the last layer.

    Attributes:
      name: name of the block and of its output.
      inputs: names of earlier blocks, or "images".
      arguments: names of the inputs inside the block.
      shapes: shapes of the inputs.
      layers: the layers, each after those that it reads.
    """

    name: str
    inputs: tuple[str, ...]
    arguments: tuple[str, ...]
    shapes: tuple[Shape, ...]
    layers: tuple[Layer, ...]

    @property
    def form(self) -> tuple[object, ...]:
        """What two blocks share that differ in names and tensors alone."""
        return self.arguments, self.shapes, self.layers


class Graph(NamedTuple):
    """A network from images [N H W C] in [0, 1] to logits [N K].

    Attributes:
      image_shape: (H, W, C) of an image.
      mean: what is subtracted from each channel.
      std: what each channel is divided by then.
      class_names: names of the K classes.
      blocks: the blocks, each after those that it reads; the last gives the logits.
    """

    image_shape: Shape
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    blocks: tuple[Block, ...]

    def record(self) -> Record:
        """Return the description as plain JSON values."""
        blocks = [
            {**block._asdict(), "layers": [{**layer._asdict(), "settings": dict(layer.settings)} for layer in layers]}
            for block in self.blocks
            for layers in [block.layers]
        ]
        return {**self._asdict(), "blocks": blocks}


def graph_from_record(record: Mapping[str, object]) -> Graph:
    """Read back what `Graph.record` returned, also through JSON.

    Raises:
      InputError: a layer has an unknown op, a setting out of its range, or reads a value that no earlier layer gives.
      LookupError, TypeError, ValueError: not the record of a graph.
    """
    fields: Record = dict(record)
    blocks = tuple(_read_block(dict(block)) for block in fields["blocks"])
    known = {"images"}
    for block in blocks:
        _check_names([*block.inputs, block.name], known)
        inside = set(block.arguments)
        for layer in block.layers:
            if layer.op not in OPS or {name for name, _ in layer.settings} != set(OPS[layer.op]):
                raise InputError(f"layer {block.name}.{layer.name}: op {layer.op!r} or its settings are unknown")
            for name, value in layer.settings:
                if not (value in (0, 1) if name in FLAGS else value >= 1):
                    raise InputError(f"layer {block.name}.{layer.name}: {name} is {value}, which is out of its range")
            _check_names([*layer.inputs, layer.name], inside)
    graph = Graph(
        image_shape=tuple(map(int, fields["image_shape"])),
        mean=tuple(map(float, fields["mean"])),
        std=tuple(map(float, fields["std"])),
        class_names=tuple(map(str, fields["class_names"])),
        blocks=blocks,
    )
    _check_preparation(graph)
    return graph


def _check_preparation(graph: Graph) -> None:
    """Raise ValueError if images cannot be prepared by a graph, or its classes have no names that differ."""
    if len(graph.image_shape) != 3 or min(graph.image_shape) < 1:
        raise ValueError(f"image_shape must be three sizes of at least 1, got {list(graph.image_shape)}")
    for name, values in (("mean", graph.mean), ("std", graph.std)):
        if len(values) != graph.image_shape[-1] or not all(map(math.isfinite, values)):
            raise ValueError(f"{name} must be {graph.image_shape[-1]} finite numbers, got {list(values)}")
    if min(graph.std) <= 0:
        raise ValueError(f"std must be above 0, got {list(graph.std)}")
    if len(set(graph.class_names)) < len(graph.class_names):
        raise ValueError(f"class_names must differ, got {list(graph.class_names)}")


def _check_names(names: list[str], known: set[str]) -> None:
    """Check that inputs are known and that the last name, which is added, is a new identifier."""
    *inputs, new = names
    if not set(inputs) <= known or new in known or not new.isidentifier():
        raise InputError(f"{new!r} of a graph is not a new name, or reads unknown values: {', '.join(inputs)}")
    known.add(new)


def _read_block(block: Record) -> Block:
    layers = tuple(
        Layer(
            str(layer["name"]),
            str(layer["op"]),
            tuple(map(str, layer["inputs"])),
            tuple(map(int, layer["shape"])),
            tuple((str(name), int(value)) for name, value in layer["settings"].items()),
        )
        for layer in block["layers"]
    )
    shapes = tuple(tuple(map(int, shape)) for shape in block["shapes"])
    return Block(str(block["name"]), tuple(block["inputs"]), tuple(block["arguments"]), shapes, layers)
