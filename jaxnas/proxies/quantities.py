"""The quantities that proxies share: computed from few passes over the network, each at most once."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Bool, Float, Int8, PRNGKeyArray, PyTree

from jaxnas.data.batch import Batch
from jaxnas.errors import InputError
from jaxnas.networks.network import SearchNetwork
from jaxnas.proxies import draws, passes
from jaxnas.proxies.draws import Noise, Response
from jaxnas.proxies.finish import Unfinished
from jaxnas.proxies.loss import loss_of
from jaxnas.proxies.passes import Flow, Weights, sum_over_weights

FEW = 16  # images of which each has a gradient of its own
NUM_CROPS = 1000  # that a thin network sees


class Quantities:
    """What a proxy may read of one architecture at initialisation: a proxy is a function Quantities -> scalar.

    Every property is traced when first read and then kept. Under `jax.jit` only what a result depends on is computed:
    one backward pass serves all proxies of the loss gradient, the input Jacobian is a second cotangent on the same
    forward pass, and the curvature takes two forward derivatives of the loss.

    Batch normalisation uses the statistics of the minibatch. Weights are the kernels of convolutions and linear
    layers, all of the network's, also those that this architecture does not use: their gradient is exactly 0.

    Attributes: network, a flax module called as network.apply(variables, images, arch) and built from the layers of
    `jaxnas.networks.layers`; params, its "params" collection; arch int8 [D]; batch; key, of what proxies draw; float64,
    whether the device has that type: TPUs have not, see `finish`.
    """

    def __init__(
        self,
        network: SearchNetwork,
        params: PyTree,
        arch: Int8[Array, " D"],
        batch: Batch,
        key: PRNGKeyArray | None = None,
        float64: bool = True,
    ):
        self.network, self.arch, self.batch = network, arch, batch
        self.params = network.params_for(params, arch)
        self.key = jax.random.key(0) if key is None else key
        self.float64, self._flows = float64, dict[str, Flow]()

    @cached_property
    def weights(self) -> Weights:
        """Kernel of every convolution and linear layer."""
        flat = flatten_dict(self.params, sep="/")
        return {path: flat[path] for path in self._taps["gates"]}

    @cached_property
    def in_use(self) -> dict[str, Bool[Array, "..."]]:
        """Which layers, of every weight, the architecture uses: [...], the axes that stack them, or every element."""
        flat = flatten_dict(self.network.in_use(self.params, self.arch, self._one_image), sep="/")
        return {path: jnp.asarray(flat[path]) for path in self._taps["gates"]}

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
    def half_gradients(self) -> Weights:
        """dL/dw of each half of the minibatch by itself, [2, ...]; of an odd number the last image is left out."""
        return self._gradients_of_parts(self.batch, 2)

    @cached_property
    def image_gradients(self) -> Weights:
        """dL/dw of each of the first 16 images by itself, [n, ...], which is its own minibatch."""
        few = jax.tree.map(lambda leaf: leaf[:FEW], self.batch)
        return self._gradients_of_parts(few, len(few.images))

    def _gradients_of_parts(self, batch, parts):
        return passes.gradients_of_parts(self.network, self.params, self.weights, self.arch, batch, parts)

    @cached_property
    def image_jacobians(self) -> Weights:
        """Derivative of the sum of an image's outputs with respect to w, [n, ...], of the first 16 as one minibatch."""

        def cotangent(outputs, image):
            return jnp.zeros_like(outputs).at[image].set(1)

        images = self.batch.images[:FEW]
        return passes.of_each_image(self.network, self.params, self.weights, self.arch, images, cotangent)

    def synaptic_flow(self, norm: str) -> Flow:
        """|w| and dR/d|w|: R the sum of outputs for one image of ones, every parameter replaced by |.|.

        In the widest type of the device. `norm`: where batch normalisation acts, see `NASBench201Network`, with the
        statistics of that image.
        """
        if norm not in self._flows:
            given = (self.network, self.params, self.weights, self.arch, self.batch.images.shape[1:])
            self._flows[norm] = passes.synaptic_flow(*given, norm, self._widest)
        return self._flows[norm]

    def wide(self) -> AbstractContextManager:
        """Where float64 is a type, if the device has it."""
        return jax.enable_x64(self._widest == jnp.float64)

    def widen(self, x: Array) -> Array:
        """x in float64, or as it is where the device has no such type."""
        with self.wide():
            return x.astype(self._widest)

    def finish(self, function: Callable[..., Array], *arrays: Array) -> Any:
        """function(*arrays), small and in float64: the last step of a proxy. On the host where the device has no
        float64: then this is what the engine takes from there, an `Unfinished`, and `function` is one of a module."""
        return Unfinished(function, arrays).finish() if self.float64 else Unfinished(function, arrays)

    @property
    def _widest(self):
        return jnp.float64 if self.float64 else self.batch.images.dtype

    @cached_property
    def noise(self) -> Noise:
        """Params and images drawn from N(0, 1)."""
        return draws.draw_noise(self.key, self.network, self.params, self.arch, self.batch.images)

    @cached_property
    def response(self) -> Response:
        """Of the network with params of noise to images of noise, and to images a hundredth away."""
        return draws.respond(self.network, self.shapes.get("batch_stats", {}), self.arch, self.noise)

    @cached_property
    def blocks(self) -> list[Float[Array, "N H W C"]]:
        """Outputs of the network's blocks, in their order: the stem's, then of every cell or residual block.

        Of images of noise, by kernels N(0, 2 / fan-in). Raises: InputError for a network that declares no blocks, see
        `jaxnas.networks.layers.end_of_block`.
        """
        return draws.unstack(list(self._blocks.values()))

    @cached_property
    def block_jacobians(self) -> list[tuple[Float[Array, "N h w O"], Float[Array, "N H W C"]]]:
        """Of every block but the first: random signs at its output [N h w O], pulled back to its input [N H W C].

        Images, kernels and errors as those of `blocks`.
        """
        shapes, key = self.shapes.get("probes", {}), jax.random.fold_in(self.key, 1)
        order = self._blocks
        params, images = self._kaiming, self.noise.images
        trees = draws.pull_signs_back(key, self.network, params, self.arch, images, shapes)
        signs, pulled = ([tree[path] for path in order] for tree in trees)
        signs, pulled = (draws.unstack(values) for values in (signs, pulled))
        return list(zip(signs[1:], pulled[:-1], strict=True))

    @cached_property
    def fisher_rows(self) -> tuple[Float[Array, "n R P"], Bool[Array, " P"]]:
        """Of the first 16 images of noise a factor of the Fisher information, see `draws.fisher_rows`, along one number
        of each parameter tensor, and which of those tensors the architecture uses.

        Kernels N(0, 2 / fan-in); normalisation by fresh running statistics, mean 0 and variance 1. Tensors come in the
        order in which the network declares them.
        """
        images, key = self.noise.images[:FEW], jax.random.fold_in(self.key, 3)
        entries = draws.entries_of(self.network, self.batch.images.shape[1:], self.arch)
        stats = draws.fresh_statistics(self.shapes.get("batch_stats", {}), images.dtype)
        rows = draws.fisher_rows(key, self.network, self._kaiming, stats, images, self.arch, entries)
        masks = flatten_dict(self.network.in_use(self.params, self.arch, self._one_image), sep="/")
        leaves = flatten_dict(self.params, sep="/")
        whole = {path: passes.spread(mask, leaves[path]) for path, mask in masks.items()}
        return rows, draws.first_entries(whole, entries)

    @cached_property
    def _kaiming(self):
        flat = flatten_dict(self.noise.params, sep="/")
        return draws.kaiming(self.noise.params, {path: flat[path] for path in self._taps["gates"]})

    @cached_property
    def _blocks(self):
        found = draws.run_blocks(self.network, self._kaiming, self.noise.images, self.arch)
        if not found:
            raise InputError(f"{type(self.network).__name__} declares no blocks: leave proxies of blocks out")
        return found

    @cached_property
    def relus(self) -> list[tuple[Array, Array]]:
        """Of all ReLUs the inputs [..., N H W C] and which channels of them there are: [..., C] or [..., 1]."""
        return passes.run_relus(self.network, self.params, self.batch.images, self.arch)

    @cached_property
    def thin_relus(self) -> list[tuple[Array, Array]]:
        """`relus` of `SearchNetwork.thinnest` for 1,000 crops of one channel, 3x3, with kernels N(0, 2 / fan-in)."""
        network = self.network.thinnest()
        keys = jax.random.split(jax.random.fold_in(self.key, 2))
        crops = draws.crop_at_random(keys[0], self.batch.images, NUM_CROPS, 3)
        shapes = jax.eval_shape(network.init, keys[1], crops, self.arch)
        noise = draws.draw_noise(keys[1], network, shapes["params"], self.arch, crops)
        flat = flatten_dict(noise.params, sep="/")
        kernels = {path: flat[path] for path in flatten_dict(shapes["gates"], sep="/")}
        return passes.run_relus(network, draws.kaiming(noise.params, kernels), crops, self.arch)

    @cached_property
    def pooled(self) -> Float[Array, ""]:
        """Numbers that the windows of pooling see in one image."""
        variables = {"params": self.params}
        _, sown = self.network.apply(variables, self._one_image, self.arch, mutable=["pools"])
        values = (jnp.sum(value) for (value,) in flatten_dict(sown.get("pools", {})).values())
        return sum(values, jnp.zeros(()))

    @cached_property
    def rectified(self) -> Float[Array, ""]:
        """Numbers that ReLUs see in one image."""
        pairs = passes.run_relus(self.network, self.params, self._one_image, self.arch)
        channels = [jnp.broadcast_to(used, (*used.shape[:-1], x.shape[-1])) for x, used in pairs]
        sizes = [math.prod(x.shape[-4:-1]) for x, _ in pairs]
        counts = (1.0 * size * used.sum() for size, used in zip(sizes, channels, strict=True))
        return sum(counts, jnp.zeros(()))

    @cached_property
    def places(self) -> Weights:
        """By path of layers and normalisations, at how many pixels of one image each is computed; 0 where it is not."""

        def forward(places):
            return passes.apply(self.network, self.params, self.weights, self._one_image, self.arch, places=places)

        outputs, pullback = jax.vjp(forward, self._taps["places"])
        (counts,) = pullback(outputs)
        return counts

    @property
    def _one_image(self):
        """Passes that depend on no value: little is left of them once compiled, and one image is enough."""
        return self.batch.images[:1]

    @cached_property
    def shapes(self):
        """Of all variables, in the caller's precision."""
        images = jax.ShapeDtypeStruct(self.batch.images.shape, jnp.result_type(float))
        return jax.eval_shape(lambda x, arch: self.network.init(jax.random.key(0), x, arch), images, self.arch)

    @cached_property
    def _taps(self):
        """All taps, set to 1: by collection flat dictionaries with the paths of the weights."""
        dtype = self.batch.images.dtype
        names = ("scales", "normalised_scales", "gates", "places")
        flat = {name: flatten_dict(self.shapes.get(name, {}), sep="/") for name in names}
        return {name: {path: jnp.ones(leaf.shape, dtype) for path, leaf in tree.items()} for name, tree in flat.items()}

    def _loss(self, weights, scale):
        exact = self.batch.images.dtype == jnp.float64
        names = ("scales", "normalised_scales") if exact else ("scales",)
        scales = {name: jax.tree.map(lambda ones: scale * ones, self._taps[name]) for name in names}
        outputs = passes.apply(self.network, self.params, weights, self.batch.images, self.arch, **scales)
        return loss_of(outputs, self.batch.labels)

    @cached_property
    def _pass(self):
        gates = self._taps["gates"]
        return passes.first_order(self.network, self.params, self.weights, gates, self.arch, self.batch)
