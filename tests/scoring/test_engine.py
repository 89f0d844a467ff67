"""Scoring gives the same numbers for any chunking, order and device count, and reports errors before any work."""

import functools
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TINY, TinyNetwork

from jaxnas.errors import InputError
from jaxnas.networks import NETWORKS, DARTSNetwork, NASBench201Network, init_variables
from jaxnas.networks.kernels import tiles
from jaxnas.proxies import PROXIES, ROBOT_PROXIES, Batch, Quantities
from jaxnas.scoring import engine
from jaxnas.scoring.engine import DEFAULT_PROXIES, ScoringConfig, iter_scores, score_archs
from jaxnas.spaces import NASBENCH201, enumerate_archs, sample

NETWORK = NASBench201Network(num_classes=4, channels=2, cells_per_stage=1)
FAST = ("snip", "synflow")
FEW = ("snip", "fisher")
OTHERS = ("grad_norm", "jacob_cov", "synflow")


@pytest.fixture(scope="module")
def batch():
    images = jax.random.normal(jax.random.key(0), (8, 8, 8, 1))
    return Batch(images, jnp.arange(8) % 4)


@pytest.fixture(scope="module")
def archs():
    everything = np.array([[0] * 6, [1] * 6, [3] * 6], np.int8)  # disconnected, all skip, all conv3x3
    return np.concatenate([everything, sample(NASBENCH201, 8, seed=0)])


@pytest.fixture(scope="module")
def scores(batch, archs):
    return functools.cache(
        lambda proxies: score_archs(NETWORK, archs, batch, proxies, ScoringConfig(seed=3, one_per_class=False))
    )


@pytest.mark.slow
@pytest.mark.parametrize("proxies", [OTHERS, DEFAULT_PROXIES], ids=["few", "all"])
def test_scores_are_those_of_the_proxies_called_one_by_one(proxies, scores, batch, archs):
    params = init_variables(NETWORK, (8, 8, 1), 6, seed=3)["params"]

    @jax.jit  # of arguments, as XLA folds constants with other rounding, to which grasp is sensitive
    def plain(params, batch, arch):
        quantities = Quantities(NETWORK, params, arch, batch)
        return [PROXIES[name](quantities) for name in proxies]

    expected = np.array([[float(score) for score in plain(params, batch, arch)] for arch in archs])
    np.testing.assert_allclose(scores(proxies), expected, rtol=1e-4, atol=1e-6)
    assert scores(proxies).dtype == np.float64
    assert scores(proxies).shape == (len(archs), len(proxies))


