"""The program for a GPU that is not there: shares of ops, sweeps, tables, and a compilation."""

import importlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "experiments"
sys.path.append(str(SCRIPTS))  # scripts, not a package
hlo_bytes, gpu_program = importlib.import_module("hlo_bytes"), importlib.import_module("gpu_program")
tables = importlib.import_module("gpu_program_tables")


def test_shares_of_ops_are_those_of_the_cells():
    archs = np.array([[0, 1, 2, 3, 4, 3], [0, 0, 2, 3, 4, 4]])
    chosen = gpu_program.shares_of_ops(archs)
    assert chosen.some == 9 / 12
    assert chosen.convolution == pytest.approx(5 / 12)
    assert chosen.by_taps == {1: 2 / 12, 9: 3 / 12}


def loop(name, path):
    return hlo_bytes.Instruction(name, False, 0, (), "while", [], f'%x), body=%b, metadata={{op_name="{path}/while"}}')


def kernel(times, size, path, inside=None):
    one = hlo_bytes.Instruction("add", False, 0, (), "add", [], f'%x), metadata={{op_name="{path}/add"}}')
    return hlo_bytes.Kernel(one, "elementwise", times, size, inside)


def test_kernels_belong_to_sweeps_and_stages():
    forward = [loop(name, "jit(score)/vmap(jvp(NASBench201Network))") for name in ("while.1", "while.2", "while.3")]
    backward = loop("while.4", "jit(score)/vmap(transpose(jvp(NASBench201Network)))")
    second = loop("while.5", "jit(score)/vmap(jvp(jvp(NASBench201Network)))")
    other = loop("while.6", "jit(score)/eigh")
    kernels = [
        kernel(1, 7, "jit(score)/pad"),
        kernel(5, 10, "a/stage1/b", forward[0]),
        kernel(5, 1, "a/stage2/b", forward[0]),
        kernel(5, 10, "a/stage2/b", forward[1]),
        kernel(5, 100, "a/stage1/b", forward[2]),
        kernel(5, 2, "a/stage1/b", backward),
        kernel(5, 3, "a/stage3/b", second),
        kernel(4, 2, "a", other),
    ]
    assert gpu_program.count_by_loop(kernels) == {
        "forward 1": {"stage1": {"kernels": 10, "bytes": 55}, "stage2": {"kernels": 5, "bytes": 50}},
        "forward 2": {"stage1": {"kernels": 5, "bytes": 500}},
        "backward 1": {"stage1": {"kernels": 5, "bytes": 10}},
        "second order 1": {"stage3": {"kernels": 5, "bytes": 15}},
        "elsewhere": {"": {"kernels": 5, "bytes": 15}},
    }


def test_the_tables_show_the_committed_rows():
    rows = json.loads((SCRIPTS / "results" / "gpu_program.json").read_text())["rows"]
    assert (SCRIPTS / "results" / "gpu_program.md").read_text() == tables.to_markdown(rows)


@pytest.mark.slow
def test_small_networks_are_compiled_for_a_gpu():
    if not (find_spec("jax_plugins") and find_spec("jax_plugins.xla_cuda12")):
        pytest.skip("the plugin of jax[cuda12] is not installed")
    row = gpu_program.compile_apart("synflow,grad_norm", "tensorfloat32", "grouped", "", small=True)
    assert row["compiling"] > 0
    assert row["temporary"] > 0
    assert {"forward 1", "backward 1"} <= set(row["loops"])
    assert sum(of["kernels"] for of in row["kinds"].values()) > 100
