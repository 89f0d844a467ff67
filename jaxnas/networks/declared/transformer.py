"""The two ops of a block of a vision transformer: attention, and layers of each token alone.

A block is `Residual(LayerNorm(), Attention())` and `Residual(LayerNorm(), Mlp())`. Softmax is not homogeneous, so that
a network that keeps its range (`jaxnas.networks.network.SearchNetwork.keeps_range`) computes it, and the activation, as
they are.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32

from jaxnas.errors import InputError
from jaxnas.networks.activations import ACTIVATIONS, ActivationName, check_activation
from jaxnas.networks.declared.choices import Choice, choices_among, options_of, values_of
from jaxnas.networks.declared.layer import Applied, Layer, Live, OpMode, Tensors
from jaxnas.networks.declared.step import KernelName, Op, Site
from jaxnas.networks.declared.tokens import among_first, vector_param
from jaxnas.networks.layers import apply_layer, weight_layer


@dataclass(frozen=True)
class Attention(Op):
    """Self-attention of several heads over all pixels: softmax(q k' / sqrt(head width)) v, and a layer back.

    A choice of heads is made by masks: the tensors have the most, and the first are used. The kernel "qkv" has the
    outputs q1 k1 v1 q2 k2 v2 ..., so that those of fewer heads come first.

    Attributes:
        heads: The number of heads.
        head_width: Channels of each head, which do not depend on those that come in.
        relative: The largest distance of learned relative positions, clipped there, along rows and along columns, which
            the first token does not have; 0 for none. Tokens are then those of a square image after the first.

    Source: Vaswani et al. 2017 (arXiv:1706.03762); choices of heads and relative positions as in Chen et al. 2021
    (arXiv:2107.00651).
    """

    is_homogeneous = False

    heads: int | Choice = 3
    head_width: int = 64
    relative: int = 0

    def __post_init__(self) -> None:
        """Check the fields."""
        if min(*options_of(self.heads), self.head_width) < 1 or self.relative < 0:
            raise InputError(
                f"Attention must have at least 1 head and channel, got {self.heads} of {self.head_width}, "
                f"and relative positions from 0 on, got {self.relative}"
            )

    @property
    def label(self) -> str:
        """The name of the op with its heads: "attention3"."""
        return f"attention{self.heads}"

    def choices(self) -> Iterator[Choice]:
        """See `Block.choices`: the heads."""
        yield from (one.shown("h") for one in choices_among(self.heads))

    def own_kernels(self, name: str) -> Iterator[KernelName]:
        """See `Op.own_kernels`."""
        yield from (KernelName(f"{name}_{part}", kind="attention") for part in ("qkv", "project"))

    def table_names(self, name: str) -> tuple[str, ...]:
        """Return the names of the tables of relative positions: of keys and of values, along rows and columns."""
        return tuple(f"{name}_{kind}_{axis}_bias" for kind in ("key", "value") for axis in ("rows", "columns"))

    def declare(self, site: Site, name: str, width: int, live: Live) -> tuple[Layer, ...]:
        """Declare the kernels "qkv" and "project" with biases, and tables of relative positions [2 relative + 2 d].

        Raises:
            InputError: Positions are relative, and the tokens after the first are not those of a square image.
        """
        super().declare(site, name, width, live)
        inner, heads, used = max(options_of(self.heads)) * self.head_width, None, None
        if isinstance(self.heads, Choice):
            heads = jnp.asarray(self.heads.numbers)[site.decisions.take(self.heads.name)]
            used = heads * self.head_width
        tokens = site.x.shape[1] * site.x.shape[2]
        if self.relative and math.isqrt(tokens - 1) ** 2 != tokens - 1:
            raise InputError(
                f"Attention with relative positions takes one token and a square image, got {tokens} tokens"
            )
        products = 2.0 * len(site.x) * tokens**2 * (inner if used is None else used)
        qkv = _layer(site, f"{name}_qkv", (width, 3 * inner), live, None if used is None else 3 * used)
        project = _layer(site, f"{name}_project", (inner, width), used, live)._replace(pooled=products)
        if self.relative:
            paths = self.table_names(name)
            tables = tuple(vector_param(site, path, (2 * self.relative + 2, self.head_width)) for path in paths)
            qkv = qkv._replace(tensors=qkv.tensors._replace(vectors=tables, live=heads), vectors=paths)
        return qkv, project

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N H W C"], mode: OpMode) -> Applied:
        """Return the attention."""
        qkv, project = tensors
        n, height, wide, _ = x.shape
        parts = apply_layer(qkv.layer, x).reshape(n, height * wide, -1, self.head_width, 3)
        q, k, v = mode.true(parts[..., 0]), mode.true(parts[..., 1]), parts[..., 2]
        logits = jnp.einsum("nqhd,nkhd->nhqk", q, k)
        if self.relative:
            keys, values = (self._relative(qkv.vectors[start : start + 2], height * wide) for start in (0, 2))
            logits = logits + jnp.einsum("nqhd,qkd->nhqk", q, keys)
        weights = jax.nn.softmax(logits * self.head_width**-0.5, axis=-1)
        out = jnp.einsum("nhqk,nkhd->nqhd", weights, v)
        if self.relative:
            moved = mode.in_units(jnp.einsum("nhqk,qkd->nqhd", weights, values))
            out = out + (moved if qkv.live is None else jnp.where(among_first(moved, qkv.live, 2), moved, 0))
        return Applied(apply_layer(project.layer, out.reshape(n, height, wide, -1)), (None, None))

    def _relative(self, tables: tuple[Array, ...], tokens: int) -> Float[Array, "L L d"]:
        """Return the sum of the entries of two tables, for rows and columns, between each two tokens."""
        rows, columns = (
            table[place] for table, place in zip(tables, relative_places(tokens, self.relative), strict=True)
        )
        return rows + columns


@dataclass(frozen=True)
class Mlp(Op):
    """Two layers of each pixel alone, with an activation between them.

    A choice of ratios is made by masks: the tensors have the most hidden channels, and the first are used.

    Attributes:
        ratio: Hidden channels for each that comes in, rounded down to whole channels.
        activation: The function between the layers; of gelu the exact form.
    """

    ratio: float | Choice = 4
    activation: ActivationName = "gelu"

    def __post_init__(self) -> None:
        """Check the fields."""
        check_activation(self.activation)
        if min(values_of(self.ratio)) <= 0:
            raise InputError(f"`ratio` of Mlp must be above 0, got {self.ratio}")

    @property
    def label(self) -> str:
        """The name of the op with its ratio, and its activation if it is not the default: "mlp4"."""
        return f"mlp{self.ratio}{'' if self.activation == 'gelu' else '_' + self.activation}"

    @property
    def ends_images(self) -> bool:
        """See `Op.ends_images`."""
        return True

    def choices(self) -> Iterator[Choice]:
        """See `Block.choices`: the ratio."""
        yield from (one.shown("r") for one in choices_among(self.ratio))

    def own_kernels(self, name: str) -> Iterator[KernelName]:
        """See `Op.own_kernels`."""
        yield from (KernelName(f"{name}_{part}") for part in ("expand", "project"))

    def hidden(self, channels: int, ratio: float) -> int:
        """Return the number of hidden channels for so many that come in."""
        return max(1, int(channels * ratio))

    def declare(self, site: Site, name: str, width: int, live: Live) -> tuple[Layer, ...]:
        """Declare the kernels "expand" and "project" with biases."""
        super().declare(site, name, width, live)
        ratios, used = values_of(self.ratio), None
        if isinstance(self.ratio, Choice) or live is not None:
            by_number = jnp.array([[self.hidden(number, ratio) for ratio in ratios] for number in range(width + 1)])
            pick = site.decisions.take(self.ratio.name) if isinstance(self.ratio, Choice) else 0
            used = by_number[width if live is None else live, pick]
        hidden = self.hidden(width, max(ratios))
        expand = _layer(site, f"{name}_expand", (width, hidden), live, used)._replace(activation=self.activation)
        return expand, _layer(site, f"{name}_project", (hidden, width), used, live)

    def apply(self, tensors: tuple[Tensors, ...], x: Float[Array, "N H W C"], mode: OpMode) -> Applied:
        """Return the output of the second layer."""
        expand, project = tensors
        hidden = mode.true(apply_layer(expand.layer, x))
        out = apply_layer(project.layer, mode.in_units(ACTIVATIONS[self.activation](hidden)))
        return Applied(out, (None, None), (hidden,))


def relative_places(tokens: int, largest: int) -> Int32[np.ndarray, "2 L L"]:
    """Return the entries of the tables of rows and of columns for each query and key.

    They are 0 with the first token, else 1 + `largest` + the clipped distance in a square image of the other tokens.
    """
    side = math.isqrt(tokens - 1)
    along = np.stack(np.divmod(np.arange(tokens - 1, dtype=np.int32), side))
    distances = np.clip(along[:, None, :] - along[:, :, None], -largest, largest)
    return np.pad(distances + largest + 1, ((0, 0), (1, 0), (1, 0)))


def _layer(site: Site, path: str, shape: tuple[int, int], inputs: Live, outputs: Live) -> Layer:
    """Declare a layer of each pixel alone, with a bias, as vision transformers draw it."""
    layer = weight_layer(
        site.module, path, (1, 1, *shape), batch=len(site.x), bias=True, draw="small", exponent=site.exponent
    )
    return Layer(path, Tensors(layer), inputs, outputs, rescales=False)
