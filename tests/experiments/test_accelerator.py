"""The command for accelerators: bytes counted by hand, processes in turn, a machine without our dependencies."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from jaxnas.networks import NASBench201Network, draw_for_all

SCRIPTS = Path(__file__).parents[2] / "experiments"
sys.path.append(str(SCRIPTS))  # scripts, not a package
accelerator, hlo_bytes = importlib.import_module("accelerator"), importlib.import_module("hlo_bytes")
tables = importlib.import_module("accelerator_tables")

PROGRAM = """HloModule jit_score

%fused_slice (p.0: f32[5,100], p.1: s32[]) -> f32[1,100] {
  %p.0 = f32[5,100]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  ROOT %dynamic-slice.1 = f32[1,100]{1,0} dynamic-slice(%p.0, %p.1), dynamic_slice_sizes={1,100}
}

%body (state: (s32[], f32[5,100], f32[1,100])) -> (s32[], f32[5,100], f32[1,100]) {
  %state = (s32[], f32[5,100]{1,0}, f32[1,100]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %all = f32[5,100]{1,0} get-tuple-element(%state), index=1
  %loop_slice_fusion = f32[1,100]{1,0} fusion(%all, %i), kind=kLoop, calls=%fused_slice
  ROOT %out = (s32[], f32[5,100]{1,0}, f32[1,100]{1,0}) tuple(%i, %all, %loop_slice_fusion)
}

%condition (state.1: (s32[], f32[5,100], f32[1,100])) -> pred[] {
  %state.1 = (s32[], f32[5,100]{1,0}, f32[1,100]{1,0}) parameter(0)
  ROOT %constant.1 = pred[] constant(true)
}

ENTRY %main (x: f32[5,100], y: f32[100,10]) -> f32[1,10] {
  %x = f32[5,100]{1,0} parameter(0)
  %y = f32[100,10]{1,0} parameter(1)
  %start = (s32[], f32[5,100]{1,0}, f32[1,100]{1,0}) tuple(%x, %x, %x)
  %while.1 = (s32[], f32[5,100]{1,0}, f32[1,100]{1,0}) while(%start), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"5"}}
  %last = f32[1,100]{1,0} get-tuple-element(%while.1), index=2
  ROOT %dot.1 = f32[1,10]{1,0} dot(%last, %y), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""


def test_bytes_are_those_counted_by_hand():
    found = hlo_bytes.count_bytes(PROGRAM)
    assert found == {
        "copies and transposes": 5 * (400 + 4 + 400),  # five times a slice, its index, and its copy
        "matrix products": 400 + 4000 + 40,
    }


def test_bytes_of_a_compiled_program_are_those_of_its_arrays():
    def program(x, weights):
        return jax.lax.scan(lambda x, w: (jnp.dot(x, w), None), x, weights)[0]

    for steps in (3, 6):
        weights = jnp.ones((steps, 256, 256))
        text = jax.jit(program).lower(jnp.ones((512, 256)), weights).compile().as_text()
        least = steps * (2 * 512 * 256 + 256 * 256) * 4  # read x and w, write x
        assert least <= hlo_bytes.count_bytes(text).total() <= 3 * least


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("input_scatter_fusion", "scatter"),
        ("loop_concatenate_fusion_3", "concatenation"),
        ("sm90_xmma_fprop_implicit_gemm_tf32f32", "convolutions"),
        ("gemm_fusion_dot_12", "matrix products"),
        ("input_reduce_fusion", "reductions"),
        ("loop_select_fusion", "selections"),
        ("MemcpyD2D", "copies and transposes"),
        ("loop_add_fusion", "elementwise"),
        ("mystery", "others"),
    ],
)
def test_kernels_have_kinds(name, kind):
    assert hlo_bytes.kind_of(name) == kind


def test_agreement_ranks_as_scipy_does():
    rng = np.random.default_rng(0)
    ours, theirs = rng.integers(0, 9, (2, 40)).astype(float)
    ours[3] = np.nan
    found = tables.agreement({"snip": ours.tolist()}, {"snip": [*theirs, 1.0]})["snip"]
    kept = np.isfinite(ours)
    assert found["architectures"] == 39
    np.testing.assert_allclose(found["spearman"], spearmanr(ours[kept], theirs[kept])[0])


