"""The graph of a network of DARTS under one genotype."""

import numpy as np
from jaxtyping import Int8

from jaxnas.models.builder import BlockBuilder, GraphBuilder, Tensors, Value
from jaxnas.models.spaces import add_classifier, add_conv_norm, add_halving_stem
from jaxnas.networks import DARTSNetwork
from jaxnas.networks.darts_cell import CONVOLUTIONS
from jaxnas.spaces.darts import CELLS, NODES, OP_NAMES, PAIRS


def build_darts(graph: GraphBuilder, network: DARTSNetwork, tensors: Tensors, arch: Int8[np.ndarray, "24"]) -> None:
    """Add the blocks of a network of DARTS; the second head, which training alone reads, is left out."""
    decisions = dict(zip(CELLS, np.asarray(arch).reshape(len(CELLS), len(NODES), 3), strict=True))
    before, last = _add_stem(graph, network, tensors)
    halves_first = network.stem == "imagenet"
    for stage in range(1, 4):
        if stage > 1:
            part = tensors.part(f"stage{stage}_reduce")
            out = _add_cell(graph, f"stage{stage}_reduce", (before, last), decisions["reduce"], part, halves_first)
            before, last, halves_first = last, out, True
        separate = 0  # cells in front of those that are one scan
        for cell in range(network.cells_per_stage):
            name = f"stage{stage}_cell{cell + 1}"
            separate += name in tensors.params
            part = tensors.part(name) if name in tensors.params else tensors.part(f"stage{stage}").at(cell - separate)
            out = _add_cell(graph, name, (before, last), decisions["normal"], part, halves_first)
            before, last, halves_first = last, out, False
    add_classifier(graph, last, tensors, "classifier")


def _add_stem(graph: GraphBuilder, network: DARTSNetwork, tensors: Tensors) -> tuple[str, str]:
    """Add the stem, and return the two inputs of the first cell."""
    if network.stem == "cifar":
        block = graph.begin("stem", "images")
        x = block.end(add_conv_norm(block, 0, tensors.part("stem")))
        return x, x
    block = graph.begin("stem1", "images")
    first = block.end(add_halving_stem(block, tensors.part("stem1"), tensors.part("stem2")))
    block = graph.begin("stem2", first)
    return first, block.end(add_conv_norm(block, block.relu(0), tensors.part("stem3"), stride=2))


def _add_cell(
    graph: GraphBuilder,
    name: str,
    inputs: tuple[str, str],
    decisions: Int8[np.ndarray, "M 3"],
    tensors: Tensors,
    halves_first: bool,
) -> str:
    """Add a cell, and return the name of its output: its four nodes concatenated."""
    block = graph.begin(name, *inputs)
    reduces = name.endswith("reduce")
    nodes = [
        _squeeze(block, 0, tensors.part("first"), halves_first),
        _squeeze(block, 1, tensors.part("second"), False),
    ]
    edge = 0
    for pairs, (pair, *ops) in zip(PAIRS, decisions.tolist(), strict=True):
        terms = []
        for op, source in zip(ops, pairs[pair], strict=True):
            stride = 2 if reduces and source < 2 else 1
            terms.append(_add_edge(block, OP_NAMES[op], nodes[source], tensors, edge, stride))
            edge += 1
        nodes.append(block.add(*terms))
    return block.end(block.concat(*nodes[2:]))


def _squeeze(block: BlockBuilder, x: Value, tensors: Tensors, halves: bool) -> Value:
    """Add ReLU, 1x1 convolution and normalisation."""
    x = block.relu(x)
    out = block.split_halves(x, tensors, "even", "odd") if halves else block.conv(x, tensors, "conv")
    return block.norm(out, tensors, "norm")


def _add_edge(block: BlockBuilder, op: str, x: Value, tensors: Tensors, edge: int, stride: int) -> Value:
    """Add the op of an edge of a cell."""
    layers = tensors.only(f"{op}_").at(edge)
    if op in CONVOLUTIONS:
        _, dilation, times = CONVOLUTIONS[op]
        for number in range(times):
            x = block.conv(block.relu(x), layers, f"{op}_depthwise{number}", 1 if number else stride, dilation)
            x = block.norm(block.conv(x, layers, f"{op}_pointwise{number}"), layers, f"{op}_norm{number}")
        return x
    if op != "skip_connect":
        return block.pool(x, op.removesuffix("_pool_3x3"), stride)
    if stride == 1:
        return x
    halves = block.split_halves(block.relu(x), layers, "skip_connect_even", "skip_connect_odd")
    return block.norm(halves, layers, "skip_connect_norm")
