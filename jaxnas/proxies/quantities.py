"""The quantities that proxies share: computed from few passes over the network, each at most once."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int, Int8, PyTree

from jaxnas.networks.layers import own_params

Weights = dict[str, Array]  # "stage1/conv_3x3" -> kernels of that layer; leading axes stack layers of one shape


class Batch(NamedTuple):
    """One labelled minibatch. The kind of labels decides the loss, see `loss_of`.

    Images are [N, H, W, C], or puzzles [N, P, H, W, C]; labels classes [N] or [N, H, W], or images [N, H, W, K].
    """

    images: Float[Array, "N *P H W C"]
    labels: Array  # int32 [N] or [N, H, W], or floats [N, H, W, K]


class Quantities:
    """What a proxy may read of one architecture at initialisation: a proxy is a function Quantities -> scalar.

    Every property is traced when first read and then kept. Under `jax.jit` only what a result depends on is computed:
    one backward pass serves all proxies of the loss gradient, the input Jacobian is a second cotangent on the same
    forward pass, and the curvature takes two forward derivatives of the loss.

    Batch normalisation uses the statistics of the minibatch. Weights are the kernels of convolutions and linear
    layers, all of the network's, also those that this architecture does not use: their gradient is exactly 0.

    Attributes: network, a flax module called as network.apply(variables, images, arch) and built from the layers of
    `jaxnas.networks.layers`; params, its "params" collection; arch int8 [D]; batch.
    """

    def __init__(self, network: nn.Module, params: PyTree, arch: Int8[Array, " D"], batch: Batch):
        self.network, self.arch, self.batch = network, arch, batch
        self.params = own_params(network, params, arch)

    @cached_property
    def weights(self) -> Weights:
        """Kernel of every convolution and linear layer."""
        flat = flatten_dict(self.params, sep="/")
        return {path: flat[path] for path in self._taps["gates"]}

    @property
    def logits(self) -> Float[Array, "*N K"]:
        """Logits of the minibatch, or the images that a network of images gives."""
        return self._pass.logits

    @property
    def loss(self) -> Float[Array, ""]:
        """L, the mean loss of the minibatch, see `loss_of`: of classes the cross-entropy in nats."""
        return self._pass.loss

    @property
    def gradient(self) -> Weights:
        """g = dL/dw for every weight."""
        return self._pass.gradient

    @cached_property
    def curvature(self) -> Float[Array, ""]:
        """w'H g: the Hessian of L with respect to all weights, between the weights and the gradient.

        d/ds L(s w) at s = 1 is w.g(w), whose derivative along g is g.g + w'H g: two forward derivatives of the loss, so
        nothing is kept for a backward pass. One scalar per layer is cheaper to differentiate along than the weights: a
        scaled convolution needs no convolution of its own.

        The layers that a normalisation follows take no part in w.g(w), up to its epsilon: L does not depend on their
        scale. Only float64 follows them nevertheless. What float32 leaves out is 3e-5 of the result in the median of
        the reference networks, 1.2e-3 at most; it saves a sixth of the time of all six proxies.
        """
        one = jnp.ones((), self.batch.images.dtype)

        def slope(weights):
            return jax.jvp(lambda scale: self._loss(weights, scale), (one,), (one,))[1]

        _, change = jax.jvp(slope, (self.weights,), (self.gradient,))
        return change - sum_over_weights(jnp.square, self.gradient)

    @property
    def channel_gradient(self) -> Weights:
        """Sum over pixels of a dL/da per image and output channel, [..., N, O], for the output a of every weight."""
        return self._pass.channel_gradient

    @property
    def input_jacobian(self) -> Float[Array, "N *P H W C"]:
        """J: the derivative of the sum of all outputs with respect to the images."""
        return self._pass.input_jacobian

    @cached_property
    def relus(self) -> list[tuple[Array, Array]]:
        """Of all ReLUs the inputs [..., N H W C] and which channels of them there are: [..., C] or [..., 1]."""
        pairs = [(x, jnp.asarray(used)) for ((x, used),) in flatten_dict(self._sown.get("relus", {})).values()]
        return [(x, used if used.ndim > x.ndim - 4 else used[..., None]) for x, used in pairs]

    @cached_property
    def pooled(self) -> Float[Array, ""]:
        """Numbers that the windows of pooling see in one image."""
        return sum((jnp.sum(value) for (value,) in flatten_dict(self._sown.get("pools", {})).values()), jnp.zeros(()))

    @cached_property
    def places(self) -> Weights:
        """By path of layers and normalisations, at how many pixels of one image each is computed; 0 where it is not.

        Two passes are traced for it, of which nothing is left after compilation: it depends on no value.
        """

        def forward(places):
            return self._apply(self.network, self.weights, self.batch.images, places=places)

        outputs, pullback = jax.vjp(forward, self._taps["places"])
        (counts,) = pullback(outputs)
        return {path: count / len(self.batch.images) for path, count in counts.items()}

    @cached_property
    def _sown(self):
        variables = {"params": self.params}
        return self.network.apply(variables, self.batch.images, self.arch, mutable=["relus", "pools"])[1]

    @cached_property
    def _taps(self):
        """All taps, set to 1: by collection flat dictionaries with the paths of the weights."""
        dtype = self.batch.images.dtype
        images = jax.ShapeDtypeStruct(self.batch.images.shape, jnp.result_type(float))
        variables = jax.eval_shape(self._init, images, self.arch)
        names = ("scales", "normalised_scales", "gates", "places")
        flat = {name: flatten_dict(variables.get(name, {}), sep="/") for name in names}
        return {name: {path: jnp.ones(leaf.shape, dtype) for path, leaf in tree.items()} for name, tree in flat.items()}

    def _init(self, images, arch):
        return self.network.init(jax.random.key(0), images, arch)

    def _apply(self, network, weights, images, **taps):
        taps = {name: unflatten_dict(tap, sep="/") for name, tap in taps.items()}
        return network.apply({"params": replace_weights(self.params, weights), **taps}, images, self.arch)

    def _loss(self, weights, scale):
        exact = self.batch.images.dtype == jnp.float64
        names = ("scales", "normalised_scales") if exact else ("scales",)
        scales = {name: jax.tree.map(lambda ones: scale * ones, self._taps[name]) for name in names}
        return loss_of(self._apply(self.network, weights, self.batch.images, **scales), self.batch.labels)

    @cached_property
    def _pass(self):
        """One forward pass and two pulled back through it: the loss gradient, and ones for the Jacobian."""

        def forward(weights, gates, images):
            return self._apply(backwards(self.network), weights, images, gates=gates)

        logits, pullback = jax.vjp(forward, self.weights, self._taps["gates"], self.batch.images)
        loss, logits_gradient = jax.value_and_grad(loss_of)(logits, self.batch.labels)
        gradient, channel_gradient, _ = pullback(logits_gradient)
        _, _, input_jacobian = pullback(jnp.ones_like(logits))
        return _FirstOrder(logits, loss, gradient, channel_gradient, input_jacobian)


class _FirstOrder(NamedTuple):
    logits: Any
    loss: Any
    gradient: Any
    channel_gradient: Any
    input_jacobian: Any


def backwards(network: nn.Module) -> nn.Module:
    """The network for reverse derivatives alone, in the form that is fastest for them."""
    return network.clone(reverse=True) if hasattr(network, "reverse") else network


def replace_weights(params: PyTree, weights: Weights) -> PyTree:
    """`params` with the kernels of `weights` in their places."""
    return unflatten_dict(flatten_dict(params, sep="/") | weights, sep="/")


def sum_over_weights(fn: Callable[..., Array], *trees: Weights) -> Float[Array, ""]:
    """Sum over layers and elements of fn(leaf, ...), the leaves of the trees taken path by path."""
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda *leaves: jnp.sum(fn(*leaves)), *trees))


def loss_of(outputs: Float[Array, "*N K"], labels: Array) -> Float[Array, ""]:
    """The cross-entropy of integer labels, the mean of |output - label| of floating ones."""
    if jnp.issubdtype(labels.dtype, jnp.integer):
        return cross_entropy(outputs, labels)
    return jnp.abs(outputs - labels).mean()


def cross_entropy(logits: Float[Array, "*N K"], labels: Int[Array, "*N"]) -> Float[Array, ""]:
    """Mean over images, or their pixels, of -log softmax(logits)[label], in nats."""
    log_probabilities = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_probabilities, labels[..., None], axis=-1).mean()
