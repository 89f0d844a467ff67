"""Random params and images of proxies, and passes over networks with them; data and initial params are not read."""

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.tree_util import DictKey
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int8, PRNGKeyArray, PyTree, Shaped

from jaxnas.errors import InputError
from jaxnas.networks.network import SearchNetwork
from jaxnas.proxies.passes import Kernels, backwards, fan_in, layer_axes, replace_kernels, spread

STEP = 1e-2  # the distance between two images of noise, as a share of a random direction
SMOOTHING = 0.05  # weight of equal probabilities in those of the classes
MOST_ROWS = 16  # rows of a factor of the Fisher information of one image
NOT_KERNELS = ("bias", "gamma", "beta")


class Noise(NamedTuple):
    """Random params and images, for proxies that read neither data nor the initial params.

    Attributes:
      params: kernels from N(0, 1), biases and betas 0, gammas 1.
      images: images from N(0, 1).
      direction: a direction in the space of images, from N(0, 1).
    """

    params: PyTree
    images: Float[Array, "N *P H W C"]
    direction: Float[Array, "N *P H W C"]


class Response(NamedTuple):
    """The response of a network of noise to two batches.

    Attributes:
      features: features of both before the global average.
      variances: running variances after both, by path of the normalisation.
    """

    features: Float[Array, "2 N H W C"]
    variances: dict[str, Float[Array, "... C"]]


def draw_noise(
    key: PRNGKeyArray, network: SearchNetwork, params: PyTree, arch: Array, images: Float[Array, "N *P H W C"]
) -> Noise:
    """Draw params and images of the given shapes; in one draw, as each random generator takes long to compile."""
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    used = jax.tree.leaves(network.in_use(params, arch, images[:1]))
    shapes = [images.shape, images.shape, *(leaf.shape for path, leaf in leaves if is_kernel(path))]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    pieces = jnp.split(jax.random.normal(key, (ends[-1],), images.dtype), ends[:-1])
    drawn = iter([piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)])
    noise, direction = next(drawn), next(drawn)
    filled = []
    for (path, leaf), mask in zip(leaves, used, strict=True):
        constant = jnp.full(leaf.shape, float(path[-1].key.endswith("gamma")), images.dtype)
        filled.append(jnp.where(spread(mask, leaf), next(drawn) if is_kernel(path) else constant, 0))
    return Noise(jax.tree.unflatten(tree, filled), noise, direction)


def is_kernel(path: tuple[DictKey, ...]) -> bool:
    """Return whether the leaf of params at a path is a kernel: no bias, position, token or part of a normalisation."""
    return not path[-1].key.endswith(NOT_KERNELS)


def fresh_statistics(shapes: PyTree, dtype: DTypeLike) -> PyTree:
    """Return running means 0 and variances 1, for `shapes` of the collection "batch_stats"."""

    def start(path: tuple[DictKey, ...], leaf: Array | jax.ShapeDtypeStruct) -> Array:
        return jnp.full(leaf.shape, float(path[-1].key.endswith("variance")), dtype)

    return jax.tree_util.tree_map_with_path(start, shapes)


def respond(network: SearchNetwork, shapes: PyTree, arch: Array, noise: Noise) -> Response:
    """Return the response to images of noise, and then to images a hundredth of a random direction away.

    `shapes` are those of the collection "batch_stats"; its running variances start at 1.
    """

    def step(stats: PyTree, images: Array) -> tuple[PyTree, Array]:
        variables = {"params": noise.params, "batch_stats": stats}
        _, after = network.apply(variables, images, arch, mutable=["features", "batch_stats"])
        (features,) = jax.tree.leaves(after["features"])
        return after.get("batch_stats", stats), features

    stats = fresh_statistics(shapes, noise.images.dtype)
    both = jnp.stack([noise.images, noise.images + STEP * noise.direction])
    stats, features = jax.lax.scan(step, stats, both)
    flat = flatten_dict(stats, sep="/")
    return Response(features, {path: leaf for path, leaf in flat.items() if path.endswith("_variance")})


