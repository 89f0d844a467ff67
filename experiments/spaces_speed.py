"""Measure the seconds of scoring mobile networks and vision transformers, compared with eager PyTorch in one run.

    JAXNAS_DATA=folder python experiments/spaces_speed.py    (extra: torch)

RoBoT's six proxies, batches of 64 CIFAR-10 images. PyTorch runs the module that `jaxnas export --to torch` writes for
an architecture, with the params of the supernet, on all cores; jaxnas scores the architecture in the one program of its
space, on all devices, as in `throughput.py`, which describes blocks and summaries. PyTorch makes each proxy's own
passes, as public code does, or as few passes as it allows ("shared passes").

Run the script on an idle machine; it takes about 10 minutes. It writes results/spaces_speed.json and
results/spaces_speed.md.
"""

import os
import tempfile
import time
from functools import partial

import jax
import numpy as np
from rows import RESULTS
from throughput import (
    CORES,
    OURS,
    SHARED,
    TORCH,
    Case,
    Laps,
    compare,
    disagreement,
    in_fresh_process,
    measure_blocks,
    measure_jaxnas,
    summarize,
)

from jaxnas.models.export.torch_code import torch_code, torch_tensors
from jaxnas.models.model import make_model
from jaxnas.networks import init_variables
from jaxnas.proxies import ROBOT_PROXIES
from jaxnas.report import save_results
from jaxnas.spaces import sample
from jaxnas.store.store import make_environment

CASES = {  # the widths of the tutorials, architectures
    "mobilenet, 8 channels": (Case("mobilenet", channels=8, cells_per_stage=1), 5),
    "autoformer-tiny, 4 channels": (Case("autoformer-tiny", channels=4, cells_per_stage=1), 5),
}
BLOCKS = 2


def export(case: Case, num: int) -> tuple[np.ndarray, list, np.ndarray, np.ndarray]:
    """Return random architectures, their modules as (code, tensors), and the images and labels of the minibatch."""
    network, batch = case.load()
    archs = sample(network.space, num, seed=0)
    shape = batch.images.shape[1:]
    variables = jax.device_get(init_variables(network, shape, archs.shape[1], case.seed))
    modules = []
    for arch in archs:
        params = jax.device_get(network.params_for(variables["params"], arch))
        model = make_model(network, arch, {**variables, "params": params}, shape)
        modules.append((torch_code(model), torch_tensors(model)))
    return archs, modules, np.asarray(batch.images), np.asarray(batch.labels)


def measure_torch(modules: list, images: np.ndarray, labels: np.ndarray, *, shared: bool) -> dict:
    """Measure eager PyTorch with one thread per core: seconds of each architecture, and scores."""
    import torch
    from eager_torch import Exported, scores

    torch.set_num_threads(CORES)
    inputs = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(np.int64(labels))
    scores(Exported(*modules[0]), *inputs, shared=shared)  # the first call is slower
    laps, table = Laps(), []
    for code, tensors in modules:
        network = Exported(code, tensors)
        laps.start()
        values = scores(network, *inputs, shared=shared)
        laps.lap()
        table.append([values[name] for name in ROBOT_PROXIES])
    return {"wall": laps.wall, "cpu": laps.cpu, "scores": table}


def measure(case: Case, num: int) -> dict:
    """Measure a space: seconds of all programs, ratios, the median difference of scores, and seconds of compiling."""
    archs, modules, images, labels = in_fresh_process(export, case, num)
    with tempfile.TemporaryDirectory() as cache:
        ours = partial(measure_jaxnas, case, cache, archs, CORES)
        compiling = in_fresh_process(partial(ours, compile_only=True))["compiling"]
        codes = {
            name: partial(measure_torch, modules, images, labels, shared=name == SHARED) for name in (TORCH, SHARED)
        }
        measured = measure_blocks({**codes, OURS: ours}, BLOCKS)
    return {
        "archs": len(archs),
        "case": case._asdict(),
        "compiling": compiling,
        "seconds": {name: summarize(results) for name, results in measured.items()},
        "speedup": {name: compare(measured[name], measured[OURS], None) for name in codes},
        "disagreement": {name: disagreement(measured[name], measured[OURS]) for name in codes},
    }


def to_markdown(record: dict) -> str:
    """Return the table of all spaces."""
    lines = [
        "| network | eager PyTorch, wall s (CPU s) | shared passes | jaxnas | jaxnas is faster, wall (blocks) | CPU "
        "| than shared passes, wall (blocks) | CPU | compiling s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in record["rows"].items():
        cells = [name]
        for code in (TORCH, SHARED, OURS):
            wall, cpu = (row["seconds"][code][clock]["median"] for clock in ("wall", "cpu"))
            cells.append(f"{wall:.2f} ({cpu:.2f})")
        for code in (TORCH, SHARED):
            wall, cpu = row["speedup"][code]["wall"], row["speedup"][code]["cpu"]
            cells += [
                f"{wall['medians']:.2f} x ({min(wall['blocks']):.2f} to {max(wall['blocks']):.2f})",
                f"{cpu['medians']:.2f} x",
            ]
        cells.append(f"{row['compiling']:.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Median relative difference of the scores from those of eager PyTorch, float32. Exports add the class token",
    ]
    lines += ["of a transformer to its position, so that synflow, of absolute parameters, has one tensor for two:", ""]
    lines += [f"| network | {' | '.join(ROBOT_PROXIES)} |", "|---|" + "---|" * len(ROBOT_PROXIES)]
    for name, row in record["rows"].items():
        found = row["disagreement"][TORCH]
        lines.append(f"| {name} | {' | '.join(f'{found[proxy]:.0e}' for proxy in ROBOT_PROXIES)} |")
    lines.append(f"\n{BLOCKS} blocks, {CORES} CPU cores, load average before: {record['load_average_before']:.1f}.")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all spaces and write the tables."""
    started, load, rows = time.perf_counter(), os.getloadavg()[0], {}
    for name, (case, num) in CASES.items():
        print(name, flush=True)
        rows[name] = measure(case, num)
        record = {"rows": rows, "load_average_before": load}
        record["environment"] = make_environment(time.perf_counter() - started)
        save_results(RESULTS, "spaces_speed", record, to_markdown(record))
    print(to_markdown(record))


if __name__ == "__main__":
    main()
