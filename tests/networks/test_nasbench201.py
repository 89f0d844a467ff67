"""The NAS-Bench-201 network against a second implementation, the published parameter counts, and its contract."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from jaxnas.errors import InputError
from jaxnas.networks import NASBench201Network, num_params
from jaxnas.spaces import NASBENCH201, enumerate_archs

MIXED = np.array([3, 4, 2, 1, 0, 3], np.int8)  # every op
POOLED = np.array([1, 4, 0, 2, 3, 4], np.int8)
ALL_NONE = np.zeros(6, np.int8)
DISCONNECTED = np.array([3, 2, 1, 0, 0, 0], np.int8)  # convolutions upstream of an output without inputs
DEAD_BRANCH = np.array([3, 0, 0, 2, 0, 0], np.int8)  # node 1 is computed and never used
WITHOUT_BRANCH = np.array([0, 0, 0, 2, 0, 0], np.int8)
COLLECTIONS = ("params", "batch_stats")


def make(network, images):
    """Variables at random, gammas and betas too, without tracing the network more than once."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), images, MIXED)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(images.dtype), {name: shapes[name] for name in COLLECTIONS}
    )
    return {**variables, "batch_stats": jax.tree.map(np.abs, variables["batch_stats"])}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).normal(size=(3, 8, 12, 3))


@pytest.fixture(scope="module")
def case(images):
    """Two cells per stage in float64: network, variables, and train-mode logits with the statistics moved on."""
    network = NASBench201Network(num_classes=4, channels=2, cells_per_stage=2)
    with jax.enable_x64(True):
        variables = make(network, images)
        program = jax.jit(lambda arch, images: network.apply(variables, images, arch, mutable=["batch_stats"]))

    def run(arch, images=images):
        with jax.enable_x64(True):
            return jax.device_get(program(arch, images))

    return network, variables, run


@pytest.mark.parametrize("arch", [MIXED, POOLED, DISCONNECTED])
def test_logits_and_statistics_equal_the_second_implementation(case, images, arch):
    _, variables, run = case
    logits, updates = run(arch)
    with jax.enable_x64(True):
        statistics = {}
        expected = oracles.logits(oracles.flatten(variables["params"]), arch, images, cells=2, statistics=statistics)
    np.testing.assert_allclose(logits, expected, rtol=1e-10, atol=1e-10)
    before, after = (oracles.flatten(tree["batch_stats"]) for tree in (variables, updates))
    for kind, position in (("mean", 0), ("variance", 1)):
        names = [name for name in before if f"norm_{kind}" in name]
        assert len(names) == 1 + 2 * 2 + 3 * 2 * 6 + 1
        for name in names:
            of_batch = statistics.get(name.replace(f"_{kind}", ""))
            moved = before[name] if of_batch is None else 0.9 * before[name] + 0.1 * np.asarray(of_batch[position])
            np.testing.assert_allclose(after[name], moved, rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("norm", ["reduction", "none"])
def test_logits_without_normalisation_equal_the_second_implementation(case, images, norm):
    network, variables, _ = case
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf / 10, variables["params"])
        logits = jax.jit(network.clone(norm=norm).apply)({"params": params}, images, MIXED)
        expected = oracles.logits(oracles.flatten(params), MIXED, images, cells=2, norm=norm)
    np.testing.assert_allclose(logits, expected, rtol=1e-10)


