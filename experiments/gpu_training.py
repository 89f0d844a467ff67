"""Count kernels, bytes and products of a training step for an H100 that is not there, one by one and eight together.

    pip install "jax[cuda12]"
    python experiments/gpu_training.py [--again]

The step is that of NAS-Bench-201's training at full size (16 channels, 5 cells per stage, batch 256, 32 x 32 pixels,
random crops and mirroring, SGD), as `jaxnas.objectives.trainer` compiles it for each strategy. XLA compiles for a GPU
that it knows by a description alone, as in `gpu_program.py`, and bytes are counted in `hlo_bytes.py`. A `switch` counts
as its branches do, weighted by how many edges of the eight cells choose each; what is outside of the step's loop runs
once in some seconds and is left out.

Products are twice the multiply-adds of the convolutions of edges: forwards, forwards again in the backward pass, and of
the two gradients. The roofline is the time in which the bandwidth of a card moves the bytes, of the whole training of
12 epochs of 50,000 images: most programs are slower. Each kernel also takes some microseconds to launch, and each
switch waits until its number is on the host. Nothing here has run on a GPU.

Each strategy is compiled in a process of its own, and results/gpu_training.json has a row for it at once. One that has
a row is not compiled again unless `--again` is given.
"""

import re
import time
from collections import Counter

import bare  # noqa: F401  # before jaxnas
from accelerator import Part
from accelerator_parts import (
    CLASSES,
    SCHEDULE,
    SIDE,
    TRAINING_BATCH,
    edge_bytes,
    make_network,
    sample_cells,
    shares_of_ops,
)
from accelerator_tables import BANDWIDTH
from gpu_program import CARD, compile_in_process, count_by_kind, run
from gpu_program_tables import total_of
from hlo_bytes import NAME, Kernel, find_kernels

IMAGES, EPOCHS, TOGETHER, SMALL_BATCH = 50_000, 12, 8, 8
SETTINGS = [
    {"strategy": "loop", "candidates": 1},
    {"strategy": "vmapped", "candidates": TOGETHER},
    {"strategy": "fused", "candidates": TOGETHER},
]
TITLES = {"loop": "one by one", "vmapped": "vmapped, each computes every op", "fused": "fused, kernels of edges"}
CARDS = ("H100", "H200")
LAUNCH = 2e-6  # seconds, a usual time between two small kernels
SWITCH = re.compile(r"branch_computations=\{([^}]*)\}")
BODY = re.compile(r"body=%?([\w.\-]+)")


def compile_apart(strategy: str, candidates: int, *, small: bool = False) -> dict:
    """Compile the program of a strategy in a process of its own, and return what `compile_step` does."""
    return compile_in_process(__file__, {"strategy": strategy, "candidates": candidates, "small": small})


