"""Compare the scores of each precision of products with float32, on the CPU, where tensorfloat32 is emulated.

    python experiments/precision.py [--number 40] [--channels 8]

The networks are those of NAS-Bench-201 at full depth (5 cells per stage; full width is 16 channels), the batch 64
images of CIFAR-10, or of noise without `JAXNAS_DATA`, the cells those of `accelerator_parts.sample_cells`, the proxies
RoBoT's six and the thirteen of NAS-Bench-Suite-Zero. Emulated tensorfloat32 rounds the operands of all convolutions and
of the classifier, forwards and backwards, to 10 bits of mantissa, and sums in float32, as tensor cores do.

The package computes grasp from float32 products in all precisions. Two other forms show why: "grasp, all rounded" has
rounded products everywhere, "grasp, gradient rounded" only in the gradient along which the second derivative is taken.
The reference is float32: a session in float64 draws other random numbers, and so other networks. Each precision is a
process of its own; a stopped run resumes after the last that ended.
"""

import argparse
import json
import os
import subprocess
import sys

from accelerator_parts import CLASSES, make_batch, sample_cells
from accelerator_tables import agreement

PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
ALL_ROUNDED, GRADIENT_ROUNDED = "grasp, all rounded", "grasp, gradient rounded"
CELLS = 5  # per stage
MANTISSA = 10  # bits of tensorfloat32


class FullSize:
    """The part of `accelerator_parts` that has networks of full size."""

    small = False


def emulate_tensorfloat32() -> None:
    """Round to 10 bits where the package rounds to bfloat16, and in the classifier, which it leaves to the platform."""
    import jax.numpy as jnp
    from jax import lax

    from jaxnas.networks import skeleton_head
    from jaxnas.networks.kernels import convolution
    from jaxnas.networks.layers import apply_taps

    def round_operands(precision, *operands):
        if precision != "bfloat16" or operands[0].dtype != jnp.float32:
            return operands, {"precision": precision}
        return [lax.reduce_precision(operand, 8, MANTISSA) for operand in operands], {"precision": "float32"}

    def apply_linear(layer, x):
        return apply_taps(layer, convolution.conv(x[:, None, None], layer.kernel[None, None])[:, 0, 0])

    convolution._round = round_operands
    skeleton_head.apply_layer = apply_linear


def grasp_all_rounded(quantities):
    """Return grasp with gradient and second derivative of rounded products."""
    return -quantities._curvature_along(quantities.gradient)


def grasp_of_rounded_gradient(quantities):
    """Return grasp with the second derivative in float32, along the gradient of rounded products."""
    import jax

    gradient = quantities.gradient
    with jax.default_matmul_precision("float32"):
        return -quantities._curvature_along(gradient)


def score(precision: str, number: int, channels: int) -> dict:
    """Score the cells, in this process."""
    import jaxnas
    from jaxnas.proxies import PROXIES, expand_names
    from jaxnas.runtime.traces import KeptProgram

    KeptProgram.is_on = False  # its key does not know the emulation
    if precision == "tensorfloat32":
        emulate_tensorfloat32()
    images, labels, source = make_batch(FullSize)
    batch = jaxnas.Batch(images, labels)
    functions = {name: PROXIES[name] for name in dict.fromkeys(expand_names(("robot", "nbsz")))}
    if precision != "float32":
        functions |= {ALL_ROUNDED: grasp_all_rounded, GRADIENT_ROUNDED: grasp_of_rounded_gradient}
    config = jaxnas.ScoringConfig(precision="float32" if precision == "float32" else "bfloat16", strategy="loop")
    network = jaxnas.NASBench201Network(num_classes=CLASSES, channels=channels, cells_per_stage=CELLS)
    scores = jaxnas.score_archs(network, sample_cells(number), batch, functions, config)
    return {"scores": dict(zip(functions, scores.T.tolist(), strict=True)), "images": source}


def compute(precision: str, number: int, channels: int) -> dict:
    """Score the cells, in a process of its own."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--number", str(number), "--channels", str(channels), "--only", precision]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def to_markdown(rows: list[dict]) -> str:
    """Return a row for each proxy and precision."""
    scores = {row["settings"]["precision"]: row["scores"] for row in rows}
    lines = [
        "| precision | proxy | Spearman with float32 | relative difference, median | 99 % below | cells |",
        "|" + "---|" * 6,
    ]
    exact = scores["float32"]
    reference = {**exact, **dict.fromkeys((ALL_ROUNDED, GRADIENT_ROUNDED), exact["grasp"])}
    for precision in (name for name in PRECISIONS[1:] if name in scores):
        label = precision + ", emulated" * (precision == "tensorfloat32")
        for name, found in agreement(scores[precision], reference).items():
            lines.append(
                f"| {label} | {name} | {found['spearman']:.4f} | {found['median']:.0e} | {found['p99']:.0e} | "
                f"{found['architectures']} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=40, help="cells (default: %(default)s)")
    parser.add_argument("--channels", type=int, default=8, help="of the first stage (default: %(default)s)")
    parser.add_argument("--only", choices=PRECISIONS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(score(arguments.only, arguments.number, arguments.channels)))
    else:
        from rows import compute_rows

        sizes = {"number": arguments.number, "channels": arguments.channels}
        todo = [{"precision": precision, **sizes} for precision in PRECISIONS]
        compute_rows("precision", todo, compute, to_markdown)