def fake_child(tmp_path, monkeypatch):
    """Processes that get ready after `number` seconds, and return it; one of number 0 fails."""
    script = tmp_path / "part.py"
    script.write_text(
        "import json, sys, time\n"
        "number = json.loads(sys.argv[2])['number']\n"
        "number or sys.exit('broken')\n"
        "time.sleep(number / 10)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "print('result ' + json.dumps({'number': number}), flush=True)\n"
    )
    monkeypatch.setattr(accelerator, "__file__", str(script))
    monkeypatch.setattr(accelerator, "RESERVE", 0.0)


@pytest.mark.parametrize("cores", [2, 16])
def test_parts_are_measured_in_turn_and_a_failed_or_late_one_is_named(tmp_path, monkeypatch, capfd, cores):
    fake_child(tmp_path, monkeypatch)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    parts = [accelerator.Part("train", number=number, strategy="loop") for number in (1, 0, 1000, 2)]
    kept, began = [], time.monotonic()
    accelerator.measure_all(parts, "card", 0.05, kept.append)
    assert time.monotonic() - began < 20
    assert [row["number"] for row in kept] == [1, 2]
    assert kept[0]["settings"]["device"] == "card"
    printed = capfd.readouterr().out
    assert "training of 0 candidates, loop: left out" in printed
    assert "training of 1000 candidates, loop: left out" in printed


def test_parts_without_their_kernels_are_named(capsys):
    parts = [*accelerator.FIRST, *accelerator.THEN]
    assert accelerator.measurable(parts, "gpu") == parts
    assert capsys.readouterr().out == ""
    left = accelerator.measurable(parts, "cpu")
    assert [part for part in parts if part not in left] == [part for part in parts if part.strategy == "fused"]
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(parts) - len(left) == 5
    assert printed[0] == ("robot, tensorfloat32, fused: left out, its kernels need an NVIDIA GPU, and JAX has cpu")


def test_both_strategies_are_measured_and_the_first_two_are_profiled():
    scored = [part for part in (*accelerator.FIRST, *accelerator.THEN) if part.kind == "score" and not part.cached]
    pairs = [(part.proxies, part.precision) for part in scored]
    assert pairs[::2] == pairs[1::2]
    assert {part.strategy for part in scored} == set(accelerator.STRATEGIES)
    assert [part.profiled for part in scored] == [True, True, False, False, False, False]


def test_the_tables_show_the_committed_rows():
    rows = json.loads((SCRIPTS / "results" / "accelerator.json").read_text())["rows"]
    assert (SCRIPTS / "results" / "accelerator.md").read_text() == tables.to_markdown(rows)


BARE = """
import sys
from importlib.abc import MetaPathFinder

class Hide(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(name, name=name)

import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in HIDDEN else real(name, *rest)
sys.meta_path.insert(0, Hide())
import bare
import numpy as np, jaxnas
import accelerator_parts, accelerator
part = accelerator.shrink(accelerator.Part("score", proxies="params", number=9, strategy="grouped"))
steps = accelerator_parts.measure(part)
next(steps)
found = next(steps)
print(len(found["scores"]["params"]), found["images"], found["pace"] > 0)
"""
HIDDEN = "gpjax jaxtyping lazy_loader typer pyarrow sklearn safetensors threadpoolctl PIL filelock flatbuffers beartype"


def test_scoring_runs_where_only_jax_flax_and_numpy_are(tmp_path):
    root = str(SCRIPTS.parent)
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{SCRIPTS}"}
    code = f"HIDDEN = {HIDDEN.split()!r}\n{BARE}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert ended.stdout.split() == ["9", "noise", "True"], ended.stderr[-2000:]


def test_the_reference_in_float64_has_the_params_of_float32():
    parts = importlib.import_module("accelerator_parts")
    drawn_for = (NASBench201Network(num_classes=2, channels=2, cells_per_stage=1), (8, 8, 3), 6, 0)
    with jax.enable_x64(False):
        expected = draw_for_all(*drawn_for)
    with jax.enable_x64(True):
        found = parts.draw_in_float32(*drawn_for)
    for one, other in zip(jax.tree.leaves(found.params), jax.tree.leaves(expected.params), strict=True):
        assert one.dtype == np.float64
        np.testing.assert_array_equal(one, np.float64(other))
