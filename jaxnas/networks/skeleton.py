"""The blocks of TransNAS-Bench-101 macro: residual blocks that double channels or halve the image, on one buffer.

A skeleton is an argument of the call although it decides shapes: between blocks features lie in a buffer [N B] that
holds the largest, and a block is a `switch` over all forms (channels, pixels, kind) that occur in skeletons, of which
only the chosen one runs. There are layers for every number of channels.

Source: Duan et al. 2021 (arXiv:2105.11871).
"""

from functools import partial
from itertools import product
from math import prod
from typing import NamedTuple, TypeAlias

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32

from jaxnas.networks.kernels.switch import add_chosen
from jaxnas.networks.layers import (
    BatchNorm,
    Exponent,
    RunMode,
    WeightLayer,
    apply_batch_norm,
    apply_layer,
    batch_norm_layer,
    record_statistics,
    rescaled,
    weight_layer,
)
from jaxnas.spaces.transnas101 import DOUBLES, HALVES, NUM_DOUBLINGS, NUM_STRIDES

PLAIN = 1  # the kind of module that keeps the shape, a digit of the space
WIDTHS = tuple(range(max(NUM_DOUBLINGS) + 1))  # doublings of the channels so far
DOUBLED = np.isin(np.arange(5), DOUBLES)  # by kind
HALVED = np.isin(np.arange(5), HALVES)

Packed: TypeAlias = tuple[Float[Array, "N B"], Exponent]  # features in a buffer, see `rescaled`
Progress: TypeAlias = tuple[Packed, Int[Array, ""], Int[Array, ""]]  # with the doublings and halvings so far
Layers: TypeAlias = dict[str, WeightLayer]
Norms: TypeAlias = dict[str, BatchNorm]


class Form(NamedTuple):
    """The features that a block finds, and its kind.

    Attributes:
        width: Doublings so far.
        strides: Halvings so far.
        kind: A digit of the space; 0 leaves the features as they are.
    """

    width: int
    strides: int
    kind: int

    @property
    def width_after(self) -> int:
        """Doublings after the block."""
        return self.width + int(DOUBLED[self.kind])


def _forms() -> tuple[list[Form], Int32[np.ndarray, "W S K"]]:
    """Return all forms, and the number of each, [width, strides, kind]."""
    forms = [Form(0, 0, 0)]
    number_of = np.zeros((len(WIDTHS), max(NUM_STRIDES) + 1, len(DOUBLED)), np.int32)
    for form in (Form(*choice) for choice in product(WIDTHS, range(max(NUM_STRIDES) + 1), range(1, len(DOUBLED)))):
        if form.width_after in WIDTHS and form.strides + HALVED[form.kind] <= max(NUM_STRIDES):
            number_of[form] = len(forms)
            forms.append(form)
    return forms, number_of


FORMS, NUMBER_OF_FORM = _forms()


