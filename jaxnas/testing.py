"""Contract checks for a space, network or proxy of your own: AssertionError names the rule that is broken.

    from jaxnas.testing import check_network, check_proxy, check_space
    check_space(MY_SPACE)
    check_network(MyNetwork(), MY_SPACE, images)
    check_proxy(my_proxy, MyNetwork(), params, archs, Batch(images, labels))

A few images of 8x8 pixels, two channels and one cell are enough, and compile in seconds.
"""

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float, Int8, PyTree

from jaxnas.networks import own_params
from jaxnas.proxies import Batch, Proxy, Quantities
from jaxnas.spaces import SearchSpace, check_archs, enumerate_archs, from_index, mutate, sample, to_index

_NUM_ARCHS = 8
_FEW = 20_000  # architectures that are checked one by one
_RUN_A_FEW_TIMES = {"xla_backend_optimization_level": 0}  # compiling is all the time that a check takes
_SCALES = ("scales", "normalised_scales")
_NEARLY = 0.01  # of what could be: the epsilon of a normalisation leaves about a thousandth


def check_proxy(proxy: Proxy, network: nn.Module, params: PyTree, archs: Int8[np.ndarray, "A D"], batch: Batch) -> None:
    """Check that `proxy` is a pure function of the quantities of one architecture.

    It must return one floating scalar; give the same again in a second call; leave `params` and `batch` alone and no
    tracer behind; and give under `jit` and `vmap` what the plain loop over `archs` gives. Values may differ by the
    square root of the machine epsilon of the images; NaN equals NaN.

    Args: a few `archs` that differ, among them one of little use (all none): its score may be NaN, not an error.
    Raises: AssertionError.
    """

    def score(arch):
        return proxy(Quantities(network, params, arch, batch))

    inputs = jax.tree.leaves((params, batch))
    before = [np.array(leaf) for leaf in inputs]
    shape = _traced("proxy", lambda: _shape_and_no_leak(score, archs[0]))
    _require(
        getattr(shape, "shape", None) == () and jnp.issubdtype(shape.dtype, jnp.floating),
        f"the proxy returns {shape}, not one floating scalar",
    )
    one_by_one = jax.jit(score)
    first = np.array([one_by_one(jnp.asarray(arch)) for arch in archs])
    again = np.array(jax.jit(lambda arch: score(arch))(jnp.asarray(archs[0])))  # a new function: traced anew
    _require(
        np.array_equal(first[0], again, equal_nan=True),
        f"the proxy is not deterministic: {first[0]} and then {again} for architecture {archs[0]}",
    )
    unchanged = jax.tree.leaves((params, batch))
    _require(
        len(unchanged) == len(before) and all(map(np.array_equal, unchanged, before)),
        "the proxy changed params or batch in place",
    )
    batched = np.array(_traced("proxy", lambda: jax.jit(jax.vmap(score))(jnp.asarray(archs))))
    tolerance = _tolerance(batch.images.dtype)
    smallest = 1e-3 * tolerance * np.max(np.abs(first), initial=0, where=np.isfinite(first))
    differ = np.flatnonzero(~np.isclose(batched, first, rtol=tolerance, atol=smallest, equal_nan=True))
    _require(
        not len(differ),
        f"the proxy gives {batched[differ]} under jit and vmap, {first[differ]} in a loop, for architectures {differ}",
    )


