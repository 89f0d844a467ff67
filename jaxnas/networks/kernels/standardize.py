"""Standardisation per channel, over images and pixels, of the architectures of a batch that have it.

The derivative of y = (x - mean) f, f = 1 / sqrt(variance + epsilon), along v is the projection

    project(x, mean, f, v) = f (v - m_0 - (x - mean) f^2 m_1),   m_0 = mean(v), m_1 = mean((x - mean) v),

which equals its transpose. It is a primitive, so that reverse mode computes the two means in one pass over memory as
forward mode does, and so that a batch under `vmap` reads the images of those architectures alone that were chosen
(`jaxnas.networks.kernels.fused.sum_images`). For the others m is 0, and the caller passes 0 as mean and 1 as f.

`jaxnas.networks.batch_norm` has the form for one architecture after another: its variance takes a second pass, which
costs little on a CPU, and rounds less.
"""

from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Bool, Float

from jaxnas.networks.kernels.batches import Axes, leading
from jaxnas.networks.taps import per_channel

Linear: TypeAlias = Array | ad.UndefinedPrimal  # what a transpose is taken in has no value
Standardized: TypeAlias = tuple[Float[Array, "N H W C"], Float[Array, " C"], Float[Array, " C"]]


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def standardize(chosen: Bool[Array, ""], x: Float[Array, "N H W C"], epsilon: float, fused: bool) -> Standardized:
    """Return (x - mean) / sqrt(variance + epsilon) if chosen, else x; and the means and variances, 0 if not.

    Args:
        chosen: Whether x is standardised.
        x: The images.
        epsilon: Added to variances.
        fused: Whether a batch has kernels of its own.
    """
    mean, variance = _moments(chosen, x, fused)
    return _scaled(x, mean, _factor(chosen, variance, epsilon)), mean, variance


@standardize.defjvp
def _standardize_jvp(
    epsilon: float, fused: bool, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Standardized, Standardized]:
    (chosen, x), (_, dx) = primals, tangents
    mean, variance = _moments(chosen, x, fused)
    factor = _factor(chosen, variance, epsilon)
    out = _scaled(x, mean, factor)
    dout, means = _project_p.bind(chosen, x, mean, factor, dx, fused=fused)
    return (out, mean, variance), (dout, means[0], 2 * means[1])


def _scaled(x: Array, mean: Array, factor: Array) -> Array:
    return (x - per_channel(mean, x)) * per_channel(factor, x)


def _moments(chosen: Array, x: Array, fused: bool) -> tuple[Array, Array]:
    """Return means and variances, from one pass over memory.

    The pivot is a pixel, and so about a standard deviation from the mean: the difference of squares loses few digits.
    """
    pivot = jax.lax.stop_gradient(x[0, 0, 0])
    mean, product = _project_p.bind(chosen, x, pivot, jnp.ones_like(pivot), x, fused=fused)[1]
    return mean, jnp.maximum(product - (mean - pivot * chosen) * mean, 0)


def _factor(chosen: Array, variance: Array, epsilon: float) -> Array:
    return jnp.where(chosen, jax.lax.rsqrt(variance + epsilon), 1)


def _project(
    chosen: Array, x: Array, mean: Array, factor: Array, v: Array, *, fused: bool = False
) -> tuple[Array, Array]:
    """Return the projection of v, and m [2 C]."""
    means = jnp.stack([v.mean((0, 1, 2)), ((x - per_channel(mean, x)) * v).mean((0, 1, 2))]) * chosen
    return _affine(x, mean, factor, v, means), means


def _affine(x: Array, mean: Array, factor: Array, v: Array, means: Array) -> Array:
    along = _scaled(x, mean, jnp.square(factor) * means[1])
    return per_channel(factor, x) * (v - per_channel(means[0], x) - along)


def _jvp(
    primals: Sequence[Array], tangents: Sequence[Array | ad.Zero], *, fused: bool
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    chosen, x, mean, factor, v = primals
    out, means = _project_p.bind(*primals, fused=fused)
    _, dx, dmean, dfactor, dv = tangents
    if all(isinstance(dot, ad.Zero) for dot in (dx, dmean, dfactor)):
        dout, dmeans = _project_p.bind(chosen, x, mean, factor, dv, fused=fused)
        return (out, means), (dout, dmeans)
    dx, dmean, dfactor, dv = map(ad.instantiate_zeros, (dx, dmean, dfactor, dv))
    dmeans = _project_p.bind(chosen, dx, dmean, factor, v, fused=fused)[1] * jnp.array([[0], [1]], v.dtype)
    if not isinstance(tangents[-1], ad.Zero):
        dmeans += _project_p.bind(chosen, x, mean, factor, dv, fused=fused)[1]
    dots = (dx, dmean, dfactor, dv, dmeans)
    return (out, means), (jax.jvp(_affine, (x, mean, factor, v, means), dots)[1], dmeans)


def _transpose(
    cotangents: Sequence[Array | ad.Zero],
    chosen: Array,
    x: Linear,
    mean: Linear,
    factor: Array,
    v: Linear,
    *,
    fused: bool,
) -> list[Array | None]:
    """Transpose in v, or m_1 in x and mean."""
    of_out, of_means = cotangents
    terms: list[Array] = []
    if isinstance(v, ad.UndefinedPrimal):
        assert not isinstance(x, ad.UndefinedPrimal), "v and x are not linear at once"
        assert not isinstance(mean, ad.UndefinedPrimal), "v and mean are not linear at once"
        if not isinstance(of_out, ad.Zero):
            terms.append(_project_p.bind(chosen, x, mean, factor, of_out, fused=fused)[0])
        if not isinstance(of_means, ad.Zero):
            of_means *= chosen * x.shape[-1] / x.size
            terms.append(per_channel(of_means[0], x) + _scaled(x, mean, of_means[1]))
        return [None, None, None, None, sum(terms[1:], terms[0])]
    assert not isinstance(of_means, ad.Zero), "the projection itself is not linear in x"
    along = per_channel(of_means[1] * chosen * v.shape[-1] / v.size, v) * v
    of_x = along if ad.is_undefined_primal(x) else None
    return [None, of_x, -along.sum((0, 1, 2)) if ad.is_undefined_primal(mean) else None, None, None]


def _batched(args: Sequence[Array], axes: Axes, *, fused: bool) -> tuple[tuple[Array, Array], tuple[int, int]]:
    chosen, x, mean, factor, v = leading(args, axes, always=5)
    if not fused:
        return jax.vmap(_project)(chosen, x, mean, factor, v), (0, 0)
    from jaxnas.networks.kernels.fused import sum_images

    means = sum_images(chosen, x, mean, v).sum(1) / (x[0].size // x.shape[-1])
    return (jax.vmap(_affine)(x, mean, factor, v, means), means), (0, 0)


def _abstract(chosen: ShapedArray, x: ShapedArray, *args: ShapedArray, fused: bool) -> list[ShapedArray]:
    return [ShapedArray(x.shape, x.dtype), ShapedArray((2, x.shape[-1]), x.dtype)]


_project_p = Primitive("project")
_project_p.multiple_results = True
_project_p.def_impl(jax.jit(_project, static_argnames="fused"))
_project_p.def_abstract_eval(_abstract)
mlir.register_lowering(_project_p, mlir.lower_fun(_project, multiple_results=True))
batching.primitive_batchers[_project_p] = _batched
ad.primitive_jvps[_project_p] = _jvp
ad.primitive_transposes[_project_p] = _transpose
