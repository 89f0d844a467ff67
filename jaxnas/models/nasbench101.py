"""The graph of a network of NAS-Bench-101 under one architecture."""

import numpy as np
from jaxtyping import Int8

from jaxnas.models.builder import BlockBuilder, GraphBuilder, Tensors, Value
from jaxnas.models.spaces import add_classifier, add_conv_norm
from jaxnas.networks import NASBench101Network
from jaxnas.networks.nasbench101 import STACKS
from jaxnas.networks.nasbench101_cell import CONVOLUTIONS, Plan, make_plan


def build_nasbench101(
    graph: GraphBuilder, network: NASBench101Network, tensors: Tensors, arch: Int8[np.ndarray, "26"]
) -> None:
    """Add the blocks of a network of NAS-Bench-101."""
    block = graph.begin("stem", "images")
    x = block.end(block.relu(add_conv_norm(block, 0, tensors.part("stem"))))
    for stack in range(1, STACKS + 1):
        if stack > 1:
            block = graph.begin(f"pool{stack - 1}", x)
            x = block.end(block.max_halve(0))
        channels = network.channels * 2 ** (stack - 1)
        plan = make_plan(np.asarray(arch), channels)
        for cell in range(network.cells_per_stage):
            block = graph.begin(f"stack{stack}_cell{cell + 1}", x)
            x = block.end(_add_cell(block, plan, channels, tensors.part(f"stack{stack}").at(cell)))
    add_classifier(graph, x, tensors, "classifier")


def _add_cell(block: BlockBuilder, plan: Plan, channels: int, tensors: Tensors) -> Value:
    """Add a cell, whose vertices see the first channels of those that feed them."""
    values: list[Value] = []
    for number, width in enumerate(map(int, plan.channels)):
        if not width:
            values.append(0)
            continue
        own = _at_vertex(tensors, number)
        terms = [block.truncate(values[source], width) for source in np.flatnonzero(np.asarray(plan.sources[number]))]
        if plan.from_input[number]:
            terms.append(_add_layer(block, 0, own, "entry", "entry_norm", width))
        values.append(_add_op(block, terms, int(plan.op[number]), own, width))
    joined = [values[int(number)] for number in plan.feeders[: int(plan.fan_in)]]
    outs = [block.concat(*joined) if len(joined) > 1 else joined[0]] if joined else []
    if plan.adds_input:
        outs.append(_add_layer(block, 0, tensors, "exit", "exit_norm", channels))
    return block.add(*outs)


def _at_vertex(tensors: Tensors, number: int) -> Tensors:
    """Return the tensors of one inner vertex."""
    params, stats = (
        {name: leaf[number] for name, leaf in tree.items() if not name.startswith("exit")} for tree in tensors
    )
    return Tensors(params, stats)


def _add_op(block: BlockBuilder, terms: list[Value], op: int, tensors: Tensors, width: int) -> Value:
    total = block.add(*terms)
    names = tuple(CONVOLUTIONS)
    return (
        _add_layer(block, total, tensors, names[op], "op_norm", width) if op < len(names) else block.pool(total, "max")
    )


def _add_layer(block: BlockBuilder, x: Value, tensors: Tensors, name: str, norm: str, width: int) -> Value:
    """Add the convolution of that name to `width` channels, its normalisation and ReLU."""
    inputs = block.shape(x)[-1]
    params = {part: np.asarray(leaf)[..., :width] for part, leaf in tensors.params.items() if part.startswith(norm)}
    params[name] = np.asarray(tensors.params[name])[..., :inputs, :width]
    stats = {part: np.asarray(leaf)[..., :width] for part, leaf in tensors.stats.items()}
    cut = Tensors(params, stats)
    return block.relu(block.norm(block.conv(x, cut, name), cut, norm))
