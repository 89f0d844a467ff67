"""Compare the outputs of exported networks with those of the supernet, for every space and format.

    python experiments/exports.py   # writes experiments/results/exports.{md,json}; needs jaxnas[test-integration]

The script measures the largest difference of logits over 32 images and two architectures, relative to the largest logit
(or 1), in float32, before and after training: "untrained" has the initial params and statistics, "trained" has drawn
gammas, betas, statistics and relative positions, as they are after a training.
"""

import importlib.util
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnas.models.export import EXPORTS, export_model
from jaxnas.models.model import Model, make_model
from jaxnas.networks import (
    AutoFormerTinyNetwork,
    DARTSNetwork,
    DeclaredNetwork,
    MobileNetNetwork,
    NASBench101Network,
    NASBench201Network,
    NATSBenchSizeNetwork,
    SearchNetwork,
    TransNAS101MacroNetwork,
    TransNAS101MicroNetwork,
    init_variables,
)
from jaxnas.networks.declared.network import (
    Activation,
    Attention,
    Cell,
    Choose,
    ClassToken,
    Conv,
    Dense,
    Depthwise,
    GlobalAverage,
    InvertedResidual,
    LayerNorm,
    Mlp,
    PatchEmbed,
    PatchMean,
    Pool,
    Repeat,
    Residual,
    Skip,
    Zero,
    choice,
)
from jaxnas.report import save_results
from jaxnas.spaces import sample

RESULTS = Path(__file__).parent / "results"
SMALL = {"num_classes": 3, "channels": 4, "cells_per_stage": 1}
WIDTH = choice(8, 16, 4)
BLOCKS = (
    Conv(WIDTH),
    Repeat(choice(1, 2), Residual(Choose(Conv(size=3), Conv(size=1), Pool(), Skip()))),
    Residual(Conv(WIDTH, stride=2), Conv()),
    Cell(Choose(Conv(), Zero(), Pool("max"), Skip()), nodes=2, width=WIDTH),
)
FEATURES = (Dense(choice(8, 16)), Repeat(choice(0, 1, 2), Residual(Choose(Dense(), Skip()))))
MOBILE = (
    Conv(WIDTH, stride=2, activation=None),
    Activation("hardswish"),
    InvertedResidual(expansion=choice(2, 3), size=choice(3, 5), squeeze=True, activation="hardswish"),
    Choose(InvertedResidual(expansion=2, activation="silu"), Depthwise(activation="gelu"), Skip()),
    InvertedResidual(8, stride=2, expansion=1.5, activation="relu6"),
    Conv(8, groups=2, activation=None),
    GlobalAverage(),
    Dense(12),
)
MNASNET = (
    Conv(8, activation=None),
    Activation("relu"),
    InvertedResidual(None, choice(1, 3), choice(3, 5), squeeze=choice(0, 1), squeezed=2),
    InvertedResidual(12, choice(1, 2), stride=2, squeeze=choice(0, 1)),
)
TOKENS = (
    PatchEmbed(choice(8, 12), 3, class_token=False),
    Repeat(
        choice(1, 2),
        Residual(LayerNorm(), Attention(choice(1, 2), 4)),
        Residual(LayerNorm(), Mlp(choice(1.5, 2))),
    ),
    Choose(ClassToken(), GlobalAverage()),
)
RELATIVE = (
    PatchEmbed(choice(8, 12), 3),
    Repeat(
        choice(1, 2),
        Residual(LayerNorm(), Attention(choice(1, 2), 4, relative=1)),
        Residual(LayerNorm(), Mlp(choice(1.5, 2))),
    ),
    PatchMean(),
)
ROWS = (
    Conv(8, size=5, rows=1),
    Repeat(choice(1, 2), Residual(Choose(Conv(size=3, rows=1), Depthwise(size=5, rows=1), Skip()))),
    Conv(choice(8, 12), stride=2, rows=1),
)
CASES: dict[str, tuple[SearchNetwork, int]] = {  # network, and the side of images, odd where it may be
    "NAS-Bench-201": (NASBench201Network(**SMALL), 9),
    "NAS-Bench-201, affine": (NASBench201Network(**SMALL, affine=True), 9),
    "NAS-Bench-101": (NASBench101Network(**{**SMALL, "channels": 7, "cells_per_stage": 2}), 9),
    "TransNAS-Bench-101 micro": (TransNAS101MicroNetwork(**SMALL), 33),
    "TransNAS-Bench-101 macro": (TransNAS101MacroNetwork(**SMALL), 33),
    "DARTS": (DARTSNetwork(**{**SMALL, "cells_per_stage": 2}), 9),
    "DARTS, ImageNet stem": (DARTSNetwork(**SMALL, stem="imagenet"), 33),
    "declared, images": (DeclaredNetwork("mine", BLOCKS, num_classes=3), 9),
    "declared, mobile": (DeclaredNetwork("mobile", MOBILE, num_classes=3, activation="gelu"), 9),
    "declared, MnasNet": (DeclaredNetwork("mnasnet", MNASNET, num_classes=3), 9),
    "NATS-Bench size": (NATSBenchSizeNetwork(num_classes=3, channels=2), 9),
    "MobileNet": (MobileNetNetwork(num_classes=3, channels=1), 9),
    "declared, tokens": (DeclaredNetwork("tokens", TOKENS, num_classes=3, activation=None), 9),
    "declared, relative positions": (DeclaredNetwork("relative", RELATIVE, num_classes=3, activation=None), 9),
    "AutoFormer-tiny": (AutoFormerTinyNetwork(num_classes=3, channels=1, patch=3), 9),
    "declared, rows": (DeclaredNetwork("rows", ROWS, num_classes=3), 9),
    "declared, features": (DeclaredNetwork("features", FEATURES, num_classes=3), 1),
}
MEAN, STD = np.array([0.4, 0.5, 0.6], np.float32), np.array([0.2, 0.3, 0.25], np.float32)


