"""Proxies of synaptic flow: the network with positive parameters on one image of ones. No data is used.

The proxies are computed in float64 where the device has that type; for other devices see `layers.rescaled`.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.networks.network import Norm
from jaxnas.proxies.passes import sum_over_kernels
from jaxnas.proxies.quantities import Quantities
from jaxnas.proxies.spectrum import singular_values


def synflow(q: Quantities) -> Float[Array, ""]:
    """Return the sum over kernel entries of |w dR/dw|, R the sum of logits for an image of ones.

    >= 0, higher is better. Every parameter is replaced by its absolute value. The score reaches 1e46 at full size.
    Batch normalisation acts only inside the residual blocks between stages, as in the public code of Abdelfattah et al.
    2021. Layer normalisation, softmax and the activation between layers of tokens stay as they are, as in the public
    code of Zhou et al. 2022 (arXiv:2203.12217). Biases of dead convolutions count: canonicalise such architectures. 0
    for networks that end in a tanh, which is flat for inputs of this size.
    Source: Tanaka et al. 2020 (arXiv:2006.05467).
    """
    return _flow(q, "reduction")


def synflow_no_bn(q: Quantities) -> Float[Array, ""]:
    """Return `synflow` without any batch normalisation.

    It is that of NAS-Bench-Suite-Zero (Krishnakumar et al. 2022) before the logarithm. >= 0, higher is better; reaches
    1e61 at full size.
    Source: Tanaka et al. 2020 (arXiv:2006.05467).
    """
    return _flow(q, "none")


def synflow_bn(q: Quantities) -> Float[Array, ""]:
    """Return `synflow` with all batch normalisation, whose statistics are those of the one image of ones.

    >= 0, higher is better. Normalisation removes what the flow measures: where every channel is constant, the score is
    rounding noise.
    Source: Tanaka et al. 2020 (arXiv:2006.05467), as in the public code of Abdelfattah et al. 2021 (arXiv:2101.08134).
    """
    return _flow(q, "all")


def logsynflow(q: Quantities) -> Float[Array, ""]:
    """Return the sum over kernel entries of w log(dR/dw + 1), w and R those of `synflow_no_bn`; >= 0, higher is better.

    It is not defined for networks with layer normalisation or attention, where dR/dw may be negative.
    The logarithm prevents one path of large gradients from dominating; 1e3 to 1e5 at full size. On devices without
    float64, entries whose dR/dw is 1e38 times smaller than the largest do not count.
    Source: Cavagnero et al. 2022 (arXiv:2207.05135).
    """
    q.require_no_tokens("logsynflow")
    flow = q.synaptic_flow("none")
    with q.wide():

        def terms(w: Array, g: Array) -> Array:
            scale = flow.exponent.astype(g.dtype) * jnp.asarray(math.log(2), g.dtype)
            return w * jnp.logaddexp(jnp.zeros((), g.dtype), jnp.log(g) + scale)

        return sum_over_kernels(terms, flow.kernels, flow.gradient)


def dss(q: Quantities) -> Float[Array, ""]:
    """Return the synaptic diversity of attention plus the synaptic saliency of all other layers, of transformers.

    The saliency of a layer is the sum over kernel entries of |w dR/dw|, w and R those of `synflow_bn`; the diversity of
    a layer before or after attention is the product of the nuclear norms of w and dR/dw. >= 0, higher is better. Patch
    embeddings do not count; the public code counts the classifier twice. Without attention the score is `synflow_bn`.
    Source: Zhou et al. 2022 (arXiv:2203.12217), as TF-TAS.
    """
    flow, kinds = q.synaptic_flow("all"), q.network.kernel_kinds
    with q.wide():
        terms = []
        for path, w in flow.kernels.items():
            g, kind = flow.gradient[path], kinds.get(path)
            if kind == "attention":
                terms.append(_nuclear(w) * _nuclear(g))
            elif kind is None:
                terms.append(jnp.abs(w * g).sum())
        total = jnp.stack(terms).sum()
    return q.finish(jnp.ldexp, total, flow.exponent)


def _nuclear(w: Float[Array, "1 1 C O"]) -> Float[Array, ""]:
    return singular_values(w[0, 0]).sum()


def _flow(q: Quantities, norm: Norm) -> Array:
    flow = q.synaptic_flow(norm)
    with q.wide():
        total = sum_over_kernels(lambda w, g: jnp.abs(w * g), flow.kernels, flow.gradient)
    return q.finish(jnp.ldexp, total, flow.exponent)
