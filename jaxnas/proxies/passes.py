"""Passes over the network of one architecture, which compute the values of `Quantities`.

`Kernels` are flat dictionaries: "stage1/conv_3x3" -> the kernels of that layer, where leading axes stack layers.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PyTree

from jaxnas.data.batch import Batch
from jaxnas.errors import InputError
from jaxnas.networks.activations import kind_of
from jaxnas.networks.kernels.convolution import product_precision
from jaxnas.networks.network import Norm, SearchNetwork
from jaxnas.proxies.loss import loss_of

Kernels = dict[str, Array]


class FirstOrder(NamedTuple):
    """The results of one forward pass and two backward passes through it."""

    logits: Array  # [*N K]
    loss: Array
    gradient: Kernels
    channel_gradient: Kernels
    input_jacobian: Array  # [N *P H W C]


def backwards(network: SearchNetwork) -> SearchNetwork:
    """Return the network in the form that is fastest for reverse derivatives."""
    return network.clone(reverse=True)


def rounds_products() -> bool:
    """Return whether the caller has set a precision of products below float32."""
    return product_precision() in ("bfloat16", "tensorfloat32")


def replace_kernels(params: PyTree, kernels: Kernels) -> PyTree:
    """Return `params` with the kernels of a flat dictionary in their places."""
    return unflatten_dict(flatten_dict(params, sep="/") | kernels, sep="/")


def sum_over_kernels(fn: Callable[..., Array], *trees: Kernels) -> Float[Array, ""]:
    """Return the sum over layers and elements of fn(leaf, ...), the leaves of the trees taken path by path."""
    total: Array = jax.tree.reduce(jnp.add, jax.tree.map(lambda *leaves: jnp.sum(fn(*leaves)), *trees))
    return total


def layer_axes(w: Array) -> tuple[int, ...]:
    """Return the axes of the kernel of one layer: four of a convolution, two of a linear layer; others stack layers."""
    return (-4, -3, -2, -1) if w.ndim >= 4 else (-2, -1)


def fan_in(w: Array) -> Int[Array, "... 1"]:
    """Return the number of kernel entries of each output channel [... 1] that are not 0; unused entries are 0."""
    return jnp.max(jnp.sum(w != 0, axis=layer_axes(w)[:-1]), axis=-1, keepdims=True)


def spread(mask: Array, leaf: Array | jax.ShapeDtypeStruct) -> Array:
    """Return a mask over the elements of `leaf` from one over them or over the axes that stack layers."""
    return jnp.broadcast_to(jnp.reshape(mask, mask.shape + (1,) * (leaf.ndim - mask.ndim)), leaf.shape)


def apply(
    network: SearchNetwork, params: PyTree, kernels: Kernels, images: Array, arch: Array, **taps: Kernels
) -> Array:
    """Return the outputs with `kernels` in the places of those of `params`, and flat collections of taps."""
    collections = {name: unflatten_dict(tap, sep="/") for name, tap in taps.items()}
    variables = {"params": replace_kernels(params, kernels), **collections}
    return cast(Array, network.apply(variables, images, arch))


def first_order(
    network: SearchNetwork, params: PyTree, kernels: Kernels, gates: Kernels, arch: Array, batch: Batch
) -> FirstOrder:
    """Run one forward pass, and pull two cotangents back: the loss gradient, and ones for the Jacobian."""

    def forward(kernels: Kernels, gates: Kernels, images: Array) -> Array:
        return apply(backwards(network), params, kernels, images, arch, gates=gates)

    logits, pullback = jax.vjp(forward, kernels, gates, batch.images)
    loss, logits_gradient = jax.value_and_grad(loss_of)(logits, batch.labels)
    gradient, channel_gradient, _ = pullback(logits_gradient)
    _, _, input_jacobian = pullback(jnp.ones_like(logits))
    return FirstOrder(logits, loss, gradient, channel_gradient, input_jacobian)


def gradients_of_parts(
    network: SearchNetwork, params: PyTree, kernels: Kernels, arch: Array, batch: Batch, parts: int
) -> Kernels:
    """Return dL/dw of each of `parts` equal minibatches alone, [parts, ...]; remaining images are left out."""
    size = len(batch.images) // parts
    split = jax.tree.map(lambda leaf: leaf[: parts * size].reshape(parts, size, *leaf.shape[1:]), batch)

    def loss(kernels: Kernels, part: Batch) -> Array:
        return loss_of(apply(backwards(network), params, kernels, part.images, arch), part.labels)

    gradients: Kernels = jax.lax.map(lambda part: jax.grad(loss)(kernels, part), split)
    return gradients


def backward_by_image(
    network: SearchNetwork,
    params: PyTree,
    kernels: Kernels,
    arch: Array,
    images: Float[Array, "N *P H W C"],
    cotangent: Callable[[Array, Array], Array],
) -> Kernels:
    """Return the result of one backward pass for each image, [N, ...], from cotangent(outputs, number of the image)."""

    def forward(kernels: Kernels) -> Array:
        return apply(backwards(network), params, kernels, images, arch)

    outputs, pullback = jax.vjp(forward, kernels)
    gradients: Kernels = jax.lax.map(lambda image: pullback(cotangent(outputs, image))[0], jnp.arange(len(outputs)))
    return gradients


class SynapticFlow(NamedTuple):
    """The kernels |w|, and dR/d|w| divided by 2^exponent."""

    kernels: Kernels
    gradient: Kernels
    exponent: Array  # int32


def synaptic_flow(
    network: SearchNetwork,
    params: PyTree,
    kernels: Kernels,
    arch: Array,
    image_shape: tuple[int, ...],
    norm: Norm,
    dtype: DTypeLike,
) -> SynapticFlow:
    """Return the flow of R, the sum of outputs for an image of ones, every parameter replaced by |.|.

    Networks without normalisation outgrow float32: those that keep their range divide by a power of 2, others give inf.
    """
    with jax.enable_x64(dtype == jnp.float64):
        network = backwards(network).clone(norm=norm, keeps_range=norm != "all")
        params = jax.tree.map(lambda p: jnp.abs(p.astype(dtype)), params)
        kernels = {path: jnp.abs(w.astype(dtype)) for path, w in kernels.items()}
        image = jnp.ones((1, *image_shape), dtype)

        def total(kernels: Kernels) -> tuple[Array, PyTree]:
            variables = {"params": replace_kernels(params, kernels)}
            outputs, sown = network.apply(variables, image, arch, mutable=["exponent"])
            return jnp.sum(jnp.asarray(outputs)), sown

        gradient, sown = jax.grad(total, has_aux=True)(kernels)
        exponents = [leaf for leaf in jax.tree.leaves(sown)] or [jnp.int32(0)]
        return SynapticFlow(kernels, gradient, exponents[0])


class Activated(NamedTuple):
    """The input of an activation function.

    Attributes:
        kind: "relu", another name of `jaxnas.networks.activations.ACTIVATIONS`, or "gate".
        x: The input [..., N H W C].
        used: Which channels are in use: [..., C] or [..., 1].
    """

    kind: str
    x: Array
    used: Array


def run_activations(network: SearchNetwork, params: PyTree, images: Array, arch: Array) -> list[Activated]:
    """Return the input of every activation function."""
    _, sown = network.apply({"params": params}, images, arch, mutable=["relus"])
    found = []
    for path, ((x, used),) in flatten_dict(sown.get("relus", {})).items():
        used = jnp.asarray(used)
        found.append(Activated(kind_of(path[-1]), x, used if used.ndim > x.ndim - 4 else used[..., None]))
    return found


def only(kinds: tuple[str, ...], found: list[Activated], proxies: str) -> list[tuple[Array, Array]]:
    """Return (input, used) of activations.

    Raises:
        InputError: One is of another kind, for which these proxies are not defined.
    """
    if others := dict.fromkeys(one.kind for one in found if one.kind not in kinds):
        raise InputError(
            f"{proxies} must be left out: defined for networks whose activations are {' or '.join(kinds)}, got "
            f"{', '.join(others)}"
        )
    return [(one.x, one.used) for one in found]
