"""Counting proxies and nwot against NumPy on a tiny network and against published sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from tiny import CONV, TINY, TinyNetwork

from jaxnas.errors import InputError
from jaxnas.networks import NETWORKS, DARTSNetwork
from jaxnas.proxies import PROXIES, Batch, Quantities
from jaxnas.spaces import DARTS, enumerate_archs, get_space, sample

DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), "
    "('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))"
)
NAMES = ("nwot", "flops", "params", "num_layers", "l2_norm")
BATCH = Batch(np.random.default_rng(0).normal(size=(5, 4, 6, 2)).astype(np.float32), np.arange(5) % 3)


def score(network, params, arch, batch, names=NAMES):
    def program(params):
        q = Quantities(network, params, arch, batch)
        return {name: PROXIES[name](q) for name in names}

    return {name: float(value) for name, value in jax.jit(program)(params).items()}


@pytest.mark.parametrize("arch", enumerate_archs(TINY), ids=TINY.format)
def test_counts_and_patterns_of_a_tiny_network(arch):
    """4x6 pixels: a 3x3 stem to 4 channels with normalisation, 1x1 convolutions with a bias, a linear layer."""
    network = TinyNetwork()
    params = network.init(jax.random.key(0), BATCH.images, arch)["params"]
    found, convs = score(network, params, arch, BATCH), int((arch == CONV).sum())
    stem, conv, linear = 9 * 2 * 4, 4 * 4 + 4, 4 * 3 + 3
    assert found["params"] == pytest.approx((stem + 8 + convs * conv + linear) / 1e6, rel=1e-6)
    pixels, norm, relus = 24, 2 * 4, 4 * (convs + 1)
    multiplied, window = 4 * 3, 5 * 7 * 4  # no bias of the linear layer; a global average one pixel larger
    operations = pixels * (stem + norm + convs * conv + relus) + multiplied + window
    assert found["flops"] == pytest.approx(operations / 1e6, rel=1e-6)
    assert found["num_layers"] == 2 + convs
    leaves = {name: np.asarray(leaf, np.float64) for name, leaf in params.items()}
    norms = [np.linalg.norm(leaves[name].ravel()) for name in ("stem", "classifier")]
    norms += [np.linalg.norm(leaves["conv"][n].ravel()) for n in range(2) if arch[n] == CONV]
    assert found["l2_norm"] == pytest.approx(sum(norms), rel=1e-6)
    _, sown = network.apply({"params": params}, BATCH.images, arch, mutable=["relus"])
    kernel = np.zeros((5, 5))
    for ((x, used),) in sown["relus"].values():
        on = (np.asarray(x) > 0).reshape(5, -1).astype(float)
        kernel += bool(used) * (on @ on.T + (1 - on) @ (1 - on).T)
    assert kernel[0, 0] == 24 * 4 * (convs + 1)
    np.testing.assert_allclose(found["nwot"], np.linalg.slogdet(kernel)[1], rtol=1e-6)


def multiply_adds_by_hand():
    """DARTS_V2 with 48 channels, 14 layers and the stem for 224 x 224 pixels."""
    total, side, c, sources = (
        112**2 * 27 * 24 + 56**2 * 9 * 24 * 48 + 28**2 * 9 * 48 * 48 + 768 * 1000,
        28,
        48,
        [48, 48],
    )
    for cell in range(14):
        reduces = cell in (4, 9)
        c *= 1 + reduces
        total += side**2 * c * sum(sources)  # 1x1 layers in front of the cell
        if reduces:  # only pools and skips
            side //= 2
        else:  # five separable convolutions with two layers each, and a dilated one
            total += side**2 * 11 * (9 * c + c * c)
        sources = [sources[1], 4 * c]
    return total


@pytest.mark.slow
def test_places_of_a_deep_network():
    arch = jnp.asarray(DARTS.parse(DARTS_V2))
    network = DARTSNetwork(1000, channels=48, cells_per_stage=4, stem="imagenet")
    batch = Batch(jnp.zeros((1, 224, 224, 3)), jnp.zeros(1, jnp.int32))
    shapes = jax.eval_shape(network.init, jax.random.key(0), batch.images, arch)["params"]

    def program(params):
        q = Quantities(network, params, arch, batch)
        flat = flatten_dict(params, sep="/")
        sizes = {path: np.prod(flat[path].shape[places.ndim :]) for path, places in q.places.items() if path in flat}
        return sum(jnp.sum(q.places[path]) * size for path, size in sizes.items())

    found = jax.jit(program)(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes))
    assert found == pytest.approx(multiply_adds_by_hand(), rel=1e-6)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "nasbench201")) for name in NETWORKS]
)
def test_every_network_has_a_thin_one(name):
    """Only shapes are needed: `linear_regions` with its images, if it is defined for the network."""
    network, arch = NETWORKS[name](num_classes=3, channels=4, cells_per_stage=1), sample(get_space(name), 1, seed=0)[0]
    batch = Batch(jnp.zeros((4, 32, 32, 3)), jnp.arange(4) % 3)
    params = jax.eval_shape(network.init, jax.random.key(0), batch.images, arch)["params"]

    def thin_relus(params):
        return Quantities(network, params, jnp.asarray(arch), batch).thin_relus

    refused = {
        "mobilenet": r"linear_regions must be left out: .* are relu, got hardswish, gate",
        "autoformer-tiny": "linear_regions must be left out: not defined for networks with layer normalisation",
    }
    if name in refused:
        with pytest.raises(InputError, match=refused[name]):
            jax.eval_shape(thin_relus, params)
        return
    relus = jax.eval_shape(thin_relus, params)
    assert relus
    assert all(x.shape[-4] == 1000 and x.size > 0 for x, _ in relus)
