"""The graph of a declared network under one architecture: its channels are those that the architecture chose."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int8, PyTree

from jaxnas.errors import InputError
from jaxnas.models.builder import BlockBuilder, GraphBuilder, Tensors, Value
from jaxnas.networks.declared.blocks import Cell, Repeat, Residual
from jaxnas.networks.declared.choices import Choice, Decisions, Width
from jaxnas.networks.declared.flow import Part, part_name
from jaxnas.networks.declared.inverted import InvertedResidual
from jaxnas.networks.declared.match import Match
from jaxnas.networks.declared.network import BlockNetwork
from jaxnas.networks.declared.ops import Activation, Conv, Dense, Depthwise, GlobalAverage, Pool, Skip, Zero
from jaxnas.networks.declared.step import Choose, Op, Step, resize_name
from jaxnas.networks.declared.tokens import ClassToken, LayerNorm, PatchEmbed, PatchMean
from jaxnas.networks.declared.transformer import Attention, Mlp


def build_declared(graph: GraphBuilder, network: BlockNetwork, tensors: Tensors, arch: Int8[np.ndarray, " D"]) -> None:
    """Add the blocks of a declared network.

    Raises:
      InputError: a block is of a class that is not jaxnas's.
    """
    flow = _Flow(tensors, Decisions(np.asarray(arch).tolist()))
    name = "images"
    for number, part in enumerate(network.parts(), start=1):
        block = graph.begin(part_name("", number), name)
        name = block.end(flow.run_part(block, 0, part, part_name("", number)))
    block = graph.begin("classifier", name)
    channels = block.shape(0)[-1]
    features = 0
    if network.normalises_last():
        features = block.norm(0, flow.live_tensors("last", channels, channels), "last_norm")
    averages = block.mean(block.activate(features, network.last_activation()))
    block.end(block.dense(averages, flow.live_tensors("classifier", channels, None), "classifier"))


class _Flow:
    """What passes from block to block, as in `jaxnas.networks.declared.flow.BlockFlow`.

    Attributes:
      fresh: whether the present features are the images, which no activation precedes.
      source: stands for where their width was declared: None as long as no architecture can change it.
    """

    def __init__(self, tensors: Tensors, decisions: Decisions[int]):
        """Start at the images."""
        self._tensors, self._decisions = tensors, decisions
        self.fresh = True
        self.source: object | None = None

    def run(self, block: BlockBuilder, x: Value, parts: tuple[Part, ...], name: str) -> Value:
        """Add the parts of the block called `name`, one after another."""
        for number, part in enumerate(parts, start=1):
            x = self.run_part(block, x, part, part_name(name, number))
        return x

    def run_part(self, block: BlockBuilder, x: Value, part: Part, name: str) -> Value:
        """Add one part."""
        if isinstance(part, Step):
            return self.step(block, x, part, name, *self._take_width(block, x, part.width))
        if isinstance(part, Residual):
            return self._residual(block, x, part, name)
        if isinstance(part, Repeat):
            return self._repeat(block, x, part, name)
        if isinstance(part, Cell):
            return self._cell(block, x, part, name)
        raise InputError(f"{type(part).__name__} is not a block of jaxnas: a model cannot be made of it")

    def step(self, block: BlockBuilder, x: Value, step: Step, name: str, width: int, source: object | None) -> Value:
        """Add one op, or the chosen one, for a width of that source."""
        ops = step.options()
        pick = self._decisions.take(step.name) if isinstance(step, Choose) else 0
        resized = resize_name(name)
        if resized in self._tensors.params:
            x = block.conv(x, self.live_tensors(resized, block.shape(x)[-1], width), resized)
            self.source = source
        x = self._apply(block, x, ops[pick], step.tensor_names(name)[pick], width, keeps=source is self.source)
        self.fresh = self.fresh and not any(op.ends_images for op in ops)
        self.source = source
        return x

    def _apply(self, block: BlockBuilder, x: Value, op: Op, name: str, width: int, *, keeps: bool) -> Value:
        """Add an op that is chosen; `keeps` says whether no architecture changes the width."""
        if op.leading is not None and (op.always_leads or not self.fresh):
            x = block.activate(x, op.leading)
        if isinstance(op, Skip | Activation):
            return x
        if isinstance(op, Zero):
            return block.zeros(x)
        if isinstance(op, Pool):
            return block.pool(x, op.kind)
        if isinstance(op, GlobalAverage):
            return block.squeeze(x)
        if isinstance(op, Match) and block.shape(x)[-1] == width:
            return x
        if isinstance(op, InvertedResidual):
            return self._inverted(block, x, op, name, width, keeps=keeps)
        if isinstance(op, ClassToken):
            return block.first(x)
        if isinstance(op, PatchMean):
            return block.squeeze(block.rest(x))
        if isinstance(op, PatchEmbed):
            return self._patches(block, x, op, name, width)
        if isinstance(op, LayerNorm):
            gamma, beta = (self._vector(f"{name}_norm_{part}", width) for part in ("gamma", "beta"))
            return block.layer_norm(x, gamma, beta)
        if isinstance(op, Attention):
            return self._attention(block, x, op, name, width)
        if isinstance(op, Mlp):
            hidden = op.hidden(width, self._ratio(op.ratio))
            inner = block.conv(x, self.live_tensors(f"{name}_expand", width, hidden), f"{name}_expand")
            project = self.live_tensors(f"{name}_project", hidden, width)
            return block.conv(block.activate(inner, op.activation), project, f"{name}_project")
        tensors = self.live_tensors(name, block.shape(x)[-1], width)
        if isinstance(op, Conv | Depthwise | Match):
            return block.norm(block.conv(x, tensors, name, op.stride), tensors, f"{name}_norm")
        if isinstance(op, Dense):
            return block.conv(x, _as_conv(tensors, name), name)
        raise InputError(f"{type(op).__name__} is not an op of jaxnas: a model cannot be made of it")

    def _patches(self, block: BlockBuilder, x: Value, op: PatchEmbed, name: str, width: int) -> Value:
        """Add the patches and their positions; those of the class token are one vector."""
        positions = self._vector(f"{name}_position_bias", width).reshape(-1, width)
        if op.class_token:
            first = self._vector(f"{name}_class_bias", width) + self._vector(f"{name}_class_position_bias", width)
            positions = np.concatenate([first[None], positions])
        out = block.patches(x, self.live_tensors(name, block.shape(x)[-1], width), name)
        return block.tokens(out, positions, class_token=op.class_token)

    def _attention(self, block: BlockBuilder, x: Value, op: Attention, name: str, width: int) -> Value:
        """Add attention, whose queries, keys and values lie one after another here."""
        heads = self._take(op.heads) if isinstance(op.heads, Choice) else op.heads
        inner, path = heads * op.head_width, f"{name}_qkv"
        tensors = self.live_tensors(path, width, 3 * inner)
        apart = {
            key: value.reshape(*value.shape[:-1], inner, 3).swapaxes(-1, -2).reshape(value.shape)
            for key, value in tensors.params.items()
        }
        parts = block.conv(x, tensors._replace(params=apart), path)
        if op.relative:
            tables = tuple(np.asarray(self._tensors.params[one]) for one in op.table_names(name))
            out = block.relative_attend(parts, heads, tables)
        else:
            out = block.attend(parts, heads)
        return block.conv(out, self.live_tensors(f"{name}_project", inner, width), f"{name}_project")

    def _vector(self, path: str, width: int) -> np.ndarray:
        """Return the first outputs of a tensor."""
        return np.asarray(self._tensors.params[path])[..., :width]

    def _ratio(self, ratio: float | Choice) -> float:
        return ratio.values[self._decisions.take(ratio.name)] if isinstance(ratio, Choice) else ratio

    def _inverted(
        self, block: BlockBuilder, x: Value, op: InvertedResidual, name: str, width: int, *, keeps: bool
    ) -> Value:
        """Add an inverted residual block."""
        channels = block.shape(x)[-1]
        size = self._take(op.size) if isinstance(op.size, Choice) else op.size
        expansion = self._take(op.expansion) if isinstance(op.expansion, Choice) else op.expansion
        gated = self._take(op.squeeze) if isinstance(op.squeeze, Choice) else op.squeeze
        hidden = op.hidden(channels, expansion)

        def convolve(
            out: Value, part: str, inputs: int, outputs: int, stride: int = 1, rows: int | None = None
        ) -> Value:
            path = f"{name}_{part}"
            tensors = self.live_tensors(path, inputs, outputs, rows)
            out = block.conv(out, tensors, path, stride)
            return block.norm(out, tensors, f"{path}_norm") if f"{path}_norm_mean" in tensors.stats else out

        out = x
        if expansion != 1:
            out = block.activate(convolve(out, "expand", channels, hidden), op.activation)
        out = block.activate(convolve(out, "depthwise", 1, hidden, op.stride, size), op.activation)
        if gated:
            few = op.between(hidden)
            gate = block.relu(convolve(block.squeeze(out), "squeeze", hidden, few))
            out = block.scale(out, block.hard_sigmoid(convolve(gate, "excite", few, hidden)))
        out = convolve(out, "project", hidden, width)
        return block.add(out, x) if op.adds_input(keeps and width == channels) else out

    def live_tensors(self, name: str, num_inputs: int, width: int | None, rows: int | None = None) -> Tensors:
        """Return the tensors of the layer called `name`, cut to these inputs, outputs, rows and columns; None: all."""

        def cut(tree: Mapping[str, PyTree]) -> dict[str, np.ndarray]:
            ends = tuple(f"{name}_{end}" for end in ("bias", "norm_gamma", "norm_beta", "norm_mean", "norm_variance"))
            found = {path: np.asarray(tree[path])[..., :width] for path in ends if path in tree}
            if name not in tree:
                return found
            kernel = np.asarray(tree[name])[..., :num_inputs, :width]
            return {name: kernel if rows is None else kernel[:rows, :rows], **found}

        return Tensors(cut(self._tensors.params), cut(self._tensors.stats))

    def _take(self, choice: Choice) -> int:
        return choice.numbers[self._decisions.take(choice.name)]

    def _take_width(self, block: BlockBuilder, x: Value, width: Width) -> tuple[int, object | None]:
        """Return a width and its source, as `BlockFlow.take_width` does."""
        if isinstance(width, Choice):
            return self._take(width), object()
        return (block.shape(x)[-1], self.source) if width is None else (width, None)

    def _residual(self, block: BlockBuilder, x: Value, part: Residual, name: str) -> Value:
        fresh = self.fresh
        out = self.run(block, x, part.blocks, name)
        shortcut = f"{name}_shortcut"
        if shortcut in self._tensors.params:
            pooled = x if block.shape(x)[:2] == block.shape(out)[:2] else block.halve(x)
            channels = block.shape(x)[-1], block.shape(out)[-1]
            x = block.conv(pooled, self.live_tensors(shortcut, *channels), shortcut)
        self.fresh = fresh and self.fresh
        return block.add(out, x)

    def _repeat(self, block: BlockBuilder, x: Value, part: Repeat, name: str) -> Value:
        times = self._take(part.times) if isinstance(part.times, Choice) else part.times
        for number in range(part.most):
            out = self.run(block, x, part.blocks, part_name(name, number + 1))
            x = out if number < times else x
        return x

    def _cell(self, block: BlockBuilder, x: Value, part: Cell, name: str) -> Value:
        nodes = [(x, self.fresh, self.source)]
        width, source = self._take_width(block, x, part.width)
        ops = iter(part.ops)
        for target in range(1, part.nodes + 1):
            terms, fresh = [], True
            for origin in range(target):
                value, self.fresh, self.source = nodes[origin]
                terms.append(self.step(block, value, next(ops), f"{name}_{origin}to{target}", width, source))
                fresh = fresh and self.fresh
            nodes.append((block.add(*terms), fresh, source))
        value, self.fresh, self.source = nodes[-1]
        return value


def _as_conv(tensors: Tensors, name: str) -> Tensors:
    """Return the tensors of a linear layer as those of a 1x1 convolution."""
    return tensors._replace(params={**tensors.params, name: tensors.params[name][None, None]})
