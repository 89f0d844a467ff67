"""The check of a network."""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.data.batch import AnyArray
from jaxnas.networks import SearchNetwork
from jaxnas.spaces import SearchSpace, sample
from jaxnas.testing.rules import NUM_ARCHS, require, tolerance_of, traced

_RUN_A_FEW_TIMES = {"xla_backend_optimization_level": 0}  # compiling takes nearly all the time of a check
_SCALES = ("scales", "normalised_scales")
_NEARLY = 0.01  # share of the largest possible value; the epsilon of a normalisation leaves about a thousandth

_Gradients = tuple[Float[Array, "N K"], PyTree, PyTree]  # logits, gradients of params, gradients of taps


def check_network(network: SearchNetwork, space: SearchSpace, images: Float[AnyArray, "N H W C"]) -> None:
    """Check that `network` provides what proxies and the engine read.

    - The architecture is a traced argument and changes the logits, which are [N K] and finite.
    - The taps `scales` or `normalised_scales` and `gates` (see `jaxnas.networks.layers`) are optional and have the
      paths of kernels. The gradient of a scale is <w, dL/dw>, which is near 0 for a normalised one; those of the gates
      of a layer add up to the sum of a dL/da.
    - `in_use` has the tree of the params and is true wherever a gradient is not 0.
    - `relus` and `features` can be read, `train=False` reads `batch_stats`, and the same params fit
      `network.clone(norm=...)` for "reduction" and "none".

    Args:
        network: The network.
        space: The search space.
        images: A few images [N H W C].

    Raises:
        AssertionError: The network breaks a rule, which the message names.
    """
    require(
        isinstance(network, SearchNetwork),
        f"{type(network).__name__} is not a SearchNetwork: derive it from jaxnas.networks.SearchNetwork",
    )
    images = jnp.asarray(images)
    archs = [jnp.asarray(arch) for arch in sample(space, min(NUM_ARCHS, space.size), seed=0)]
    init = jax.jit(network.init, compiler_options=_RUN_A_FEW_TIMES)
    variables = traced("network", lambda: init(jax.random.key(0), images, archs[0]))
    for name in ("params", "gates"):
        require(name in variables, f"init yields no collection {name!r}: declare every kernel with weight_layer")
    _check_taps(variables, len(images))
    _check_variants(network, variables, images, archs[0])
    gradients = _gradient_program(network, images)
    taps = {name: variables[name] for name in (*_SCALES, "gates") if name in variables}
    seen = []
    for arch in archs:
        params = network.params_for(variables["params"], arch)
        logits, param_gradients, tap_gradients = traced("network", partial(gradients, params, taps, arch))
        require(
            logits.shape[:1] == images.shape[:1] and logits.ndim == 2,
            f"logits have shape {logits.shape}, not [N, K] with N = {len(images)}",
        )
        require(bool(jnp.isfinite(logits).all()), f"logits of architecture {arch} are not finite at initialisation")
        _check_tap_gradients(params, param_gradients, tap_gradients)
        _check_in_use(network, params, param_gradients, arch, images)
        seen.append(np.asarray(logits))
    require(
        any(not np.array_equal(seen[0], other) for other in seen[1:]),
        f"the network ignores the architecture: equal logits for {len(seen)} of them",
    )


def _scales(variables: Mapping[str, PyTree]) -> dict[str, Array]:
    """Return the scales of both kinds by path."""
    flat: list[dict[str, Array]] = [flatten_dict(variables.get(name, {}), sep="/") for name in _SCALES]
    require(
        not flat[0].keys() & flat[1].keys(), f"both scaled and normalised: {sorted(flat[0].keys() & flat[1].keys())}"
    )
    return flat[0] | flat[1]


def _check_taps(variables: Mapping[str, PyTree], num_images: int) -> None:
    params, gates = (flatten_dict(variables[name], sep="/") for name in ("params", "gates"))
    scales = _scales(variables)
    require(scales.keys() == gates.keys(), f"scales and gates have different paths: {scales.keys() ^ gates.keys()}")
    require(scales.keys() <= params.keys(), f"taps without a kernel: {sorted(scales.keys() - params.keys())}")
    for path, scale in scales.items():
        kernel, stack = params[path].shape, scale.shape
        require(
            kernel[: len(stack)] == stack and len(kernel) - len(stack) in (2, 4),
            f"scales of {path} have shape {stack}: not the axes that stack the kernel {kernel}, one scale per layer",
        )
        expected = (*stack, num_images, kernel[-1])
        require(
            gates[path].shape == expected, f"gates of {path} have shape {gates[path].shape}, not [..., N, O] {expected}"
        )
        require(bool((scale == 1).all() and (gates[path] == 1).all()), f"taps of {path} are not 1 at initialisation")


