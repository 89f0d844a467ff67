"""Proxies of the response of a network to noise; they use no data, and draw params themselves."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnas.proxies.quantities import Quantities


def zen(q: Quantities) -> Float[Array, ""]:
    """Return the log of the mean change of the features for a small change of noise, plus a scale.

    The score is log mean_n sum |f(x) - f(x + d / 100)| + sum over normalisations of log sqrt(mean_c running variance).
    f are the features before the global average, x and d images of N(0, 1), all kernels N(0, 1), biases 0; batch
    normalisation uses the minibatch. The second term restores the scale that normalisation removes: the running
    variances after both passes start at 1 and move a tenth of the way. Higher is better. -inf where no feature depends
    on the image.
    Source: Lin et al. 2021 (arXiv:2102.01063), as in NAS-Bench-Suite-Zero (arXiv:2210.03230), one repetition.
    """
    one, other = q.response.features
    change = jnp.abs(one - other).reshape(len(one), -1).sum(1).mean()
    scales = [jnp.log(_mean(q, path, variance)).sum() / 2 for path, variance in q.response.variances.items()]
    return jnp.log(change) + sum(scales, jnp.zeros((), change.dtype))


def _mean(q: Quantities, path: str, variance: Float[Array, "... C"]) -> Float[Array, "..."]:
    """Return the mean of running variances over the channels that the architecture has; 1 where it has none."""
    used = q.channels_in_use.get(path.removesuffix("_variance"))
    if used is None:
        return variance.mean(-1)
    return jnp.where(used.any(-1), jnp.mean(variance, -1, where=used), 1)
