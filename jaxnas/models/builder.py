"""Build a `Graph` block by block, without what does not reach the output."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import PyTree

from jaxnas.models.graph import RELATIVE, Block, Layer, Shape
from jaxnas.networks.activations import ActivationName

Value: TypeAlias = int  # the number of a layer or argument of a block under construction
Variables: TypeAlias = dict[str, dict[str, dict[str, dict[str, np.ndarray]]]]  # collection, block, layer, tensor


class Tensors(NamedTuple):
    """Params and running statistics of a part of a network, in NumPy arrays."""

    params: Mapping[str, PyTree]
    stats: Mapping[str, PyTree]

    def part(self, name: str) -> "Tensors":
        """Return the tensors of a submodule."""
        return Tensors(self.params.get(name, {}), self.stats.get(name, {}))

    def only(self, prefix: str) -> "Tensors":
        """Return the tensors whose names begin with `prefix`."""
        return Tensors(*({name: leaf for name, leaf in tree.items() if name.startswith(prefix)} for tree in self))

    def at(self, *index: int) -> "Tensors":
        """Return the tensors of one of the layers that are stacked in the first axes."""
        picked: Tensors = jax.tree.map(lambda leaf: leaf[index], self)
        return picked


class GraphBuilder:
    """The blocks of a network under construction.

    Attributes:
      blocks: the finished blocks.
      shapes: shape of every value, by name.
      variables: tensors of the layers of the finished blocks.
    """

    def __init__(self, image_shape: Shape):
        """Start with images (H, W, C)."""
        self.blocks: list[Block] = []
        self.shapes: dict[str, Shape] = {"images": image_shape}
        self.variables: Variables = {"params": {}, "batch_stats": {}}

    def begin(self, name: str, *inputs: str) -> "BlockBuilder":
        """Begin a block that reads these values, which are its layers 0, 1, ..."""
        return BlockBuilder(self, name, inputs)


class _Draft(NamedTuple):
    """A layer without name, and its tensors by collection."""

    op: str
    inputs: tuple[Value, ...]
    shape: Shape
    settings: tuple[tuple[str, int], ...]
    params: Mapping[str, np.ndarray]
    stats: Mapping[str, np.ndarray]


class BlockBuilder:
    """A block under construction: every method adds a layer and returns its number."""

    def __init__(self, graph: GraphBuilder, name: str, inputs: tuple[str, ...]):
        """Start with the inputs."""
        self._graph, self._name, self._inputs = graph, name, inputs
        self._drafts = [_Draft("input", (), graph.shapes[one], (), {}, {}) for one in inputs]

    def shape(self, x: Value) -> Shape:
        """Return the shape of a value for one image."""
        return self._drafts[x].shape

    def conv(self, x: Value, tensors: Tensors, name: str, stride: int = 1, dilation: int = 1) -> Value:
        """Add the convolution called `name`, same-padded; depthwise where the kernel has one input channel of many."""
        params = _kernel_and_bias(tensors, name)
        kernel = params["kernel"]
        height, width, channels = self.shape(x)
        shape = (-(-height // stride), -(-width // stride), kernel.shape[-1])
        if self._is_zeros(x) and "bias" not in params:
            return self.zeros(x, shape)
        settings = dict(
            features=kernel.shape[-1],
            size=kernel.shape[1],
            stride=stride,
            dilation=dilation,
            groups=channels // kernel.shape[-2],
            bias=int("bias" in params),
        )
        op = "conv" if kernel.shape[0] == kernel.shape[1] else "row_conv"
        return self._add(op, (x,), shape, params, **settings)

    def dense(self, x: Value, tensors: Tensors, name: str) -> Value:
        """Add the linear layer called `name` on the last axis, which must be the only one."""
        params = _kernel_and_bias(tensors, name)
        shape = params["kernel"].shape[-1:]
        return self._add("dense", (x,), shape, params, features=shape[0], bias=int("bias" in params))

    def norm(self, x: Value, tensors: Tensors, name: str) -> Value:
        """Add the batch normalisation called `name`, with its running statistics."""
        gamma = tensors.params.get(f"{name}_gamma")
        params = {} if gamma is None else {"scale": gamma, "bias": tensors.params[f"{name}_beta"]}
        stats = {"mean": tensors.stats[f"{name}_mean"], "var": tensors.stats[f"{name}_variance"]}
        return self._add("norm", (x,), self.shape(x), params, stats, affine=int(gamma is not None))

    def relu(self, x: Value) -> Value:
        """Add a ReLU."""
        return self.activate(x, "relu")

    def activate(self, x: Value, name: ActivationName | None) -> Value:
        """Add an activation function, which keeps zeros; None adds nothing."""
        return x if name is None or self._is_zeros(x) else self._add(name, (x,), self.shape(x))

    def hard_sigmoid(self, x: Value) -> Value:
        """Add a hard sigmoid."""
        return self._add("hard_sigmoid", (x,), self.shape(x))

    def squeeze(self, x: Value) -> Value:
        """Add the mean over pixels, as an image of one pixel."""
        shape = (1, 1, self.shape(x)[-1])
        return self.zeros(x, shape) if self._is_zeros(x) else self._add("squeeze", (x,), shape)

    def scale(self, x: Value, gate: Value) -> Value:
        """Add the product of x and a gate of one pixel for each channel."""
        return x if self._is_zeros(x) else self._add("scale", (x, gate), self.shape(x))

    def pool(self, x: Value, kind: str, stride: int = 1) -> Value:
        """Add the average or maximum ("avg", "max") of 3x3 pixels inside the image."""
        height, width, channels = self.shape(x)
        shape = (-(-height // stride), -(-width // stride), channels)
        return self.zeros(x, shape) if self._is_zeros(x) else self._add(f"{kind}_pool", (x,), shape, stride=stride)

    def halve(self, x: Value) -> Value:
        """Add the averages of disjoint blocks of 2x2 pixels, where an odd last row or column makes smaller blocks."""
        height, width, channels = self.shape(x)
        shape = (-(-height // 2), -(-width // 2), channels)
        return self.zeros(x, shape) if self._is_zeros(x) else self._add("halve", (x,), shape)

    def max_halve(self, x: Value) -> Value:
        """Add the maxima of disjoint blocks of 2x2 pixels, where an odd last row or column makes smaller blocks."""
        height, width, channels = self.shape(x)
        return self._add("max_halve", (x,), (-(-height // 2), -(-width // 2), channels))

    def truncate(self, x: Value, channels: int) -> Value:
        """Add the first channels of x, or x itself if these are all."""
        *pixels, given = self.shape(x)
        return x if given == channels else self._add("truncate", (x,), (*pixels, channels), features=channels)

    def split_halves(self, x: Value, tensors: Tensors, even: str, odd: str) -> Value:
        """Add 1x1 convolutions of every second pixel and of the pixel right below it, concatenated."""
        shifted = self._add("shift", (x,), self.shape(x))
        return self.concat(self.conv(x, tensors, even, stride=2), self.conv(shifted, tensors, odd, stride=2))

    def mean(self, x: Value) -> Value:
        """Add the mean over pixels."""
        return self._add("mean", (x,), self.shape(x)[-1:])

    def patches(self, x: Value, tensors: Tensors, name: str) -> Value:
        """Add the convolution called `name` of disjoint squares of the image."""
        params = _kernel_and_bias(tensors, name)
        size, features = params["kernel"].shape[0], params["kernel"].shape[-1]
        height, width, _ = self.shape(x)
        shape = (height // size, width // size, features)
        return self._add("patches", (x,), shape, params, features=features, size=size, bias=int("bias" in params))

    def tokens(self, x: Value, embedding: np.ndarray, *, class_token: bool) -> Value:
        """Add pixels as tokens in one row, after one of zeros if wanted, and to each its row of `embedding` [L C]."""
        length, features = embedding.shape
        settings = dict(length=length, features=features, class_token=int(class_token))
        return self._add("tokens", (x,), (1, length, features), {"embedding": embedding}, **settings)

    def layer_norm(self, x: Value, gamma: np.ndarray, beta: np.ndarray) -> Value:
        """Add the normalisation of each token."""
        return self._add("layer_norm", (x,), self.shape(x), {"scale": gamma, "bias": beta})

    def attend(self, x: Value, heads: int) -> Value:
        """Add attention on queries, keys and values, which are the thirds of the channels, each head after head."""
        height, width, channels = self.shape(x)
        return self._add("attend", (x,), (height, width, channels // 3), heads=heads)

    def relative_attend(self, x: Value, heads: int, tables: tuple[np.ndarray, ...]) -> Value:
        """Add attention with tables [2 distance + 2, head width] of relative positions, in the order of `RELATIVE`."""
        height, width, channels = self.shape(x)
        shape, params = (height, width, channels // 3), dict(zip(RELATIVE, tables, strict=True))
        return self._add("relative_attend", (x,), shape, params, heads=heads, distance=len(tables[0]) // 2 - 1)

    def first(self, x: Value) -> Value:
        """Add the first token alone."""
        return self._add("first", (x,), (1, 1, self.shape(x)[-1]))

    def rest(self, x: Value) -> Value:
        """Add all tokens but the first."""
        height, width, channels = self.shape(x)
        return self._add("rest", (x,), (height, width - 1, channels))

    def concat(self, *xs: Value) -> Value:
        """Add the concatenation along channels."""
        channels = sum(self.shape(x)[-1] for x in xs)
        return self._add("concat", xs, (*self.shape(xs[0])[:-1], channels))

    def add(self, *xs: Value) -> Value:
        """Add the sum of values, of which zeros do not count."""
        terms = tuple(x for x in xs if not self._is_zeros(x)) or xs[:1]
        return terms[0] if len(terms) == 1 else self._add("add", terms, self.shape(terms[0]))

    def zeros(self, x: Value, shape: Shape | None = None) -> Value:
        """Add zeros for as many images as x has, by default of its shape."""
        first = self._drafts[x].inputs[0] if self._is_zeros(x) else x
        return self._add("zeros", (first,), shape or self.shape(x))

    def end(self, output: Value) -> str:
        """Finish the block and return the name of its output; layers that do not reach it are dropped."""
        if output < len(self._inputs):
            return self._inputs[output]
        live = {output}
        for number in range(output, -1, -1):
            if number in live:
                live |= set(self._drafts[number].inputs)
        used = [number for number in range(len(self._inputs)) if number in live]
        names = {number: "x" if len(used) == 1 else f"x{place}" for place, number in enumerate(used, start=1)}
        layers, counts = [], dict.fromkeys((draft.op for draft in self._drafts), 0)
        params: dict[str, dict[str, np.ndarray]] = {}
        stats: dict[str, dict[str, np.ndarray]] = {}
        for number in sorted(live - set(used)):
            draft = self._drafts[number]
            counts[draft.op] += 1
            names[number] = name = f"{draft.op}{counts[draft.op]}"
            layers.append(Layer(name, draft.op, tuple(names[x] for x in draft.inputs), draft.shape, draft.settings))
            for collection, tensors in ((params, draft.params), (stats, draft.stats)):
                if tensors:
                    collection[name] = {key: np.asarray(value, np.float32) for key, value in tensors.items()}
        for kind, tree in (("params", params), ("batch_stats", stats)):
            if tree:
                self._graph.variables[kind][self._name] = tree
        inputs, shapes = tuple(self._inputs[x] for x in used), tuple(self.shape(x) for x in used)
        self._graph.blocks.append(Block(self._name, inputs, tuple(names[x] for x in used), shapes, tuple(layers)))
        self._graph.shapes[self._name] = self.shape(output)
        return self._name

    def _is_zeros(self, x: Value) -> bool:
        return self._drafts[x].op == "zeros"

    def _add(
        self,
        op: str,
        inputs: tuple[Value, ...],
        shape: Shape,
        params: Mapping[str, np.ndarray] = {},
        stats: Mapping[str, np.ndarray] = {},
        **settings: int,
    ) -> Value:
        """Add a layer, or return the number of an equal one without tensors."""
        draft = _Draft(op, inputs, shape, tuple(settings.items()), params, stats)
        if not params and not stats and draft in self._drafts:
            return self._drafts.index(draft)
        self._drafts.append(draft)
        return len(self._drafts) - 1


def _kernel_and_bias(tensors: Tensors, name: str) -> dict[str, np.ndarray]:
    """Return the tensors of the layer called `name`, which may have no bias."""
    paths = {"kernel": name, "bias": f"{name}_bias"}
    return {kind: np.asarray(tensors.params[path]) for kind, path in paths.items() if path in tensors.params}
