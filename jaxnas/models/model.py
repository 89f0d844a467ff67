"""A trained network that predicts classes of images, and its folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int8, Int32, PyTree
from numpy.typing import ArrayLike

from jaxnas.data.images import TO_CHANNELS_LAST
from jaxnas.errors import InputError
from jaxnas.models.builder import GraphBuilder, Tensors, Variables
from jaxnas.models.darts import build_darts
from jaxnas.models.declared import build_declared
from jaxnas.models.graph import Graph
from jaxnas.models.module import PlainNetwork
from jaxnas.models.nasbench101 import build_nasbench101
from jaxnas.models.spaces import build_nasbench201, build_transnas101_macro, build_transnas101_micro
from jaxnas.networks import (
    DARTSNetwork,
    NASBench101Network,
    NASBench201Network,
    SearchNetwork,
    TransNAS101MacroNetwork,
    TransNAS101MicroNetwork,
)
from jaxnas.networks.declared.network import BlockNetwork
from jaxnas.runtime.records import Record
from jaxnas.runtime.session import fixed_settings

BUILDERS: dict[type[SearchNetwork], Callable[..., None]] = {
    NASBench101Network: build_nasbench101,
    NASBench201Network: build_nasbench201,
    TransNAS101MicroNetwork: build_transnas101_micro,
    TransNAS101MacroNetwork: build_transnas101_macro,
    DARTSNetwork: build_darts,
    BlockNetwork: build_declared,
}
"""By the class of a network: adds the blocks of one of its architectures to a graph."""

BATCH = 256  # images of one call, the last filled up


@dataclass(frozen=True, eq=False)
class Model:
    """One network with its tensors, standardisation and class names; without the ops that were not chosen.

    Attributes:
      space: name of the search space.
      arch: the architecture, as the space formats it.
      graph: the description of the network.
      variables: its tensors, the collections "params" and "batch_stats" of flax.
      about: how it was made, as plain JSON values: data, test accuracy in percent, hyperparameters.
    """

    space: str
    arch: str
    graph: Graph
    variables: Variables
    about: Record = field(default_factory=dict)

    @property
    def params(self) -> PyTree:
        """The trainable tensors: `kernel`, `bias` and `scale` by block and layer."""
        return self.variables["params"]

    @property
    def num_params(self) -> int:
        """The number of trainable numbers."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; a prediction is a place in it."""
        return self.graph.class_names

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape (H, W, C) of an image."""
        return self.graph.image_shape

    @property
    def flax_module(self) -> PlainNetwork:
        """The linen module: `model.flax_module.apply(model.variables, images)` gives logits [N K].

        It takes float32 images [N H W C] in [0, 1] and standardises them itself.
        """
        return PlainNetwork(self.graph)

    def __repr__(self) -> str:
        """Return one line: space, architecture, number of parameters, shape of an image and number of classes."""
        shape = "x".join(map(str, self.image_shape))
        size = f"{self.num_params:,} params, images of {shape}, {len(self.class_names)} classes"
        return f"<Model {self.space}: {self.arch}, {size}>"

    def predict(self, images: ArrayLike) -> Int32[np.ndarray, " N"]:
        """Return the most probable class of each image, as its place in `class_names`.

        Args:
          images: images [N H W C], or [N H W] of one channel, uint8 or floats in [0, 1]; rows [N F] where features were
            trained on.

        Raises:
          InputError: the images have another shape, dtype or range.
        """
        classes: np.ndarray = self.logits(images).argmax(-1)
        return classes.astype(np.int32)

    def predict_proba(self, images: ArrayLike) -> Float32[np.ndarray, "N K"]:
        """Return the probabilities of the classes: the softmax of `logits`; see `predict` for the arguments."""
        logits = self.logits(images)
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        probabilities: np.ndarray = shifted / shifted.sum(-1, keepdims=True)
        return probabilities

    def logits(self, images: ArrayLike) -> Float32[np.ndarray, "N K"]:
        """Return the outputs of the network in float32; see `predict` for the arguments."""
        checked = self.check_images(images)
        module, outputs = self.flax_module, []
        with fixed_settings(float64=False), jax.default_matmul_precision("float32"):
            variables = jax.device_put(self.variables)
            for start in range(0, len(checked), BATCH):
                chunk = checked[start : start + BATCH]
                size = len(chunk) if len(checked) <= BATCH else BATCH
                filled = np.pad(chunk, ((0, size - len(chunk)), (0, 0), (0, 0), (0, 0)))
                outputs.append(np.asarray(_apply(module, variables, filled))[: len(chunk)])
        return np.concatenate(outputs) if outputs else np.zeros((0, len(self.class_names)), np.float32)

    def save(self, folder: Path | str) -> None:
        """Write the model into a folder, from which `load_model` reads it: safetensors and JSON, see `save_model`."""
        from jaxnas.models.files import save_model

        save_model(self, folder)

    def check_images(self, images: ArrayLike) -> Float32[np.ndarray, "N H W C"]:
        """Return images in [0, 1] in the shape that the network takes.

        Raises:
          InputError: the images have another shape, dtype or range.
        """
        values = np.asarray(images)
        is_row = self.image_shape[:2] == (1, 1)
        if is_row and values.ndim == 2:
            values = values[:, None, None]
        elif values.ndim == 3:
            values = values[..., None]
        if values.shape[1:] != self.image_shape or values.dtype.kind not in "uif":
            shown = ", ".join(map(str, self.image_shape))
            turned = values.ndim == 4 and (*values.shape[2:], values.shape[1]) == self.image_shape
            hint = f": transpose them by {TO_CHANNELS_LAST}" if turned else ""
            given = np.shape(images)
            if given == self.image_shape:
                hint = ": give one image as images[None]"
            raise InputError(f"images must be numbers [N, {shown}], got {values.dtype} of shape {given}{hint}")
        if values.dtype == np.uint8 and not is_row:
            scaled: np.ndarray = values / np.float32(255)
            return scaled
        low, high = (values.min(), values.max()) if values.size else (0, 0)
        is_sequence = self.image_shape[0] == 1  # of any values, like rows
        if not np.isfinite([low, high]).all() or not (is_sequence or (low >= 0 and high <= 1)):
            raise InputError(
                f"images must be uint8 or finite floats in [0, 1], got {low} to {high}: the model standardises them"
            )
        return values.astype(np.float32)


@partial(jax.jit, static_argnames="module")
def _apply(module: PlainNetwork, variables: PyTree, images: Float[Array, "N H W C"]) -> Float[Array, "N K"]:
    return jnp.asarray(module.apply(variables, images))


def make_model(
    network: SearchNetwork,
    arch: Int8[np.ndarray, " D"],
    variables: Mapping[str, PyTree],
    image_shape: tuple[int, ...],
    *,
    mean: Float32[np.ndarray, " C"] | None = None,
    std: Float32[np.ndarray, " C"] | None = None,
    class_names: tuple[str, ...] = (),
    about: Mapping[str, object] = {},
) -> Model:
    """Cut the network of one architecture out of a supernet.

    Args:
      network: the supernet.
      arch: the architecture.
      variables: the collections `params` and `batch_stats` of the supernet.
      image_shape: (H, W, C) of an image.
      mean: what was subtracted from each channel of the images; None for 0.
      std: what each channel was divided by; None for 1.
      class_names: names of the classes; by default their numbers.
      about: see `Model`.

    Raises:
      InputError: the class of the network is not in `BUILDERS`, its head does not classify, or it has no normalisation.
    """
    build = next((BUILDERS[kind] for kind in type(network).__mro__ if kind in BUILDERS), None)
    if build is None:
        known = ", ".join(kind.__name__ for kind in BUILDERS)
        raise InputError(f"a model can be made of {known}, got {type(network).__name__}: add a function to BUILDERS")
    if network.norm != "all":
        raise InputError(f"a model needs batch normalisation everywhere, norm='all', got {network.norm!r}")
    arch = np.asarray(arch)
    params = jax.device_get(variables["params"])
    builder = GraphBuilder(tuple(image_shape))
    build(builder, network, Tensors(params, jax.device_get(variables.get("batch_stats", {}))), arch)
    channels, outputs = image_shape[-1], builder.shapes[builder.blocks[-1].name][0]
    graph = Graph(
        tuple(image_shape),
        _floats(mean, 0.0, channels),
        _floats(std, 1.0, channels),
        tuple(class_names) or tuple(map(str, range(outputs))),
        tuple(builder.blocks),
    )
    return Model(network.space.name, network.space.format(arch), graph, builder.variables, dict(about))


def _floats(values: Float32[np.ndarray, " C"] | None, default: float, count: int) -> tuple[float, ...]:
    return tuple(map(float, np.full(count, default) if values is None else values))