class Entry(NamedTuple):
    """The position of the first number of one parameter tensor."""

    path: str
    at: tuple[int, ...]  # index in the axes that stack tensors


def entries_of(network: SearchNetwork, image_shape: tuple[int, ...], arch: Array) -> list[Entry]:
    """Return one entry for each parameter tensor of the network, in the order in which it declares them."""
    shapes: dict[str, tuple[int, ...]] = {}

    def declare(images: Array) -> Array:
        params = network.init(jax.random.key(0), images, arch)["params"]
        shapes.update({path: leaf.shape for path, leaf in flatten_dict(params, sep="/").items()})
        return images

    jax.eval_shape(declare, jnp.zeros((2, *image_shape)))
    module_of = {path: path.rpartition("/")[0] for path in shapes}
    entries = []
    for module in dict.fromkeys(module_of.values()):
        paths = [path for path in shapes if module_of[path] == module]
        stacks = {path: shapes[path][: len(shapes[path]) - tensor_rank(path, shapes[path])] for path in paths}
        unsorted = [Entry(path, at) for path in paths for at in np.ndindex(*stacks[path])]
        entries += sorted(unsorted, key=lambda entry: entry.at)  # cell after cell, edge after edge
    return entries


def tensor_rank(path: str, shape: tuple[int, ...]) -> int:
    """Return the number of axes of one tensor: 1 for a vector, 2 for a matrix, 4 for the kernel of a convolution."""
    return 1 if path.endswith(NOT_KERNELS) else 4 if len(shape) >= 4 else 2


def first_entries(tree: dict[str, Array], entries: list[Entry]) -> Shaped[Array, " P"]:
    """Return the number at each entry."""
    return jnp.stack([tree[path][at].reshape(-1)[0] for path, at in entries])


def fisher_rows(
    key: PRNGKeyArray,
    network: SearchNetwork,
    params: PyTree,
    stats: PyTree,
    images: Array,
    arch: Array,
    entries: list[Entry],
    root_of: Callable[[Array], Array] | None = None,
) -> Float[Array, "n R P"]:
    """Return for each image alone a factor of its Fisher information along the entries, with running statistics.

    The rows B satisfy B'B = J'(diag p - pp')J, J the derivatives of the logits and p the probabilities of the classes,
    see `fisher_root`, which `root_of` may replace. R is the number of classes, or 16 where there are more: then B'B
    has that expectation.

    Raises:
      InputError: The outputs are not [N, K].
    """
    variables = {"params": params, "batch_stats": stats}
    shape = jax.eval_shape(lambda x: network.apply(variables, x, arch, train=False), images).shape
    if len(shape) != 2:
        raise InputError(f"the Fisher information needs logits [N, K], got outputs of {shape}; leave vkdnw out")
    mixing = None
    if shape[1] > MOST_ROWS:
        mixing = jax.random.normal(key, (len(images), MOST_ROWS, shape[1]), images.dtype) / MOST_ROWS**0.5

    def factor(image: Array, mixing: Array | None) -> Array:
        def logits(params: PyTree) -> Array:
            variables = {"params": params, "batch_stats": stats}
            return cast(Array, network.apply(variables, image[None], arch, train=False))[0]

        outputs, pullback = jax.vjp(logits, params)
        root = (root_of or fisher_root)(outputs)

        def along(cotangent: Array) -> Array:
            (gradient,) = pullback(cotangent)
            return first_entries(flatten_dict(gradient, sep="/"), entries)

        rows: Array = jax.lax.map(along, root if mixing is None else mixing @ root)
        return rows

    network = backwards(network)
    factors: Array = jax.lax.map(lambda pair: factor(*pair), (images, mixing))
    return factors


def fisher_root(logits: Float[Array, " K"]) -> Float[Array, "K K"]:
    """Return R with R'R = diag p - pp', p = 0.95 softmax + 0.05 / K."""
    shares = (1 - SMOOTHING) * jax.nn.softmax(logits) + SMOOTHING / len(logits)
    roots = jnp.sqrt(shares)
    return jnp.diag(roots) - jnp.outer(roots, shares)


