"""The quantities that proxies share: computed from few passes over the network, each at most once."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int8, PRNGKeyArray, PyTree

from jaxnas.data.batch import Batch
from jaxnas.errors import InputError
from jaxnas.networks.activations import GATE
from jaxnas.networks.network import Norm, SearchNetwork
from jaxnas.proxies import draws, passes
from jaxnas.proxies.draws import Noise, Response
from jaxnas.proxies.finish import Unfinished
from jaxnas.proxies.loss import loss_of
from jaxnas.proxies.passes import Activated, FirstOrder, Kernels, SynapticFlow, sum_over_kernels
from jaxnas.runtime.session import make_key

FEW = 16  # images with a gradient each
NUM_CROPS = 1000  # images of a thin network


class Quantities:
    """The quantities of one architecture at initialisation that proxies read: a proxy is a function of them.

    Every property is traced when it is first read, and then kept. Under `jax.jit` only what a result depends on is
    computed: one backward pass serves all proxies of the loss gradient, the input Jacobian is a second cotangent on the
    same forward pass, and the curvature takes two forward derivatives of the loss.

    Batch normalisation uses the statistics of the minibatch. Kernels are those of all convolutions and linear
    layers of the network; the gradient of those that this architecture does not use is exactly 0.

    Attributes:
      network: the network.
      params: its collection "params", as the architecture has them.
      arch: the architecture, int8 [D].
      batch: the minibatch.
      key: the key of everything that proxies draw.
      float64: whether the device has that type, see `finish`; TPUs do not.
    """

    def __init__(
        self,
        network: SearchNetwork,
        params: PyTree,
        arch: Int8[Array | np.ndarray, " D"],
        batch: Batch,
        key: PRNGKeyArray | None = None,
        float64: bool = True,
    ) -> None:
        """Keep what the quantities are functions of; nothing is computed yet."""
        self.network, self.arch = network, jnp.asarray(arch)
        self.batch = Batch(jnp.asarray(batch.images), jnp.asarray(batch.labels))
        self.params = network.params_for(params, self.arch)
        self.key = make_key(0) if key is None else key
        self.float64, self._flows = float64, dict[Norm, SynapticFlow]()

    @cached_property
    def kernels(self) -> Kernels:
        """The kernel w of every convolution and linear layer, by path."""
        flat = flatten_dict(self.params, sep="/")
        return {path: flat[path] for path in self._taps["gates"]}

    @property
    def weights(self) -> Kernels:
        """The name of `kernels` in version 0.1."""
        return self.kernels

    @cached_property
    def in_use(self) -> dict[str, Bool[Array, "..."]]:
        """For every kernel, whether the architecture uses the layers [...] that it stacks, or its elements."""
        return {path: self._masks[path] for path in self._taps["gates"]}

    @cached_property
    def channels_in_use(self) -> dict[str, Bool[Array, "... C"]]:
        """For every normalisation with channels that an architecture may lack, which of them it has; by path."""
        shapes = flatten_dict(self.params, sep="/")
        gammas = {path: mask for path, mask in self._masks.items() if path.endswith("_gamma")}
        return {path.removesuffix("_gamma"): mask for path, mask in gammas.items() if mask.ndim == shapes[path].ndim}

    @cached_property
    def _masks(self) -> dict[str, Bool[Array, "..."]]:
        """What `SearchNetwork.in_use` returns, by path."""
        flat = flatten_dict(self.network.in_use(self.params, self.arch, self._one_image), sep="/")
        return {path: jnp.asarray(mask) for path, mask in flat.items()}

    @property
    def logits(self) -> Float[Array, "*N K"]:
        """The logits of the minibatch, or the output images of a network that has such."""
        return self._pass.logits

    @property
    def loss(self) -> Float[Array, ""]:
        """The mean loss L of the minibatch, see `loss_of`: for classes the cross-entropy in nats."""
        return self._pass.loss

    @property
    def gradient(self) -> Kernels:
        """The gradient g = dL/dw for every kernel w."""
        return self._pass.gradient

    @cached_property
    def curvature(self) -> Float[Array, ""]:
        """The product w'H g, H the Hessian of L with respect to all kernels.

        d/ds L(s w) at s = 1 is w.g(w), whose derivative along g is g.g + w'H g: two forward derivatives of the loss, so
        nothing is kept for a backward pass. One scalar per layer is cheaper to differentiate along than the kernels: a
        scaled convolution needs no second convolution.

        Layers that a normalisation follows contribute nothing to w.g(w), up to its epsilon, as L does not depend on
        their scale. Only float64 includes them. float32 leaves out 3e-5 of the result in the median of the reference
        networks, 1.2e-3 at most, and saves a sixth of the time of all six proxies.

        Its terms cancel, so that a gradient of rounded products is not near enough to g, however H is computed. Where
        the precision of products is lower than float32, it is float32 here, and g is computed once more for this.
        """
        if not passes.rounds_products():
            return self._curvature_along(self.gradient)
        with jax.default_matmul_precision("float32"):
            return self._curvature_along(self._first_order().gradient)

    def _curvature_along(self, gradient: Kernels) -> Float[Array, ""]:
        one = jnp.ones((), self.batch.images.dtype)

        def slope(kernels: Kernels) -> Array:
            along: Array = jax.jvp(lambda scale: self._loss(kernels, scale), (one,), (one,))[1]
            return along

        change: Array = jax.jvp(slope, (self.kernels,), (gradient,))[1]
        return change - sum_over_kernels(jnp.square, gradient)

    @property
    def channel_gradient(self) -> Kernels:
        """The sum over pixels of a dL/da per image and channel, [..., N, O], a the output of each kernel."""
        return self._pass.channel_gradient

    @property
    def input_jacobian(self) -> Float[Array, "N *P H W C"]:
        """The Jacobian J, the derivative of the sum of all outputs with respect to the images."""
        return self._pass.input_jacobian

    @cached_property
    def half_gradients(self) -> Kernels:
        """The gradient dL/dw of each half of the minibatch alone, [2, ...]; the last of an odd number is left out."""
        return self._gradients_of_parts(self.batch, 2)

    @cached_property
    def image_gradients(self) -> Kernels:
        """The gradient dL/dw of each of the first 16 images as a minibatch of one, [n, ...]."""
        few = jax.tree.map(lambda leaf: leaf[:FEW], self.batch)
        return self._gradients_of_parts(few, len(few.images))

    def _gradients_of_parts(self, batch: Batch, parts: int) -> Kernels:
        return passes.gradients_of_parts(self.network, self.params, self.kernels, self.arch, batch, parts)

    @cached_property
    def image_jacobians(self) -> Kernels:
        """The derivative of the sum of the outputs of one image by w, [n, ...], for the first 16 as a minibatch."""

        def cotangent(outputs: Array, image: Array) -> Array:
            return jnp.zeros_like(outputs).at[image].set(1)

        images = self.batch.images[:FEW]
        return passes.backward_by_image(self.network, self.params, self.kernels, self.arch, images, cotangent)

    def synaptic_flow(self, norm: Norm) -> SynapticFlow:
        """Return |w| and dR/d|w|, R the sum of outputs for one image of ones, every parameter replaced by |.|.

        It has the widest type of the device. `norm` says where batch normalisation acts, see `SearchNetwork`, with the
        statistics of that image.
        """
        if norm not in self._flows:
            image_shape = self.batch.images.shape[1:]
            self._flows[norm] = passes.synaptic_flow(
                self.network, self.params, self.kernels, self.arch, image_shape, norm, self._widest
            )
        return self._flows[norm]

    def require_no_tokens(self, proxies: str) -> None:
        """Raise InputError if the network has layer normalisation or attention, for which `proxies` are not defined."""
        if not self.network.is_homogeneous:
            raise InputError(
                f"{proxies} must be left out: not defined for networks with layer normalisation or attention"
            )

    def wide(self) -> AbstractContextManager[None]:
        """Return a context in which float64 exists, if the device has it."""
        context: AbstractContextManager[None] = jax.enable_x64(self._widest == jnp.float64)
        return context

    def widen(self, x: Array) -> Array:
        """Return x in float64, or unchanged where the device has no such type."""
        with self.wide():
            return x.astype(self._widest)

    def finish(self, function: Callable[..., Array], *arrays: Array) -> Array:
        """Return function(*arrays), the small last step of a proxy, in float64.

        Where the device has no float64, the engine computes it on the host: then the result is an `Unfinished`, and
        `function` must be a module-level function.
        """
        score = Unfinished(function, arrays)
        return score.finish() if self.float64 else cast(Array, score)

    @property
    def _widest(self) -> DTypeLike:
        return jnp.float64 if self.float64 else self.batch.images.dtype

    @cached_property
    def noise(self) -> Noise:
        """Params and images, drawn from N(0, 1)."""
        return draws.draw_noise(self.key, self.network, self.params, self.arch, self.batch.images)

    @cached_property
    def response(self) -> Response:
        """The response of the network with params of noise to images of noise, and to images a hundredth away.

        Raises:
          InputError: See `require_no_tokens`.
        """
        self.require_no_tokens("zen")
        return draws.respond(self.network, self.shapes.get("batch_stats", {}), self.arch, self.noise)

    @cached_property
    def blocks(self) -> list[Float[Array, "N H W C"]]:
        """The outputs of the blocks of the network in their order: the stem, then every cell or residual block.

        The images are noise, the kernels N(0, 2 / fan-in). See `has_block` for those that the architecture lacks.

        Raises:
          InputError: The network declares no blocks, see `jaxnas.networks.layers.end_of_block`; or it has layer
            normalisation or attention.
        """
        return draws.unstack([block.x for block in self._blocks.values()])

    @cached_property
    def has_block(self) -> Bool[Array, " L"]:
        """Which of the `blocks` the architecture has; the output of others is that of the block before.

        Repetitions of declared networks may be missing.

        Raises:
          InputError: See `blocks`.
        """
        return jnp.concatenate([block.present.reshape(-1) for block in self._blocks.values()])

    @cached_property
    def block_jacobians(self) -> list[tuple[Float[Array, "N h w O"], Float[Array, "N H W C"]]]:
        """For every block except the first, random signs at its output [N h w O] and their pullback [N H W C].

        Images, kernels and errors are those of `blocks`.
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
        """A factor of the Fisher information of 16 images along one number of each tensor, and the tensors in use.

        See `draws.fisher_rows`. The images are noise, the kernels N(0, 2 / fan-in); normalisation uses fresh running
        statistics, mean 0 and variance 1. Tensors come in the order in which the network declares them.

        Raises:
          InputError: See `require_no_tokens`.
        """
        self.require_no_tokens("vkdnw")
        images, key = self.noise.images[:FEW], jax.random.fold_in(self.key, 3)
        entries = draws.entries_of(self.network, self.batch.images.shape[1:], self.arch)
        stats = draws.fresh_statistics(self.shapes.get("batch_stats", {}), images.dtype)
        rows = draws.fisher_rows(key, self.network, self._kaiming, stats, images, self.arch, entries)
        masks = flatten_dict(self.network.in_use(self.params, self.arch, self._one_image), sep="/")
        leaves = flatten_dict(self.params, sep="/")
        whole = {path: passes.spread(mask, leaves[path]) for path, mask in masks.items()}
        return rows, draws.first_entries(whole, entries)

    @cached_property
    def _kaiming(self) -> PyTree:
        flat = flatten_dict(self.noise.params, sep="/")
        return draws.kaiming(self.noise.params, {path: flat[path] for path in self._taps["gates"]})

    @cached_property
    def _blocks(self) -> dict[tuple[str, ...], draws.BlockOutput]:
        self.require_no_tokens("az_expressivity, az_progressivity and az_trainability")
        outputs = draws.run_blocks(self.network, self._kaiming, self.noise.images, self.arch)
        if not outputs:
            raise InputError(f"{type(self.network).__name__} must declare blocks for this proxy; leave it out")
        return outputs

    @cached_property
    def activations(self) -> list[Activated]:
        """The input of every activation function of features, and which channels are in use; gates are left out."""
        found = passes.run_activations(self.network, self.params, self.batch.images, self.arch)
        return [one for one in found if one.kind != GATE]

    @cached_property
    def relus(self) -> list[tuple[Array, Array]]:
        """For every ReLU and ReLU6 its input [..., N H W C], and which channels are in use: [..., C] or [..., 1].

        Raises:
          InputError: The network has other activation functions, which have no patterns.
        """
        return passes.only(("relu", "relu6"), self.activations, "nwot, naswot and swap")

    @cached_property
    def thin_relus(self) -> list[tuple[Array, Array]]:
        """The ReLUs of `SearchNetwork.thinnest` for 1,000 crops of one channel, 3x3, with kernels N(0, 2 / fan-in).

        Raises:
          InputError: The network has other activation functions, gates, layer normalisation or attention: it is not
            linear in pieces.
        """
        self.require_no_tokens("linear_regions")
        network = self.network.thinnest()
        keys = jax.random.split(jax.random.fold_in(self.key, 2))
        crops = draws.crop_at_random(keys[0], self.batch.images, NUM_CROPS, 3)
        shapes = jax.eval_shape(network.init, keys[1], crops, self.arch)
        noise = draws.draw_noise(keys[1], network, shapes["params"], self.arch, crops)
        flat = flatten_dict(noise.params, sep="/")
        kernels = {path: flat[path] for path in flatten_dict(shapes["gates"], sep="/")}
        found = passes.run_activations(network, draws.kaiming(noise.params, kernels), crops, self.arch)
        return passes.only(("relu",), found, "linear_regions")

    @cached_property
    def pooled(self) -> Float[Array, ""]:
        """The count of numbers in the windows of pooling for one image."""
        variables = {"params": self.params}
        _, sown = self.network.apply(variables, self._one_image, self.arch, mutable=["pools"])
        values = (jnp.sum(value) for (value,) in flatten_dict(sown.get("pools", {})).values())
        return sum(values, jnp.zeros(()))

    @cached_property
    def rectified(self) -> Float[Array, ""]:
        """The count of inputs of activation functions for one image."""
        found = passes.run_activations(self.network, self.params, self._one_image, self.arch)
        channels = [jnp.broadcast_to(used, (*used.shape[:-1], x.shape[-1])) for _, x, used in found]
        sizes = [math.prod(x.shape[-4:-1]) for _, x, _ in found]
        counts = (1.0 * size * used.sum() for size, used in zip(sizes, channels, strict=True))
        return sum(counts, jnp.zeros(()))

    @cached_property
    def places(self) -> Kernels:
        """The number of pixels of one image where each layer and normalisation is computed, by path; 0 if unused."""

        def forward(places: Kernels) -> Array:
            return passes.apply(self.network, self.params, self.kernels, self._one_image, self.arch, places=places)

        outputs, pullback = jax.vjp(forward, self._taps["places"])
        counts: Kernels = pullback(outputs)[0]
        return counts

    @property
    def _one_image(self) -> Array:
        """One image, for passes whose result depends on shapes alone."""
        return self.batch.images[:1]

    @cached_property
    def shapes(self) -> dict[str, PyTree]:
        """The shapes of all variables, in the precision of the caller."""
        images = jax.ShapeDtypeStruct(self.batch.images.shape, jnp.result_type(float))
        shapes = jax.eval_shape(lambda x, arch: self.network.init(jax.random.key(0), x, arch), images, self.arch)
        return dict(shapes)

    @cached_property
    def _taps(self) -> dict[str, Kernels]:
        """All taps set to 1, by collection: flat dictionaries with the paths of the kernels."""
        dtype = self.batch.images.dtype
        names = ("scales", "normalised_scales", "gates", "places")
        flat = {name: flatten_dict(self.shapes.get(name, {}), sep="/") for name in names}
        return {name: {path: jnp.ones(leaf.shape, dtype) for path, leaf in tree.items()} for name, tree in flat.items()}

    def _loss(self, kernels: Kernels, scale: Array) -> Array:
        exact = self.batch.images.dtype == jnp.float64
        names = ("scales", "normalised_scales") if exact else ("scales",)
        scales = {name: jax.tree.map(lambda ones: scale * ones, self._taps[name]) for name in names}
        outputs = passes.apply(self.network, self.params, kernels, self.batch.images, self.arch, **scales)
        return loss_of(outputs, self.batch.labels)

    @cached_property
    def _pass(self) -> FirstOrder:
        return self._first_order()

    def _first_order(self) -> FirstOrder:
        gates = self._taps["gates"]
        return passes.first_order(self.network, self.params, self.kernels, gates, self.arch, self.batch)
