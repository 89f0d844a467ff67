"""Declared networks against networks of fixed size: a choice is worth what stands in its place."""

import importlib.util
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.networks import num_params
from jaxnas.networks.declared.network import (
    Cell,
    Choose,
    Conv,
    DeclaredNetwork,
    Dense,
    Pool,
    Repeat,
    Residual,
    Skip,
    Zero,
    choice,
)
from jaxnas.proxies import PROXIES, ROBOT_PROXIES, Batch, Quantities
from jaxnas.proxies.draws import Response
from jaxnas.spaces import enumerate_archs
from jaxnas.testing import check_network, check_space

EDGE = Choose(Conv(), Pool(), Zero(), Skip())
BLOCKS = (
    Conv(choice(3, 6)),
    Repeat(choice(1, 2), Residual(Choose(Conv(size=1), Skip(), Pool("max")))),
    Residual(Conv(choice(5, 8), stride=2), Conv()),
    Cell(EDGE, nodes=2, width=choice(4, 7)),
)
NETWORK = DeclaredNetwork("own", BLOCKS, num_classes=3)
ARCH = "3:2:skip:conv1:5:4:conv3:zero:avgpool"
FIXED = DeclaredNetwork(
    "fixed",
    (
        Conv(3),
        Repeat(2, Residual(Choose(Conv(size=1), Skip(), Pool("max")))),
        Residual(Conv(5, stride=2), Conv()),
        Cell(EDGE, nodes=2, width=4),
    ),
    num_classes=3,
)
PERCEPTRON = DeclaredNetwork(
    "perceptron", (Dense(choice(4, 8)), Repeat(choice(0, 1, 2), Dense()), Dense(choice(2, 5))), num_classes=3
)
BATCH = Batch(np.random.default_rng(0).normal(size=(6, 7, 8, 2)), np.array([0, 1, 2, 0, 1, 2]))


def draw(network, images=BATCH.images):
    arch = jnp.zeros(len(network.space.num_choices), jnp.int8)
    return jax.jit(network.init)(jax.random.key(1), images, arch)["params"]


def cut(network, params, arch, like):
    """What the architecture has of every tensor, in the shapes of `like`."""
    used, own = network.in_use(params, arch), network.params_for(params, arch)
    return {path: np.asarray(own[path])[np.asarray(used[path])].reshape(like[path].shape) for path in like}


def test_space_text_and_order():
    space = NETWORK.space
    assert space.num_choices == (2, 2, 3, 3, 2, 2, 4, 4, 4)
    assert space.format(np.zeros(9, np.int8)) == "3:1:conv1:conv1:5:4:conv3:conv3:conv3"
    assert space is DeclaredNetwork("own", BLOCKS, num_classes=7).space
    for other in (NETWORK.space, PERCEPTRON.space):
        check_space(other)


@pytest.mark.slow
def test_a_choice_is_worth_what_stands_in_its_place():
    """Logits and proxies of chosen widths are those of the network of fixed widths with the same tensors.

    Some proxies of every pass; not those that draw their own tensors, which from one key are others in another shape.
    """
    names = (*ROBOT_PROXIES, "nwot", "flops", "params", "num_layers", "l2_norm", "swap", "naswot", "meco", "near")
    arch, fixed_arch = NETWORK.space.parse(ARCH), FIXED.space.parse("skip:conv1:conv3:zero:avgpool")

    def score(network, params, arch):
        def program(params):
            q = Quantities(network, params, arch, BATCH)
            return {name: PROXIES[name](q) for name in names} | {"logits": q.logits}

        return jax.jit(program)(params)

    with jax.enable_x64(True):
        params = draw(NETWORK)
        like = draw(FIXED)
        own = cut(NETWORK, params, arch, {path: like[path] for path in like if _is_used(path)})
        found, expected = score(NETWORK, params, jnp.asarray(arch)), score(FIXED, like | own, jnp.asarray(fixed_arch))
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
        sizes = [int(num_params(NETWORK, params, arch)), int(num_params(FIXED, like, fixed_arch))]
    assert sizes[0] == sizes[1] == sum(leaf.size for leaf in own.values())


def _is_used(path):
    """Of the fixed network, by the ops of ARCH."""
    passed = ("block2_1_1_1_1_conv1", "block4_0to2_1_conv3", "block4_0to2_in", "block4_1to2_1_conv3")
    return not path.startswith(passed)


