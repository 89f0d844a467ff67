"""Proxies of the loss gradient at initialisation; g = dL/dw, L the mean cross-entropy of one minibatch."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.proxies.passes import fan_in, layer_axes, sum_over_kernels
from jaxnas.proxies.quantities import Quantities


def grad_norm(q: Quantities) -> Float[Array, ""]:
    """Return the sum over layers of the L2 norm of g; >= 0, higher is better.

    Source: Abdelfattah et al. 2021 (arXiv:2101.08134).
    """
    return sum_over_kernels(lambda g: jnp.sqrt(jnp.square(g).sum(layer_axes(g))), q.gradient)


def snip(q: Quantities) -> Float[Array, ""]:
    """Return the sum over kernel entries of |w g|; >= 0, higher is better.

    Source: Lee et al. 2019 (arXiv:1810.02340), summed over all layers as Abdelfattah et al. 2021 do.
    """
    return sum_over_kernels(lambda w, g: jnp.abs(w * g), q.kernels, q.gradient)


def plain(q: Quantities) -> Float[Array, ""]:
    """Return the sum over kernel entries of w g, whose terms cancel; of either sign, higher is better.

    Layers that a normalisation follows contribute almost 0.
    Source: Mozer & Smolensky 1989 (NIPS, skeletonization), as in Abdelfattah et al. 2021 (arXiv:2101.08134).
    """
    return sum_over_kernels(jnp.multiply, q.kernels, q.gradient)


def grasp(q: Quantities) -> Float[Array, ""]:
    """Return -sum of w (H g), H the Hessian of L with respect to the kernels; of either sign, higher is better.

    It is computed from float32 products, also where `ScoringConfig.precision` is lower: its terms cancel.
    Source: Wang et al. 2020 (arXiv:2002.07376); the same minibatch serves both gradients, temperature 1.
    """
    return -q.curvature


def fisher(q: Quantities) -> Float[Array, ""]:
    """Return the sum over output channels c of D_c (entries per channel), D_c = 1/2 mean_n (sum_pixels a dL/da)^2.

    a is the output of a convolution or linear layer. >= 0, higher is better. A layer whose input is 0 everywhere feeds
    a constant to batch normalisation, which multiplies its gradient by 1/sqrt(1e-5): canonicalise such architectures.
    Source: Theis et al. 2018 (arXiv:1801.05787), Turner et al. 2020 (arXiv:1906.04113); the factor "entries per
    channel" is that of the public code of Abdelfattah et al. 2021.
    """

    def saliency(w: Array, s: Array) -> Array:  # w [..., C, O], s [..., N, O]
        return 0.5 * fan_in(w) * jnp.square(s).mean(-2)

    return sum_over_kernels(saliency, q.kernels, q.channel_gradient)