@pytest.mark.slow
def test_affine_kind_equals_the_second_implementation():
    """Gamma and beta in the cells and no bias; one cell, grey images of 8x8."""
    network = NASBench201Network(num_classes=2, channels=3, cells_per_stage=1, affine=True)
    images = np.random.default_rng(2).normal(size=(2, 8, 8, 1))
    with jax.enable_x64(True):
        variables = make(network, images)
        assert variables["params"]["stage1"].keys() == {"conv_1x1", "conv_3x3", "norm_gamma", "norm_beta"}
        logits = jax.jit(network.apply)({"params": variables["params"]}, images, MIXED)
        expected = oracles.logits(oracles.flatten(variables["params"]), MIXED, images)
    assert logits.shape == (2, 2)
    np.testing.assert_allclose(logits, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_running_statistics_replace_the_batch_when_not_training(case, images):
    """So an image's logits do not depend on its batch."""
    network, variables, _ = case
    with jax.enable_x64(True):
        program = jax.jit(lambda variables, images: network.apply(variables, images, MIXED, train=False))
        logits = program(variables, images)
        alone = program(variables, images[:1])
        other = program({**variables, "batch_stats": jax.tree.map(lambda s: 2 * s, variables["batch_stats"])}, images)
    np.testing.assert_allclose(alone, logits[:1], rtol=1e-10)
    assert np.abs(np.asarray(other) - np.asarray(logits)).max() > 1e-3


def test_statistics_stay_on_edges_without_convolution(case):
    _, variables, run = case
    _, updates = run(MIXED)
    for stage in ("stage1", "stage2", "stage3"):
        for name, after in updates["batch_stats"][stage].items():
            kept = (after == variables["batch_stats"][stage][name]).all((0, 2))
            np.testing.assert_array_equal(kept, [False, True, False, True, True, False], err_msg=f"{stage} {name}")


@pytest.mark.slow
def test_one_trace_serves_all_and_vmap_equals_the_loop():
    network = NASBench201Network(num_classes=3, channels=2, cells_per_stage=1)
    images = np.random.default_rng(3).normal(size=(2, 8, 8, 1)).astype(np.float32)
    params = make(network, images)["params"]
    traces = []

    def logits(arch):
        traces.append(arch)
        return network.apply({"params": params}, images, arch)

    archs = np.stack([MIXED, POOLED, ALL_NONE, DISCONNECTED, DEAD_BRANCH, WITHOUT_BRANCH])
    program = jax.jit(logits)
    looped = np.stack([program(arch) for arch in archs])
    assert len(traces) == 1
    np.testing.assert_allclose(jax.jit(jax.vmap(logits))(archs), looped, rtol=1e-4, atol=1e-5)
    assert np.isfinite(looped).all()
    np.testing.assert_array_equal(looped[4], looped[5])  # what a dead branch computes reaches nothing
    np.testing.assert_array_equal(looped[2], looped[3])
    assert np.ptp(looped[2], axis=0).max() == 0  # without a path every image has the same logits
    assert np.ptp(looped[0], axis=0).max() > 1e-3


@pytest.mark.parametrize(
    ("channels", "cells", "classes", "shape"),
    [(1, 1, 2, (1, 4, 4, 1)), (3, 2, 10, (8, 8, 8, 1)), (4, 3, 120, (5, 16, 16, 3)), (16, 5, 100, (64, 32, 64, 3))],
)
@pytest.mark.parametrize("affine", [True, False])
def test_sizes(channels, cells, classes, shape, affine):
    network = NASBench201Network(classes, channels, cells, affine)
    logits, variables = jax.eval_shape(
        lambda key: network.init_with_output(key, jnp.zeros(shape, jnp.float32), MIXED), jax.random.key(0)
    )
    assert logits.shape == (shape[0], classes)
    assert logits.dtype == jnp.float32
    assert variables["params"]["stage3"]["conv_3x3"].shape == (cells, 6, 3, 3, 4 * channels, 4 * channels)
    assert variables["gates"]["stage2"]["conv_1x1"].shape == (cells, 6, shape[0], 2 * channels)
    assert ("conv_1x1_bias" in variables["params"]["stage1"]) is not affine


@pytest.mark.parametrize("shape", [(2, 30, 32, 3), (2, 7, 5, 1), (2, 1, 1, 4)])
def test_images_of_any_size(shape):
    network = NASBench201Network(5, channels=2, cells_per_stage=1)
    logits, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.zeros(shape), MIXED)
    assert logits.shape == (2, 5)


def test_what_is_no_image_is_refused():
    with pytest.raises(InputError, match=r"images of shape \(8, 8, 3\) .* give \[N, H, W, C\]") as error:
        jax.eval_shape(NASBench201Network().init, jax.random.key(0), jnp.zeros((8, 8, 3)), MIXED)
    assert "\n" not in str(error.value)


def test_activations_are_sown(images):
    """Every ReLU's input with whether it is used; the features that are pooled."""
    network = NASBench201Network(channels=2, cells_per_stage=2)

    def sown(arch):
        params = network.init(jax.random.key(0), images, arch)["params"]
        return network.apply({"params": params}, images, arch, mutable=["relus", "features"])[1]

    shapes = jax.eval_shape(sown, MIXED)
    assert [leaf.shape for leaf in jax.tree.leaves(shapes["features"])] == [(3, 2, 3, 8)]
    relus = shapes["relus"]
    assert relus.keys() == {"stage1", "stage2", "stage3", "reduction1", "reduction2", "last"}
    assert relus["stage2"].keys() == {f"edge{edge}" for edge in range(6)}
    assert relus["stage2"]["edge5"][0][0].shape == (2, 3, 4, 6, 4)  # [cells N H W C]
    assert relus["stage2"]["edge5"][0][1].shape == (2,)
    assert [value[0][0].shape for value in relus["reduction1"].values()] == [(3, 8, 12, 2), (3, 4, 6, 4)]


@pytest.fixture(scope="module")
def counts():
    """Parameters of all architectures in index order: affine kind, full size, ten classes."""
    network = NASBench201Network(affine=True)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)), MIXED)["params"]
    return np.asarray(jax.jit(jax.vmap(lambda arch: num_params(network, shapes, arch)))(enumerate_archs(NASBENCH201)))


@pytest.mark.data
def test_parameter_counts_equal_the_published_column(data_folder, counts):
    with np.load(data_folder / "nb201" / "nb201_proxies.npz") as table:
        published = table["scores"][0][:, list(table["columns"]).index("params")]
    np.testing.assert_allclose(counts / 1e6, published, rtol=0, atol=1e-6)


@pytest.mark.data
def test_parameter_counts_equal_the_table_but_for_its_mixed_rows(data_folder, counts):
    """204 rows of params_M are means over seeds of two isomorphic networks with different counts."""
    with np.load(data_folder / "nb201" / "nb201_table.npz") as table:
        differ = np.abs(counts / 1e6 - table["params_M"]) > 1e-6
    assert differ.sum() == 204


def test_parameter_counts_by_hand():
    """One cell, two channels, one input channel, three classes, biases instead of gammas and betas."""
    network = NASBench201Network(num_classes=3, channels=2, cells_per_stage=1)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)), MIXED)["params"]
    stem = 9 * 2 + 2 * 2
    reductions = sum(9 * c * 2 * c + 9 * 4 * c * c + 2 * c * c + 2 * 2 * 2 * c for c in (2, 4))
    fixed = stem + reductions + 2 * 8 + 8 * 3 + 3
    assert num_params(network, shapes, ALL_NONE) == fixed
    assert num_params(network, shapes, np.array([3, 0, 0, 2, 0, 0])) == fixed + sum(
        10 * c * c + 2 * c for c in (2, 4, 8)
    )
