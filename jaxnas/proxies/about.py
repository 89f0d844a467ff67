"""Facts about every proxy: the quantities it reads, its cost, its direction and its source."""

import inspect
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxnas.proxies.zoo import PROXIES, Proxy
from jaxnas.runtime.names import split_names

LOWER_IS_BETTER = frozenset({"ntk_condition"})
EXACT = frozenset({"flops", "params", "num_layers"})  # equal for isomorphic architectures in every draw
NEEDS_LABELS = frozenset({"labels", "gradient", "channel_gradient", "curvature", "half_gradients", "image_gradients"})
NEEDS_IMAGES = frozenset({"input_jacobian", "image_jacobians", "activations", "relus", "thin_relus"})

FEW_SHARE = 16 / 64  # share of a minibatch of 64 whose images have a gradient each
PASSES: dict[str, tuple[float, float]] = {
    # The forward and backward passes over a minibatch of 64 that each property of `Quantities` takes.
    "labels": (0, 0),
    "kernels": (0, 0),
    "in_use": (0, 0),
    "places": (0, 0),
    "pooled": (0, 0),
    "rectified": (0, 0),
    "gradient": (1, 1),
    "channel_gradient": (1, 1),
    "input_jacobian": (1, 1),
    "curvature": (5, 1),  # the gradient, then nested forward derivatives: four passes in one
    "half_gradients": (1, 1),
    "image_gradients": (FEW_SHARE, FEW_SHARE),
    "image_jacobians": (FEW_SHARE, 16 * FEW_SHARE),
    "synaptic_flow": (1 / 64, 1 / 64),
    "fisher_rows": (FEW_SHARE, 10 * FEW_SHARE),  # of ten classes
    "activations": (1, 0),
    "relus": (1, 0),
    "thin_relus": (0, 0),
    "response": (2, 0),
    "blocks": (1, 0),
    "block_jacobians": (1, 1),
}
_NEEDS: dict[str, tuple[str, ...]] = {
    "grad_norm": ("gradient",),
    "snip": ("kernels", "gradient"),
    "grasp": ("curvature",),
    "fisher": ("kernels", "channel_gradient"),
    "synflow": ("synaptic_flow",),
    "jacob_cov": ("input_jacobian",),
    "nwot": ("relus",),
    "flops": ("kernels", "in_use", "places", "pooled", "rectified"),
    "params": ("in_use",),
    "epe_nas": ("input_jacobian", "labels"),
    "l2_norm": ("kernels", "in_use"),
    "plain": ("kernels", "gradient"),
    "zen": ("response",),
    "synflow_no_bn": ("synaptic_flow",),
    "synflow_bn": ("synaptic_flow",),
    "logsynflow": ("synaptic_flow",),
    "zico": ("half_gradients",),
    "grad_sign": ("image_gradients",),
    "ntk_condition": ("image_jacobians",),
    "ntk_trace": ("image_jacobians",),
    "vkdnw": ("kernels", "in_use", "fisher_rows"),
    "naswot": ("relus",),
    "swap": ("relus",),
    "linear_regions": ("thin_relus",),
    "meco": ("activations",),
    "near": ("activations",),
    "az_expressivity": ("blocks",),
    "az_progressivity": ("blocks",),
    "az_trainability": ("block_jacobians",),
    "num_layers": ("kernels", "in_use"),
    "dss": ("synaptic_flow",),
}


class About(NamedTuple):
    """The facts about one proxy, a line of `jaxnas proxies`.

    Attributes:
      name: key in `PROXIES`.
      source: paper and arXiv id; "-" of a proxy that names none.
      needs: quantities that it reads, keys of `PASSES`; empty for a proxy that was added.
      forward: forward passes over a minibatch of 64 if no other proxy is computed; None for a proxy that was added.
      backward: backward passes over a minibatch of 64 if no other proxy is computed; None likewise.
      sees: data that it reads: "labels" (and images), "images" or "nothing"; "unknown" for a proxy that was added.
      higher_is_better: direction of the score.
      exact: whether isomorphic architectures have equal scores in every draw.
    """

    name: str
    source: str
    needs: tuple[str, ...]
    forward: float | None
    backward: float | None
    sees: str
    higher_is_better: bool
    exact: bool


def about(name: str) -> About:
    """Return the facts about a proxy of `PROXIES`, of which plugins may have added some."""
    if name not in _NEEDS:
        return About(name, source_of(PROXIES[name]), (), None, None, "unknown", True, False)
    needs, is_exact = _NEEDS[name], name in EXACT
    sees = "labels" if NEEDS_LABELS & set(needs) else "images" if NEEDS_IMAGES & set(needs) else "nothing"
    forward, backward = (max(PASSES[need][direction] for need in needs) for direction in (0, 1))
    if is_exact:  # only shapes matter, and compilation removes the passes
        sees, forward, backward = "nothing", 0, 0
    return About(
        name,
        source_of(PROXIES[name]),
        needs,
        forward,
        backward,
        sees,
        name not in LOWER_IS_BETTER,
        is_exact,
    )


def passes_of(names: Sequence[str]) -> tuple[float, float]:
    """Return the numbers of forward and backward passes over a minibatch of 64 that proxies take together.

    The loss and the Jacobian share their forward pass, and the curvature starts from the gradient. Custom proxies count
    0.
    """
    needs = {need for name in split_names(names) if name in _NEEDS and name not in EXACT for need in _NEEDS[name]}
    needs_loss = bool(needs & {"gradient", "channel_gradient", "curvature"})
    needs_jacobian, needs_curvature = "input_jacobian" in needs, "curvature" in needs
    if "block_jacobians" in needs:
        needs -= {"blocks"}
    unshared = [PASSES[need] for need in needs - {"gradient", "channel_gradient", "curvature", "input_jacobian"}]
    forward = float(needs_loss or needs_jacobian) + (PASSES["curvature"][0] - 1) * needs_curvature
    backward = float(needs_loss) + float(needs_jacobian)
    return forward + sum(pair[0] for pair in unshared), backward + sum(pair[1] for pair in unshared)


def source_of(proxy: Proxy) -> str:
    """Return the first paper that the docstring of a proxy names."""
    text = " ".join((inspect.getdoc(proxy) or "").split())
    found = re.search(r"Source: (?:the public code of )?(.*?\))", text)
    return found.group(1) if found else "-"


def orient(values: Float[np.ndarray, "A M"], names: Sequence[str]) -> Float[np.ndarray, "A M"]:
    """Return scores [A M] of the named proxies with the sign that makes higher scores better."""
    signs = np.array([-1.0 if name in LOWER_IS_BETTER else 1.0 for name in split_names(names)])
    return np.asarray(values * signs)
