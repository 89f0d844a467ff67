"""The parts of `accelerator.py`: each gets ready, yields, measures, and yields its result."""

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import bare  # noqa: F401  # before jaxnas
import numpy as np
from hlo_bytes import Chosen, count_bytes, kind_of

if TYPE_CHECKING:
    from accelerator import Part

    from jaxnas import NASBench201Network
    from jaxnas.networks import Draw

OF_NOISE = ("zen",)  # proxies that draw images or params themselves, others in float64 than in float32
BATCH, SIDE, CLASSES = 64, 32, 10
TRAINING_BATCH, TRAINING_STEPS = 256, 40
SCHEDULE = 12 * (50_000 // TRAINING_BATCH)  # steps of NAS-Bench-201's training of 12 epochs


def measure(part: "Part") -> Iterator[dict | None]:
    """Yield None when the part is ready, then what it measured."""
    kinds = {"score": measure_scoring, "reference": measure_scoring, "torch": measure_torch, "train": measure_training}
    return (measure_torch_training if part.strategy == "torch" else kinds[part.kind])(part)


def make_network(part: "Part") -> "NASBench201Network":
    """Return the network."""
    import jaxnas

    channels, cells = (4, 1) if part.small else (16, 5)
    return jaxnas.NASBench201Network(num_classes=CLASSES, channels=channels, cells_per_stage=cells)


def make_batch(part: "Part") -> tuple[np.ndarray, np.ndarray, str]:
    """Return images [N H W C] and labels [N], and where they are from."""
    import jaxnas

    number, side = (8, 8) if part.small else (BATCH, SIDE)
    if not part.small and os.environ.get("JAXNAS_DATA"):
        data = jaxnas.standardize(jaxnas.load_images("cifar10"))
        return *jaxnas.minibatch(data, number, seed=0), "CIFAR-10"
    rng = np.random.default_rng(0)
    images = rng.normal(size=(number, side, side, 3)).astype(np.float32)
    return images, rng.integers(0, CLASSES, number).astype(np.int32), "noise"


def sample_cells(number: int) -> np.ndarray:
    """Draw cells without dead edges, one of each network class; a larger sample begins with the smaller one."""
    from jaxnas.spaces import NASBENCH201, enumerate_archs

    archs = enumerate_archs(NASBENCH201)
    archs = archs[(NASBENCH201.canonicalize(archs) == archs).all(axis=1)]
    _, first = np.unique(NASBENCH201.network_class(archs), return_index=True)
    return archs[np.random.default_rng(0).permutation(first)[:number]]


def measure_scoring(part: "Part") -> Iterator[dict | None]:
    """Score chunk by chunk; the first chunk has all tracing and compiling."""
    folder = tempfile.mkdtemp()
    if part.profiled:
        dump = f"--xla_dump_to={folder} --xla_dump_hlo_module_re=.*jit_score.* --xla_dump_hlo_as_text"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {dump}"
    import jax

    import jaxnas
    from jaxnas.proxies import expand_names
    from jaxnas.runtime.timing import watch_programs
    from jaxnas.runtime.traces import KeptProgram
    from jaxnas.scoring import engine
    from jaxnas.scoring.engine import ScoringConfig, iter_scores

    KeptProgram.is_on = False  # so that tracing is measured
    programs: list = []
    watch_programs(programs.append)
    is_reference = part.kind == "reference"
    names = expand_names(("robot", "nbsz") if is_reference else part.proxies.split(","))
    if is_reference:
        names = [name for name in names if name not in OF_NOISE]
        engine.draw_for_all = draw_in_float32
    images, labels, source = make_batch(part)
    archs = sample_cells(part.number)
    settings = {"precision": part.precision, "chunk_size": part.chunk, "strategy": part.strategy}
    config = ScoringConfig(**({"strategy": "loop"} if is_reference else settings))
    batch = jaxnas.Batch(images.astype(np.float64 if is_reference else np.float32), labels)
    network = make_network(part)
    chunks, started = iter_scores(network, archs, batch, names, config), time.perf_counter()
    found = [next(chunks)]
    first = time.perf_counter() - started
    yield None
    program = max((one for one in programs if one.name == "score"), key=lambda one: one.compiling)
    paces, profile = [], {}
    num_rounds = 0 if is_reference else -(-part.number // (part.chunk * jax.device_count())) - 1
    for number in range(num_rounds):
        if part.profiled and number == num_rounds - 1:
            jax.profiler.start_trace(folder)
        began = time.perf_counter()
        found.append(next(chunks))
        paces.append(len(found[-1][0]) / (time.perf_counter() - began))
        if part.profiled and number == num_rounds - 1:
            jax.profiler.stop_trace()
            profile = read_profile(Path(folder), shares_of_ops(archs)) | {
                "edge_bytes": part.chunk * edge_bytes(network, images)
            }
    found += chunks
    rows, values = (np.concatenate(column) for column in zip(*found, strict=True))
    yield {
        "tracing": program.tracing,
        "lowering": program.lowering,
        "compiling": program.compiling,
        "first_chunk": first,
        "pace": float(np.median(paces[: -1 if part.profiled and len(paces) > 1 else None])) if paces else None,
        "scores": dict(zip(names, values[np.argsort(rows)].T.tolist(), strict=True)),
        "images": source,
        "profile": profile,
    }


def draw_in_float32(*arguments: object) -> "Draw":
    """Return the draw of a session in float32, in float64: a session in float64 draws other numbers."""
    import jax

    from jaxnas.networks import draw_for_all

    with jax.enable_x64(False):
        draw = draw_for_all(*arguments)
    return draw._replace(params=jax.tree.map(lambda leaf: np.float64(leaf), jax.device_get(draw.params)))


def edge_bytes(network: "NASBench201Network", images: np.ndarray) -> int:
    """Return the bytes of one read and one write of the features of all edges of an architecture."""
    shapes = [(images.shape[1] >> stage, network.channels << stage) for stage in range(3)]
    numbers = sum(side**2 * channels for side, channels in shapes)
    return 2 * 4 * len(images) * 6 * network.cells_per_stage * numbers


def shares_of_ops(archs: np.ndarray) -> Chosen:
    """Return how many of all edges of cells [A 6] chose which op."""
    from jaxnas.spaces.nasbench201 import NONE, NOR_CONV_1X1, NOR_CONV_3X3

    one, nine = (float(np.mean(archs == op)) for op in (NOR_CONV_1X1, NOR_CONV_3X3))
    return Chosen(float(np.mean(archs != NONE)), one + nine, {1: one, 9: nine})


def read_profile(folder: Path, chosen: Chosen) -> dict:
    """Return nanoseconds of kernels and bytes moved by kind, and how many kernels ran."""
    import jax

    seconds: Counter[str] = Counter()
    num_kernels = 0
    data = jax.profiler.ProfileData.from_file(str(next(folder.rglob("*.xplane.pb"))))
    planes = [plane for plane in data.planes if plane.name.startswith("/device:")]
    for plane in planes or data.planes:  # a CPU has its kernels among the events of the host
        for line in plane.lines:
            if planes and not line.name.startswith("Stream"):
                continue  # summaries of the same kernels
            for event in line.events:
                if planes or any(name == "hlo_op" for name, _ in event.stats):
                    seconds[kind_of(event.name)] += event.duration_ns
                    num_kernels += 1
    texts = sorted(folder.glob("*jit_score*after_optimizations.txt"), key=lambda path: path.stat().st_size)
    moved = count_bytes(texts[-1].read_text(), chosen) if texts else Counter()
    return {"kernel_ns": dict(seconds), "kernels": num_kernels, "bytes": dict(moved)}


def measure_torch(part: "Part") -> Iterator[dict | None]:
    """Score by eager PyTorch, one architecture after another."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # which draws the params alone
    import jax
    import torch
    from eager_torch import NASBench201, load_params, scores

    from jaxnas.networks import init_variables

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = part.precision == "tensorfloat32"
    network, (images, labels, source), archs = make_network(part), make_batch(part), sample_cells(part.number)
    params = jax.device_get(init_variables(network, images.shape[1:], archs.shape[1], 0)["params"])
    images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(device)
    labels = torch.from_numpy(np.int64(labels)).to(device)

    def build(arch: np.ndarray) -> NASBench201:
        built = NASBench201(arch, network.num_classes, network.channels, network.cells_per_stage)
        load_params(built, params)
        return built.to(device)

    networks = [build(arch) for arch in archs]
    for one in networks[:2]:  # the first calls are slower
        scores(one, images, labels, shared=part.shared)
    yield None
    laps, found = [], []
    for one in networks:
        began = time.perf_counter()
        found.append(scores(one, images, labels, shared=part.shared))  # each ends with numbers of the host
        laps.append(time.perf_counter() - began)
    table = {name: [values[name] for values in found] for name in found[0]}
    yield {"seconds": float(np.median(laps)), "scores": table, "images": source, "torch": torch.__version__}


def make_training(part: "Part") -> tuple[np.ndarray, np.ndarray]:
    """Return noise of the shape of CIFAR-10 [N H W C], and labels, for some steps."""
    batch, side = (8, 8) if part.small else (TRAINING_BATCH, SIDE)
    rng, number = np.random.default_rng(0), batch * TRAINING_STEPS
    images = rng.normal(size=(number, side, side, 3)).astype(np.float32)
    return images, rng.integers(0, CLASSES, number).astype(np.int32)


def measure_training(part: "Part") -> Iterator[dict | None]:
    """Train candidates one after another or together."""
    from jaxnas.objectives.config import TrainingConfig
    from jaxnas.objectives.fit import fit_training
    from jaxnas.objectives.programs import Labelled
    from jaxnas.objectives.trainer import Trainer
    from jaxnas.runtime.traces import KeptProgram

    KeptProgram.is_on = False
    images, labels = make_training(part)
    network, archs = make_network(part), sample_cells(part.number)
    batch = len(labels) // TRAINING_STEPS
    settings = TrainingConfig(epochs=1, batch_size=batch, flip=True, crop_padding=4)
    config = fit_training(settings, network, np.bincount(labels, minlength=CLASSES).tolist())
    data, started = Labelled(images, labels), time.time()
    trainer = Trainer(network, config, data, archs.shape[1], together=part.number, strategy=part.strategy)
    trainer.compile()
    trainer.fit(archs)  # the first stretch has one step
    ready = time.time() - started
    yield None
    yield of_training(part, ready, trainer.fit(archs).seconds)


def measure_torch_training(part: "Part") -> Iterator[dict | None]:
    """Train the same candidates one after another by eager PyTorch, without random crops and mirroring."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # which draws the cells alone
    import torch
    from eager_torch import NASBench201

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    (images, labels), network, started = make_training(part), make_network(part), time.time()
    batches = [
        (torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(device), torch.from_numpy(np.int64(y)).to(device))
        for x, y in zip(np.split(images, TRAINING_STEPS), np.split(labels, TRAINING_STEPS), strict=True)
    ]

    def train(arch: np.ndarray, steps: int) -> None:
        built = NASBench201(arch, network.num_classes, network.channels, network.cells_per_stage).to(device)
        optimizer = torch.optim.SGD(built.parameters(), 0.02, momentum=0.9, nesterov=True, weight_decay=5e-4)
        for x, y in batches[:steps]:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(built(x), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(built.parameters(), 5.0)
            optimizer.step()
        loss.item()  # waits for the device

    archs = sample_cells(part.number)
    for arch in archs:
        train(arch, 2)  # the first calls are slower
    ready = time.time() - started
    yield None
    began = time.perf_counter()
    for arch in archs:
        train(arch, TRAINING_STEPS)
    yield of_training(part, ready, time.perf_counter() - began)


def of_training(part: "Part", ready: float, seconds: float) -> dict:
    """Return seconds until ready, of one step of all candidates, and of the whole training of one candidate."""
    step = seconds / TRAINING_STEPS
    return {"ready": ready, "step": step, "candidate": step * SCHEDULE / part.number}


if __name__ == "__main__":
    sys.exit("run accelerator.py")
