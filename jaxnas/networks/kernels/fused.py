"""Ops of many architectures as kernels of NVIDIA GPUs (Pallas, Triton), which read and write each image once.

The other form of `dispatch` gathers the architectures that chose an op and scatters its results, which moves every
image several times. Here a program of the grid reads the op of its architecture and computes that op on its pixels:
rectified input, taps of the convolution and bias in one pass. The pixels [N H W] of one architecture are one axis [P];
a program sees T of them with all channels, and finds their neighbours by shifted indices.

With `IS_INTERPRETED` the same kernels run in Pallas's interpreter, on CPUs, for tests. Images are float32 or float64;
any numbers of images, pixels and channels will do, but channels are computed as the next power of 2, at least 16.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Bool, Float, Int

Kind: TypeAlias = Literal["zero", "identity", "pool"] | int  # an int is the size of the kernel of a convolution
Ref: TypeAlias = Array  # memory of the GPU that a kernel reads or writes
Place: TypeAlias = tuple[Array | int, ...]

TILE = 2048  # numbers of a tile, pixels times channels: more need more registers than let several programs share a core
GRADIENT_TILE = 1024  # the same where tiles are summed over
LEAST = 16  # of the rows, columns and depth of a product on tensor cores
IS_INTERPRETED = False  # for tests on CPUs
NUM_WARPS = 4
NUM_STAGES = 1  # of loads ahead in loops: more need more shared memory than an H100 has
MOST_ACCUMULATED = 9 * 16 * 16  # numbers of the gradients that a program sums at once
TILES_OF_SPLIT = 32  # of the pixels of one architecture, in each part of a gradient


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
        mask = inside[:, None] & (_channels(frame) < frame.channels)[None, :]
        return _read(ref, (arch, at[:, None], _channels(frame)[None, :]), mask)

    def store(self, ref: Ref, arch: Array, values: Float[Array, "T c"]) -> None:
        """Write the pixels."""
        frame = self.frame
        mask = (self.pixel < frame.size)[:, None] & (_channels(frame) < frame.channels)[None, :]
        _write(ref, (arch, self.pixel[:, None], _channels(frame)[None, :]), values, mask)

    def neighbours(self, down: Array | int = 0, right: Array | int = 0) -> Int[Array, "T 1"]:
        """Return how many pixels the 3x3 neighbourhood has of the pixels so far below and to the right."""
        rows, columns = (
            3 - (place == 0).astype(jnp.int32) - (place == size - 1).astype(jnp.int32)
            for place, size in ((self.row + down, self.frame.height), (self.column + right, self.frame.width))
        )
        return (rows * columns)[:, None]


def _read(ref: Ref, at: Place, mask: Array) -> Array:
    """Return what a place holds, 0 where the mask is not set."""
    values: Array = triton.load(ref.at[at], mask=mask, other=0.0)  # type: ignore[arg-type]
    return values


def _write(ref: Ref, at: Place, values: Array, mask: Array) -> None:
    """Write where the mask is set."""
    triton.store(ref.at[at], values, mask=mask)  # type: ignore[arg-type]


def _channels(frame: Frame) -> Int[Array, " c"]:
    return jnp.arange(frame.padded)


def _tile(frame: Frame, number: Array | int) -> Tile:
    pixel = number * frame.pixels + jnp.arange(frame.pixels)
    line = lax.div(pixel, frame.width)
    return Tile(frame, pixel, lax.rem(line, frame.height), lax.rem(pixel, frame.width))


def _load_kernel(ref: Ref, arch: Array | int, tap: Array | int, frame: Frame) -> Float[Array, "c c"]:
    """Return the matrix of one tap of a kernel [B kk C C], with zeros for channels that it has not."""
    places = _channels(frame)
    mask = places < frame.channels
    return _read(ref, (arch, tap, places[:, None], places[None, :]), mask[:, None] & mask[None, :])


def _dot(a: Array, b: Array, precision: str | None, **options: bool) -> Array:
    """Return the product, of operands of that precision if they are float32, with sums in the type of the operands."""
    presets = {"bfloat16": lax.DotAlgorithmPreset.BF16_BF16_F32, "tensorfloat32": lax.DotAlgorithmPreset.TF32_TF32_F32}
    preset = presets.get(precision or "", lax.DotAlgorithmPreset.F32_F32_F32)
    is_plain = IS_INTERPRETED or a.dtype == jnp.float64
    if precision == "bfloat16" and a.dtype == jnp.float32:
        a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
    if IS_INTERPRETED and a.dtype == jnp.bfloat16:
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    product: Array = triton.dot(a, b, precision=None if is_plain else preset, **options)
    return product


def _place(tap: Array | int, size: int) -> tuple[Array | int, Array | int]:
    """Return how far a tap of a kernel of that size is below and to the right of the pixel."""
    if isinstance(tap, int):
        return tap // size - size // 2, tap % size - size // 2
    return lax.div(tap, size) - size // 2, lax.rem(tap, size) - size // 2


def _sum_taps(size: int, add: Callable[[Array | int, Array], Array], start: Array) -> Array:
    """Add all taps, in a loop, as XLA and ptxas take tens of seconds for what is written out."""
    if size == 1:
        return add(0, start)
    total: Array = lax.fori_loop(0, size * size, add, start)
    return total


class Term(NamedTuple):
    """An operand of a sum of maps.

    Attributes:
        x: The images.
        kernels: Of each convolution among the ops, with B = A, or 1 for a kernel that all share.
    """

    x: Float[Array, "A N H W C"]
    kernels: tuple[Float[Array, "B _ _ C C"], ...]


@partial(jax.jit, static_argnames=("kinds", "transposed", "precision"))
def map_images(
    op: Int[Array, " A"],
    gate: Float[Array, "A N H W C"],
    terms: tuple[Term, ...],
    bias: Float[Array, "A C"] | None,
    *,
    kinds: tuple[Kind, ...],
    transposed: bool,
    precision: str | None,
) -> Float[Array, "A N H W C"]:
    """Return the op of each architecture applied to its images, or the transpose of that op.

    Args:
        op: The op of each architecture.
        gate: Convolutions see x where it is above 0, and 0 elsewhere; so does the result of their transposes.
        terms: The images. Convolutions of several terms are summed; of another op the first term counts.
        bias: Added to all results; None for 0.
        kinds: The kind of each op.
        transposed: Whether transposes are computed.
        precision: Of products.
    """
    shape = terms[0].x.shape
    frame = make_frame(terms[0].x, TILE)
    flat_shape = (len(op), frame.size, frame.channels)
    operands = [op, gate.reshape(flat_shape)]
    for term in terms:
        operands.append(term.x.reshape(flat_shape))
        operands += [kernel.reshape(len(kernel), -1, *kernel.shape[-2:]) for kernel in term.kernels]
    body = partial(
        _map_kernel,
        frame=frame,
        kinds=kinds,
        shares=tuple(tuple(len(kernel) == 1 for kernel in term.kernels) for term in terms),
        transposed=transposed,
        precision=precision,
    )
    operands += [] if bias is None else [bias]
    out = _call("map_images", body, (frame.num_tiles, len(op)), jax.ShapeDtypeStruct(flat_shape, gate.dtype), *operands)
    return out.reshape(shape)


def _map_kernel(
    op_ref: Ref,
    gate_ref: Ref,
    *refs: Ref,
    frame: Frame,
    kinds: tuple[Kind, ...],
    shares: tuple[tuple[bool, ...], ...],
    transposed: bool,
    precision: str | None,
) -> None:
    """Compute one tile of one architecture; `shares` says for each term which kernels all share."""
    tile, arch = _tile(frame, pl.program_id(0)), pl.program_id(1)
    *inputs, out_ref = refs
    terms: list[tuple[Ref, list[tuple[Ref, bool]]]] = []
    for shared in shares:
        x_ref, *inputs = inputs
        terms.append((x_ref, list(zip(inputs, shared, strict=False))))
        inputs = inputs[len(shared) :]
    first_ref, sign = terms[0][0], -1 if transposed else 1

    def zeros() -> Array:
        return jnp.zeros((frame.pixels, frame.padded), first_ref.dtype)

    def gate(down: Array | int, right: Array | int) -> Array:
        is_open: Array = tile.load(gate_ref, arch, down, right) > 0
        return is_open

    def convolve(number: int, size: int) -> Array:
        def add(tap: Array | int, total: Array) -> Array:
            down, right = _place(tap, size)
            is_open = None if transposed else gate(down, right)
            for x_ref, kernels in terms:
                kernel_ref, is_shared = kernels[number]
                values = tile.load(x_ref, arch, sign * down, sign * right)
                values = values if is_open is None else jnp.where(is_open, values, 0.0)
                matrix = _load_kernel(kernel_ref, 0 if is_shared else arch, tap, frame)
                total += _dot(values, matrix, precision, trans_b=transposed)
            return total

        total = _sum_taps(size, add, zeros())
        return jnp.where(gate(0, 0), total, 0.0) if transposed else total

    def pool() -> Array:
        def add(tap: Array | int, total: Array) -> Array:
            down, right = _place(tap, 3)
            values = tile.load(first_ref, arch, down, right)
            return total + (values / tile.neighbours(down, right).astype(values.dtype) if transposed else values)

        total = _sum_taps(3, add, zeros())
        return total if transposed else total / tile.neighbours().astype(total.dtype)

    others = {"zero": zeros, "identity": lambda: tile.load(first_ref, arch), "pool": pool}
    numbers = iter(range(len(kinds)))  # of convolutions
    branches = [partial(convolve, next(numbers), kind) if isinstance(kind, int) else others[kind] for kind in kinds]
    out = lax.switch(op_ref[arch], branches)
    for bias_ref in inputs:
        places = _channels(frame)
        out += _read(bias_ref, (arch, places), places < frame.channels)[None, :]
    tile.store(out_ref, arch, out)


@partial(jax.jit, static_argnames=("size", "precision"))
def kernel_gradients(
    members: Int[Array, " G"],
    gate: Float[Array, "A N H W C"],
    x: Float[Array, "A N H W C"],
    g: Float[Array, "A N H W C"],
    *,
    size: int,
    precision: str | None,
) -> Float[Array, "G k k C C"]:
    """Return the transpose in the kernel of a convolution of x, where `gate` is above 0, applied to g.

    Args:
        members: The architectures that have the convolution; for those of A and more the result is undefined.
        gate: Where x counts.
        x: The images.
        g: The cotangents of the results.
        size: k.
        precision: Of products.
    """
    frame = make_frame(x, GRADIENT_TILE)
    num_taps = size**2
    at_once = num_taps if num_taps * frame.padded**2 <= MOST_ACCUMULATED else size
    splits = max(1, frame.num_tiles // TILES_OF_SPLIT)
    flat = [image.reshape(len(x), frame.size, frame.channels) for image in (gate, x, g)]
    shape = (len(members), splits, num_taps, frame.channels, frame.channels)

    body = partial(
        _gradient_kernel,
        num_archs=len(x),
        frame=frame,
        size=size,
        at_once=at_once,
        tiles=-(-frame.num_tiles // splits),
        precision=precision,
    )
    grid = (num_taps // at_once, splits, len(members))
    parts = _call("kernel_gradients", body, grid, jax.ShapeDtypeStruct(shape, x.dtype), members, *flat)
    return parts.sum(1).reshape(len(members), size, size, *parts.shape[-2:])


def _gradient_kernel(
    members_ref: Ref,
    gate_ref: Ref,
    x_ref: Ref,
    g_ref: Ref,
    out_ref: Ref,
    *,
    num_archs: int,
    frame: Frame,
    size: int,
    at_once: int,
    tiles: int,
    precision: str | None,
) -> None:
    """Sum some taps of the gradient of one architecture over a part of its pixels."""
    group, split, row = pl.program_id(0), pl.program_id(1), pl.program_id(2)
    arch = members_ref[row]
    all_taps = [_place(tap, size) for tap in range(size**2)]
    places = _channels(frame)
    mask = (places < frame.channels)[:, None] & (places < frame.channels)[None, :]

    def sum_taps(first: int) -> None:
        taps = all_taps[first : first + at_once]

        def step(number: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
            tile = _tile(frame, split * tiles + number)
            cotangent = tile.load(g_ref, arch)
            return tuple(
                total
                + _dot(
                    jnp.where(tile.load(gate_ref, arch, *tap) > 0, tile.load(x_ref, arch, *tap), 0.0),
                    cotangent,
                    precision,
                    trans_a=True,
                )
                for total, tap in zip(totals, taps, strict=True)
            )

        zeros = jnp.zeros((frame.padded, frame.padded), x_ref.dtype)
        totals = lax.fori_loop(0, tiles, step, (zeros,) * len(taps))
        for number, total in enumerate(totals):
            _write(out_ref, (row, split, first + number, places[:, None], places[None, :]), total, mask)

    for number, first in enumerate(range(0, len(all_taps), at_once)):
        pl.when((group == number) & (arch < num_archs))(partial(sum_taps, first))


@jax.jit
def sum_images(
    chosen: Bool[Array, " A"],
    u: Float[Array, "A N H W C"],
    pivot: Float[Array, "A C"],
    v: Float[Array, "A N H W C"],
) -> Float[Array, "A N 2 C"]:
    """Return the sums over pixels of v and of (u - pivot) v for the chosen architectures, 0 for the others."""
    frame = make_frame(u, TILE)
    flat = [image.reshape(len(u), frame.size, frame.channels) for image in (u, v)]

    shape = jax.ShapeDtypeStruct((len(u), frame.images, 2, frame.channels), u.dtype)
    operands = (chosen.astype(jnp.int32), flat[0], pivot, flat[1])
    return _call("sum_images", partial(_sum_kernel, frame=frame), (frame.images, len(u)), shape, *operands)


def _sum_kernel(chosen_ref: Ref, u_ref: Ref, pivot_ref: Ref, v_ref: Ref, out_ref: Ref, *, frame: Frame) -> None:
    """Sum the pixels of one image of one architecture."""
    image, arch = pl.program_id(0), pl.program_id(1)
    places = _channels(frame)
    mask = places < frame.channels
    size = frame.height * frame.width
    tiles = -(-size // frame.pixels)

    def sum_all() -> tuple[Array, Array]:
        pivot = _read(pivot_ref, (arch, places), mask)[None, :]

        def step(number: Array, totals: tuple[Array, Array]) -> tuple[Array, Array]:
            pixel = number * frame.pixels + jnp.arange(frame.pixels)
            inside = (pixel < size)[:, None] & mask[None, :]
            rows = image * size + jnp.minimum(pixel, size - 1)
            u, v = (_read(ref, (arch, rows[:, None], places[None, :]), inside) for ref in (u_ref, v_ref))
            return totals[0] + v, totals[1] + (u - pivot) * v

        zeros = jnp.zeros((frame.pixels, frame.padded), u_ref.dtype)
        sums = lax.fori_loop(0, tiles, step, (zeros, zeros))
        return sums[0].sum(0), sums[1].sum(0)

    def none() -> tuple[Array, Array]:
        return (jnp.zeros(frame.padded, u_ref.dtype),) * 2

    for number, total in enumerate(lax.cond(chosen_ref[arch] != 0, sum_all, none)):
        _write(out_ref, (arch, image, number, places), total, mask)


def _call(
    name: str,
    body: Callable[..., None],
    grid: tuple[int, ...],
    shape: jax.ShapeDtypeStruct,
    *operands: Array,
) -> Array:
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