def compile_step(strategy: str, candidates: int, *, small: bool) -> dict:
    """Return kernels, switches, bytes, products and memory of one step of all candidates."""
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import NamedSharding

    from jaxnas.objectives.config import TrainingConfig
    from jaxnas.objectives.fit import fit_training
    from jaxnas.objectives.optimizer import form_of, rates_of
    from jaxnas.objectives.programs import Candidate, Labelled, Stretch, init_state, make_trainer
    from jaxnas.objectives.trainer import SPLIT, WHOLE
    from jaxnas.runtime.session import fixed_settings, make_key
    from jaxnas.runtime.traces import KeptProgram

    KeptProgram.is_on = False
    card = topologies.get_topology_desc(platform="cuda", target_config=CARD, topology="1x1x1")
    mesh = topologies.make_mesh(card, (1,), ("candidates",))
    split, whole = NamedSharding(mesh, SPLIT), NamedSharding(mesh, WHOLE)

    def like(tree: object, sharding: NamedSharding, *axes: int) -> object:
        def abstract(leaf: object) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((*axes, *np.shape(leaf)), jax.dtypes.result_type(leaf), sharding=sharding)

        return jax.tree.map(abstract, tree)

    batch = SMALL_BATCH if small else TRAINING_BATCH
    network, archs = make_network(Part("train", small=small)), sample_cells(TOGETHER)
    settings = TrainingConfig(epochs=EPOCHS, batch_size=batch, flip=True, crop_padding=4)
    config = fit_training(settings, network, [IMAGES // CLASSES] * CLASSES)
    images, labels = np.broadcast_to(np.float32(0), (IMAGES, SIDE, SIDE, 3)), np.zeros(IMAGES, np.int32)
    order = np.zeros((IMAGES // batch, batch), np.int32)
    with fixed_settings(float64=False):
        state = init_state(network, config, archs[0], images)
        key, when = make_key(0), (np.int32(0),) * 3
        stretch = Stretch(Labelled(images, labels), order, *when, key, rates_of(config))
        program = make_trainer(network, form_of(config), mesh, strategy)
        counts, rows = np.zeros(1, np.int32), Candidate(like(state, split, candidates), like(archs[:candidates], split))
        began = time.perf_counter()
        lowered = program.lower(like(counts, split), rows, like(stretch, whole))
        ready = time.perf_counter()
        compiled = lowered.compile()
        ended = time.perf_counter()
    text = step_of(compiled.as_text())
    kernels = mean_kernels(text, archs)
    products = products_of(network, archs, batch, every_op=strategy == "vmapped")
    return {
        "lowering": ready - began,
        "compiling": ended - ready,
        "temporary": compiled.memory_analysis().temp_size_in_bytes,
        "switches": count_switches(text),
        "kinds": count_by_kind(kernels),
        "products": products,
        "edge_bytes": edge_bytes(network, images[:batch]),
        "jax": jax.__version__,
    }


def step_of(text: str) -> str:
    """Return the program of one step: that of which the body of the innermost loop of unknown length is run once."""
    lengths = {}
    for line in text.splitlines():
        if " while(" in line and (found := BODY.search(line)):
            lengths[found[1]] = "known_trip_count" in line
    bodies = [body for body, is_known in lengths.items() if not is_known]
    inside = {body: set(NAME.findall(_computation(text, body))) - {body} for body in bodies}
    (step,) = [body for body in bodies if inside[body].isdisjoint(bodies)]
    text = re.sub(r"^ENTRY ", "", text, flags=re.MULTILINE)
    return re.sub(rf"^%{re.escape(step)} \(", lambda match: f"ENTRY {match[0]}", text, count=1, flags=re.MULTILINE)


def _computation(text: str, name: str) -> str:
    found = re.search(rf"^%{re.escape(name)} \(.*?^\}}", text, flags=re.MULTILINE | re.DOTALL)
    return found[0] if found else ""


def mean_kernels(text: str, archs: object) -> list[Kernel]:
    """Return the kernels of a program; those in a switch with the share of edges that choose its branch."""
    import numpy as np

    from jaxnas.spaces.nasbench201 import OP_NAMES

    if not SWITCH.search(text):
        return find_kernels(text, shares_of_ops(archs))
    found = []
    for number in range(len(OP_NAMES)):
        count, branch = int(np.sum(archs == number)), take_branch(text, number, len(OP_NAMES))
        found += [kernel._replace(times=kernel.times * count) for kernel in find_kernels(branch)]
    return [kernel._replace(times=kernel.times / archs.size) for kernel in found]


def take_branch(text: str, number: int, branches: int) -> str:
    """Return the program in which each switch of so many branches has that one alone."""

    def keep(match: re.Match[str]) -> str:
        names = NAME.findall(match[1])
        return f"branch_computations={{%{names[number]}}}" if len(names) == branches else match[0]

    return SWITCH.sub(keep, text)


def count_switches(text: str) -> int:
    """Return how many switches one run executes."""
    marked = SWITCH.sub("", text).replace(" conditional(", " custom-call(")
    return sum(kernel.times for kernel in find_kernels(marked)) - sum(
        kernel.times for kernel in find_kernels(SWITCH.sub("", text))
    )


def products_of(network: object, archs: object, batch: int, *, every_op: bool) -> float:
    """Return the operations of the convolutions of edges, of one candidate and step."""
    import numpy as np

    from jaxnas.spaces.nasbench201 import NOR_CONV_1X1, NOR_CONV_3X3

    taps = {NOR_CONV_1X1: 1, NOR_CONV_3X3: 9}
    of_edge = sum(number * (1.0 if every_op else float(np.mean(archs == op))) for op, number in taps.items())
    of_stage = [(SIDE >> stage) ** 2 * (network.channels << stage) ** 2 for stage in range(3)]
    return 4 * 2 * batch * archs.shape[1] * network.cells_per_stage * sum(of_stage) * of_edge


def to_markdown(rows: list[dict]) -> str:
    """Return a row for each strategy, and kernels and bytes by kind."""
    lines = [
        "One step, compiled for an H100 without one, without autotuning; nothing has run. Kernels, switches and GB are "
        "those of one step of all candidates together.",
        "",
        "| training | candidates | compiling s | kernels | switches | GB moved | passes of a candidate "
        "| GFLOP of a candidate | temporary GB | "
        + " | ".join(f"s of a candidate at the bandwidth of an {card}" for card in CARDS)
        + f" | s of a candidate at {1e6 * LAUNCH:g} us a kernel |",
        "|" + "---|" * (10 + len(CARDS)),
    ]
    for row in rows:
        settings, candidates = row["settings"], row["settings"]["candidates"]
        number, moved = total_of(row)
        cells = [TITLES[settings["strategy"]], candidates, f"{row['compiling']:.0f}", f"{number:,.0f}"]
        cells += [f"{row['switches']:,}", f"{moved / 1e9:.1f}", f"{moved / candidates / row['edge_bytes']:.1f}"]
        cells += [f"{row['products'] / 1e9:.0f}", f"{row['temporary'] / 1e9:.1f}"]
        cells += [f"{SCHEDULE * moved / BANDWIDTH[card] / candidates:.1f}" for card in CARDS]
        cells.append(f"{SCHEDULE * LAUNCH * number / candidates:.1f}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    kinds = Counter()
    for row in rows:
        kinds.update({kind: of["bytes"] for kind, of in row["kinds"].items()})
    lines += ["", "GB moved by kind in a step of one candidate, and kernels of a step of all in brackets:", ""]
    lines += ["| kind | " + " | ".join(TITLES[row["settings"]["strategy"]] for row in rows) + " |"]
    lines += ["|" + "---|" * (1 + len(rows))]
    for kind, _ in kinds.most_common():
        cells = []
        for row in rows:
            of = row["kinds"].get(kind)
            size = of and of["bytes"] / row["settings"]["candidates"] / 1e9
            cells.append(f"{size:.2f} ({of['kernels']:,.0f})" if of else "-")
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run("gpu_training", __doc__, SETTINGS, compile_apart, compile_step, to_markdown)
