"""The graphs of networks of NAS-Bench-201 and TransNAS-Bench-101 under one architecture."""

from collections.abc import Callable
from functools import partial

import numpy as np
from jaxtyping import Int8

from jaxnas.errors import InputError
from jaxnas.models.builder import BlockBuilder, GraphBuilder, Tensors, Value
from jaxnas.networks import NASBench201Network, TransNAS101MacroNetwork, TransNAS101MicroNetwork
from jaxnas.networks.cell import ENTRIES, INNER
from jaxnas.spaces import nasbench201, transnas101
from jaxnas.spaces.cell import EDGES

CONVS = {"nor_conv_1x1": "conv_1x1", "nor_conv_3x3": "conv_3x3"}  # op, and the name of its tensors


def build_nasbench201(
    graph: GraphBuilder, network: NASBench201Network, tensors: Tensors, arch: Int8[np.ndarray, "6"]
) -> None:
    """Add the blocks of a network of NAS-Bench-201."""
    ops = [nasbench201.OP_NAMES[op] for op in arch]
    block = graph.begin("stem", "images")
    x = block.end(add_conv_norm(block, 0, tensors.part("stem")))
    for stage in range(1, 4):
        if stage > 1:
            x = _add_reduction(graph, x, f"reduction{stage - 1}", tensors.part(f"reduction{stage - 1}"))
        for cell in range(network.cells_per_stage):
            block, cells = graph.begin(f"stage{stage}_cell{cell + 1}", x), tensors.part(f"stage{stage}").at(cell)
            x = block.end(_add_cell(block, ops, cells))
    block = graph.begin("classifier", x)
    features = block.relu(block.norm(0, tensors, "norm"))
    block.end(block.dense(block.mean(features), tensors, "classifier"))


def build_transnas101_micro(
    graph: GraphBuilder, network: TransNAS101MicroNetwork, tensors: Tensors, arch: Int8[np.ndarray, "6"]
) -> None:
    """Add the blocks of a classifier of TransNAS-Bench-101 micro.

    Raises:
      InputError: the network has another head.
    """
    _check_head(network.head)
    ops = [transnas101.OP_NAMES[op] for op in arch]
    x = _add_stem(graph, tensors.part("stem"))
    for stage, num_modules in enumerate((2, 2, 1), start=1):
        block = graph.begin(f"reduction{stage}", x)
        channels = network.channels * 2**stage
        x = block.end(_add_reducing_cell(block, ops, channels, tensors.part(f"reduction{stage}")))
        for cell in range(num_modules * network.cells_per_stage - 1):
            block = graph.begin(f"stage{stage}_cell{cell + 1}", x)
            x = block.end(_add_cell(block, ops, tensors.part(f"stage{stage}").at(cell)))
    add_classifier(graph, x, tensors.part("head"), "linear")


def build_transnas101_macro(
    graph: GraphBuilder, network: TransNAS101MacroNetwork, tensors: Tensors, arch: Int8[np.ndarray, "6"]
) -> None:
    """Add the blocks of a classifier of TransNAS-Bench-101 macro.

    Raises:
      InputError: the network has another head.
    """
    _check_head(network.head)
    x, width, number = _add_stem(graph, tensors.part("stem")), 0, 0
    for kind in arch:
        for place in range(network.cells_per_stage):
            layers = tensors.part("blocks").at(number)
            number += 1
            if kind:
                block = graph.begin(f"block{number}", x)
                output, width = _add_skeleton_block(block, int(kind) if place == 0 else 1, width, layers)
                x = block.end(output)
    add_classifier(graph, x, tensors.part("head"), f"linear{width}")


def add_conv_norm(block: BlockBuilder, x: Value, tensors: Tensors, stride: int = 1) -> Value:
    """Add the convolution and the normalisation of a `ConvNorm`."""
    return block.norm(block.conv(x, tensors, "conv", stride), tensors, "norm")


def add_halving_stem(block: BlockBuilder, first: Tensors, second: Tensors) -> Value:
    """Add two `ConvNorm` with a ReLU between them, each of which halves the images."""
    middle = block.relu(add_conv_norm(block, 0, first, stride=2))
    return add_conv_norm(block, middle, second, stride=2)


