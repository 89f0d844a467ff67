"""The covariance functions of `proxy_gp`: of GPJax, and one over decisions.

The module imports gpjax, which takes a second and does not admit the newest jax: import it where it is used.
"""

import jax.numpy as jnp
from gpjax.kernels import Linear, Matern52
from gpjax.kernels.base import AbstractKernel
from gpjax.parameters import Real
from jaxtyping import Array, Float, Int, Num


class Hamming(AbstractKernel):  # type: ignore[misc]  # gpjax has no types
    """The kernel exp(-h / (l D)) of two vectors of D options that differ in h; 1 for D = 0.

    It is a product of one kernel per decision, which is 1 for equal options and exp(-1 / (l D)) for any other two.

    Attributes:
        lengthscale: The share l > 0 of the decisions whose change divides the covariance by e.
    """

    lengthscale: float

    def __init__(self, lengthscale: float) -> None:
        """Set the length scale."""
        self.lengthscale = lengthscale
        super().__init__()

    def __call__(self, x: Num[Array, " D"], y: Num[Array, " D"]) -> Float[Array, ""]:
        """Return the covariance of two vectors, in (0, 1]."""
        return jnp.exp(-jnp.sum(x != y) / (self.lengthscale * max(len(x), 1)))


def covariance_with(
    items: Int[Array, " N"], scores: Float[Array, "A M"], op_counts: Float[Array, "A K"], archs: Num[Array, "A D"]
) -> Float[Array, "3 N A"]:
    """Return the covariance of each component of `proxy_gp` between some architectures and all.

    Args:
        items: The indices of these architectures.
        scores: Normal scores, divided by the square root of their number.
        op_counts: How often each op is chosen, standardised and divided by the square root of their number.
        archs: The options of each architecture.

    Returns:
        The covariances linear in the scores, by op counts, and local ones: the mean of those by scores and by
        decisions. All but the first are 1 for an architecture and itself.
    """
    linear, by_op_counts, by_scores, by_decisions = (
        kernel.cross_covariance(x[items], x)
        for kernel, x in (
            (Linear(variance=Real(1.0)), scores),
            (Matern52(lengthscale=Real(1.0)), op_counts),
            (Matern52(lengthscale=Real(1.5)), scores),
            (Hamming(0.25), archs),
        )
    )
    return jnp.stack([linear, by_op_counts, (by_scores + by_decisions) / 2])