@pytest.mark.slow
def test_disconnected_cell_has_nan_where_undefined_and_zero_gradients(scores):
    row = dict(zip(OTHERS, scores(OTHERS)[0], strict=True))
    assert np.isnan(row["jacob_cov"])
    assert row["grad_norm"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("chunk_size", [1, 100])
def test_scores_do_not_depend_on_chunk_size(chunk_size, batch, archs):
    whole = score_archs(NETWORK, archs, batch, FAST, ScoringConfig(chunk_size=11))
    calls = []
    parts = score_archs(
        NETWORK,
        archs,
        batch,
        FAST,
        ScoringConfig(chunk_size=chunk_size),
        on_event=calls.append,
    )
    np.testing.assert_array_equal(parts, whole)
    assert calls[-1] == (len(archs), len(archs))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


@pytest.mark.slow
@pytest.mark.parametrize("init", ["shared", "independent"])
def test_scores_do_not_depend_on_order_or_company_and_come_from_the_seed(init, batch, archs):
    def score(archs, seed=1):
        return score_archs(NETWORK, archs, batch, ("snip",), ScoringConfig(seed=seed, init=init))

    forward = score(archs)
    np.testing.assert_array_equal(forward, score(archs[::-1])[::-1])
    np.testing.assert_array_equal(forward[3:5], score(archs[3:5]))
    assert not np.allclose(forward, score(archs, seed=2))


@pytest.mark.slow
def test_independent_params_differ_between_architectures_and_shared_ones_do_not(batch):
    def first_weight(q):
        return q.kernels["stem/conv"].ravel()[0]

    archs = sample(NASBENCH201, 6, seed=0)
    shared, independent = (
        score_archs(NETWORK, archs, batch, {"first": first_weight}, ScoringConfig(init=init))
        for init in ("shared", "independent")
    )
    assert len(np.unique(shared)) == 1
    assert len(np.unique(independent)) == 6


@pytest.mark.slow
def test_spaces_without_an_architecture_of_zeros_take_params_for_each():
    """The share of a device is padded with members of the space."""
    network = NETWORKS["transnas101-macro"](num_classes=3, channels=4)
    batch = Batch(jnp.linspace(-1, 1, 2 * 16 * 16 * 3).reshape(2, 16, 16, 3), jnp.arange(2))
    archs = sample(network.space, 3, seed=0)
    norms = score_archs(network, archs, batch, ("l2_norm",), ScoringConfig(init="independent"))
    assert np.isfinite(norms).all()


@pytest.mark.slow
def test_one_of_each_class_is_scored_and_the_others_take_its_score(batch):
    """A dead edge, and a chain of skips with a convolution in any position, are the same network."""
    texts = [
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|",
        "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|",
        "|none~0|+|nor_conv_1x1~0|none~1|+|none~0|none~1|skip_connect~2|",
        "|avg_pool_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|nor_conv_1x1~2|",
    ]
    archs = np.stack([NASBENCH201.parse(text) for text in texts])
    scored = []

    def count(q):
        jax.debug.callback(lambda arch: scored.append(tuple(arch.tolist())), q.arch)
        return PROXIES["snip"](q)

    same = score_archs(NETWORK, archs, batch, ("snip",))
    np.testing.assert_array_equal(same[0], same[1])
    np.testing.assert_array_equal(same[0], same[3])
    assert same[0, 0] != same[2, 0]
    alone = score_archs(NETWORK, archs, batch, ("snip",), ScoringConfig(one_per_class=False))
    assert alone[0, 0] != alone[1, 0]  # other params were drawn for the other edge
    np.testing.assert_array_equal(score_archs(NETWORK, archs[3:], batch, ("snip",)), same[3:])
    own = score_archs(NETWORK, archs, batch, {"snip": count})  # a user's proxy is evaluated for each architecture
    jax.effects_barrier()
    np.testing.assert_allclose(own[:, 0], alone[:, 0], rtol=1e-6)  # values of another program
    assert set(scored) == set(map(tuple, archs.tolist()))


@pytest.mark.slow
@pytest.mark.parametrize(("init", "size"), [("shared", 4), ("independent", 12)])
def test_groups_give_the_scores_of_the_loop(init, size, batch, archs):
    """In float64: in float32 another order of sums changes the sign of some ReLU inputs."""
    with jax.enable_x64(True):
        batch = Batch(batch.images.astype(jnp.float64), batch.labels)
        loop, grouped = (
            score_archs(
                NETWORK,
                archs,
                batch,
                FEW,
                ScoringConfig(init=init, one_per_class=False, strategy=strategy, chunk_size=size),
            )
            for strategy in ("loop", "grouped")
        )
    np.testing.assert_allclose(grouped, loop, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("affine", [False, True])
def test_kernels_for_gpus_give_the_scores_of_the_loop(affine, batch, archs, monkeypatch):
    """In Pallas's interpreter, in float64."""
    monkeypatch.setattr(tiles, "IS_INTERPRETED", True)
    monkeypatch.setattr(engine, "require_kernels", lambda network: None)
    network = NETWORK.clone(affine=affine)
    with jax.enable_x64(True):
        batch = Batch(batch.images.astype(jnp.float64), batch.labels)
        loop, fused = (
            score_archs(network, archs[:5], batch, ROBOT_PROXIES, ScoringConfig(strategy=strategy, one_per_class=False))
            for strategy in ("loop", "fused")
        )
    np.testing.assert_allclose(fused, loop, rtol=1e-9)


def test_kernels_for_gpus_need_a_gpu_and_a_network_that_has_them(batch, archs):
    config = ScoringConfig(strategy="fused")
    with pytest.raises(InputError, match="strategy='fused' needs an NVIDIA GPU, got cpu; leave it out"):
        score_archs(NETWORK, archs, batch, ("snip",), config)
    darts = DARTSNetwork(num_classes=4, channels=4, cells_per_stage=1)
    with pytest.raises(InputError, match="needs a network that groups ops, which DARTSNetwork does not"):
        score_archs(darts, sample(darts.space, 2, seed=0), batch, ("snip",), config)


@pytest.mark.slow
def test_precision_of_bfloat16_moves_scores_by_its_rounding_and_no_more(batch, archs):
    exact, same, rounded = (
        score_archs(NETWORK, archs[1:], batch, ("snip",), ScoringConfig(precision=precision))
        for precision in ("float32", "tensorfloat32", "bfloat16")
    )
    np.testing.assert_array_equal(exact, same)  # on a CPU
    assert 1e-5 < np.abs(rounded / exact - 1).max() < 0.1


@pytest.mark.slow
def test_what_proxies_draw_comes_from_the_seed(batch, archs):
    one, again, other = (
        score_archs(NETWORK, archs, batch, ("zen",), ScoringConfig(seed=seed, one_per_class=False))
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one, again)
    assert np.all((one != other)[np.isfinite(one)])
    apart = ScoringConfig(seed=3, init="independent", one_per_class=False)
    twice = np.stack([archs[1], archs[1], archs[2]])
    scores = score_archs(NETWORK, twice, batch, ("zen",), apart)
    assert scores[0] == scores[1]
    assert abs(scores[0] - one[1]) > 1e-6  # differs from the shared draw


@pytest.mark.slow
def test_a_set_stands_for_its_proxies(batch, archs):
    scores = score_archs(NETWORK, archs[:2], batch, ("az_nas", "flops"))
    assert scores.shape == (2, 4)


def test_no_architectures_give_no_rows(batch, archs):
    assert score_archs(NETWORK, archs[:0], batch, FAST).shape == (0, 2)


def test_takes_a_users_own_proxy(batch, archs):
    def loss(q):
        return q.loss

    mine = score_archs(NETWORK, archs, batch, {"loss": loss})
    assert mine.shape == (len(archs), 1)
    np.testing.assert_allclose(mine[0], np.log(4), rtol=0.5)  # an untrained classifier of four classes


@pytest.mark.slow
def test_eight_devices_give_the_scores_of_one(tmp_path, batch, archs):
    script = f"""
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
import tests.scoring.test_engine as t
batch = t.Batch(jax.random.normal(jax.random.key(0), (8, 8, 8, 1)), t.jnp.arange(8) % 4)
assert jax.local_device_count() == 8
archs = np.load({str(tmp_path / "archs.npy")!r})
np.save({str(tmp_path / "eight.npy")!r}, t.score_archs(t.NETWORK, archs, batch, t.FAST))
"""
    archs = np.concatenate([archs, sample(NASBENCH201, 12, seed=1)])
    np.save(tmp_path / "archs.npy", archs)
    subprocess.run([sys.executable, "-c", script], check=True)
    one = score_archs(NETWORK, archs, batch, FAST)
    np.testing.assert_array_equal(np.load(tmp_path / "eight.npy"), one)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init": "share"}, "unknown init 'share': did you mean 'shared'"),
        ({"precision": "float16"}, "unknown precision 'float16'"),
        ({"strategy": "group"}, "unknown strategy 'group'"),
        ({"chunk_size": 0}, "`chunk_size` must be at least 1, got 0"),
        ({"memory": 0.0}, "`memory` must be above 0 GB, got 0.0"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(InputError, match=message):
        ScoringConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proxies": ["snipp"]}, "unknown proxy 'snipp': did you mean 'snip'"),
        ({"proxies": []}, "`proxies` must name at least one"),
        ({"batch": Batch(jnp.zeros((4, 8, 8, 1)), jnp.array([0, 1, 2, 4]))}, "of 4 classes, got 4; give num_classes=5"),
        ({"batch": Batch(jnp.zeros((4, 8, 8, 1)), jnp.array([0, 1, 2, -1]))}, "labels must be 0 to 3, got -1"),
        ({"batch": Batch(jnp.zeros((4, 8, 8, 1)), jnp.array([0, 1]))}, "one label each"),
        ({"batch": Batch(jnp.zeros((4, 8, 8)), jnp.array([0, 1, 2, 3]))}, r"give \[N, H, W, C\]"),
        ({"batch": Batch(np.zeros((4, 8, 8, 1), np.uint8), [0, 1, 2, 3])}, "must be floats, got uint8: divide by 255"),
        ({"batch": Batch([[0.0], [0.0, 1.0]], [0, 1])}, "images of a batch must be an array of numbers, got list"),
        ({"batch": Batch(jnp.zeros((2, 8, 8, 1)), ["cat", "dog"])}, "labels of a batch must be an array of numbers"),
        ({"batch": Batch(np.ma.masked_less(np.zeros((2, 8, 8, 1)), 1), [0, 1])}, "must not be masked, got 128 masked"),
        ({"archs": np.full((2, 6), 5, np.int8)}, "architecture 0 has 5"),
        ({"archs": np.zeros((2, 4), np.int8)}, "6"),
    ],
)
def test_bad_input_is_named(change, message, batch, archs):
    given = {"network": NETWORK, "archs": archs, "batch": batch, "proxies": FAST} | change
    with pytest.raises(InputError, match=message):
        next(iter_scores(**given))


@pytest.mark.parametrize(
    ("function", "shown"),
    [(lambda q: None, "None"), (lambda q: q.logits, "an array of shape (8, 3)"), (lambda q: (1.0,), r"(1.0,)")],
)
def test_a_proxy_that_returns_no_number_is_named(function, shown):
    message = f"proxy 'mine' must return one number for each architecture, got {shown}"
    with pytest.raises(InputError, match=re.escape(message)):
        score_archs(TinyNetwork(), enumerate_archs(TINY)[:1], tiny_batch(), {"mine": function})


def test_lists_and_narrow_types_are_read_as_the_arrays_that_they_hold():
    archs, (images, labels) = enumerate_archs(TINY), tiny_batch()
    expected, of_lists, of_narrow = (
        score_archs(TinyNetwork(), archs, Batch(*batch), ("snip",))
        for batch in (
            (images, labels),
            (images.tolist(), labels.tolist()),  # of float64 numbers that float32 holds exactly
            (images.astype(np.float16), labels.astype(np.uint8)),
        )
    )
    np.testing.assert_array_equal(of_lists, expected)
    np.testing.assert_allclose(of_narrow, expected, rtol=0.02)


def tiny_batch():
    images = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype(np.float32)
    return Batch(images, np.arange(8, dtype=np.int32) % 3)