def add_classifier(graph: GraphBuilder, x: str, tensors: Tensors, name: str) -> None:
    """Add the mean over pixels and the linear layer called `name`."""
    block = graph.begin("classifier", x)
    block.end(block.dense(block.mean(0), tensors, name))


def _add_reduction(graph: GraphBuilder, x: str, name: str, tensors: Tensors) -> str:
    """Add a residual block that halves the image."""
    block = graph.begin(name, x)
    out = add_conv_norm(block, block.relu(0), tensors.part("conv_a"), stride=2)
    out = add_conv_norm(block, block.relu(out), tensors.part("conv_b"))
    return block.end(block.add(out, block.conv(block.halve(0), tensors, "shortcut")))


def _add_cell(block: BlockBuilder, ops: list[str], tensors: Tensors) -> Value:
    """Add a cell that keeps the shape."""
    return _add_nodes(block, lambda edge, x: _add_edge(block, ops[edge], x, tensors.at(edge)))


def _add_nodes(block: BlockBuilder, add_edge: Callable[[int, Value], Value]) -> Value:
    """Add the nodes of a cell, each the sum of its edges, which a function adds by number and input."""
    terms: list[list[Value]] = [[], [], []]
    nodes: list[Value] = [0]
    for edge, (source, target) in enumerate(EDGES):
        if len(nodes) <= source:
            nodes.append(block.add(*terms[source - 1]))
        terms[target - 1].append(add_edge(edge, nodes[source]))
    return block.add(*terms[-1])


def _add_edge(block: BlockBuilder, op: str, x: Value, tensors: Tensors) -> Value:
    """Add the op of an edge between nodes of one shape."""
    if op in CONVS:
        return block.norm(block.conv(block.relu(x), tensors, CONVS[op]), tensors, "norm")
    if op == "avg_pool_3x3":
        return block.pool(x, "avg")
    return x if op == "skip_connect" else block.zeros(x)


def _add_reducing_cell(block: BlockBuilder, ops: list[str], channels: int, tensors: Tensors) -> Value:
    """Add a cell whose edges from its input halve the image."""
    height, width, _ = block.shape(0)
    half = (-(-height // 2), -(-width // 2), channels)

    def add_edge(edge: int, x: Value) -> Value:
        if edge in INNER:
            return _add_edge(block, ops[edge], x, tensors.at(INNER.index(edge)))
        if ops[edge] == "none":
            return block.zeros(0, half)
        return _add_entry(block, ops[edge], tensors.at(ENTRIES.index(edge)))

    return _add_nodes(block, add_edge)


def _add_entry(block: BlockBuilder, op: str, tensors: Tensors) -> Value:
    """Add an op that halves the image."""
    x = block.relu(0)
    if op == "skip_connect":
        out = block.split_halves(x, tensors, "entry_skip_even", "entry_skip_odd")
    else:
        out = block.conv(x, tensors, f"entry_{CONVS[op]}", stride=2)
    return block.norm(out, tensors, "entry_norm")


def _add_stem(graph: GraphBuilder, tensors: Tensors) -> str:
    """Add the stem of TransNAS-Bench-101."""
    block = graph.begin("stem", "images")
    return block.end(add_halving_stem(block, tensors.part("first"), tensors.part("second")))


def _add_skeleton_block(block: BlockBuilder, kind: int, width: int, tensors: Tensors) -> tuple[Value, int]:
    """Add a residual block of macro, and return its output and the doublings of channels after it."""
    doubles, stride = kind in transnas101.DOUBLES, 2 if kind in transnas101.HALVES else 1
    after = width + int(doubles)
    suffix = f"{'_double' if doubles else ''}{width}"
    convolve = partial(block.conv, tensors=tensors)
    middle = block.norm(convolve(block.relu(0), name=f"a{suffix}", stride=stride), tensors, f"norm_a{after}")
    out = block.norm(convolve(block.relu(middle), name=f"b{after}"), tensors, f"norm_b{after}")
    if kind == 1:
        return block.add(out, 0), after
    shortcut = block.norm(convolve(0, name=f"shortcut{suffix}", stride=stride), tensors, f"norm_shortcut{after}")
    return block.add(out, shortcut), after


def _check_head(head: str) -> None:
    if head != "classification":
        raise InputError(f"a model needs the head 'classification', got {head!r}: its outputs are classes of images")
