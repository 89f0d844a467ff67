"""Passes over the network of one architecture with its own params: what `Quantities` keeps, and how it is computed.

Weights are flat dictionaries: "stage1/conv_3x3" -> the kernels of that layer, where leading axes stack layers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, PyTree

from jaxnas.data.batch import Batch
from jaxnas.networks.network import SearchNetwork
from jaxnas.proxies.loss import loss_of

Weights = dict[str, Array]


class FirstOrder(NamedTuple):
    """What one forward pass and two backwards through it give."""

    logits: Any
    loss: Any
    gradient: Any
    channel_gradient: Any
    input_jacobian: Any


def backwards(network: SearchNetwork) -> SearchNetwork:
    """The network for reverse derivatives alone, in the form that is fastest for them."""
    return network.clone(reverse=True)


def replace_weights(params: PyTree, weights: Weights) -> PyTree:
    """`params` with the kernels of `weights` in their places."""
    return unflatten_dict(flatten_dict(params, sep="/") | weights, sep="/")


def sum_over_weights(fn: Callable[..., Array], *trees: Weights) -> Float[Array, ""]:
    """Sum over layers and elements of fn(leaf, ...), the leaves of the trees taken path by path."""
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda *leaves: jnp.sum(fn(*leaves)), *trees))


def layer_axes(w: Array) -> tuple[int, ...]:
    """The axes of one layer's kernel: four of a convolution, two of a linear layer; axes before them stack layers."""
    return (-4, -3, -2, -1) if w.ndim >= 4 else (-2, -1)


def fan_in(w: Array) -> Float[Array, "... 1"]:
    """Weights of each output channel, [..., 1] for stacked layers; those that an architecture does not have are 0."""
    return jnp.max(jnp.sum(w != 0, axis=layer_axes(w)[:-1]), axis=-1, keepdims=True)


def spread(mask: Array, leaf: Array) -> Array:
    """A mask over the axes of `leaf` that stack layers, or over its elements, as one over its elements."""
    return jnp.broadcast_to(jnp.reshape(mask, mask.shape + (1,) * (leaf.ndim - mask.ndim)), leaf.shape)


def apply(
    network: SearchNetwork, params: PyTree, weights: Weights, images: Array, arch: Array, **taps: Weights
) -> Array:
    """Outputs with `weights` in the places of those of `params`, and flat collections of taps."""
    collections = {name: unflatten_dict(tap, sep="/") for name, tap in taps.items()}
    variables = {"params": replace_weights(params, weights), **collections}
    return cast(Array, network.apply(variables, images, arch))


def first_order(
    network: SearchNetwork, params: PyTree, weights: Weights, gates: Weights, arch: Array, batch: Batch
) -> FirstOrder:
    """One forward pass and two pulled back through it: the loss gradient, and ones for the Jacobian."""

    def forward(weights, gates, images):
        return apply(backwards(network), params, weights, images, arch, gates=gates)

    logits, pullback = jax.vjp(forward, weights, gates, batch.images)
    loss, logits_gradient = jax.value_and_grad(loss_of)(logits, batch.labels)
    gradient, channel_gradient, _ = pullback(logits_gradient)
    _, _, input_jacobian = pullback(jnp.ones_like(logits))
    return FirstOrder(logits, loss, gradient, channel_gradient, input_jacobian)


def gradients_of_parts(
    network: SearchNetwork, params: PyTree, weights: Weights, arch: Array, batch: Batch, parts: int
) -> Weights:
    """dL/dw of each of `parts` equal minibatches by itself, [parts, ...]; what is left over is left out."""
    size = len(batch.images) // parts
    split = jax.tree.map(lambda leaf: leaf[: parts * size].reshape(parts, size, *leaf.shape[1:]), batch)

    def loss(weights, part):
        return loss_of(apply(backwards(network), params, weights, part.images, arch), part.labels)

    return jax.lax.map(lambda part: jax.grad(loss)(weights, part), split)


def of_each_image(
    network: SearchNetwork,
    params: PyTree,
    weights: Weights,
    arch: Array,
    images: Float[Array, "N *P H W C"],
    cotangent: Callable[[Array, Array], Array],
) -> Weights:
    """One backward pass for each image, [N, ...], with cotangent(outputs, number of the image)."""

    def forward(weights):
        return apply(backwards(network), params, weights, images, arch)

    outputs, pullback = jax.vjp(forward, weights)
    return jax.lax.map(lambda image: pullback(cotangent(outputs, image))[0], jnp.arange(len(outputs)))


class Flow(NamedTuple):
    """Synaptic flow: |w|, and dR/d|w| divided by 2^exponent."""

    weights: Weights
    gradient: Weights
    exponent: Any


def synaptic_flow(
    network: SearchNetwork, params: PyTree, weights: Weights, arch: Array, image_shape: tuple, norm: str, dtype: Any
) -> Flow:
    """Of R, the sum of outputs for an image of ones, every parameter replaced by |.|.

    Networks without normalisation outgrow float32: those that keep their range divide by a power of 2, others give inf.
    """
    with jax.enable_x64(dtype == jnp.float64):
        network = backwards(network).clone(norm=norm, keeps_range=norm != "all")
        params = jax.tree.map(lambda p: jnp.abs(p.astype(dtype)), params)
        weights = {path: jnp.abs(w.astype(dtype)) for path, w in weights.items()}
        image = jnp.ones((1, *image_shape), dtype)

        def total(weights):
            variables = {"params": replace_weights(params, weights)}
            outputs, sown = network.apply(variables, image, arch, mutable=["exponent"])
            return jnp.sum(jnp.asarray(outputs)), sown

        gradient, sown = jax.grad(total, has_aux=True)(weights)
        exponents = [leaf for leaf in jax.tree.leaves(sown)] or [jnp.int32(0)]
        return Flow(weights, gradient, exponents[0])


def run_relus(network: SearchNetwork, params: PyTree, images: Array, arch: Array) -> list[tuple[Array, Array]]:
    """Of all ReLUs the inputs [..., N H W C] and which channels of them there are: [..., C] or [..., 1]."""
    _, sown = network.apply({"params": params}, images, arch, mutable=["relus"])
    pairs = [(x, jnp.asarray(used)) for ((x, used),) in flatten_dict(sown.get("relus", {})).values()]
    return [(x, used if used.ndim > x.ndim - 4 else used[..., None]) for x, used in pairs]
