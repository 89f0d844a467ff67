"""Load reference params, inputs and values for NAS-Bench-201, made by the public code, in the shapes of jaxnas."""

import json
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.networks import NASBench201Network
from jaxnas.proxies import PROXIES, ROBOT_PROXIES, Batch, Quantities

NETWORKS = {
    "small": NASBench201Network(channels=4, cells_per_stage=1),
    "full": NASBench201Network(channels=16, cells_per_stage=5),
}
_EDGES = range(6)
_OP_IDS = {"conv_3x3": 2, "conv_1x1": 3}  # their order: none, avg_pool_3x3, nor_conv_3x3, nor_conv_1x1, skip_connect


SIX = {name: PROXIES[name] for name in ROBOT_PROXIES}


def compile_proxies(network, dtype, proxies=SIX, quantities=Quantities):
    """Return score(params, arch, batch) -> ({proxy: score}, logits) as NumPy values, compiled once for all calls."""

    def program(params, arch, batch):
        q = quantities(network, params, arch, batch)
        return {name: proxy(q) for name, proxy in proxies.items()}, q.logits

    program = jax.jit(program)

    def score(params, arch, batch):
        with jax.enable_x64(dtype == np.float64):
            params, images = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (params, batch.images))
            return jax.device_get(program(params, jnp.asarray(arch), Batch(images, jnp.asarray(batch.labels))))

    return score


@cache
def load_values(folder: Path) -> dict:
    """Return {"archs": {id: string}, "small/w0": {id: {section: {measure: value or None}}}, ...}."""
    golden = json.loads((folder / "golden.json").read_text())
    return {"archs": {arch["id"]: arch["arch"] for arch in golden["archs"]}, **golden["values"]}


@cache
def load_details(folder: Path) -> dict:
    """Return {"small/w0/a02": {"logits_fp64": ..., "loss_fp64": ..., ...}, ...}."""
    return json.loads((folder / "detail.json").read_text())


def load_batch(folder: Path, config: str) -> Batch:
    """Return the minibatch of "small" or "full": images [N H W C] and labels."""
    with np.load(folder / f"{config}_inputs.npz") as inputs:
        return Batch(inputs["x"].transpose(0, 2, 3, 1), inputs["y"].astype(np.int32))


def load_params(folder: Path, name: str) -> dict:
    """Return the supernet "small/w0" and so on as the params of our network."""
    config, weights = name.split("/")
    cells = range(NETWORKS[config].cells_per_stage)
    with np.load(folder / f"{config}_{weights}.npz") as file:
        tensors = {key: _to_ours(file[key]) for key in file.files}

    def conv_norm(prefix, conv, norm):
        return {
            "conv": tensors[f"{prefix}.{conv}.weight"],
            "norm_gamma": tensors[f"{prefix}.{norm}.weight"],
            "norm_beta": tensors[f"{prefix}.{norm}.bias"],
        }

    def stack(stage, op, kind):
        name = f"stack_cell{stage}.{{}}.options.{{}}.op.1.{kind}"
        return np.stack([[tensors[name.format(cell, 5 * edge + op)] for edge in _EDGES] for cell in cells])

    params = {"stem": conv_norm("stem.net", 0, 1)}
    for stage in (1, 2, 3):
        params[f"stage{stage}"] = {
            key: stack(stage, op, kind)
            for name, op in _OP_IDS.items()
            for key, kind in ((name, "weight"), (f"{name}_bias", "bias"))
        }
    for block in ("reduction1", "reduction2"):
        params[block] = {name: conv_norm(f"{block}.{name}.op", 1, 2) for name in ("conv_a", "conv_b")}
        params[block]["shortcut"] = tensors[f"{block}.residual.1.weight"]
    return params | {
        "norm_gamma": tensors["top.lastact.0.weight"],
        "norm_beta": tensors["top.lastact.0.bias"],
        "classifier": tensors["top.classifier.weight"],
        "classifier_bias": tensors["top.classifier.bias"],
    }


def _to_ours(tensor):
    """Transpose kernels from OIHW to HWIO and matrices from (out, in) to (in, out); vectors are unchanged."""
    return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T
