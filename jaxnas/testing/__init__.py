"""Contract checks for custom spaces, networks, proxies and methods: an AssertionError names the rule that is broken.

    from jaxnas.testing import check_method, check_network, check_proxy, check_space
    check_space(MY_SPACE)
    check_network(MyNetwork(), MY_SPACE, images)
    check_proxy(my_proxy, MyNetwork(), params, archs, Batch(images, labels))
    check_method(MY_METHOD)

A few images of 8x8 pixels, two channels and one cell are enough, and compile in seconds.
"""

from jaxnas.testing.methods import check_method
from jaxnas.testing.networks import check_network
from jaxnas.testing.proxies import check_proxy
from jaxnas.testing.spaces import check_space

__all__ = ["check_method", "check_network", "check_proxy", "check_space"]