def check_space(space: SearchSpace) -> None:
    """Check that index, text, canonical form and class of architectures fit each other.

    All architectures are looked at, or a sample of a space of more than 20,000: each has its index and its text, and
    comes back from both; canonicalize is idempotent and leaves the class alone; a class is named by the index of one of
    its members, which is the same for all; a mutant differs in one decision and is a member.

    Raises: AssertionError.
    """
    is_whole = space.size <= _FEW
    archs = enumerate_archs(space) if is_whole else sample(space, _FEW // 10, seed=0)
    index = to_index(space, archs)
    _require(len(np.unique(archs, axis=0)) == len(archs), "two indices name the same architecture")
    _require(bool(((index >= 0) & (index < space.size)).all()), f"an index lies outside 0..{space.size - 1}")
    _require(not is_whole or np.array_equal(index, np.arange(space.size)), "indices are not 0, 1, ... in their order")
    _require(np.array_equal(from_index(space, index), archs), "an index does not lead back to its architecture")
    for arch in archs:
        text = space.format(arch)
        _require(np.array_equal(space.parse(text), arch), f"parse({text!r}) is not the {arch} that format took")
    canonical = check_archs(space, space.canonicalize(archs))
    _require(np.array_equal(space.canonicalize(canonical), canonical), "canonicalize changes what it gave")
    label = space.network_class(archs)
    _require(np.issubdtype(label.dtype, np.integer), f"network_class gives {label.dtype}, not indices")
    _require(
        np.array_equal(space.network_class(from_index(space, label)), label),
        "a class is not named by one of its members",
    )
    _require(
        np.array_equal(space.network_class(canonical), label), "canonicalize moves an architecture to another class"
    )
    if max(space.num_choices) > 1:
        mutants = np.stack([mutate(space, jax.random.key(row), arch) for row, arch in enumerate(archs[:_NUM_ARCHS])])
        changed = (check_archs(space, mutants) != archs[: len(mutants)]).sum(axis=1)
        _require(bool((changed == 1).all()), f"mutants differ in {changed} decisions, not one")


def check_network(network: nn.Module, space: SearchSpace, images: Float[Array, "N H W C"]) -> None:
    """Check that `network` offers what proxies and the engine read.

    The architecture is a traced argument, and matters; logits are [N, K] and finite. The taps `scales` or
    `normalised_scales` and `gates` (see `jaxnas.networks.layers`) are optional, lie at the paths of weights, and their
    gradients add up to <w, dL/dw>, near 0 for the normalised, and to the sum of a dL/da of every layer.
    `in_use` has the tree of params and is true wherever a gradient is not 0.
    `relus` and `features` can be read, `train=False` reads `batch_stats`, and the same params fit
    `network.clone(norm=...)` for "reduction" and "none".

    Raises: AssertionError.
    """
    archs = [jnp.asarray(arch) for arch in sample(space, min(_NUM_ARCHS, space.size), seed=0)]
    init = jax.jit(network.init, compiler_options=_RUN_A_FEW_TIMES)
    variables = _traced("network", lambda: init(jax.random.key(0), images, archs[0]))
    for name in ("params", "gates"):
        _require(name in variables, f"init yields no collection {name!r}: declare every kernel with weight_layer")
    _check_taps(variables, len(images))
    _check_variants(network, variables, images, archs[0])
    gradients = _gradient_program(network, images)
    taps = {name: variables[name] for name in (*_SCALES, "gates") if name in variables}
    seen = []
    for arch in archs:
        params = own_params(network, variables["params"], arch)
        logits, of_params, of_taps = _traced("network", partial(gradients, params, taps, arch))
        _require(
            logits.shape[:1] == images.shape[:1] and logits.ndim == 2,
            f"logits have shape {logits.shape}, not [N, K] with N = {len(images)}",
        )
        _require(bool(jnp.isfinite(logits).all()), f"logits of architecture {arch} are not finite at initialisation")
        _check_tap_gradients(params, of_params, of_taps)
        _check_in_use(network, params, of_params, arch)
        seen.append(np.asarray(logits))
    _require(
        any(not np.array_equal(seen[0], other) for other in seen[1:]),
        f"the network ignores the architecture: equal logits for {len(seen)} of them",
    )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _traced(kind: str, function: Callable[[], Any]) -> Any:
    """What `function` returns; tracing errors become failures of the contract, with JAX's own as their cause."""
    try:
        return function()
    except jax.errors.JAXTypeError as error:
        raise AssertionError(f"the {kind} cannot be traced: it needs the values of an argument in Python") from error
    except Exception as error:  # JAX has no class of its own for a leak
        if "Leaked" not in str(error):
            raise
        raise AssertionError(f"the {kind} is not pure: it keeps a traced array after it returned") from error


def _shape_and_no_leak(function, argument):
    gc.freeze()  # for a leak JAX searches all objects that are not frozen: minutes in a large process
    try:
        with jax.checking_leaks():
            return jax.eval_shape(function, argument)
    finally:
        gc.unfreeze()


def _tolerance(dtype):
    return float(jnp.finfo(dtype).eps) ** 0.5


def _scales(variables):
    flat = [flatten_dict(variables.get(name, {}), sep="/") for name in _SCALES]
    _require(not flat[0].keys() & flat[1].keys(), f"normalised and not: {sorted(flat[0].keys() & flat[1].keys())}")
    return flat[0] | flat[1]


def _check_taps(variables, num_images):
    params, gates = (flatten_dict(variables[name], sep="/") for name in ("params", "gates"))
    scales = _scales(variables)
    _require(scales.keys() == gates.keys(), f"scales and gates have different paths: {scales.keys() ^ gates.keys()}")
    _require(scales.keys() <= params.keys(), f"taps without a weight: {sorted(scales.keys() - params.keys())}")
    for path, scale in scales.items():
        kernel, stack = params[path].shape, scale.shape
        _require(
            kernel[: len(stack)] == stack and len(kernel) - len(stack) in (2, 4),
            f"scales of {path} have shape {stack}: not the axes that stack the kernel {kernel}, one scale per layer",
        )
        expected = (*stack, num_images, kernel[-1])
        _require(
            gates[path].shape == expected, f"gates of {path} have shape {gates[path].shape}, not [..., N, O] {expected}"
        )
        _require(bool((scale == 1).all() and (gates[path] == 1).all()), f"taps of {path} are not 1 at initialisation")


def _check_variants(network, variables, images, arch):
    """What can be said from shapes alone."""
    params = {"params": variables["params"]}

    def shapes(network, variables, **options):
        return _traced(
            "network", lambda: jax.eval_shape(lambda v: network.apply(v, images, arch, **options), variables)
        )

    logits = shapes(network, params)
    for norm in ("reduction", "none"):
        _require(hasattr(network, "norm"), "the network has no field `norm`, which synflow sets to 'reduction'")
        of_norm = shapes(network.clone(norm=norm), params)
        _require(of_norm.shape == logits.shape, f"logits have another shape with norm={norm!r}: {of_norm.shape}")
    if "batch_stats" in variables:
        kept = {**params, "batch_stats": variables["batch_stats"]}
        _require(shapes(network, kept, train=False).shape == logits.shape, "logits have another shape if train=False")
    _, sown = shapes(network, params, mutable=["relus", "features"])
    _require({"relus", "features"} <= sown.keys(), f"the network sows {sorted(sown)}, not relus and features")
    for path, values in flatten_dict(sown, sep="/").items():
        arrays = values if path.startswith("features") else [value[0] for value in values]
        _require(
            all(array.ndim >= 4 and array.shape[-4] == len(images) for array in arrays),
            f"{path} holds {[array.shape for array in arrays]}: give activations [..., N, H, W, C]",
        )


def _gradient_program(network, images):
    @partial(jax.jit, compiler_options=_RUN_A_FEW_TIMES)
    def program(params, taps, arch):
        def total(params, taps):
            logits = network.apply({"params": params, **taps}, images, arch)
            return jnp.vdot(logits, jax.random.normal(jax.random.key(1), logits.shape)), logits

        (_, logits), gradients = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(params, taps)
        return logits, *gradients

    return program


def _check_tap_gradients(params, of_params, of_taps):
    terms = flatten_dict(jax.tree.map(jnp.multiply, params, of_params), sep="/")  # w dL/dw
    gates, normalised = (flatten_dict(of_taps.get(name, {}), sep="/") for name in ("gates", "normalised_scales"))
    for path, of_scale in _scales(of_taps).items():
        axes = tuple(range(of_scale.ndim, terms[path].ndim))
        of_gate = gates[path].sum((-2, -1))
        size = jnp.abs(terms[path]).sum(axes) + jnp.abs(gates[path]).sum((-2, -1))  # the sums below may cancel
        tolerance = _tolerance(of_scale.dtype) * size
        along_kernel = terms[path].sum(axes)
        _require(
            bool((jnp.abs(of_scale - along_kernel) <= tolerance).all()),
            f"d/dscale of {path} is {of_scale}, not <w, dL/dw> = {along_kernel}: multiply the layer's output by it",
        )
        _require(
            path not in normalised or bool((jnp.abs(along_kernel) <= _NEARLY * jnp.abs(terms[path]).sum(axes)).all()),
            f"{path} is declared normalised, but dL/dscale is {along_kernel}: the loss depends on its scale",
        )
        along_output = along_kernel + (terms[f"{path}_bias"].sum(-1) if f"{path}_bias" in terms else 0)
        _require(
            bool((jnp.abs(of_gate - along_output) <= tolerance).all()),
            f"d/dgate of {path} sums to {of_gate}, not to the sum of a dL/da = {along_output}",
        )


def _check_in_use(network, params, of_params, arch):
    in_use, gradients = (flatten_dict(tree, sep="/") for tree in (network.in_use(params, arch), of_params))
    _require(
        in_use.keys() == gradients.keys(),
        f"in_use(params, arch) has not the tree of params: they differ in {sorted(in_use.keys() ^ gradients.keys())}",
    )
    for path, used in in_use.items():
        gradient = np.asarray(gradients[path])
        _require(
            gradient.shape[: used.ndim] == used.shape,
            f"in_use of {path} has shape {used.shape}, not leading axes of {gradient.shape}",
        )
        _require(
            not np.any(gradient[~np.asarray(used)]),
            f"in_use says that architecture {arch} does not use {path}, but its gradient is not zero",
        )
