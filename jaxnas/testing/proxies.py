"""The check of a proxy."""

import gc
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.data.batch import Batch
from jaxnas.networks.network import SearchNetwork
from jaxnas.proxies import Proxy, Quantities
from jaxnas.testing.rules import require, tolerance_of, traced


def check_proxy(
    proxy: Proxy, network: SearchNetwork, params: PyTree, archs: Int8[np.ndarray, "A D"], batch: Batch
) -> None:
    """Check that `proxy` is a pure function of the quantities of one architecture.

    The proxy must

    - return one floating scalar;
    - return the same value in a second call;
    - leave `params` and `batch` unchanged, and keep no traced array;
    - give under `jit` and `vmap` what it gives in a loop over `archs`.

    Values may differ by the square root of the machine epsilon of the images; NaN equals NaN.

    Args:
        proxy: The proxy.
        network: The network of a search space.
        params: The collection "params" of the network.
        archs: A few different architectures [A D]; the score of a disconnected one may be NaN, but not an error.
        batch: A minibatch.

    Raises:
        AssertionError: The proxy breaks a rule, which the message names.
    """

    def score(arch: Int8[Array, " D"]) -> Float[Array, ""]:
        return proxy(Quantities(network, params, arch, batch))

    inputs = jax.tree.leaves((params, batch))
    before = [np.array(leaf) for leaf in inputs]
    shape = traced("proxy", lambda: _shape_and_no_leak(score, archs[0]))
    require(
        getattr(shape, "shape", None) == () and jnp.issubdtype(shape.dtype, jnp.floating),
        f"the proxy returns {shape}, not one floating scalar",
    )
    one_by_one = jax.jit(score)
    first = np.array([one_by_one(jnp.asarray(arch)) for arch in archs])
    again = np.array(jax.jit(lambda arch: score(arch))(jnp.asarray(archs[0])))  # a new function, which is traced again
    require(
        np.array_equal(first[0], again, equal_nan=True),
        f"the proxy is not deterministic: {first[0]} and then {again} for architecture {archs[0]}",
    )
    unchanged = jax.tree.leaves((params, batch))
    require(
        len(unchanged) == len(before) and all(map(np.array_equal, unchanged, before)),
        "the proxy changed params or batch in place",
    )
    batched = np.array(traced("proxy", lambda: jax.jit(jax.vmap(score))(jnp.asarray(archs))))
    tolerance = tolerance_of(batch.images.dtype)
    smallest = 1e-3 * tolerance * np.max(np.abs(first), initial=0, where=np.isfinite(first))
    differ = np.flatnonzero(~np.isclose(batched, first, rtol=tolerance, atol=smallest, equal_nan=True))
    require(
        not len(differ),
        f"the proxy gives {batched[differ]} under jit and vmap, {first[differ]} in a loop, for architectures {differ}",
    )


def _shape_and_no_leak(
    function: Callable[[Int8[Array, " D"]], Array], arch: Int8[np.ndarray, " D"]
) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of function(arch), and raise if tracing it leaks a tracer."""
    gc.freeze()  # JAX searches all objects that are not frozen for a leak, which takes minutes in a large process
    try:
        with jax.checking_leaks():
            shape: jax.ShapeDtypeStruct = jax.eval_shape(function, arch)
            return shape
    finally:
        gc.unfreeze()
