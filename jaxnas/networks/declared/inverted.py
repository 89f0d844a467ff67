"""The inverted residual block of the MobileNets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxnas.errors import InputError
from jaxnas.networks.activations import GATE, ActivationName, check_activation, hard_sigmoid
from jaxnas.networks.declared.choices import Choice, Width, check_width, choices_among, options_of
from jaxnas.networks.declared.layer import Applied, Layer, Live, OpMode, Tensors
from jaxnas.networks.declared.ops import check_kernel, suffix_of
from jaxnas.networks.declared.step import KernelName, Op, Site
from jaxnas.networks.layers import (
    BatchNorm,
    apply_depthwise,
    apply_depthwise_of_size,
    apply_layer,
    batch_norm_layer,
    weight_layer,
)

Count = TypeVar("Count", int, Array)


class _Taken(NamedTuple):
    """The decisions of one architecture; None where the field is fixed.

    Attributes:
        size: The place of the kernel size among its options.
        expansion: The expansion.
        gated: 1 where there is a gate, else 0.
    """

    size: Int[Array, ""] | None
    expansion: Int[Array, ""] | None
    gated: Int[Array, ""] | None


@dataclass(frozen=True)
class InvertedResidual(Op):
    """Expand by a 1x1 layer, convolve each channel alone, scale channels if wanted, project to `width` channels.

    Normalisation follows the expansion, the depthwise convolution and the projection, and the activation the first two.
    The input is added where the stride is 1 and as many channels come in as go out whatever the architecture:
    `width` is None, or the same number. With an expansion of 1 there is no layer that expands.

    Choices among expansions, sizes and gates are made by masks: the tensors have the largest, layers of 1x1 pixels
    compute the largest expansion, and a gate that may exist is computed. The depthwise convolution computes the chosen
    size alone.

    Attributes:
        expansion: Hidden channels for each that comes in, rounded to whole channels.
        size: k of the depthwise convolution, odd.
        stride: 1 or 2.
        squeeze: Whether channels are scaled by a gate: a mean over pixels, layers to `squeezed` channels and back with
            a ReLU between them, hard sigmoid. A choice is `choice(0, 1)`.
        activation: The function behind the expansion and behind the depthwise convolution; ReLU6 in MobileNetV2.
        squeezed: Channels between the two layers of the gate; None for a quarter of the hidden ones, rounded to a
            multiple of 8, as in MobileNetV3. In MnasNet and EfficientNet they are a quarter of those that come in.

    Raises:
        InputError: A field has no such value.

    Source: Sandler et al. 2018 (arXiv:1801.04381); Howard et al. 2019 (arXiv:1905.02244) for the gate. Expansion and
    size are choices in the space of Cai et al. 2020 (arXiv:1908.09791), the gate too in that of Tan et al. 2019
    (arXiv:1807.11626).
    """

    resizes = True

    width: Width = None
    expansion: float | Choice = 6
    size: int | Choice = 3
    stride: int = 1
    squeeze: bool | Choice = False
    activation: ActivationName = "relu"
    squeezed: int | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        check_width(self.width)
        check_activation(self.activation)
        for size in options_of(self.size):
            check_kernel("InvertedResidual", size, self.stride)
        if min(self._expansions) <= 0:
            raise InputError(f"`expansion` of InvertedResidual must be above 0, got {self.expansion}")
        if not {0, 1}.issuperset(options_of(self.squeeze)):
            raise InputError(f"`squeeze` of InvertedResidual must be True, False or choice(0, 1), got {self.squeeze}")
        if self.squeezed is not None and (self.squeezed < 1 or not self.squeeze):
            raise InputError(
                f"`squeezed` of InvertedResidual must be at least 1, and needs `squeeze`, got {self.squeezed} with "
                f"squeeze={self.squeeze}"
            )

    @property
    def _expansions(self) -> tuple[float, ...]:
        return self.expansion.numbers if isinstance(self.expansion, Choice) else (self.expansion,)

    @property
    def expands(self) -> bool:
        """Whether there may be a layer that expands."""
        return max(self._expansions) != 1

    @property
    def label(self) -> str:
        """The name of the op with its size, expansion and what is not the default: "ir_k3_e6", "ir_k5_e3_se"."""
        gate = "_se" if self.squeeze else ""
        return f"ir_k{self.size}_e{self.expansion:g}{gate}{suffix_of(self.activation)}"

    @property
    def depth(self) -> int:
        """See `Block.depth`."""
        return 1

    @property
    def ends_images(self) -> bool:
        """See `Op.ends_images`."""
        return True

    def choices(self) -> Iterator[Choice]:
        """See `Block.choices`: the width, the size, the expansion, the gate."""
        yield from choices_among(self.width)
        yield from (one.shown("k") for one in choices_among(self.size))
        yield from (one.shown("e") for one in choices_among(self.expansion))
        yield from (one.shown("se") for one in choices_among(self.squeeze))

    def own_kernels(self, name: str) -> Iterator[KernelName]:
        """See `Op.own_kernels`."""
        gate = ("squeeze", "excite") if self.squeeze else ()
        for part in (*(("expand",) if self.expands else ()), "depthwise", *gate, "project"):
            yield KernelName(f"{name}_{part}", None if part == "depthwise" else 1)

    def hidden(self, channels: int, expansion: float) -> int:
        """Return the number of hidden channels for so many that come in."""
        return max(1, round(channels * expansion))

    def between(self, hidden: Count) -> Count | int:
        """Return the number of channels between the two layers of the gate, for so many hidden ones."""
        return squeezed_channels(hidden) if self.squeezed is None else self.squeezed

    def declare(self, site: Site, name: str, width: int, live: Live) -> tuple[Layer, ...]:
        """Declare the kernels "expand", "depthwise", "squeeze", "excite" and "project" and their normalisations."""
        channels, largest = site.x.shape[-1], max(options_of(self.size))
        taken = self._take(site)
        hidden = self.hidden(channels, max(self._expansions))
        inside = self._live_hidden(site, taken.expansion)
        make = _Maker(site, name)
        layers = [make.layer("expand", (1, 1, channels, hidden), site.live, inside)] if self.expands else []
        if layers and taken.expansion is not None and 1 in self._expansions:
            layers[0] = _left_out(layers[0], taken.expansion == 1)
        layers.append(make.layer("depthwise", (largest, largest, 1, hidden), None, inside))
        if taken.size is not None:
            tensors = layers[-1].tensors._replace(pick=taken.size)
            layers[-1] = layers[-1]._replace(tensors=tensors, size=jnp.asarray(options_of(self.size))[taken.size])
        layers = [layer._replace(activation=self.activation) for layer in layers]
        if self.squeeze:
            height, wide = (-(-side // self.stride) for side in site.x.shape[1:3])
            windows = (1.0 * len(site.x) * (height + 1) * (wide + 1)) * (hidden if inside is None else inside)
            squeezed = int(self.between(hidden))
            few = None if inside is None or self.squeezed is not None else squeezed_channels(inside)
            first = make.gate("squeeze", (1, 1, hidden, squeezed), inside, few)
            last = make.gate("excite", (1, 1, squeezed, hidden), few, inside)
            first, last = first._replace(activation="relu", pooled=windows), last._replace(activation=GATE)
            if taken.gated is not None:
                first, last = (_left_out(layer, taken.gated == 0) for layer in (first, last))
            layers += [first, last]
        return (*layers, make.layer("project", (1, 1, hidden, width), inside, live))

    def _take(self, site: Site) -> _Taken:
        """Take the decisions, in the order of `choices`."""
        size = site.decisions.take(self.size.name).astype(jnp.int32) if isinstance(self.size, Choice) else None
        expansion = gated = None
        if isinstance(self.expansion, Choice):
            expansion = jnp.asarray(self.expansion.numbers)[site.decisions.take(self.expansion.name)]
        if isinstance(self.squeeze, Choice):
            gated = jnp.asarray(self.squeeze.numbers)[site.decisions.take(self.squeeze.name)]
        return _Taken(size, expansion, gated)

    def _live_hidden(self, site: Site, expansion: Int[Array, ""] | None) -> Live:
        """Return the number of hidden channels that the architecture has; None for all."""
        if expansion is not None:
            return expansion * (site.x.shape[-1] if site.live is None else site.live)
        if site.live is None:
            return None
        by_number = [self.hidden(number, self._expansions[0]) for number in range(site.x.shape[-1] + 1)]
        return jnp.asarray(by_number)[site.live]

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N H W C"], mode: OpMode) -> Applied:
        """Return the block of x."""
        rest = iter(tensors)
        norms: list[BatchNorm | None] = []
        inner: list[Array] = []

        def finish(of: Tensors, out: Array, activation: ActivationName | None) -> Array:
            out, norm = mode.normalise(of.norm, out)
            norms.append(norm)
            if activation is not None:
                inner.append(out)
            return mode.activate(activation, out)

        out = x
        if self.expands:
            of = next(rest)
            wide = finish(of, apply_layer(of.layer, out), self.activation)
            out = wide if of.pick is None else jnp.where(of.pick == 1, _widened(x, wide.shape[-1]), wide)
        of = next(rest)
        out = finish(of, self._convolve(of, out), self.activation)
        if self.squeeze:
            squeeze, excite = next(rest), next(rest)
            hidden = finish(squeeze, apply_layer(squeeze.layer, out.mean((1, 2), keepdims=True)), "relu")
            gate = finish(excite, apply_layer(excite.layer, hidden), None)
            inner.append(gate)
            factor = hard_sigmoid(gate)
            factor = factor if excite.pick is None else jnp.where(excite.pick == 1, 1.0, factor)
            out = out if mode.keeps_range else out * factor
        of = next(rest)
        out = finish(of, apply_layer(of.layer, out), None)
        if self.adds_input(mode.keeps_width):
            out = mode.dropped(out) + x
        return Applied(out, tuple(norms), tuple(inner))

    def adds_input(self, keeps_width: bool) -> bool:
        """Return whether the input is added, if as many channels come in as go out."""
        return keeps_width and self.stride == 1

    def _convolve(self, of: Tensors, x: Float[Array, "N H W C"]) -> Float[Array, "N h w C"]:
        if of.pick is None:
            return apply_depthwise(of.layer, x, self.stride, dilation=1)
        return apply_depthwise_of_size(of.layer, x, self.stride, options_of(self.size), of.pick)


def _left_out(layer: Layer, is_left_out: Array) -> Layer:
    """Return a layer without outputs where it is left out, which `pick` of its tensors notes by 1."""
    channels = layer.tensors.layer.kernel.shape[-1]
    outputs = jnp.where(is_left_out, 0, channels if layer.outputs is None else layer.outputs)
    pooled = None if layer.pooled is None else layer.pooled * ~is_left_out
    tensors = layer.tensors._replace(pick=is_left_out.astype(jnp.int32))
    return layer._replace(tensors=tensors, outputs=outputs, pooled=pooled)


def _widened(x: Float[Array, "N H W C"], channels: int) -> Float[Array, "N H W c"]:
    """Return x with further channels of zeros."""
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))


class _Maker:
    """Declares the layers of one op."""

    def __init__(self, site: Site, name: str):
        """Keep the place and the name of the op."""
        self._site, self._name = site, name

    def layer(self, part: str, shape: tuple[int, ...], inputs: Live, outputs: Live) -> Layer:
        """Declare a convolution and its normalisation."""
        site, name = self._site, f"{self._name}_{part}"
        layer = weight_layer(site.module, name, shape, batch=len(site.x), normalised=site.norm)
        norm = batch_norm_layer(site.module, f"{name}_norm", shape[-1])
        return Layer(name, Tensors(layer, norm), inputs, outputs)

    def gate(self, part: str, shape: tuple[int, ...], inputs: Live, outputs: Live) -> Layer:
        """Declare a layer of 1x1 pixels with a bias, without normalisation."""
        name = f"{self._name}_{part}"
        layer = weight_layer(self._site.module, name, shape, batch=len(self._site.x), bias=True)
        return Layer(name, Tensors(layer), inputs, outputs)


def squeezed_channels(hidden: Count) -> Count:
    """Return the channels between the two layers of a gate."""
    return multiple_of_eight(hidden // 4)


def multiple_of_eight(number: Count) -> Count:
    """Return the nearest multiple of 8 that is at least 8 and at least 90 % of the number, as MobileNets round."""
    rounded = (number + 4) // 8 * 8
    rounded = rounded + 8 * (rounded < 8)
    result: Count = rounded + 8 * (10 * rounded < 9 * number)
    return result
