"""Architectures as graphs: every op of the text is an edge, and labels do not overlap."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from jaxnas.report.cells import draw_arch, graphs_of, to_svg
from jaxnas.spaces import DARTS, NASBENCH201, SPACES, TRANSNAS101_MACRO, TRANSNAS101_MICRO, sample
from jaxnas.spaces.declared import choice_space

LETTER = 7.2  # largest width in pixels of a letter of 13 pixels


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_labels_do_not_meet(space):
    for arch in sample(space, 30, seed=0):
        for _, svg in draw_arch(space, arch):
            labels = [node for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]
            boxes = [(float(node.get("x")), float(node.get("y")), LETTER * len(node.text)) for node in labels]
            for number, (x, y, width) in enumerate(boxes):
                for other_x, other_y, other in boxes[:number]:
                    assert abs(y - other_y) >= 13 or abs(x - other_x) >= (width + other) / 2 - 12


def test_the_edges_of_a_cell_are_those_of_its_text():
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|none~2|"
    (graph,) = graphs_of(NASBENCH201, NASBENCH201.parse(text))
    assert [(edge.source, edge.target, edge.op, edge.used) for edge in graph.edges] == [
        (0, 1, "nor_conv_3x3", False),
        (1, 2, "skip_connect", False),
    ]
    (graph,) = graphs_of(TRANSNAS101_MICRO, TRANSNAS101_MICRO.parse("64-41414-3_10_020"))
    assert [(edge.source, edge.target, edge.op) for edge in graph.edges if edge.used] == [
        (0, 1, "nor_conv_3x3"),
        (1, 3, "nor_conv_1x1"),
    ]
    assert [edge.op for edge in graph.edges if not edge.used] == ["skip_connect"]


def test_genotypes_and_skeletons():
    arch = sample(DARTS, 1, seed=4)[0]
    text = DARTS.format(arch)
    for graph, cell in zip(graphs_of(DARTS, arch), ("normal", "reduce"), strict=True):
        written = re.search(rf"{cell}=(\[.*?\])", text)[1]
        assert [(edge.op, edge.source) for edge in graph.edges] == eval(written)
        assert [edge.target for edge in graph.edges] == [2, 2, 3, 3, 4, 4, 5, 5]
    (graph,) = graphs_of(TRANSNAS101_MACRO, TRANSNAS101_MACRO.parse("64-1423-basic"))
    assert graph.nodes == ("stem 64", "64", "128, 1/2", "256, 1/2", "256, 1/4")


def test_a_cell_without_edges_and_a_space_that_is_not_known():
    ((_, svg),) = draw_arch(NASBENCH201, np.zeros(6, np.int8))
    assert "no edge" in svg
    space = choice_space("mine", ((1, 2), ("a", "b")))
    assert draw_arch(space, np.zeros(2, np.int8)) == []


def test_the_picture_is_said_in_words():
    (graph,) = graphs_of(
        NASBENCH201, NASBENCH201.parse("|nor_conv_1x1~0|+|none~0|none~1|+|none~0|avg_pool_3x3~1|none~2|")
    )
    label = ElementTree.fromstring(to_svg(graph)).get("aria-label")
    assert label == "cell: in to 1 nor_conv_1x1; 1 to out avg_pool_3x3"