def draw_images(pixels: int) -> np.ndarray:
    """Draw 32 images in [0, 1]."""
    return np.random.default_rng(0).uniform(size=(32, pixels, pixels, 3)).astype(np.float32)


def draw_variables(
    network: SearchNetwork, arch: np.ndarray, pixels: int, *, trained: bool
) -> Mapping[str, Mapping[str, Any]]:
    """Return initial variables for an architecture, with drawn statistics, gammas and betas where `trained`."""
    variables = jax.device_get(init_variables(network, (pixels, pixels, 3), len(arch), 0))
    random = np.random.default_rng(1)

    def draw(path: tuple[Any, ...], leaf: np.ndarray) -> np.ndarray:
        name = jax.tree_util.keystr(path)
        drawn = ("_norm", "['norm", "_rows_bias", "_columns_bias")
        if not trained or not any(part in name for part in drawn):
            return leaf
        if "variance" in name:
            return np.asarray(leaf * random.uniform(0.5, 2, leaf.shape), np.float32)
        return np.asarray(leaf + 0.3 * random.normal(size=leaf.shape), np.float32)

    variables = jax.tree_util.tree_map_with_path(draw, variables)
    return {**variables, "params": jax.device_get(network.params_for(variables["params"], arch))}


def reference(network: SearchNetwork, variables: Mapping[str, Any], images: np.ndarray, arch: np.ndarray) -> np.ndarray:
    """Return the logits of the supernet under the architecture."""
    apply = jax.jit(lambda variables, images, arch: network.apply(variables, images, arch, train=False))
    return np.asarray(apply(variables, (images - MEAN) / STD, arch))


def cut_out(network: SearchNetwork, variables: Mapping[str, Any], arch: np.ndarray, pixels: int) -> Model:
    """Return the model of the architecture."""
    return make_model(network, arch, variables, (pixels, pixels, 3), mean=MEAN, std=STD, class_names=("a", "b", "c"))


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative to the largest expected value or 1."""
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


def outputs(model: Model, to: str, folder: Path, images: np.ndarray) -> np.ndarray:
    """Export a model, and return the logits of the exported network."""
    first = export_model(model, to, folder)[0]
    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if to == "torch":
        import torch

        with torch.no_grad():
            return np.asarray(_load(first).load_model()(torch.tensor(channels_first)))
    if to == "onnx":
        import onnxruntime

        return np.asarray(onnxruntime.InferenceSession(str(first)).run(None, {"images": channels_first})[0])
    if to == "flax":
        code = _load(first)
        return np.asarray(jax.jit(code.Network().apply)(code.load_variables(), images))
    return np.asarray(jax.export.deserialize(bytearray(first.read_bytes())).call(images))


def compare(name: str, *, trained: bool, folder: Path, archs: int = 2) -> list[dict[str, Any]]:
    """Return the largest difference of each format from the supernet, for one case."""
    network, pixels = CASES[name]
    images, found = draw_images(pixels), dict.fromkeys(("jaxnas", *EXPORTS), 0.0)
    for number, arch in enumerate(sample(network.space, archs, seed=0)):
        variables = draw_variables(network, arch, pixels, trained=trained)
        model, expected = cut_out(network, variables, arch, pixels), reference(network, variables, images, arch)
        found["jaxnas"] = max(found["jaxnas"], difference(model.logits(images), expected))
        for to in EXPORTS:
            values = outputs(model, to, folder / str(number) / to, images)
            found[to] = max(found[to], difference(values, expected))
    return [{"case": name, "trained": trained, "to": to, "difference": value} for to, value in found.items()]


def _load(path: Path) -> Any:
    """Import the module of a file."""
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Compare every case before and after training, and write the table."""
    rows: list[dict[str, Any]] = []
    for name in CASES:
        for trained in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                rows += compare(name, trained=trained, folder=Path(folder))
            print(*(f"{row['to']} {row['difference']:.0e}" for row in rows[-1 - len(EXPORTS) :]), name, flush=True)
    formats = ("jaxnas", *EXPORTS)
    lines = [f"| network | params | {' | '.join(formats)} |", f"|---|---|{'---|' * len(formats)}"]
    for start in range(0, len(rows), len(formats)):
        group = rows[start : start + len(formats)]
        values = " | ".join(f"{row['difference']:.0e}" for row in group)
        lines.append(f"| {group[0]['case']} | {'trained' if group[0]['trained'] else 'untrained'} | {values} |")
    versions = {package: version(package) for package in ("jaxnas", "jax", "flax", "torch", "onnx", "onnxruntime")}
    text = "\n".join([*__doc__.splitlines()[4:], "", *lines, ""])
    save_results(RESULTS, "exports", {"versions": versions, "rows": rows}, text)


if __name__ == "__main__":
    main()
