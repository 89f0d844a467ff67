"""StableHLO: one file that `jax.export` reads back on any platform, without flax."""

from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.models.model import Model
from jaxnas.runtime.files import atomic_write
from jaxnas.runtime.session import fixed_settings

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def write_stablehlo(model: Model, folder: Path) -> list[Path]:
    """Write model.stablehlo: float32 images [N, H, W, C] in [0, 1] to logits [N, K], for any N; return its path.

    `jax.export.deserialize(bytearray(path.read_bytes())).call(images)` gives the logits.
    """
    path = folder / "model.stablehlo"
    content = export_stablehlo(model).serialize()
    with atomic_write(path) as partial:
        partial.write_bytes(content)
    return [path]


def export_stablehlo(model: Model) -> jax.export.Exported:
    """Return the network as a program that contains its tensors."""
    module, variables = model.flax_module, model.variables

    def network(images: Float[Array, "N H W C"]) -> Float[Array, "N K"]:
        return jnp.asarray(module.apply(variables, images))

    (batch,) = jax.export.symbolic_shape("N")
    with fixed_settings(float64=False), jax.default_matmul_precision("float32"):
        images = jax.ShapeDtypeStruct((batch, *model.image_shape), jnp.float32)
        return jax.export.export(jax.jit(network), platforms=PLATFORMS)(images)