def _check_variants(
    network: SearchNetwork,
    variables: Mapping[str, PyTree],
    images: Float[Array, "N H W C"],
    arch: Int8[Array, " D"],
) -> None:
    """Check what follows from shapes alone."""
    params = {"params": variables["params"]}

    def shapes(network: SearchNetwork, variables: Mapping[str, PyTree], **options: PyTree) -> PyTree:
        return traced("network", lambda: jax.eval_shape(lambda v: network.apply(v, images, arch, **options), variables))

    logits = shapes(network, params)
    for norm in ("reduction", "none"):
        variant = shapes(network.clone(norm=norm), params)
        require(variant.shape == logits.shape, f"logits have another shape with norm={norm!r}: {variant.shape}")
    if "batch_stats" in variables:
        kept = {**params, "batch_stats": variables["batch_stats"]}
        require(shapes(network, kept, train=False).shape == logits.shape, "logits have another shape if train=False")
    _, sown = shapes(network, params, mutable=["relus", "features"])
    require({"relus", "features"} <= sown.keys(), f"the network sows {sorted(sown)}, not relus and features")
    for path, values in flatten_dict(sown, sep="/").items():
        arrays = values if path.startswith("features") else [value[0] for value in values]
        require(
            all(array.ndim >= 4 and array.shape[-4] == len(images) for array in arrays),
            f"{path} holds {[array.shape for array in arrays]}: give activations [..., N, H, W, C]",
        )


def _gradient_program(network: SearchNetwork, images: Float[Array, "N H W C"]) -> Callable[..., _Gradients]:
    """Compile (params, taps, arch) -> the logits, and the gradients of a random sum of them."""

    @partial(jax.jit, compiler_options=_RUN_A_FEW_TIMES)
    def program(params: PyTree, taps: PyTree, arch: Int8[Array, " D"]) -> _Gradients:
        def total(params: PyTree, taps: PyTree) -> tuple[Float[Array, ""], Float[Array, "N K"]]:
            logits = jnp.asarray(network.apply({"params": params, **taps}, images, arch))
            return jnp.vdot(logits, jax.random.normal(jax.random.key(1), logits.shape)), logits

        (_, logits), gradients = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(params, taps)
        return logits, *gradients

    compiled: Callable[..., _Gradients] = program
    return compiled


def _check_tap_gradients(params: PyTree, param_gradients: PyTree, tap_gradients: Mapping[str, PyTree]) -> None:
    terms = flatten_dict(jax.tree.map(jnp.multiply, params, param_gradients), sep="/")  # w dL/dw
    gates, normalised = (flatten_dict(tap_gradients.get(name, {}), sep="/") for name in ("gates", "normalised_scales"))
    for path, scale_gradient in _scales(tap_gradients).items():
        axes = tuple(range(scale_gradient.ndim, terms[path].ndim))
        gate_sum = gates[path].sum((-2, -1))
        size = jnp.abs(terms[path]).sum(axes) + jnp.abs(gates[path]).sum((-2, -1))  # the sums below may cancel
        tolerance = tolerance_of(scale_gradient.dtype) * size
        along_kernel = terms[path].sum(axes)
        require(
            bool((jnp.abs(scale_gradient - along_kernel) <= tolerance).all()),
            f"d/dscale of {path} is {scale_gradient}, not <w, dL/dw> = {along_kernel}: multiply the output by it",
        )
        require(
            path not in normalised or bool((jnp.abs(along_kernel) <= _NEARLY * jnp.abs(terms[path]).sum(axes)).all()),
            f"{path} is declared normalised, but dL/dscale is {along_kernel}: the loss depends on its scale",
        )
        along_output = along_kernel + (terms[f"{path}_bias"].sum(-1) if f"{path}_bias" in terms else 0)
        require(
            bool((jnp.abs(gate_sum - along_output) <= tolerance).all()),
            f"d/dgate of {path} sums to {gate_sum}, not to the sum of a dL/da = {along_output}",
        )


def _check_in_use(
    network: SearchNetwork,
    params: PyTree,
    param_gradients: PyTree,
    arch: Int8[Array, " D"],
    images: Float[Array, "N H W C"],
) -> None:
    in_use, gradients = (
        flatten_dict(tree, sep="/") for tree in (network.in_use(params, arch, images[:1]), param_gradients)
    )
    require(
        in_use.keys() == gradients.keys(),
        f"in_use(params, arch) must have the tree of params: they differ in {sorted(in_use.keys() ^ gradients.keys())}",
    )
    for path, used in in_use.items():
        gradient = np.asarray(gradients[path])
        require(
            gradient.shape[: used.ndim] == used.shape,
            f"in_use of {path} has shape {used.shape}, not leading axes of {gradient.shape}",
        )
        require(
            not np.any(gradient[~np.asarray(used)]),
            f"in_use says that architecture {arch} does not use {path}, but its gradient is not zero",
        )
