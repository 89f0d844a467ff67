"""Ops of declared networks with at most one layer."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.errors import InputError
from jaxnas.networks.activations import ActivationName, check_activation
from jaxnas.networks.declared.choices import Choice, Width, check_width, choices_among
from jaxnas.networks.declared.layer import Applied, Layer, Live, OpMode, Tensors
from jaxnas.networks.declared.step import KernelName, Op, Site
from jaxnas.networks.kernels.pools import average_pool_3x3, max_pool_3x3
from jaxnas.networks.layers import WeightLayer, apply_depthwise, apply_layer, batch_norm_layer, weight_layer


@dataclass(frozen=True)
class Skip(Op):
    """The identity."""

    label = "skip"

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N H W C"], mode: OpMode) -> Applied:
        """Return x."""
        return Applied(x)


@dataclass(frozen=True)
class Zero(Op):
    """An op that gives zeros."""

    label = "zero"

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N H W C"], mode: OpMode) -> Applied:
        """Return zeros of the shape of x."""
        return Applied(jnp.zeros_like(x))


@dataclass(frozen=True)
class Pool(Op):
    """Average or maximum of the 3x3 neighbourhood, stride 1."""

    kind: Literal["avg", "max"] = "avg"

    @property
    def label(self) -> str:
        """The name of the op: "avgpool" or "maxpool"."""
        return f"{self.kind}pool"

    def pooled(self, height: int, width: int) -> float:
        """See `Op.pooled`."""
        return 9.0 * height * width

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N H W C"], mode: OpMode) -> Applied:
        """Return the pooled features."""
        return Applied((average_pool_3x3 if self.kind == "avg" else max_pool_3x3)(x))


@dataclass(frozen=True)
class GlobalAverage(Op):
    """The mean over all pixels, as an image of one pixel, which `Dense` takes."""

    label = "mean"

    def pooled(self, height: int, width: int) -> float:
        """See `Op.pooled`; the window is that of `jaxnas.networks.layers.global_average`."""
        return 1.0 * (height + 1) * (width + 1)

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N H W C"], mode: OpMode) -> Applied:
        """Return the means [N 1 1 C]."""
        return Applied(x.mean((1, 2), keepdims=True))


@dataclass(frozen=True)
class Activation(Op):
    """An activation function alone, for networks with normalisation before it: Conv(activation=None), Activation()."""

    always_leads = True

    kind: ActivationName = "relu"

    def __post_init__(self) -> None:
        """Check the name."""
        check_activation(self.kind)

    @property
    def label(self) -> str:
        """The name of the op: that of the function."""
        return self.kind

    @property
    def leading(self) -> ActivationName:
        """See `Op.leading`."""
        return self.kind

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N H W C"], mode: OpMode) -> Applied:
        """Return the function of x."""
        return Applied(mode.activate(self.kind, x))


class _Kernel(Op):
    """An op of an activation, one kernel and a normalisation, if it has one."""

    activation: ActivationName | None

    @property
    def leading(self) -> ActivationName | None:
        """See `Op.leading`."""
        return self.activation

    @property
    def ends_images(self) -> bool:
        """See `Op.ends_images`."""
        return True

    def own_kernels(self, name: str) -> Iterator[KernelName]:
        """See `Op.own_kernels`."""
        yield KernelName(name)

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N H W C"], mode: OpMode) -> Applied:
        """Return the normalised layer of x."""
        (of,) = tensors
        out, norm = mode.normalise(of.norm, self.convolve(of.layer, mode.lead(self.activation, x)))
        return Applied(out, (norm,))

    @abstractmethod
    def convolve(self, layer: WeightLayer, x: Float[Array, "N H W C"]) -> Float[Array, "N h w O"]:
        """Return the layer alone."""


@dataclass(frozen=True)
class Conv(_Kernel):
    """ReLU, convolution to `width` channels, normalisation; without the ReLU where images come in.

    Attributes:
        size: k, odd.
        stride: 1 or 2.
        groups: Groups of channels that are convolved apart; more than 1 need fixed widths, which they divide.
        activation: The function in place of the ReLU; None for none.
        rows: Rows of the kernel: None for k, or 1, as for sequences, which are images of one row.
    """

    resizes = True

    width: Width = None
    size: int = 3
    stride: int = 1
    groups: int = 1
    activation: ActivationName | None = "relu"
    rows: Literal[1] | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        check_width(self.width)
        check_kernel("Conv", self.size, self.stride, self.rows)
        check_activation(self.activation)
        if self.groups < 1 or (self.groups > 1 and isinstance(self.width, Choice)):
            raise InputError(f"Conv of {self.groups} groups and width {self.width}: give at least 1, or a fixed width")

    @property
    def label(self) -> str:
        """The name of the op with its size and what is not the default: "conv3", "conv3_g4", "conv1x3"."""
        groups = f"_g{self.groups}" if self.groups > 1 else ""
        return f"conv{size_name(self.size, self.rows)}{groups}{suffix_of(self.activation)}"

    def choices(self) -> Iterator[Choice]:
        """See `Block.choices`."""
        return choices_among(self.width)

    def own_kernels(self, name: str) -> Iterator[KernelName]:
        """See `Op.own_kernels`."""
        yield KernelName(name, self.groups)

    def declare(self, site: Site, name: str, width: int, live: Live) -> tuple[Layer, ...]:
        """Declare a kernel [rows k C/groups width] and its normalisation.

        Raises:
            InputError: The groups do not divide the channels, or these are a choice.
        """
        channels = site.x.shape[-1]
        if channels % self.groups or width % self.groups:
            raise InputError(f"{self.label} of {channels} channels to {width}: groups must divide both")
        if self.groups > 1 and (site.live is not None or live is not None):
            raise InputError(f"{self.label} takes fixed widths: a choice of channels would cut its groups")
        shape = (self.rows or self.size, self.size, channels // self.groups, width)
        layer = weight_layer(site.module, name, shape, batch=len(site.x), normalised=site.norm)
        norm = batch_norm_layer(site.module, f"{name}_norm", width)
        return (Layer(name, Tensors(layer, norm), site.live, live),)

    def convolve(self, layer: WeightLayer, x: Float[Array, "N H W C"]) -> Float[Array, "N h w O"]:
        """See `_Kernel.convolve`."""
        return apply_layer(layer, x, self.stride, self.groups)


@dataclass(frozen=True)
class Depthwise(_Kernel):
    """ReLU, a kernel for each channel alone, normalisation; without the ReLU where images come in.

    Attributes:
        size: k, odd.
        stride: 1 or 2.
        activation: The function in place of the ReLU; None for none.
        rows: See `Conv`.
    """

    size: int = 3
    stride: int = 1
    activation: ActivationName | None = "relu"
    rows: Literal[1] | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        check_kernel("Depthwise", self.size, self.stride, self.rows)
        check_activation(self.activation)

    @property
    def label(self) -> str:
        """The name of the op with its size: "depthwise3", "depthwise1x3"."""
        return f"depthwise{size_name(self.size, self.rows)}{suffix_of(self.activation)}"

    def own_kernels(self, name: str) -> Iterator[KernelName]:
        """See `Op.own_kernels`."""
        yield KernelName(name, groups=None)

    def declare(self, site: Site, name: str, width: int, live: Live) -> tuple[Layer, ...]:
        """Declare a kernel [rows k 1 C] and its normalisation."""
        super().declare(site, name, width, live)
        shape = (self.rows or self.size, self.size, 1, width)
        layer = weight_layer(site.module, name, shape, batch=len(site.x), normalised=site.norm)
        return (Layer(name, Tensors(layer, batch_norm_layer(site.module, f"{name}_norm", width)), None, live),)

    def convolve(self, layer: WeightLayer, x: Float[Array, "N H W C"]) -> Float[Array, "N h w C"]:
        """See `_Kernel.convolve`."""
        return apply_depthwise(layer, x, self.stride, dilation=1)


@dataclass(frozen=True)
class Dense(_Kernel):
    """ReLU, linear layer with a bias to `width` channels, on features [N 1 1 C].

    The ReLU is left out where the features come in.

    Attributes:
        activation: The function in place of the ReLU; None for none.
    """

    resizes = True

    width: Width = None
    activation: ActivationName | None = "relu"

    def __post_init__(self) -> None:
        """Check the fields."""
        check_width(self.width)
        check_activation(self.activation)

    @property
    def label(self) -> str:
        """The name of the op: "dense"."""
        return f"dense{suffix_of(self.activation)}"

    def choices(self) -> Iterator[Choice]:
        """See `Block.choices`."""
        return choices_among(self.width)

    def declare(self, site: Site, name: str, width: int, live: Live) -> tuple[Layer, ...]:
        """Declare a kernel [C width] and a bias.

        Raises:
            InputError: The features have more than one pixel.
        """
        if site.x.shape[1:3] != (1, 1):
            raise InputError(f"Dense takes features, not {site.x.shape[1]} x {site.x.shape[2]} pixels: use Conv")
        shape = (site.x.shape[-1], width)
        layer = weight_layer(site.module, name, shape, batch=len(site.x), bias=True, exponent=site.exponent)
        return (Layer(name, Tensors(layer), site.live, live),)

    def convolve(self, layer: WeightLayer, x: Float[Array, "N 1 1 C"]) -> Float[Array, "N 1 1 O"]:
        """See `_Kernel.convolve`."""
        return apply_layer(layer, x[:, 0, 0])[:, None, None]


def check_kernel(block: str, size: int, stride: int, rows: int | None = None) -> None:
    """Raise an InputError for a size, a stride or rows that kernels do not have."""
    if size < 1 or size % 2 == 0 or stride not in (1, 2):
        raise InputError(f"{block} of size {size} and stride {stride}: give an odd size, and stride 1 or 2")
    if rows not in (None, 1):
        raise InputError(f"{block} of {rows!r} rows: give 1, or None for as many as columns")


def size_name(size: int, rows: int | None) -> str:
    """Return the size of a kernel in the label of an op."""
    return f"{size}" if rows is None else f"{rows}x{size}"


def suffix_of(activation: ActivationName | None) -> str:
    """Return the end of the label of an op with this activation, where it is not the ReLU."""
    return "" if activation == "relu" else f"_{activation or 'linear'}"