def test_tensors_are_drawn_for_the_width_that_feeds_them():
    """U(-b, b) with b = 1 / sqrt(k k C), C the live channels."""
    network = DeclaredNetwork("wide", (Conv(choice(4, 64)), Conv(48)))
    params = draw(network)
    for number, live in enumerate((4, 64)):
        own = network.params_for(params, jnp.array([number], jnp.int8))["block2"]
        assert np.count_nonzero(own) == 9 * live * 48
        assert np.abs(own).max() == pytest.approx((9 * live) ** -0.5, rel=0.01)
        assert not np.any(own[:, :, live:])


@pytest.mark.parametrize(
    ("blocks", "pixels"),
    [
        pytest.param(  # from 1 pixel on nothing halves
            (Pool(), *[Residual(Conv(stride=2))] * 4, Conv(choice(2, 3), size=1)), 4, marks=pytest.mark.slow
        ),
        pytest.param((Conv(choice(4, 5), stride=2), Conv(stride=2), Dense(choice(2, 3))), 4, marks=pytest.mark.slow),
        ((Skip(), Choose(Pool(), Zero())), 2),
    ],
    ids=["deep", "features of images", "no layer"],
)
def test_what_is_used_whatever_the_size_of_images(blocks, pixels):
    network = DeclaredNetwork("any", blocks, num_classes=3)
    images = np.random.default_rng(0).normal(size=(4, pixels, pixels, 2)).astype(np.float32)
    params = draw(network, images)
    slope = jax.jit(jax.grad(lambda own, arch: network.apply({"params": own}, images, arch).sum()))
    for arch in enumerate_archs(network.space)[:2]:
        gradient = slope(network.params_for(params, jnp.asarray(arch)), arch)
        used = network.in_use(params, arch)
        assert used.keys() == params.keys()
        assert all(not np.any(np.asarray(gradient[path])[~np.asarray(used[path])]) for path in params)


@pytest.mark.parametrize(
    "blocks",
    [
        BLOCKS,
        PERCEPTRON.blocks,
        (Cell(EDGE, nodes=2, width=5), Residual(Repeat(1, Conv(choice(3, 4), stride=2)))),
        (Residual(Choose(Pool(), Skip())), Cell(Skip(), Zero(), Conv(size=1), nodes=2), Conv(choice(3, 4))),
    ],
    ids=["all blocks", "perceptron", "cell first", "pools first"],
)
def test_blocks_declare_the_names_of_their_kernels_in_the_order_of_the_call(blocks):
    network = DeclaredNetwork("named", blocks, num_classes=3)
    images = np.ones((2, 1, 1, 7)) if network.blocks is PERCEPTRON.blocks else np.ones((2, 8, 8, 7))
    arch = jnp.zeros(len(network.space.num_choices), jnp.int8)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images, arch)["params"]
    declared = [kernel.path for kernel in network._kernels() if kernel.path in shapes]
    assert set(declared) == {path for path, leaf in shapes.items() if leaf.ndim in (2, 4)}
    assert shapes[declared[0]].shape[-2] == 7
    assert declared[-1] == "classifier"


def test_zen_counts_the_channels_that_an_architecture_has():
    """And no normalisation of a repetition beyond the choice."""
    network = DeclaredNetwork("zen", (Conv(choice(2, 4)), Repeat(choice(0, 1), Conv())), num_classes=3)
    images = BATCH.images.astype(np.float32)
    q = Quantities(network, draw(network, images), np.zeros(2, np.int8), Batch(images, BATCH.labels))
    variances = {f"{name}_norm_variance": jnp.array([4.0, 2.0, 9.0, 9.0]) for name in ("block1", "block2_1_1")}
    q.response = Response(jnp.stack([jnp.zeros((2, 1, 1, 1)), jnp.ones((2, 1, 1, 1))]), variances)
    assert float(PROXIES["zen"](q)) == pytest.approx(np.log(3) / 2, rel=1e-6)


def test_no_relu_is_for_images():
    """Of a first cell's edges only the one between its nodes has one, and the end of the network."""
    network = DeclaredNetwork("first", (Cell(Conv(size=1), nodes=2, width=choice(2, 3)),), num_classes=3)
    arch, images = jnp.zeros(1, jnp.int8), BATCH.images.astype(np.float32)
    _, sown = network.apply({"params": draw(network, images)}, images, arch, mutable=["relus"])
    assert sown["relus"].keys() == {"block1_1to2", "last"}


