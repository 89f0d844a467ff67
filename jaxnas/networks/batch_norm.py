"""Batch normalisation: declared with its parameters and statistics, and applied as a pure function.

Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), with the epsilon, the momentum and the running unbiased variance of
PyTorch.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxnas.networks.kernels.standardize import standardize
from jaxnas.networks.taps import Mask, counted, declare_tap, declare_use, find_variable, per_channel

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.1


class BatchNorm(NamedTuple):
    """Parameters, running statistics and tap of one normalisation; leading axes stack several.

    Attributes:
        gamma: Factors [..., C], or None without affine parameters.
        beta: Offsets [..., C], or None.
        mean: Running means [..., C], or None where the caller passed no statistics.
        variance: Running variances [..., C], or None.
        places: The tap [...], or None.
    """

    gamma: Array | None
    beta: Array | None
    mean: Array | None
    variance: Array | None
    places: Array | None = None


def batch_norm_layer(
    module: nn.Module,
    name: str,
    channels: int,
    *,
    stack: tuple[int, ...] = (),
    affine: bool = True,
    used: Mask = True,
) -> BatchNorm:
    """Declare in `module` one batch normalisation, or a stack of them; gamma starts at 1 and beta at 0.

    Args:
        module: The flax module that owns the parameters.
        name: Parameters and statistics are called `{name}_gamma`, `{name}_mean` and so on.
        channels: C.
        stack: Axes in front that stack several normalisations.
        affine: Whether gamma and beta exist.
        used: Whether the architecture uses the normalisation, or a mask with the shape of `stack`.
    """
    shape = (*stack, channels)
    if module.is_initializing():
        module.variable("batch_stats", f"{name}_mean", nn.initializers.zeros, None, shape)
        module.variable("batch_stats", f"{name}_variance", nn.initializers.ones, None, shape)
    declare_tap(module, "places", name, stack)
    if affine:
        declare_use(module, (f"{name}_gamma", f"{name}_beta"), used)
    return BatchNorm(
        jnp.asarray(module.param(f"{name}_gamma", nn.initializers.ones, shape)) if affine else None,
        jnp.asarray(module.param(f"{name}_beta", nn.initializers.zeros, shape)) if affine else None,
        find_variable(module, "batch_stats", f"{name}_mean"),
        find_variable(module, "batch_stats", f"{name}_variance"),
        find_variable(module, "places", name),
    )


def apply_batch_norm(
    norm: BatchNorm,
    x: Float[Array, "N H W C"],
    *,
    train: bool,
    chosen: Bool[Array, ""] | None = None,
    fused: bool = False,
) -> tuple[Float[Array, "N H W C"], BatchNorm]:
    """Return gamma (x - mean) / sqrt(variance + 1e-5) + beta, and the layer with its new running statistics.

    With `train`, mean and (biased) variance are those of x over images and pixels, and the running ones move a tenth of
    the way to them (to the unbiased variance, as in PyTorch). Without, the running ones are used and kept.

    Args:
        norm: The layer.
        x: The images.
        train: Whether the statistics of the minibatch are used.
        chosen: Whether the layer acts, else x and the layer are returned as they are; None: it does. For batches of
            architectures under `vmap`, in which some choose it.
        fused: See `SearchNetwork.fused`; with `chosen`.

    Raises:
        ValueError: Neither `train` is set nor does the layer have running statistics.
    """
    if norm.places is not None:
        x = counted(x, norm.places)

    def if_chosen(value: Array, otherwise: Array | float) -> Array:
        return value if chosen is None else jnp.where(chosen, value, otherwise)

    if train:
        standardized = _standardize(x) if chosen is None else standardize(chosen, x, BATCH_NORM_EPSILON, fused)
        out, mean, variance = standardized
        if norm.mean is not None and norm.variance is not None:
            unbiased = variance / (1 - x.shape[-1] / x.size)
            mean, unbiased = _move(norm.mean, mean), _move(norm.variance, unbiased)
            norm = norm._replace(mean=if_chosen(mean, norm.mean), variance=if_chosen(unbiased, norm.variance))
    elif norm.mean is None or norm.variance is None:
        raise ValueError("train=False reads running statistics: pass the collection `batch_stats`")
    else:
        out = x - per_channel(if_chosen(norm.mean, 0), x)
        out = out * per_channel(if_chosen(jax.lax.rsqrt(norm.variance + BATCH_NORM_EPSILON), 1), x)
    if norm.gamma is not None:
        out = out * per_channel(if_chosen(norm.gamma, 1), x)
    if norm.beta is not None:
        out = out + per_channel(if_chosen(norm.beta, 0), x)
    return out, norm


@jax.custom_jvp
def _standardize(x: Float[Array, "N H W C"]) -> tuple[Array, Array, Array]:
    """Return (x - mean) / sqrt(variance + 1e-5) per channel, the means and the variances."""
    mean = x.mean((0, 1, 2))
    variance = jnp.square(x - per_channel(mean, x)).mean((0, 1, 2))
    return (x - per_channel(mean, x)) * per_channel(jax.lax.rsqrt(variance + BATCH_NORM_EPSILON), x), mean, variance


@_standardize.defjvp
def _standardize_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    """Differentiate y = (x - mean) f along x': f (x' - mean(x') - y mean(y x')).

    Both means are taken in one pass over memory, where autodiff would wait for the first. The map equals its transpose,
    so that reverse mode costs the same.
    """
    (x,), (dx,) = primals, tangents
    out, mean, variance = _standardize(x)
    factor = jax.lax.rsqrt(variance + BATCH_NORM_EPSILON)
    dmean, along = dx.mean((0, 1, 2)), (out * dx).mean((0, 1, 2))
    dout = per_channel(factor, x) * (dx - per_channel(dmean, x) - out * per_channel(along, x))
    return (out, mean, variance), (dout, dmean, 2 * along / factor)


def _move(running: Array, new: Array) -> Array:
    return (1 - BATCH_NORM_MOMENTUM) * running + BATCH_NORM_MOMENTUM * new


def record_statistics(module: nn.Module, name: str, norm: BatchNorm) -> None:
    """Keep the running statistics of `norm` in the collection `batch_stats`, if it is mutable."""
    if module.is_mutable_collection("batch_stats") and not module.is_initializing():
        module.put_variable("batch_stats", f"{name}_mean", norm.mean)
        module.put_variable("batch_stats", f"{name}_variance", norm.variance)
