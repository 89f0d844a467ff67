"""Which proxies are defined for a network, by tracing them."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxnas.data.batch import Batch
from jaxnas.errors import InputError
from jaxnas.networks.network import SearchNetwork
from jaxnas.proxies.quantities import Quantities
from jaxnas.proxies.zoo import PROXIES, Proxy
from jaxnas.runtime.devices import abstract_array


def undefined_proxies(
    network: SearchNetwork, image_shape: tuple[int, int, int], proxies: Mapping[str, Proxy] = PROXIES
) -> dict[str, str]:
    """Return the proxies that are not defined for a network, with the message that a search with them ends with.

    The proxies are traced for an architecture that is not known, as scoring does it, so that the answer holds for the
    whole space. Nothing is computed or compiled, but tracing all proxies of a large network takes many seconds.

    Args:
      network: the network of a search space.
      image_shape: height, width and channels of the images.
      proxies: functions by name.

    Raises:
      InputError: the network does not take such images.
    """
    arch = abstract_array((len(network.space.num_choices),), jnp.int8)
    images, labels = abstract_array((4, *image_shape), jnp.float32), abstract_array((4,), jnp.int32)
    params = jax.eval_shape(network.init, jax.random.key(0), images, arch)["params"]
    reasons: dict[str, str] = {}

    def trace(params: PyTree, arch: Array, images: Array, labels: Array) -> None:
        quantities = Quantities(network, params, arch, Batch(images, labels))
        for name, proxy in proxies.items():
            try:
                proxy(quantities)
            except InputError as error:
                reasons[name] = str(error)

    jax.eval_shape(trace, params, arch, images, labels)
    return reasons
