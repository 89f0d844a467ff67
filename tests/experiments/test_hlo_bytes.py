"""Kernels and bytes of a compiled program: fusions and kernels of edges counted by hand."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "experiments"))  # scripts, not a package
hlo_bytes = importlib.import_module("hlo_bytes")

FUSIONS = """HloModule jit_score

%sliced (p.0: f32[8,100], p.1: f32[100]) -> f32[2,100] {
  %p.0 = f32[8,100]{1,0} parameter(0)
  %flat = f32[4,200]{1,0} bitcast(%p.0)
  %slice.1 = f32[1,200]{1,0} slice(%flat), slice={[0:1], [0:200]}
  %back = f32[2,100]{1,0} bitcast(%slice.1)
  %p.1 = f32[100]{0} parameter(1)
  %wide = f32[2,100]{1,0} broadcast(%p.1), dimensions={1}
  ROOT %add.1 = f32[2,100]{1,0} add(%back, %wide)
}

%updated (q.0: f32[8,100], q.1: f32[1,100], q.2: s32[]) -> f32[800] {
  %q.0 = f32[8,100]{1,0} parameter(0)
  %q.1 = f32[1,100]{1,0} parameter(1)
  %q.2 = s32[] parameter(2)
  %update = f32[8,100]{1,0} dynamic-update-slice(%q.0, %q.1, %q.2, %q.2)
  ROOT %flat.1 = f32[800]{0} bitcast(%update)
}

%both (r.0: f32[8,100]) -> (f32[1,100], f32[8,100]) {
  %r.0 = f32[8,100]{1,0} parameter(0)
  %slice.2 = f32[1,100]{1,0} slice(%r.0), slice={[0:1], [0:100]}
  %negate.1 = f32[8,100]{1,0} negate(%r.0)
  ROOT %tuple.1 = (f32[1,100]{1,0}, f32[8,100]{1,0}) tuple(%slice.2, %negate.1)
}

ENTRY %main (x: f32[8,100], y: f32[100], z: f32[1,100], i: s32[]) -> f32[800] {
  %x = f32[8,100]{1,0} parameter(0)
  %y = f32[100]{0} parameter(1)
  %z = f32[1,100]{1,0} parameter(2)
  %i = s32[] parameter(3)
  %loop_add_fusion = f32[2,100]{1,0} fusion(%x, %y), kind=kLoop, calls=%sliced
  %loop_negate_fusion = (f32[1,100]{1,0}, f32[8,100]{1,0}) fusion(%x), kind=kLoop, calls=%both
  %conv = (f32[10]{0}, u8[0]{0}) custom-call(%y, %y), custom_call_target="__cudnn$convForward"
  ROOT %wrapped_select_fusion = f32[800]{0} fusion(%x, %z, %i), kind=kLoop, calls=%updated
}
"""


def test_parts_that_a_fusion_reads_and_writes_are_counted():
    assert hlo_bytes.count_bytes(FUSIONS) == {
        "elementwise": (800 + 400 + 800) + (3200 + 400 + 3200),  # a slice through bitcasts; a slice and all of it: all
        "convolutions": 400 + 400 + 40,
        "selections": 400 + 4 + 400,  # an update in place: it is read, with its index, and written
    }
    assert [kernel.times for kernel in hlo_bytes.find_kernels(FUSIONS)] == [1, 1, 1, 1]


def pallas(name, result, *operands):
    return (
        f'  %{name}.1 = {result} custom-call({", ".join(operands)}), custom_call_target="__gpu$xla.gpu.triton", '
        f'metadata={{op_name="jit(score)/vmap(jvp(Network))/while/body/stage2/jit({name})/{name}/pallas_call"}}'
    )


EDGES = "\n".join(
    [
        "HloModule jit_score",
        "",
        "ENTRY %main (op: s32[10]) -> f32[10,50,16] {",
        "  %op = s32[10]{0} parameter(0)",
        "  %members = s32[3]{0} parameter(1)",
        "  %gate = f32[10,50,16]{2,1,0} parameter(2)",
        "  %x = f32[10,2,5,5,16]{4,3,2,1,0} parameter(3)",
        "  %one = f32[10,1,16,16]{3,2,1,0} parameter(4)",
        "  %nine = f32[1,9,16,16]{3,2,1,0} parameter(5)",
        "  %bias = f32[10,16]{1,0} parameter(6)",
        "  %flat = f32[10,50,16]{2,1,0} bitcast(%x)",
        "  %same = f32[10,50,16]{2,1,0} bitcast(%x)",
        "PLACE",
        "}",
    ]
)
CHOSEN = hlo_bytes.Chosen(some=0.8, convolution=0.4, by_taps={1: 0.3, 9: 0.1})
IMAGES, ONE, NINE = 4 * 10 * 50 * 16, 4 * 10 * 16 * 16, 4 * 9 * 16 * 16
RESULT = "f32[10,50,16]{2,1,0}"


@pytest.mark.parametrize(
    ("instruction", "shares", "whole"),
    [
        # gate and x apart: the gate for convolutions, x for all but none; kernels of each architecture by their size
        (
            pallas("map_images", RESULT, "%op", "%gate", "%flat", "%one", "%nine", "%bias"),
            (0.4 + 0.8 + 1) * IMAGES + 0.3 * ONE,
            40 + NINE + 640,
        ),
        # one buffer under two names is read once; a second term for convolutions
        (
            pallas("map_images", RESULT, "%op", "%same", "%flat", "%one", "%nine", "%gate", "%one", "%nine"),
            (0.8 + 0.4 + 1) * IMAGES + 0.3 * ONE,
            40 + NINE,
        ),
        (pallas("sum_images", "f32[10,2,2,16]{3,2,1,0}", "%op", "%flat", "%bias", "%gate"), 0.8 * IMAGES, 3240),
        (pallas("sum_images", "f32[10,2,2,16]{3,2,1,0}", "%op", "%flat", "%bias", "%same"), 0.4 * IMAGES, 3240),
        (
            pallas("kernel_gradients", "f32[3,1,9,16,16]{4,3,2,1,0}", "%members", "%gate", "%flat", "%flat"),
            0.2 * IMAGES,
            12 + 3 * NINE,
        ),
        (pallas("another", RESULT, "%op", "%gate", "%flat"), 3 * IMAGES, 40),
    ],
)
def test_kernels_of_edges_read_the_images_of_those_that_need_them(instruction, shares, whole):
    text = EDGES.replace("PLACE", instruction)
    (kernel,) = hlo_bytes.find_kernels(text, CHOSEN)
    assert kernel.size == round(shares) + whole
    kinds = {"map_images": "ops", "sum_images": "sums", "kernel_gradients": "gradients"}
    name = kernel.instruction.pallas
    assert kernel.kind == (f"{kinds[name]} of edges" if name in kinds else "others")


def test_every_op_counts_for_all_where_shares_are_unknown():
    text = EDGES.replace("PLACE", pallas("map_images", RESULT, "%op", "%gate", "%flat", "%one", "%nine", "%bias"))
    assert hlo_bytes.count_bytes(text) == {"ops of edges": 3 * IMAGES + ONE + NINE + 40 + 640}
