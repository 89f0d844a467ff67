"""All proxies by name, and names for groups of them."""

from collections.abc import Callable, Sequence

from jaxtyping import Array, Float

from jaxnas.proxies.activation import meco, near
from jaxnas.proxies.blocks import az_expressivity, az_progressivity, az_trainability
from jaxnas.proxies.counts import flops, l2_norm, num_layers, params
from jaxnas.proxies.gradient import fisher, grad_norm, grasp, plain, snip
from jaxnas.proxies.jacobian import epe_nas, jacob_cov
from jaxnas.proxies.noise import zen
from jaxnas.proxies.ntk import ntk_condition, ntk_trace, vkdnw
from jaxnas.proxies.quantities import Quantities
from jaxnas.proxies.relu import linear_regions, naswot, nwot, swap
from jaxnas.proxies.synflow import dss, logsynflow, synflow, synflow_bn, synflow_no_bn
from jaxnas.proxies.variation import grad_sign, zico
from jaxnas.runtime.names import ROBOT_PROXIES, split_names

Proxy = Callable[[Quantities], Float[Array, ""]]

PROXIES: dict[str, Proxy] = {
    "grad_norm": grad_norm,
    "snip": snip,
    "grasp": grasp,
    "fisher": fisher,
    "synflow": synflow,
    "jacob_cov": jacob_cov,
    "nwot": nwot,
    "flops": flops,
    "params": params,
    "epe_nas": epe_nas,
    "l2_norm": l2_norm,
    "plain": plain,
    "zen": zen,
    "synflow_no_bn": synflow_no_bn,
    "synflow_bn": synflow_bn,
    "logsynflow": logsynflow,
    "zico": zico,
    "grad_sign": grad_sign,
    "ntk_condition": ntk_condition,
    "ntk_trace": ntk_trace,
    "vkdnw": vkdnw,
    "naswot": naswot,
    "swap": swap,
    "linear_regions": linear_regions,
    "meco": meco,
    "near": near,
    "az_expressivity": az_expressivity,
    "az_progressivity": az_progressivity,
    "az_trainability": az_trainability,
    "num_layers": num_layers,
    "dss": dss,
}

PROXY_SETS: dict[str, tuple[str, ...]] = {
    "robot": ROBOT_PROXIES,
    # The thirteen of NAS-Bench-Suite-Zero (Krishnakumar et al. 2022, arXiv:2210.03230); jacob_cov is its jacov, and
    # synflow_no_bn its synflow before the logarithm.
    "nbsz": (
        *("epe_nas", "fisher", "flops", "grad_norm", "grasp", "jacob_cov", "l2_norm"),
        *("nwot", "params", "plain", "snip", "synflow_no_bn", "zen"),
    ),
    "az_nas": ("az_expressivity", "az_progressivity", "az_trainability", "flops"),  # Lee & Ham 2024 (arXiv:2403.19232)
    # Tybl & Neumann 2025 (arXiv:2502.04975), by rank_aggregation.
    "vkdnw_agg": ("vkdnw", "jacob_cov", "az_expressivity", "az_trainability", "flops"),
    "te_nas": ("ntk_condition", "linear_regions"),  # Chen, Gong & Wang 2021 (arXiv:2102.11535)
    "all": tuple(PROXIES),
}

# Scores of canonical architectures are functions of the network alone: equal within a network class, up to the draw.
# Without canonicalisation a dead convolution has a bias, which synflow and fisher would count.
OF_LIVE_NETWORK = frozenset(PROXIES.values())


def expand_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return names of proxies, with the members of a set in place of its name, each once."""
    return tuple(dict.fromkeys(name for given in split_names(names) for name in PROXY_SETS.get(given, (given,))))
