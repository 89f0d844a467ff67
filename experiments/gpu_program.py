"""Count the kernels and bytes of the scoring program for an H100 that is not there, and seconds of compiling.

    pip install "jax[cuda12]"
    python experiments/gpu_program.py [--again]

XLA compiles for a GPU that it knows by a description alone. The program is the one that scores a chunk of 48 cells of
NAS-Bench-201 at full size (16 channels, 5 cells per stage, batch 64, 32 x 32 pixels), by RoBoT's six proxies in
tensorfloat32 and in float32, and by the thirteen of NAS-Bench-Suite-Zero in tensorfloat32, with the strategies
"grouped" and "fused". The last forms have other flags of XLA, which show what compiling spends. In tensorfloat32 grasp
has a first and a second derivative of its own, of float32 products.

A pass is one read and one write of the features of all edges, as in `accelerator.py`; bytes are counted in
`hlo_bytes.py`. The roofline is the time in which the bandwidth of a card moves these bytes: no form can be faster by
more than its caches save, and most will be slower. Nothing here has run on a GPU. Autotuning, which times kernels on
the device, is off; on a GPU it takes further seconds of compiling, and chooses other kernels for some products.

Each form is compiled in a process of its own, and results/gpu_program.json has a row for it at once. A form that has a
row is not compiled again unless `--again` is given.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import bare  # noqa: F401  # before jaxnas
from accelerator import Part
from accelerator_parts import edge_bytes, make_batch, make_network, sample_cells, shares_of_ops
from accelerator_tables import TF32
from gpu_program_tables import to_markdown
from hlo_bytes import Instruction, Kernel, find_kernels

RESULT = "result "
CHUNK = 48
# What XLA must know of the card; the bandwidth is its own estimate for costs, not the one of the roofline:
CARD = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84929347584
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
KINDS = (("robot", TF32), ("robot", "float32"), ("nbsz", TF32))
FORMS = [
    {"proxies": proxies, "precision": precision, "strategy": strategy}
    for proxies, precision in KINDS
    for strategy in ("grouped", "fused")
]
FLAGS = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_gpu_enable_triton_gemm=false",
    "--xla_gpu_force_compilation_parallelism=1",
)
SETTINGS = [form | {"flags": ""} for form in FORMS] + [FORMS[1] | {"flags": flags} for flags in FLAGS]


def compile_apart(proxies: str, precision: str, strategy: str, flags: str, *, small: bool = False) -> dict:
    """Compile a form in a process of its own, and return what `compile_form` does."""
    form = {"proxies": proxies, "precision": precision, "strategy": strategy, "small": small}
    return compile_in_process(__file__, form, flags)


def compile_in_process(script: str, form: dict, flags: str = "") -> dict:
    """Compile a form in a process of its own, by a script that calls `run`."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    environment["XLA_FLAGS"] = f"--xla_gpu_autotune_level=0 {flags}"
    command = [sys.executable, script, "--form", json.dumps(form)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    lines = [line for line in ended.stdout.splitlines() if line.startswith(RESULT)]
    if not lines:
        sys.exit(f"{form} {flags} has not been compiled, its process ended with {ended.returncode}")
    return json.loads(lines[-1].removeprefix(RESULT))


def compile_form(proxies: str, precision: str, strategy: str, *, small: bool) -> dict:
    """Return seconds, kernels, bytes and memory of a form."""
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import NamedSharding

    from jaxnas import Batch
    from jaxnas.networks import draw_for_all
    from jaxnas.proxies import PROXIES, expand_names
    from jaxnas.runtime.session import fixed_settings
    from jaxnas.scoring import plan

    card = topologies.get_topology_desc(platform="cuda", target_config=CARD, topology="1x1x1")
    mesh = topologies.make_mesh(card, (1,), ("archs",))
    plan.mesh, jax.default_backend = lambda: mesh, lambda: "gpu"  # what the engine finds on such a machine
    part = Part("score", proxies, precision, small=small)
    chunk = 8 if small else CHUNK
    network, archs, (images, labels, _) = make_network(part), sample_cells(chunk), make_batch(part)
    batch = Batch(images, labels)
    draw = draw_for_all(network, images.shape[1:], archs.shape[1], 0)
    split, whole = NamedSharding(mesh, plan.SPLIT), NamedSharding(mesh, plan.WHOLE)

    def like(tree: object, sharding: NamedSharding) -> object:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=sharding), tree)

    arguments = like((np.array([chunk], np.int32), archs), split), like((draw, batch), whole)
    functions = tuple((name, PROXIES[name]) for name in expand_names(proxies.split(",")))
    with fixed_settings(False), jax.default_matmul_precision(precision):
        planned = plan.make_plan(network, archs, batch, strategy, chunk, None)
        program = plan.make_program(planned.network, functions, strategy, False, True)
        laps = [time.perf_counter()]
        traced = program.trace(*arguments[0], *arguments[1])
        laps.append(time.perf_counter())
        lowered = traced.lower()
        laps.append(time.perf_counter())
        before = os.times()
        compiled = lowered.compile()
        laps.append(time.perf_counter())
        after = os.times()
    kernels = find_kernels(compiled.as_text(), shares_of_ops(archs))
    pallas = [one.instruction for one in kernels if one.instruction.pallas]
    return {
        **dict(zip(("tracing", "lowering", "compiling"), np.diff(laps).tolist(), strict=True)),
        "cpu_seconds": sum(after[:4]) - sum(before[:4]),
        "chunk": chunk,
        "edge_bytes": chunk * edge_bytes(network, images),
        "temporary": compiled.memory_analysis().temp_size_in_bytes,
        "kinds": count_by_kind(kernels),
        "loops": count_by_loop(kernels),
        "pallas": {"calls": len(pallas), "compiled": len({one.rest.split("backend_config=")[-1] for one in pallas})},
        "jax": jax.__version__,
        "cores": os.cpu_count(),
    }


