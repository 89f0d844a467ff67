"""The networks of TransNAS-Bench-101 macro: modules of residual blocks that double channels or halve the image.

Source: Duan et al. 2021 (arXiv:2105.11871). The skeleton is an argument of the call although it decides shapes:
between blocks features lie in a buffer [N B] that holds the largest, and a block is a `switch` over all forms
(channels, pixels, kind) that skeletons come through. One compiled program serves all 3,256, and of each block only the
chosen form runs. There are layers for every number of channels; a skeleton uses those on its way.
"""

from functools import partial
from itertools import product
from math import prod
from typing import NamedTuple, Self

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.networks import heads
from jaxnas.networks.kernels.dispatch import add_switch, add_switch_backwards
from jaxnas.networks.layers import (
    OF_LAYERS,
    apply_batch_norm,
    apply_layer,
    batch_norm_layer,
    record_statistics,
    rescaled,
    start_exponent,
    weight_layer,
)
from jaxnas.networks.network import SearchNetwork
from jaxnas.networks.transnas101 import Stem, example_images, merge_pieces
from jaxnas.spaces.transnas101 import DOUBLES, HALVES, NUM_DOUBLINGS, NUM_MODULES, NUM_STRIDES, TRANSNAS101_MACRO

PLAIN = 1  # the kind of module that keeps the shape, a digit of the space
BLOCKS_PER_MODULE = 2
WIDTHS = tuple(range(max(NUM_DOUBLINGS) + 1))  # doublings of the channels so far
DOUBLED = np.isin(np.arange(5), DOUBLES)  # by kind
HALVED = np.isin(np.arange(5), HALVES)


class Form(NamedTuple):
    """What a block finds, and what it does."""

    width: int  # doublings so far
    strides: int  # halvings so far
    kind: int  # 0: nothing

    @property
    def width_after(self) -> int:
        return self.width + int(DOUBLED[self.kind])


def _forms() -> tuple[list[Form], np.ndarray]:
    """All forms, and the number of each, [width, strides, kind]."""
    forms = [Form(0, 0, 0)]
    number_of = np.zeros((len(WIDTHS), max(NUM_STRIDES) + 1, len(DOUBLED)), np.int32)
    for form in (Form(*choice) for choice in product(WIDTHS, range(max(NUM_STRIDES) + 1), range(1, len(DOUBLED)))):
        if form.width_after in WIDTHS and form.strides + HALVED[form.kind] <= max(NUM_STRIDES):
            number_of[form] = len(forms)
            forms.append(form)
    return forms, number_of


FORMS, NUMBER_OF_FORM = _forms()
LAST_FORMS = tuple(product(NUM_DOUBLINGS, NUM_STRIDES))  # widths and strides of whole skeletons