def test_repetitions_beyond_the_choice_are_passed_by():
    params = draw(PERCEPTRON, np.ones((2, 1, 1, 5)))
    rows = np.random.default_rng(0).normal(size=(9, 1, 1, 5)).astype(np.float32)
    for times in range(3):
        arch = jnp.asarray(PERCEPTRON.space.parse(f"8:{times}:5"))
        own = jax.device_get(PERCEPTRON.params_for(params, arch))
        x = rows[:, 0, 0] @ own["block1"] + own["block1_bias"]
        for number in range(1, times + 1):
            x = np.maximum(x, 0) @ own[f"block2_{number}_1"] + own[f"block2_{number}_1_bias"]
        x = np.maximum(x, 0) @ own["block3"] + own["block3_bias"]
        expected = np.maximum(x, 0) @ own["classifier"] + own["classifier_bias"]
        logits = PERCEPTRON.apply({"params": jax.tree.map(jnp.asarray, own)}, rows, arch)
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
        assert all(np.any(leaf) == (int(path[7]) <= times) for path, leaf in own.items() if path.startswith("block2"))


@pytest.mark.slow
def test_contract():
    check_network(NETWORK, NETWORK.space, np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype(np.float32))


@pytest.mark.slow
def test_search_of_rows_from_end_to_end(tmp_path):
    """What an architecture does not have stays 0 in training; a second call goes on with nothing left to do."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 4))
    data = jaxnas.standardize(jaxnas.from_arrays(rows, (rows[:, 0] * rows[:, 1] > 0).astype(int)))
    network = PERCEPTRON.clone(num_classes=2)
    training = jaxnas.TrainingConfig(epochs=10, batch_size=16, learning_rate=0.1)
    given = dict(pool=12, budget=4, batch_size=32, training=training)
    run = jaxnas.search_network(network, data, tmp_path, **given)
    assert run.test_accuracy > 75
    again = jaxnas.search_network(network, data, tmp_path, **given)
    assert (again.selected, again.test_accuracy) == (run.selected, run.test_accuracy)
    objective = jaxnas.TrainingObjective(network, enumerate_archs(network.space), data, training)
    index = int(np.flatnonzero((objective.archs == network.space.parse("4:1:2")).all(1))[0])
    state = objective._fit([index])[0][0]
    used = network.in_use(state.params, objective.archs[index])
    for path, leaf in state.params.items():
        assert not np.any(leaf[~np.asarray(used[path])]), path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: choice(), "give whole numbers"),
        (lambda: choice(8, "conv"), "ops are chosen with Choose"),
        (lambda: Dense(choice(0, 8)), "give whole numbers from 1 on"),
        (lambda: Cell(Conv(), width=0), "width 0"),
        (lambda: Conv(8, size=4), "give an odd size"),
        (lambda: Conv(8, stride=3), "stride 1 or 2"),
        (lambda: Choose(), "Choose takes"),
        (lambda: Choose(Conv(choice(4, 8))), "Choose takes ops .* of fixed width"),
        (lambda: Cell(Conv(), Conv(), nodes=2), "2 nodes after its input has 3 edges"),
        (lambda: DeclaredNetwork("none", (Conv(4),)).space, "must have at least one choice, got none"),
        (lambda: Choose(Skip(), Skip()), "'skip' names two ops of Choose"),
        (lambda: NETWORK.space.parse("3:2"), "must have 9 options, like '3:1:conv1"),
        (lambda: NETWORK.space.parse(ARCH.replace("3:2", "4:2")), "must be one of 3, 6, got '4'"),
        (lambda: draw(DeclaredNetwork("rows", (Dense(choice(2, 3)),))), "Dense takes features, not 7 x 8 pixels"),
        (
            lambda: draw(DeclaredNetwork("flat", (Conv(choice(2, 3)),)), np.ones((2, 5))),
            "give .N, H, W, C., or features",
        ),
        (lambda: draw(DeclaredNetwork("grow", (Repeat(choice(1, 2), Conv(9)),))), "keep shape and width"),
        (lambda: draw(DeclaredNetwork("mixed", (Choose(Conv(stride=2), Skip()),))), "Choose among ops of one shape"),
        (lambda: NETWORK.init(jax.random.key(0), BATCH.images, jnp.zeros(3, jnp.int8)), "'own' has 9"),
    ],
)
def test_what_cannot_be_declared_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def load_experiment(name):
    path = Path(__file__).parents[3] / "experiments" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_network_of_the_experiment_keeps_the_contract():
    network, shape = load_experiment("tabular_space").perceptron(3), (4, 1, 1, 6)
    check_network(network, network.space, np.random.default_rng(0).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("other", [Conv, len, "conv3", None])
def test_what_is_no_block_is_refused_by_its_owner(other):
    makers = {
        "Residual": Residual,
        "Repeat": partial(Repeat, 2),
        "network 'mine'": lambda b: DeclaredNetwork("mine", (b,)),
    }
    for owner, make in makers.items():
        with pytest.raises(InputError, match=f"{owner} must have blocks such as Conv"):
            make(other)
