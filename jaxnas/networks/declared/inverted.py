"""The inverted residual block of the MobileNets."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import jax.numpy as jnp
from jaxtyping import Array, Float

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


@dataclass(frozen=True)
class InvertedResidual(Op):
    """Expand by a 1x1 layer, convolve each channel alone, scale channels if wanted, project to `width` channels.

    Normalisation follows the expansion, the depthwise convolution and the projection, and the activation the first two.
    The input is added where the stride is 1 and as many channels come in as go out whatever the architecture:
    `width` is None, or the same number. With an expansion fixed at 1 there is no layer that expands.

    Choices among expansions and sizes are made by masks: the tensors have the largest, and layers of 1x1 pixels compute
    the largest expansion. The depthwise convolution computes the chosen size alone.

    Attributes:
        expansion: Hidden channels for each that comes in, rounded to whole channels.
        size: k of the depthwise convolution, odd.
        stride: 1 or 2.
        squeeze: Whether channels are scaled by a gate: a mean over pixels, layers to a quarter of the channels (rounded
            to a multiple of 8) and back with a ReLU between them, hard sigmoid.
        activation: The function behind the expansion and behind the depthwise convolution; ReLU6 in MobileNetV2.

    Source: Sandler et al. 2018 (arXiv:1801.04381); Howard et al. 2019 (arXiv:1905.02244) for the gate. Expansion and
    size are choices in the space of Cai et al. 2020 (arXiv:1908.09791).
    """

    resizes = True

    width: Width = None
    expansion: float | Choice = 6
    size: int | Choice = 3
    stride: int = 1
    squeeze: bool = False
    activation: ActivationName = "relu"

    def __post_init__(self) -> None:
        """Check the fields."""
        check_width(self.width)
        check_activation(self.activation)
        for size in options_of(self.size):
            check_kernel("InvertedResidual", size, self.stride)
        if min(self._expansions) <= 0:
            raise InputError(f"`expansion` of InvertedResidual must be above 0, got {self.expansion}")

    @property
    def _expansions(self) -> tuple[float, ...]:
        return self.expansion.numbers if isinstance(self.expansion, Choice) else (self.expansion,)

    @property
    def expands(self) -> bool:
        """Whether there is a layer that expands."""
        return self.expansion != 1

    @property
    def label(self) -> str:
        """The name of the op with its size, expansion and what is not the default: "ir_k3_e6", "ir_k5_e3_se"."""
        gate = "_se" if self.squeeze else ""
        return f"ir_k{self.size}_e{self.expansion:g}{gate}{suffix_of(self.activation)}"

    @property
    def ends_images(self) -> bool:
        """See `Op.ends_images`."""
        return True

    def choices(self) -> Iterator[Choice]:
        """See `Block.choices`: the width, the size, the expansion."""
        yield from choices_among(self.width)
        yield from (one.shown("k") for one in choices_among(self.size))
        yield from (one.shown("e") for one in choices_among(self.expansion))

    def own_kernels(self, name: str) -> Iterator[KernelName]:
        """See `Op.own_kernels`."""
        gate = ("squeeze", "excite") if self.squeeze else ()
        for part in (*(("expand",) if self.expands else ()), "depthwise", *gate, "project"):
            yield KernelName(f"{name}_{part}", None if part == "depthwise" else 1)

    def hidden(self, channels: int, expansion: float) -> int:
        """Return the number of hidden channels for so many that come in."""
        return max(1, round(channels * expansion))

    def declare(self, site: Site, name: str, width: int, live: Live) -> tuple[Layer, ...]:
        """Declare the kernels "expand", "depthwise", "squeeze", "excite" and "project" and their normalisations."""
        channels, largest = site.x.shape[-1], max(options_of(self.size))
        size = pick = None
        if isinstance(self.size, Choice):
            pick = site.decisions.take(self.size.name).astype(jnp.int32)
            size = jnp.asarray(self.size.numbers)[pick]
        hidden = self.hidden(channels, max(self._expansions))
        inside = self._live_hidden(site)
        make = _Maker(site, name)
        layers = [make.layer("expand", (1, 1, channels, hidden), site.live, inside)] if self.expands else []
        layers.append(make.layer("depthwise", (largest, largest, 1, hidden), None, inside))
        tensors = layers[-1].tensors._replace(pick=pick)
        layers[-1] = layers[-1]._replace(tensors=tensors, size=size)
        layers = [layer._replace(activation=self.activation) for layer in layers]
        if self.squeeze:
            squeezed, few = squeezed_channels(hidden), None if inside is None else squeezed_channels(inside)
            height, wide = (-(-side // self.stride) for side in site.x.shape[1:3])
            windows = (1.0 * len(site.x) * (height + 1) * (wide + 1)) * (hidden if inside is None else inside)
            first = make.gate("squeeze", (1, 1, hidden, squeezed), inside, few)
            layers.append(first._replace(activation="relu", pooled=windows))
            layers.append(make.gate("excite", (1, 1, squeezed, hidden), few, inside)._replace(activation=GATE))
        return (*layers, make.layer("project", (1, 1, hidden, width), inside, live))

    def _live_hidden(self, site: Site) -> Live:
        """Return the number of hidden channels that the architecture has; None for all."""
        if isinstance(self.expansion, Choice):
            chosen = jnp.asarray(self.expansion.numbers)[site.decisions.take(self.expansion.name)]
            return chosen * (site.x.shape[-1] if site.live is None else site.live)
        if site.live is None:
            return None
        by_number = [self.hidden(number, self.expansion) for number in range(site.x.shape[-1] + 1)]
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
            out = finish(of, apply_layer(of.layer, out), self.activation)
        of = next(rest)
        out = finish(of, self._convolve(of, out), self.activation)
        if self.squeeze:
            squeeze, excite = next(rest), next(rest)
            hidden = finish(squeeze, apply_layer(squeeze.layer, out.mean((1, 2), keepdims=True)), "relu")
            gate = finish(excite, apply_layer(excite.layer, hidden), None)
            inner.append(gate)
            out = out if mode.keeps_range else out * hard_sigmoid(gate)
        of = next(rest)
        out = finish(of, apply_layer(of.layer, out), None)
        return Applied(out + x if self.adds_input(mode.keeps_width) else out, tuple(norms), tuple(inner))

    def adds_input(self, keeps_width: bool) -> bool:
        """Return whether the input is added, if as many channels come in as go out."""
        return keeps_width and self.stride == 1

    def _convolve(self, of: Tensors, x: Float[Array, "N H W C"]) -> Float[Array, "N h w C"]:
        if of.pick is None:
            return apply_depthwise(of.layer, x, self.stride, dilation=1)
        return apply_depthwise_of_size(of.layer, x, self.stride, options_of(self.size), of.pick)


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
