"""Ops of tokens: patches of images, layer normalisation, and what becomes of the tokens in the end.

Tokens are an image of one row, [N 1 L C]: all that holds for pixels holds for them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxnas.errors import InputError
from jaxnas.networks.declared.choices import Choice, Width, check_width, choices_among
from jaxnas.networks.declared.layer import Applied, Layer, Live, OpMode, Tensors
from jaxnas.networks.declared.step import KernelName, Op, Site
from jaxnas.networks.layers import SMALL_DEVIATION, apply_layer, in_units, weight_layer
from jaxnas.networks.taps import counted, declare_tap, find_variable

LAYER_NORM_EPSILON = 1e-6


@dataclass(frozen=True)
class PatchEmbed(Op):
    """Cut images into squares, map each to a token of `width` channels, and add a learned position to each.

    Attributes:
        size: Side of the squares in pixels; it must divide both sides of the images.
        class_token: Whether a learned token, with a position of its own, comes first.

    Source: Dosovitskiy et al. 2021 (arXiv:2010.11929).
    """

    resizes = True

    width: Width = None
    size: int = 16
    class_token: bool = True

    def __post_init__(self) -> None:
        """Check the fields."""
        check_width(self.width)
        if self.size < 1:
            raise InputError(f"`size` of PatchEmbed must be at least 1, got {self.size}")

    @property
    def label(self) -> str:
        """The name of the op with its size: "patch16"."""
        return f"patch{self.size}"

    @property
    def ends_images(self) -> bool:
        """See `Op.ends_images`."""
        return True

    def choices(self) -> Iterator[Choice]:
        """See `Block.choices`."""
        return choices_among(self.width)

    def own_kernels(self, name: str) -> Iterator[KernelName]:
        """See `Op.own_kernels`."""
        yield KernelName(name, kind="patches")

    def sides(self, name: str, shapes: dict[str, tuple[int, ...]]) -> tuple[int, int] | None:
        """See `Block.sides`."""
        height, width, _ = shapes[f"{name}_position_bias"]
        return height * self.size, width * self.size

    def declare(self, site: Site, name: str, width: int, live: Live) -> tuple[Layer, ...]:
        """Declare a kernel [p p C width], a bias, positions [H/p W/p width], and the class token and its position.

        Raises:
            InputError: The size does not divide the sides of the images, or they are others than the positions have.
        """
        height, wide, channels = site.x.shape[1:]
        if height % self.size or wide % self.size:
            raise InputError(
                f"PatchEmbed of size {self.size} takes images of sides that it divides, got {height}, {wide}"
            )
        layer = weight_layer(
            site.module,
            name,
            (self.size, self.size, channels, width),
            batch=len(site.x),
            bias=True,
            exponent=site.exponent,
        )
        shapes: dict[str, tuple[int, ...]] = {f"{name}_position_bias": (height // self.size, wide // self.size, width)}
        if self.class_token:
            shapes |= {f"{name}_class_bias": (width,), f"{name}_class_position_bias": (width,)}
        vectors = tuple(in_units(vector_param(site, path, shape), site.exponent) for path, shape in shapes.items())
        return (Layer(name, Tensors(layer, vectors=vectors), None, live, vectors=tuple(shapes)),)

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N H W C"], mode: OpMode) -> Applied:
        """Return the tokens."""
        (of,) = tensors
        layer, (positions, *of_class) = of.layer, of.vectors
        n, height, wide, channels = x.shape
        p = self.size
        squares = x.reshape(n, height // p, p, wide // p, p, channels).transpose(0, 1, 3, 2, 4, 5)
        flat = layer._replace(kernel=layer.kernel.reshape(1, 1, p * p * channels, -1))
        tokens = apply_layer(flat, squares.reshape(n, 1, -1, p * p * channels))
        tokens = tokens + positions.reshape(1, 1, -1, positions.shape[-1])
        if of_class:
            first = jnp.broadcast_to(of_class[0] + of_class[1], (n, 1, 1, tokens.shape[-1]))
            tokens = jnp.concatenate([first, tokens], axis=2)
        return Applied(tokens, (None,))


@dataclass(frozen=True)
class ClassToken(Op):
    """The first token alone, as an image of one pixel."""

    label = "class"

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N 1 L C"], mode: OpMode) -> Applied:
        """Return the token."""
        return Applied(x[:, :, :1])


@dataclass(frozen=True)
class PatchMean(Op):
    """The mean over all tokens but the first, as an image of one pixel; `GlobalAverage` has the first too."""

    label = "patchmean"

    def pooled(self, height: int, width: int) -> float:
        """See `Op.pooled`."""
        return 1.0 * (width - 1)

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N 1 L C"], mode: OpMode) -> Applied:
        """Return the mean."""
        return Applied(x[:, :, 1:].mean(2, keepdims=True))


@dataclass(frozen=True)
class LayerNorm(Op):
    """Normalise each token by mean and variance over its channels: (x - mean) / sqrt(variance + 1e-6) gamma + beta.

    Channels that an architecture does not have do not count.

    Source: Ba et al. 2016 (arXiv:1607.06450), with the epsilon of ViT.
    """

    label = "layernorm"
    is_homogeneous = False

    def declare(self, site: Site, name: str, width: int, live: Live) -> tuple[Layer, ...]:
        """Declare gamma and beta [C]."""
        super().declare(site, name, width, live)
        path = f"{name}_norm"
        declare_tap(site.module, "places", path, ())
        gamma = jnp.asarray(site.module.param(f"{path}_gamma", jax.nn.initializers.ones, (width,)))
        beta = jnp.asarray(site.module.param(f"{path}_beta", jax.nn.initializers.zeros, (width,)))
        places = find_variable(site.module, "places", path)
        tensors = Tensors(None, vectors=(gamma, beta), live=live, places=places)
        return (Layer(path, tensors, None, live, vectors=(f"{path}_gamma", f"{path}_beta")),)

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N H W C"], mode: OpMode) -> Applied:
        """Return the normalised features."""
        (of,) = tensors
        gamma, beta = of.vectors
        if of.places is not None:
            x = counted(x, of.places)
        out = _standardize(mode.true(x), of.live) * gamma[None, None, None] + beta[None, None, None]
        return Applied(mode.in_units(out), (None,))


def vector_param(site: Site, path: str, shape: tuple[int, ...]) -> Array:
    """Declare a tensor that is no kernel, from N(0, 0.02^2).

    Raises:
        InputError: The network has it in another shape.
    """
    given = find_variable(site.module, "params", path)
    if given is not None and given.shape != shape:
        raise InputError(
            f"{path} has shape {given.shape}, but these images need {shape}: give images of the first size"
        )
    return jnp.asarray(site.module.param(path, jax.nn.initializers.normal(SMALL_DEVIATION), shape))


def among_first(x: Array, count: Array, axis: int) -> Bool[Array, "..."]:
    """Return which places along an axis of x are among the first `count`, in the number of axes of x."""
    axes = [1] * x.ndim
    axes[axis] = -1
    return (jnp.arange(x.shape[axis]) < count).reshape(axes)


def _standardize(x: Float[Array, "N H W C"], count: Live) -> Float[Array, "N H W C"]:
    """Return (x - mean) / sqrt(variance + 1e-6) over the first `count` channels, 0 in others; None for all."""
    if count is None:
        centred = x - x.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
    else:
        kept = among_first(x, count, 3)  # of x too, whose other channels are 0 but would have a gradient
        centred = jnp.where(kept, x - jnp.where(kept, x, 0).sum(-1, keepdims=True) / count, 0)
        variance = jnp.square(centred).sum(-1, keepdims=True) / count
    return centred * jax.lax.rsqrt(variance + LAYER_NORM_EPSILON)