def kaiming(params: PyTree, kernels: Kernels) -> PyTree:
    """Return params with kernels N(0, 2 / fan-in) from kernels N(0, 1): He et al. 2015 (arXiv:1502.01852)."""
    scales = {path: (2 / jnp.maximum(fan_in(w), 1)) ** 0.5 for path, w in kernels.items()}
    return replace_kernels(params, {path: w * _like(scales[path], w) for path, w in kernels.items()})


def _like(per_layer: Array, w: Array) -> Array:
    """Return [..., 1] with axes of 1 in the places of those of a kernel."""
    return per_layer.reshape(*per_layer.shape[:-1], *[1] * len(layer_axes(w)))


def crop_at_random(
    key: PRNGKeyArray, images: Float[Array, "N *P H W C"], num: int, side: int
) -> Float[Array, "num s s 1"]:
    """Return random squares of one channel, of this side or the smaller side of the images."""
    images = images.reshape(-1, *images.shape[-3:])
    n, height, width, channels = images.shape
    side = min(side, height, width)
    sizes = jnp.array([n, height - side + 1, width - side + 1, channels])
    at = jnp.floor(jax.random.uniform(key, (num, 4)) * sizes[None]).astype(jnp.int32)
    take: Callable[[Array], Array] = jax.vmap(lambda at: jax.lax.dynamic_slice(images, at, (1, side, side, 1))[0])
    return take(at)


class BlockOutput(NamedTuple):
    """The output of a block, or of several stacked in the first axes."""

    x: Float[Array, "... N H W C"]
    present: Bool[Array, "..."]  # whether the architecture has the block


def run_blocks(
    network: SearchNetwork, params: PyTree, images: Array, arch: Array
) -> dict[tuple[str, ...], BlockOutput]:
    """Return the outputs of the blocks by path, in their order."""
    _, sown = network.apply({"params": params}, images, arch, mutable=["blocks", "present"])
    outputs, present = (flatten_dict(sown.get(name, {})) for name in ("blocks", "present"))
    ones = {path: (jnp.ones(value.shape[:-4], bool),) for path, (value,) in outputs.items()}
    return {path: BlockOutput(value, {**ones, **present}[path][0]) for path, (value,) in outputs.items()}


def unstack(values: list[Array]) -> list[Float[Array, "N H W C"]]:
    """Return activations [N H W C] one by one, of which some come stacked."""
    return [x for value in values for x in ([value] if value.ndim == 4 else value)]


def pull_signs_back(
    key: PRNGKeyArray, network: SearchNetwork, params: PyTree, arch: Int8[Array, " D"], images: Array, shapes: PyTree
) -> tuple[dict[tuple[str, ...], Array], dict[tuple[str, ...], Array]]:
    """Return random signs with the `shapes` of the tap "probes", and the pullback of those of the next block; by path.

    One backward pass serves all blocks: each gets signs where the gradient of its output would arrive.
    """
    leaves, tree = jax.tree.flatten(shapes)
    ends = np.cumsum([leaf.size for leaf in leaves])
    bits = jax.random.bits(key, (-(-ends[-1] // 32),), jnp.uint32)
    drawn = (bits[:, None] >> jnp.arange(32, dtype=jnp.uint32)[None, :]) & 1
    pieces = jnp.split(2 * drawn.reshape(-1)[: ends[-1]].astype(images.dtype) - 1, ends[:-1])
    signs = jax.tree.unflatten(tree, [piece.reshape(leaf.shape) for piece, leaf in zip(pieces, leaves, strict=True)])

    def forward(probes: PyTree) -> Array:
        return cast(Array, backwards(network).apply({"params": params, "probes": probes}, images, arch))

    outputs, pullback = jax.vjp(forward, signs)
    (pulled,) = pullback(jnp.ones_like(outputs))
    return flatten_dict(signs), flatten_dict(pulled)
