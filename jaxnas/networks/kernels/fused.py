"""Ops of many architectures as kernels of NVIDIA GPUs (Pallas, Triton), which read and write each image once.

The other form of `dispatch`, `grouped`, gathers the architectures that chose an op and scatters its results, which
moves every image several times. Here a program of the grid reads the op of its architecture and computes that op on a
tile of pixels: rectified input, taps of the convolution and bias in one pass.

With `tiles.IS_INTERPRETED` the same kernels run in Pallas's interpreter, on CPUs, for tests. Images are float32 or
float64; any numbers of images, pixels and channels will do, but channels are computed as the next power of 2, at least
16.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jaxtyping import Array, Bool, Float, Int

from jaxnas.networks.kernels.ops import Kind
from jaxnas.networks.kernels.tiles import (
    Frame,
    Ref,
    call_kernel,
    channels_of,
    load_matrix,
    make_frame,
    make_tile,
    multiply,
    read,
    write,
)

TILE = 2048  # numbers of a tile, pixels times channels: more need more registers than let several programs share a core
GRADIENT_TILE = 1024  # the same where tiles are summed over
MOST_ACCUMULATED = 9 * 16 * 16  # numbers of the gradients that a program sums at once
TILES_OF_SPLIT = 32  # of the pixels of one architecture, in each part of a gradient


def _place(tap: Array | int, size: int) -> tuple[Array | int, Array | int]:
    """Return how far a tap of a kernel of that size is below and to the right of the pixel."""
    if isinstance(tap, int):
        return tap // size - size // 2, tap % size - size // 2
    side = jnp.int32(size)
    return lax.div(tap, side) - size // 2, lax.rem(tap, side) - size // 2


def _sum_taps(size: int, add: Callable[[Array | int, Array], Array], start: Array) -> Array:
    """Add all taps, in a loop, as XLA and ptxas take tens of seconds for what is written out."""
    if size == 1:
        return add(0, start)
    total: Array = lax.fori_loop(jnp.int32(0), jnp.int32(size**2), add, start)
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
        gate: Convolutions see 0 where it is at most 0, and x elsewhere; the results of their transposes are 0 there.
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
    out = call_kernel(
        "map_images", body, (frame.num_tiles, len(op)), jax.ShapeDtypeStruct(flat_shape, gate.dtype), *operands
    )
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
    tile, arch = make_tile(frame, pl.program_id(0)), pl.program_id(1)
    *inputs, out_ref = refs
    terms: list[tuple[Ref, list[tuple[Ref, bool]]]] = []
    for shared in shares:
        x_ref, *inputs = inputs
        terms.append((x_ref, list(zip(inputs, shared, strict=False))))
        inputs = inputs[len(shared) :]
    first_ref, sign = terms[0][0], -1 if transposed else 1

    def zeros() -> Array:
        return jnp.zeros((frame.pixels, frame.padded), first_ref.dtype)

    def is_shut(down: Array | int, right: Array | int) -> Array:
        shut: Array = tile.load(gate_ref, arch, down, right) <= 0
        return shut

    def convolve(number: int, size: int) -> Array:
        def add(tap: Array | int, total: Array) -> Array:
            down, right = _place(tap, size)
            shut = None if transposed else is_shut(down, right)
            for x_ref, kernels in terms:
                kernel_ref, is_shared = kernels[number]
                values = tile.load(x_ref, arch, sign * down, sign * right)
                values = values if shut is None else jnp.where(shut, 0.0, values)
                matrix = load_matrix(kernel_ref, 0 if is_shared else arch, tap, frame)
                total += multiply(values, matrix, precision, trans_b=transposed)
            return total

        total = _sum_taps(size, add, zeros())
        return jnp.where(is_shut(0, 0), 0.0, total) if transposed else total

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
        places = channels_of(frame)
        out += read(bias_ref, (arch, places), places < frame.channels)[None, :]
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
    """Return the transpose in the kernel of a convolution of x, 0 where `gate` is at most 0, applied to g.

    Args:
        members: The architectures that have the convolution; for those of A and more the result is undefined.
        gate: See `map_images`.
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
    parts = call_kernel("kernel_gradients", body, grid, jax.ShapeDtypeStruct(shape, x.dtype), members, *flat)
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
    places = channels_of(frame)
    mask = (places < frame.channels)[:, None] & (places < frame.channels)[None, :]

    def sum_taps(first: int) -> None:
        taps = all_taps[first : first + at_once]

        def step(number: Array, totals: tuple[Array, ...]) -> tuple[Array, ...]:
            tile = make_tile(frame, split * tiles + number)
            cotangent = tile.load(g_ref, arch)
            return tuple(
                total
                + multiply(
                    jnp.where(tile.load(gate_ref, arch, *tap) <= 0, 0.0, tile.load(x_ref, arch, *tap)),
                    cotangent,
                    precision,
                    trans_a=True,
                )
                for total, tap in zip(totals, taps, strict=True)
            )

        zeros = jnp.zeros((frame.padded, frame.padded), x_ref.dtype)
        totals = lax.fori_loop(jnp.int32(0), jnp.int32(tiles), step, (zeros,) * len(taps))
        for number, total in enumerate(totals):
            write(out_ref, (row, split, first + number, places[:, None], places[None, :]), total, mask)

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
    return call_kernel("sum_images", partial(_sum_kernel, frame=frame), (frame.images, len(u)), shape, *operands)


def _sum_kernel(chosen_ref: Ref, u_ref: Ref, pivot_ref: Ref, v_ref: Ref, out_ref: Ref, *, frame: Frame) -> None:
    """Sum the pixels of one image of one architecture."""
    image, arch = pl.program_id(0), pl.program_id(1)
    places = channels_of(frame)
    mask = places < frame.channels
    size = frame.height * frame.width
    tiles = -(-size // frame.pixels)

    def sum_all() -> tuple[Array, Array]:
        pivot = read(pivot_ref, (arch, places), mask)[None, :]

        def step(number: Array, totals: tuple[Array, Array]) -> tuple[Array, Array]:
            pixel = number * frame.pixels + jnp.arange(frame.pixels, dtype=jnp.int32)
            inside = (pixel < size)[:, None] & mask[None, :]
            rows = image * size + jnp.minimum(pixel, size - 1)
            u, v = (read(ref, (arch, rows[:, None], places[None, :]), inside) for ref in (u_ref, v_ref))
            return totals[0] + v, totals[1] + (u - pivot) * v

        zeros = jnp.zeros((frame.pixels, frame.padded), u_ref.dtype)
        sums = lax.fori_loop(jnp.int32(0), jnp.int32(tiles), step, (zeros, zeros))
        return sums[0].sum(0), sums[1].sum(0)

    def none() -> tuple[Array, Array]:
        return (jnp.zeros(frame.padded, u_ref.dtype),) * 2

    for number, total in enumerate(lax.cond(chosen_ref[arch] != 0, sum_all, none)):
        write(out_ref, (arch, image, number, places), total, mask)
