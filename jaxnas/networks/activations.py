"""Activation functions by name; all are 0 at 0, so that channels that an architecture does not have stay 0."""

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxnas.errors import unknown_name

ActivationName: TypeAlias = Literal["relu", "relu6", "hardswish", "silu", "gelu"]
GATE = "gate"  # the kind of a hard sigmoid that scales channels, which is not a choice


def relu6(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Return min(max(x, 0), 6), whose derivative at 0 is 0 as that of `relu`."""
    return jnp.minimum(nn.relu(x), 6.0)


def hard_sigmoid(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Return min(max(x + 3, 0), 6) / 6. Source: Howard et al. 2019 (arXiv:1905.02244)."""
    return relu6(x + 3.0) / 6.0


def hardswish(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Return x min(max(x + 3, 0), 6) / 6. Source: Howard et al. 2019 (arXiv:1905.02244)."""
    return x * hard_sigmoid(x)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "relu6": relu6,
    "hardswish": hardswish,
    "silu": nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),
}
"""By name: the function of an array of any shape."""


def activate(name: ActivationName | None, x: Float[Array, "*S"], *, keeps_range: bool) -> Float[Array, "*S"]:
    """Return x after an activation, None for the identity.

    All are ReLUs in a network that keeps its range (`SearchNetwork.keeps_range`), as it needs outputs that double where
    inputs do.
    """
    if name is None:
        return x
    return nn.relu(x) if keeps_range else ACTIVATIONS[name](x)


def check_activation(name: str | None) -> None:
    """Raise an InputError for the name of an unknown function; None stands for the identity."""
    if name is not None and name not in ACTIVATIONS:
        raise unknown_name("activation", name, ACTIVATIONS)


def sow_activation(
    module: nn.Module, name: str, kind: str, x: Float[Array, "N H W C"], used: Bool[Array, "..."]
) -> None:
    """Sow the input of an activation in the collection `relus`, see `jaxnas.networks.taps`."""
    module.sow("relus", name if kind == "relu" else f"{name}_{kind}", (x, used))


def kind_of(name: str) -> str:
    """Return the kind of an activation from the name under which it was sown."""
    ending = name.rpartition("_")[-1]
    return ending if ending == GATE or ending in ACTIVATIONS else "relu"