class Frame(NamedTuple):
    """Shapes of features: those after the stem are [N height width channels]."""

    height: int
    width: int
    channels: int

    def shape(self, width: int, strides: int) -> tuple[int, int, int]:
        """After so many doublings and halvings."""
        return -(-self.height // 2**strides), -(-self.width // 2**strides), self.channels * 2**width

    @property
    def size(self) -> int:
        """Of the largest features of one image."""
        return prod(self.shape(max(WIDTHS), 0))


def pack(x: Float[Array, "N h w C"], size: int) -> Float[Array, "N B"]:
    """Features in front of zeros."""
    x = x.reshape(len(x), -1)
    return jnp.pad(x, ((0, 0), (0, size - x.shape[1])))


def unpack(buffer: Float[Array, "N B"], shape: tuple[int, int, int]) -> Float[Array, "N h w C"]:
    """The inverse of `pack`."""
    return buffer[:, : prod(shape)].reshape(-1, *shape)


class Block(nn.Module):
    """One residual block on features in a buffer: ReLU, 3x3, norm, twice, plus a normalised 1x1 or the input itself."""

    frame: Frame
    norm: bool
    train: bool
    reverse: bool

    @nn.compact
    def __call__(self, carry, kind):
        (buffer, exponent), width, strides = carry
        norms, layers = self._declare(len(buffer), width, kind)
        number = jnp.asarray(NUMBER_OF_FORM)[width, strides, kind]
        sows = self.is_mutable_collection("relus") and not self.is_initializing()
        run = partial(_run_block, frame=self.frame, norm=self.norm, train=self.train, sows=sows)
        branches = tuple(partial(run, form=form) for form in FORMS)
        switch = add_switch_backwards if self.reverse else add_switch
        after, (moved, middle) = switch(number, branches, None, buffer, layers, norms)
        for name, norm in moved.items():
            record_statistics(self, name, norm)
        width_after, strides_after = width + jnp.asarray(DOUBLED)[kind], strides + jnp.asarray(HALVED)[kind]
        if sows:
            sizes = jnp.array([[prod(self.frame.shape(w, s)) for s in range(max(NUM_STRIDES) + 1)] for w in WIDTHS])
            places, is_run = jnp.arange(buffer.shape[1]), kind > 0
            for name, values, size in (
                ("input", buffer, sizes[width, strides]),
                ("middle", middle, sizes[width_after, strides_after]),
            ):
                self.sow("relus", name, (values[:, None, None, :], is_run & (places < size)))
        return (rescaled(after, exponent), width_after, strides_after), None

    def _declare(self, batch, width_before, kind):
        """Normalisations and layers by name, for every number of doublings.

        A name ends in the doublings of the layer's input, except that of "b" and of a normalisation in those of its
        output.
        """
        norms, layers = {}, {}
        doubles, has_shortcut = jnp.asarray(DOUBLED)[kind], kind > PLAIN
        width_after = width_before + doubles
        declare = partial(weight_layer, self, batch=batch, normalised=self.norm, draw="fan_out")
        for width in WIDTHS:
            channels = self.frame.channels * 2**width
            begins, ends = (kind > 0) & (width_before == width), (kind > 0) & (width_after == width)
            for name, used in (("norm_a", ends), ("norm_b", ends), ("norm_shortcut", ends & has_shortcut)):
                norms[f"{name}{width}"] = batch_norm_layer(self, f"{name}{width}", channels, used=used)
            shapes = {
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


def _run_block(buffer, layers, norms, *, form: Form, frame: Frame, norm: bool, train: bool, sows: bool):
    """The features after a block of that form; the normalisations moved on, and the input of its second ReLU."""
    if form.kind == 0:
        return buffer, (norms, jnp.zeros_like(buffer) if sows else None)
    moved = dict(norms)

    def convolve(name, x, stride=1):
        """`name` says layer and normalisation."""
        layer = f"{name}_double" if DOUBLED[form.kind] and name != "b" else name
        out = apply_layer(layers[f"{layer}{form.width_after if name == 'b' else form.width}"], x, stride)
        if norm:
            key = f"norm_{name}{form.width_after}"
            out, moved[key] = apply_batch_norm(norms[key], out, train=train)
        return out

    x, stride = unpack(buffer, frame.shape(form.width, form.strides)), 2 if HALVED[form.kind] else 1
    middle = convolve("a", nn.relu(x), stride)
    out = convolve("b", nn.relu(middle))
    out += x if form.kind == PLAIN else convolve("shortcut", x, stride)
    size = buffer.shape[1]
    return pack(out, size), (moved, pack(middle, size) if sows else None)


class SkeletonHead(nn.Module):
    """`heads.Head` for features in a buffer: its first layer there is for every number of channels."""

    head: str
    num_outputs: int
    channels: int
    frame: Frame
    norm: bool
    train: bool
    reverse: bool

    @nn.compact
    def __call__(self, state, width, strides):
        buffer, exponent = state
        switch = add_switch_backwards if self.reverse else add_switch
        number = (width - min(NUM_DOUBLINGS)) * len(NUM_STRIDES) + strides - min(NUM_STRIDES)
        settings = dict(head=self.head, frame=self.frame, norm=self.norm, train=self.train)
        if self.head not in heads.DECODERS:
            branches = tuple(partial(_classify, form=form, **settings) for form in LAST_FORMS)
            shapes = [self.frame.shape(*form) for form in LAST_FORMS]
            windows = [1.0 * len(buffer) * (h + 1) * (w + 1) * c for h, w, c in shapes]
            self.sow("pools", "global", jnp.asarray(windows)[number])
            return switch(number, branches, None, buffer, self._linear_layers(len(buffer), width, exponent))[0]
        first, norms = self._first_layers(len(buffer), width, exponent)
        size = prod(self.frame.shape(0, min(NUM_STRIDES))[:2]) * heads.decoder_channels(self)[0]
        branches = tuple(partial(_decode_first, form=form, size=size, **settings) for form in LAST_FORMS)
        buffer, moved = switch(number, branches, None, buffer, first, norms)
        for name, norm in moved.items():
            record_statistics(self, name, norm)
        rest = heads.declare_rest(self, len(buffer), exponent)
        branches = tuple(
            partial(_decode_rest, strides=s, channels=heads.decoder_channels(self)[0], **settings) for s in NUM_STRIDES
        )
        out, moved = switch(strides - min(NUM_STRIDES), branches, None, buffer, rest)
        for layer, norm in enumerate(moved, start=1):
            record_statistics(self, f"layer{layer}_norm", norm)
        return heads.squash(out, self.head, exponent)

    def _linear_layers(self, batch, width_of_features, exponent):
        """A linear layer for every number of doublings."""
        pieces, layers = heads.NUM_PIECES if self.head == "jigsaw" else 1, {}
        declare = partial(weight_layer, self, batch=batch // pieces, bias=True, exponent=exponent)
        for width in NUM_DOUBLINGS:
            shape = (pieces * self.frame.channels * 2**width, self.num_outputs)
            layers[width] = declare(f"linear{width}", shape, used=width_of_features == width)
        return layers

    def _first_layers(self, batch, width_of_features, exponent):
        """The first layer of a decoder and its normalisation, for every number of doublings."""
        channels, layers, norms = heads.decoder_channels(self)[0], {}, {}
        declare = partial(weight_layer, self, batch=batch, bias=True, normalised=self.norm, exponent=exponent)
        for width in NUM_DOUBLINGS:
            name, used = f"first{width}", width_of_features == width
            layers[name] = declare(name, (3, 3, self.frame.channels * 2**width, channels), used=used)
            norms[f"{name}_norm"] = batch_norm_layer(self, f"{name}_norm", channels, used=used)
        return layers, norms


def _classify(buffer, layers, *, form, head, frame, norm, train):
    return apply_layer(layers[form[0]], heads.side_by_side(unpack(buffer, frame.shape(*form)).mean((1, 2)), head)), None


def _decode_first(buffer, layers, norms, *, form, size, head, frame, norm, train):
    name, moved = f"first{form[0]}", dict(norms)
    layer = heads.DecoderLayer(layers[name], norms[f"{name}_norm"])
    x = unpack(buffer, frame.shape(*form))
    out, [moved[f"{name}_norm"]] = heads.decode([layer], x, head, form[1] + 2, norm=norm, train=train)
    return pack(out, size), moved


def _decode_rest(buffer, layers, *, strides, channels, head, frame, norm, train):
    x = unpack(buffer, (*frame.shape(0, strides)[:2], channels))
    return heads.decode(layers, x, head, strides + 2, norm=norm, train=train, start=1)


class TransNAS101MacroNetwork(SearchNetwork):
    """Outputs of images under a skeleton int8[6]: a stem, 4 to 6 modules of residual blocks, a head.

    Images and outputs as in `TransNAS101MicroNetwork`; for images to come out, H and W are multiples of 64.
    Attributes: as there; `cells_per_stage`, blocks of each module.
    """

    space = TRANSNAS101_MACRO
    heads = heads.HEADS

    num_classes: int = 47
    channels: int = 64
    cells_per_stage: int = BLOCKS_PER_MODULE
    head: str = "classification"

    @nn.compact
    def __call__(
        self, images: Float[Array, "N *P H W C"], arch: Int8[Array, " D"], *, train: bool = True
    ) -> Float[Array, "N *h K"]:
        norm = self.norm == "all"
        x = Stem(self.channels, norm, train, name="stem")(merge_pieces(images, self.head))
        frame = Frame(*x.shape[1:])
        blocks = nn.scan(
            Block,
            variable_axes=dict.fromkeys(OF_LAYERS, 0),
            split_rngs={"params": True},
            length=max(NUM_MODULES) * self.cells_per_stage,
        )
        packed = rescaled(pack(x, frame.size), start_exponent(self.keeps_range))
        start = packed, jnp.int32(0), jnp.int32(0)
        kinds = _kinds(arch, self.cells_per_stage)
        (state, width, strides), _ = blocks(frame, norm, train, self.reverse, name="blocks")(start, kinds)
        self.sow("features", "last", state[0][:, None, None, :])
        self.sow("exponent", "last", state[1])
        head = SkeletonHead(
            head=self.head,
            num_outputs=self.num_classes,
            channels=self.channels,
            frame=frame,
            norm=norm,
            train=train,
            reverse=self.reverse,
            name="head",
        )
        return head(state, width, strides)

    def thinnest(self) -> Self:
        """The classifier of two channels (some layers have half) and one block per module, with two classes."""
        return self.clone(channels=2, cells_per_stage=1, num_classes=2, head="classification")

    def example_images(self, params: PyTree) -> Float[Array, "1 *P H W C"]:
        """Zeros of 64 x 64 pixels, or nine such pieces of a puzzle."""
        return example_images(self.head, 64, params)


def _kinds(arch: Int8[Array, " D"], blocks_per_module: int) -> Array:
    """Kind of every block: a module's first does what the module does, the others keep the shape."""
    later = jnp.where(arch > 0, PLAIN, 0)
    return jnp.stack([arch, *[later] * (blocks_per_module - 1)], axis=1).astype(jnp.int32).reshape(-1)
