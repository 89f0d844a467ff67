"""A training step for a GPU that is not there: its loop, its switches and its tables, counted by hand."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "experiments"
sys.path.append(str(SCRIPTS))  # scripts, not a package
gpu_training, hlo_bytes = importlib.import_module("gpu_training"), importlib.import_module("hlo_bytes")

BRANCHES = "\n".join(
    f"""%branch{number} (b{number}: f32[100]) -> f32[100] {{
  %b{number} = f32[100]{{0}} parameter(0)
  ROOT %work{number} = f32[{100 * number}]{{0}} negate(%b{number})
}}
"""
    for number in range(5)
)
PROGRAM = f"""HloModule jit_train

{BRANCHES}
%cell (c: f32[100]) -> f32[100] {{
  %c = f32[100]{{0}} parameter(0)
  ROOT %chosen = f32[100]{{0}} conditional(%c, %c), branch_computations={{%branch0, %branch1, %branch2, %branch3, \
%branch4}}
}}

%step (s: f32[100]) -> f32[100] {{
  %s = f32[100]{{0}} parameter(0)
  %cells = f32[100]{{0}} while(%s), condition=%is_left, body=%cell, backend_config={{"known_trip_count":{{"n":"5"}}}}
  ROOT %update = f32[100]{{0}} negate(%cells)
}}

%candidate (d: f32[100]) -> f32[100] {{
  %d = f32[100]{{0}} parameter(0)
  %steps = f32[100]{{0}} while(%d), condition=%is_left, body=%step
  ROOT %result = f32[100]{{0}} negate(%steps)
}}

ENTRY %main (x: f32[100]) -> f32[100] {{
  %x = f32[100]{{0}} parameter(0)
  ROOT %all = f32[100]{{0}} while(%x), condition=%is_left, body=%candidate
}}
"""


def test_a_step_is_the_body_of_the_innermost_loop_of_unknown_length():
    step = gpu_training.step_of(PROGRAM)
    assert hlo_bytes.parse(step)[1] == "step"
    assert gpu_training.count_switches(step) == 5
    kernels = hlo_bytes.find_kernels(step)  # the branch that moves most
    assert {kernel.instruction.name: kernel.times for kernel in kernels} == {"work4": 5, "update": 1}


def test_a_switch_counts_as_often_as_edges_choose_its_branches():
    archs = np.array([[1, 3], [3, 4]])
    kernels = gpu_training.mean_kernels(gpu_training.step_of(PROGRAM), archs)
    moved = sum(kernel.moved for kernel in kernels)
    assert moved == pytest.approx(5 * sum(400 + 400 * op for op in archs.flat) / 4 + 800)
    assert sum(kernel.times for kernel in kernels) == pytest.approx(5 + 1)


def test_products_of_one_convolution_are_those_counted_by_hand():
    network = gpu_training.make_network(gpu_training.Part("train", small=True))  # 4 channels, a cell in each stage
    of_map = 2 * 7 * 32 * 32 * 4 * 4 * 9  # stages have equal products
    found = gpu_training.products_of(network, np.array([[3, 0, 0, 1, 4, 0]]), 7, every_op=False)
    assert found == pytest.approx(4 * 3 * of_map)  # forwards twice, and two gradients, in three stages
    every = gpu_training.products_of(network, np.array([[3, 0, 0, 1, 4, 0]]), 7, every_op=True)
    assert every == pytest.approx(6 * 10 / 9 * found)


def test_the_tables_show_the_committed_rows():
    rows = json.loads((SCRIPTS / "results" / "gpu_training.json").read_text())["rows"]
    assert (SCRIPTS / "results" / "gpu_training.md").read_text() == gpu_training.to_markdown(rows)