def count_by_kind(kernels: list[Kernel]) -> dict[str, dict[str, int]]:
    """Return kernels and bytes of each kind, the kind that moves most first."""
    number, moved = Counter(), Counter()
    for kernel in kernels:
        number[kernel.kind] += kernel.times
        moved[kernel.kind] += kernel.moved
    return {kind: {"kernels": number[kind], "bytes": size} for kind, size in moved.most_common()}


def count_by_loop(kernels: list[Kernel]) -> dict[str, dict[str, dict[str, int]]]:
    """Return kernels and bytes by sweep over the network and by stage, in the order in which they run.

    A loop over the cells of a stage is part of a sweep: "forward", "backward" or "second order", with a number. Sweeps
    of few bytes are those of one image. What is in no such loop is "elsewhere".
    """
    loops: dict[str, tuple[str, Counter, Counter]] = {}
    for kernel in kernels:
        sweep = sweep_of(kernel.loop)
        name = kernel.loop.name if kernel.loop and sweep else ""
        _, stages, total = loops.setdefault(name, (sweep, Counter(), Counter()))
        stages.update(
            {part: kernel.moved for part in kernel.instruction.op_name.split("/") if part.startswith("stage")}
        )
        total["kernels"] += kernel.times
        total["bytes"] += kernel.moved
    found: dict[str, dict[str, dict[str, int]]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for name, (sweep, stages, total) in loops.items():
        if not name:
            continue
        stage = max(stages, key=lambda stage: stages[stage], default="")
        seen[sweep, stage] += 1
        found.setdefault(f"{sweep} {seen[sweep, stage]}", {})[stage] = dict(total)
    return found | {"elsewhere": {"": dict(loops[""][2])}} if "" in loops else found


def sweep_of(loop: Instruction | None) -> str:
    """Return which derivative a loop computes; nothing for one that is not over the cells of a network."""
    if loop is None or "Network)" not in loop.op_name:
        return ""
    path = loop.op_name
    return "backward" if "transpose(" in path else "second order" if path.count("jvp(") > 1 else "forward"


def run(
    name: str,
    description: str,
    todo: list[dict],
    compile_one: Callable[..., dict],
    compile_here: Callable[..., dict],
    to_markdown: Callable[[list[dict]], str],
) -> None:
    """Compile what has no row yet by `compile_one`, whose processes call `compile_here`, and write the tables."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--again", action="store_true", help="compile again what the results have")
    parser.add_argument("--form", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.form:
        print(RESULT + json.dumps(compile_here(**json.loads(given.form))), flush=True)
        return
    os.environ["JAX_PLATFORMS"] = "cpu"
    from rows import RESULTS, compute_rows

    if given.again:
        (RESULTS / f"{name}.json").unlink(missing_ok=True)
    compute_rows(name, todo, compile_one, to_markdown)


if __name__ == "__main__":
    run("gpu_program", __doc__, SETTINGS, compile_apart, compile_form, to_markdown)