class Frame(NamedTuple):
    """Shapes of features: those after the stem are [N height width channels]."""

    height: int
    width: int
    channels: int

    def shape(self, width: int, strides: int) -> tuple[int, int, int]:
        """Return the shape of the features of one image after so many doublings and halvings."""
        return -(-self.height // 2**strides), -(-self.width // 2**strides), self.channels * 2**width

    @property
    def size(self) -> int:
        """The size of the largest features of one image."""
        return prod(self.shape(max(WIDTHS), 0))


def pack(x: Float[Array, "N h w C"], size: int) -> Float[Array, "N B"]:
    """Return features in a buffer of that `size`, followed by zeros."""
    x = x.reshape(len(x), -1)
    return jnp.pad(x, ((0, 0), (0, size - x.shape[1])))


def unpack(buffer: Float[Array, "N B"], shape: tuple[int, int, int]) -> Float[Array, "N h w C"]:
    """Return the features of that `shape` in a buffer, as `pack` put them there."""
    return buffer[:, : prod(shape)].reshape(-1, *shape)


class SkeletonBlock(nn.Module):
    """One residual block on features in a buffer: ReLU, 3x3, norm, twice, plus a normalised 1x1 or the input itself.

    Attributes:
        frame: Shapes of features.
        mode: The settings of the call.
    """

    frame: Frame
    mode: RunMode

    @nn.compact
    def __call__(self, carry: Progress, kind: Int32[Array, ""]) -> tuple[Progress, None]:
        """Return the features and their form after a block of that kind, and None as the output of a scan."""
        (buffer, exponent), width, strides = carry
        norms, layers = self._declare(len(buffer), width, kind)
        number = jnp.asarray(NUMBER_OF_FORM)[width, strides, kind]
        sows = self.is_mutable_collection("relus") and not self.is_initializing()
        run = partial(_run_block, frame=self.frame, mode=self.mode, sows=sows)
        branches = tuple(partial(run, form=form) for form in FORMS)
        after, (moved, middle) = add_chosen(number, branches, None, buffer, layers, norms, reverse=self.mode.reverse)
        for name, norm in moved.items():
            record_statistics(self, name, norm)
        width_after, strides_after = width + jnp.asarray(DOUBLED)[kind], strides + jnp.asarray(HALVED)[kind]
        if middle is not None:
            sizes = jnp.array([[prod(self.frame.shape(w, s)) for s in range(max(NUM_STRIDES) + 1)] for w in WIDTHS])
            places, is_run = jnp.arange(buffer.shape[1]), kind > 0
            for name, values, size in (
                ("input", buffer, sizes[width, strides]),
                ("middle", middle, sizes[width_after, strides_after]),
            ):
                self.sow("relus", name, (values[:, None, None, :], is_run & (places < size)))
        return (rescaled(after, exponent), width_after, strides_after), None

    def _declare(self, batch: int, width_before: Int[Array, ""], kind: Int32[Array, ""]) -> tuple[Norms, Layers]:
        """Declare normalisations and layers by name, for every number of doublings.

        A name ends in the doublings of the input of the layer, except that of "b" and of a normalisation, which end in
        those of the output.
        """
        norms: Norms = {}
        layers: Layers = {}
        doubles, has_shortcut = jnp.asarray(DOUBLED)[kind], kind > PLAIN
        width_after = width_before + doubles
        declare = partial(weight_layer, self, batch=batch, normalised=self.mode.norm, draw="fan_out")
        for width in WIDTHS:
            channels = self.frame.channels * 2**width
            begins, ends = (kind > 0) & (width_before == width), (kind > 0) & (width_after == width)
            for name, used in (("norm_a", ends), ("norm_b", ends), ("norm_shortcut", ends & has_shortcut)):
                norms[f"{name}{width}"] = batch_norm_layer(self, f"{name}{width}", channels, used=used)
            shapes: dict[str, tuple[tuple[int, ...], Bool[Array, ""]]] = {
                "a": ((3, 3, channels, channels), begins & ~doubles),
                "b": ((3, 3, channels, channels), ends),
                "shortcut": ((1, 1, channels, channels), begins & has_shortcut & ~doubles),
            }
            if width + 1 in WIDTHS:
                shapes |= {
                    "a_double": ((3, 3, channels, 2 * channels), begins & doubles),
                    "shortcut_double": ((1, 1, channels, 2 * channels), begins & has_shortcut & doubles),
                }
            for name, (shape, used) in shapes.items():
                layers[f"{name}{width}"] = declare(f"{name}{width}", shape, used=used)
        return norms, layers


def _run_block(
    buffer: Float[Array, "N B"],
    layers: Layers,
    norms: Norms,
    *,
    form: Form,
    frame: Frame,
    mode: RunMode,
    sows: bool,
) -> tuple[Float[Array, "N B"], tuple[Norms, Float[Array, "N B"] | None]]:
    """Return the features after a block of that form, its normalisations, and the input of its second ReLU."""
    if form.kind == 0:
        return buffer, (norms, jnp.zeros_like(buffer) if sows else None)
    moved = dict(norms)

    def convolve(name: str, x: Array, stride: int = 1) -> Array:
        """Apply the layer and the normalisation called `name`."""
        layer = f"{name}_double" if DOUBLED[form.kind] and name != "b" else name
        out = apply_layer(layers[f"{layer}{form.width_after if name == 'b' else form.width}"], x, stride)
        if mode.norm:
            key = f"norm_{name}{form.width_after}"
            out, moved[key] = apply_batch_norm(norms[key], out, train=mode.train)
        return out

    x, stride = unpack(buffer, frame.shape(form.width, form.strides)), 2 if HALVED[form.kind] else 1
    middle = convolve("a", nn.relu(x), stride)
    out = convolve("b", nn.relu(middle))
    out += x if form.kind == PLAIN else convolve("shortcut", x, stride)
    size = buffer.shape[1]
    return pack(out, size), (moved, pack(middle, size) if sows else None)
