"""Repetitions as a scan give what blocks one after another give: outputs, proxies, statistics, and what they sow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.networks.declared import blocks
from jaxnas.networks.declared.network import (
    Cell,
    Choose,
    Conv,
    DeclaredNetwork,
    InvertedResidual,
    Pool,
    Repeat,
    Residual,
    Skip,
    choice,
)
from jaxnas.networks.params import init_variables
from jaxnas.proxies import PROXIES, Batch, Quantities
from jaxnas.spaces import sample

SIZE = choice(1, 3, name="size")
BLOCKS = (
    Conv(choice(4, 6)),
    Repeat(choice(1, 2, 3), Residual(Choose(Conv(), Conv(size=1), Pool(), Skip()))),
    Repeat(2, InvertedResidual(expansion=choice(1, 2), size=SIZE), Repeat(choice(0, 2), Conv())),
    Conv(4),
    Repeat(3, InvertedResidual(6, expansion=2, size=SIZE, squeeze=True)),  # the first has other shapes
    Repeat(2, Cell(Choose(Conv(), Skip()), nodes=2)),
)
NETWORK = DeclaredNetwork("repeated", BLOCKS, num_classes=3)
IMAGES = np.ones((4, 6, 6, 3), np.float32)
BATCH = Batch(np.random.default_rng(0).normal(size=(4, 6, 6, 3)), np.array([0, 1, 2, 0]))
COLLECTIONS = ["relus", "pools", "multipliers", "blocks", "features", "batch_stats", "exponent"]
_FAST = {"xla_backend_optimization_level": 0}  # compiling takes nearly all the time


def call(monkeypatch, archs, **options):
    """Everything that calls give, from a scan and from blocks one after another."""
    network = NETWORK.clone(**options)

    def program(variables, arch):
        own = {**variables, "params": NETWORK.params_for(variables["params"], arch)}
        logits, sown = network.apply(own, BATCH.images, arch, mutable=COLLECTIONS)
        relus = {name: [jnp.where(used, x, 0) for x, used in pairs] for name, pairs in sown["relus"].items()}
        return logits, {**sown, "relus": relus}, network.apply(own, BATCH.images, arch)

    check_both(monkeypatch, program, archs)


def check_both(monkeypatch, program, archs):
    with jax.enable_x64(True):
        variables = init_variables(NETWORK, (6, 6, 3), len(NETWORK.space.num_choices), 0)
        found = []
        for scanned in (True, False):
            if not scanned:
                monkeypatch.setattr(blocks, "scan_blocks", lambda *_: False)
            compiled = jax.jit(lambda variables, arch: program(variables, arch), compiler_options=_FAST)
            found.append([jax.tree.map(np.asarray, compiled(variables, jnp.asarray(arch))) for arch in archs])
        assert jax.tree.structure(found[0]) == jax.tree.structure(found[1])
        assert len(jax.tree.leaves(found[0])) > len(archs)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), *found)


def test_a_scan_gives_what_blocks_one_after_another_give(monkeypatch):
    call(monkeypatch, sample(NETWORK.space, 3, seed=1))


@pytest.mark.slow
def test_a_scan_keeps_the_range(monkeypatch):
    call(monkeypatch, sample(NETWORK.space, 2, seed=2), norm="none", keeps_range=True)


@pytest.mark.slow
def test_proxies_read_the_same_from_a_scan(monkeypatch):
    names = ("grasp", "fisher", "synflow", "jacob_cov", "nwot", "flops", "zen", "meco")

    def program(variables, arch):
        q = Quantities(NETWORK, variables["params"], arch, BATCH)
        return {name: PROXIES[name](q) for name in names}

    check_both(monkeypatch, program, sample(NETWORK.space, 1, seed=2))


def test_repetitions_that_an_architecture_lacks_are_not_computed():
    calls = []

    class Seen(Skip):
        def apply(self, tensors, x, mode):
            jax.debug.callback(lambda: calls.append(1))
            return super().apply(tensors, x, mode)

    network = DeclaredNetwork("several", (Conv(4), Repeat(choice(0, 1, 4), Seen())), num_classes=2)
    variables = network.init(jax.random.key(0), IMAGES, jnp.zeros(1, jnp.int8))
    jax.effects_barrier()
    program = jax.jit(network.apply)
    for option, times in enumerate((0, 1, 4)):
        calls.clear()
        program({"params": variables["params"]}, IMAGES, jnp.array([option], jnp.int8))
        jax.effects_barrier()
        assert len(calls) == times


@pytest.mark.parametrize("times", [0, 1])
def test_a_repetition_that_may_be_absent_without_jit_is_the_same(times):
    network = DeclaredNetwork("once", (Conv(4), Repeat(choice(0, 1), Conv(size=1))), num_classes=2)
    variables = network.init(jax.random.key(0), IMAGES, jnp.zeros(1, jnp.int8))
    arch = jnp.array([times], jnp.int8)

    def call(variables):
        return network.apply(variables, IMAGES, arch, mutable=["batch_stats", "relus"])

    found = jax.jit(call)(variables)
    with jax.disable_jit():
        plain = call(variables)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, plain)
    changed = found[1]["batch_stats"]
    (path,) = (path for path in changed if path.startswith("block2") and path.endswith("mean"))
    assert np.array_equal(changed[path], variables["batch_stats"][path]) == (times == 0)


def test_statistics_may_be_written_without_being_given():
    network = DeclaredNetwork("once", (Conv(4), Repeat(choice(0, 1, 3), Residual(Conv()))), num_classes=2)
    arch = jnp.array([1], jnp.int8)
    params = network.init(jax.random.key(0), IMAGES, arch)["params"]
    alone = network.apply({"params": params}, IMAGES, arch)
    logits, _ = network.apply({"params": params}, IMAGES, arch, mutable=["batch_stats"])
    np.testing.assert_allclose(logits, alone, rtol=1e-6)


def test_the_order_of_what_is_sown_is_that_of_the_repetitions():
    with jax.enable_x64(True):
        variables = init_variables(NETWORK, (6, 6, 3), len(NETWORK.space.num_choices), 0)
        arch = jnp.zeros(len(NETWORK.space.num_choices), jnp.int8)
        _, sown = jax.eval_shape(lambda v: NETWORK.apply(v, BATCH.images, arch, mutable=["relus"]), variables)
    names = [name for name in sown["relus"] if name.startswith("block3_")]
    assert names.index("block3_1_1_depthwise") < names.index("block3_1_2_1_1") < names.index("block3_2_1_expand")


def test_the_body_of_a_repetition_is_traced_once(monkeypatch):
    calls = []

    class Counted(Conv):
        def apply(self, tensors, x, mode):
            calls.append(len(x))
            return super().apply(tensors, x, mode)

    network = DeclaredNetwork("many", (Conv(4), Repeat(20, Counted(size=1)), Conv(choice(4, 5))), num_classes=2)
    shapes = jax.eval_shape(network.init, jax.random.key(0), BATCH.images, jnp.zeros(1, jnp.int8))
    calls.clear()
    jax.make_jaxpr(network.apply)({"params": shapes["params"]}, BATCH.images, jnp.zeros(1, jnp.int8))
    assert len(calls) == 1
