"""What the kernels of `fused` are made of: tiles of images in the memory of a GPU, and products of them.

The pixels [N H W] of one architecture are one axis [P]; a program sees T of them with all channels, and finds their
neighbours by shifted indices. Pallas compiles them by Triton, which JAX 0.10 and 0.11 have; 0.11 warns that a later
version will not. What depends on it is in this module.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int

Ref: TypeAlias = Array  # memory of the GPU that a kernel reads or writes
Place: TypeAlias = tuple[Array | int, ...]

IS_INTERPRETED = False  # for tests on CPUs
LEAST = 16  # of the rows, columns and depth of a product on tensor cores
NUM_WARPS = 4
NUM_STAGES = 1  # of loads ahead in loops: more need more shared memory than an H100 has


class Frame(NamedTuple):
    """The images of one architecture, and the tiles that programs take of them.

    Attributes:
        images: N.
        height: H.
        width: W.
        channels: C.
        padded: Channels of a tile.
        pixels: T, pixels of a tile.
    """

    images: int
    height: int
    width: int
    channels: int
    padded: int
    pixels: int

    @property
    def size(self) -> int:
        """P, the pixels of all images."""
        return self.images * self.height * self.width

    @property
    def num_tiles(self) -> int:
        """How many tiles hold all pixels."""
        return -(-self.size // self.pixels)


def make_frame(x: Float[Array, "A N H W C"], numbers: int) -> Frame:
    """Return the frame of images, in tiles of so many numbers of float32."""
    padded = max(LEAST, pl.next_power_of_2(x.shape[-1]))
    _, images, height, width, channels = x.shape
    return Frame(images, height, width, channels, padded, max(LEAST, 4 * numbers // (padded * x.dtype.itemsize)))


class Tile(NamedTuple):
    """T consecutive pixels.

    Attributes:
        frame: The images.
        pixel: The number of each pixel.
        row: Its row.
        column: Its column.
    """

    frame: Frame
    pixel: Int[Array, " T"]
    row: Int[Array, " T"]
    column: Int[Array, " T"]

    def load(self, ref: Ref, arch: Array, down: Array | int = 0, right: Array | int = 0) -> Float[Array, "T c"]:
        """Return the pixels so far below and to the right, 0 outside of the image."""
        frame = self.frame
        row, column = self.row + down, self.column + right
        inside = (row >= 0) & (row < frame.height) & (column >= 0) & (column < frame.width)
        inside &= self.pixel < frame.size
        at = jnp.where(inside, self.pixel + down * frame.width + right, 0)
        mask = inside[:, None] & (channels_of(frame) < frame.channels)[None, :]
        return read(ref, (arch, at[:, None], channels_of(frame)[None, :]), mask)

    def store(self, ref: Ref, arch: Array, values: Float[Array, "T c"]) -> None:
        """Write the pixels."""
        frame = self.frame
        mask = (self.pixel < frame.size)[:, None] & (channels_of(frame) < frame.channels)[None, :]
        write(ref, (arch, self.pixel[:, None], channels_of(frame)[None, :]), values, mask)

    def neighbours(self, down: Array | int = 0, right: Array | int = 0) -> Int[Array, "T 1"]:
        """Return how many pixels the 3x3 neighbourhood has of the pixels so far below and to the right."""
        rows, columns = (
            3 - (place == 0).astype(jnp.int32) - (place == size - 1).astype(jnp.int32)
            for place, size in ((self.row + down, self.frame.height), (self.column + right, self.frame.width))
        )
        return (rows * columns)[:, None]


def read(ref: Ref, at: Place, mask: Array) -> Array:
    """Return what a place holds, 0 where the mask is not set."""
    values: Array = triton.load(ref.at[at], mask=mask, other=0.0)  # type: ignore[arg-type]
    return values


def write(ref: Ref, at: Place, values: Array, mask: Array) -> None:
    """Write where the mask is set."""
    triton.store(ref.at[at], values, mask=mask)  # type: ignore[arg-type]


def channels_of(frame: Frame) -> Int[Array, " c"]:
    """Return the numbers of the channels of a tile, of which the frame may have fewer."""
    return jnp.arange(frame.padded, dtype=jnp.int32)


def make_tile(frame: Frame, number: Array | int) -> Tile:
    """Return a tile of the frame by its number."""
    pixel = number * frame.pixels + jnp.arange(frame.pixels, dtype=jnp.int32)
    height, width = jnp.int32(frame.height), jnp.int32(frame.width)
    return Tile(frame, pixel, lax.rem(lax.div(pixel, width), height), lax.rem(pixel, width))


def load_matrix(ref: Ref, arch: Array | int, tap: Array | int, frame: Frame) -> Float[Array, "c c"]:
    """Return the matrix of one tap of a kernel [B kk C C], with zeros for channels that it has not."""
    places = channels_of(frame)
    mask = places < frame.channels
    return read(ref, (arch, tap, places[:, None], places[None, :]), mask[:, None] & mask[None, :])


def multiply(a: Array, b: Array, precision: str | None, **options: bool) -> Array:
    """Return the product, of operands of that precision if they are float32, with sums in the type of the operands.

    None is tensorfloat32, as it is in the products of XLA on such GPUs.
    """
    presets = {"bfloat16": lax.DotAlgorithmPreset.BF16_BF16_F32, "tensorfloat32": lax.DotAlgorithmPreset.TF32_TF32_F32}
    preset = presets.get(precision or "tensorfloat32", lax.DotAlgorithmPreset.F32_F32_F32)
    is_plain = IS_INTERPRETED or a.dtype == jnp.float64
    if precision == "bfloat16" and a.dtype == jnp.float32:
        a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    if IS_INTERPRETED and a.dtype == jnp.bfloat16:
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    product: Array = triton.dot(a, b, precision=None if is_plain else preset, **options)
    return product


def call_kernel(
    name: str,
    body: Callable[..., None],
    grid: tuple[int, ...],
    shape: jax.ShapeDtypeStruct,
    *operands: Array,
) -> Array:
    """Return what a kernel writes.

    Args:
        name: Its name in a profile.
        body: Takes references to the operands and to the result.
        grid: How many programs run along each axis.
        shape: Of the result.
        *operands: Arrays that the kernel reads as a whole.
    """
    result: Array = pl.pallas_call(
        body,
        out_shape=shape,
        grid=grid,
        in_specs=[pl.no_block_spec] * len(operands),
        out_specs=pl.no_block_spec,
        compiler_params=triton.CompilerParams(num_warps=NUM_WARPS, num_stages=NUM_STAGES),
        interpret=IS_INTERPRETED,
        name=name,
    )(*operands)
    return result
