"""Scoring: the same numbers in any chunking, order and device count, and errors before any work."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.networks import NASBench201Network, init_variables
from jaxnas.proxies import PROXIES, Batch, Quantities
from jaxnas.scoring import DEFAULT_PROXIES, iter_scores, score_archs
from jaxnas.spaces import NASBENCH201, sample

NETWORK = NASBench201Network(num_classes=4, channels=2, cells_per_stage=1)
FAST = ("snip", "synflow")


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
    return score_archs(NETWORK, archs, batch, seed=3)


def test_scores_are_those_of_the_proxies_called_one_by_one(scores, batch, archs):
    params = init_variables(NETWORK, (8, 8, 1), 6, seed=3)["params"]

    @jax.jit
    def plain(arch):
        quantities = Quantities(NETWORK, params, arch, batch)
        return [PROXIES[name](quantities) for name in DEFAULT_PROXIES]

    expected = np.array([[float(score) for score in plain(arch)] for arch in archs])
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)
    assert scores.dtype == np.float64
    assert scores.shape == (len(archs), len(DEFAULT_PROXIES))


def test_disconnected_cell_has_nan_where_undefined_and_zero_gradients(scores):
    row = dict(zip(DEFAULT_PROXIES, scores[0], strict=True))
    assert np.isnan(row["jacob_cov"])
    assert row["snip"] == row["grad_norm"] == 0


@pytest.mark.parametrize("chunk_size", [1, 100])
def test_scores_do_not_depend_on_chunk_size(chunk_size, batch, archs):
    whole = score_archs(NETWORK, archs, batch, FAST, chunk_size=11)
    calls = []
    parts = score_archs(
        NETWORK, archs, batch, FAST, chunk_size=chunk_size, on_chunk=lambda done, total: calls.append((done, total))
    )
    np.testing.assert_array_equal(parts, whole)
    assert calls[-1] == (len(archs), len(archs))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_scores_do_not_depend_on_order_and_come_from_the_seed(batch, archs):
    forward = score_archs(NETWORK, archs, batch, FAST, seed=1)
    backward = score_archs(NETWORK, archs[::-1], batch, FAST, seed=1)
    np.testing.assert_array_equal(forward, backward[::-1])
    assert not np.allclose(forward, score_archs(NETWORK, archs, batch, FAST, seed=2))


def test_no_architectures_give_no_rows(batch, archs):
    assert score_archs(NETWORK, archs[:0], batch, FAST).shape == (0, 2)


def test_takes_a_users_own_proxy(batch, archs):
    def loss(q):
        return q.loss

    mine = score_archs(NETWORK, archs, batch, {"loss": loss})
    assert mine.shape == (len(archs), 1)
    np.testing.assert_allclose(mine[0], np.log(4), rtol=0.5)  # an untrained classifier of four classes


def test_two_devices_give_the_scores_of_one(tmp_path, batch, archs):
    script = f"""
import jax, numpy as np
jax.config.update("jax_num_cpu_devices", 2)
import tests.test_scoring as t
batch = t.Batch(jax.random.normal(jax.random.key(0), (8, 8, 8, 1)), t.jnp.arange(8) % 4)
assert jax.local_device_count() == 2
archs = np.load({str(tmp_path / "archs.npy")!r})
np.save({str(tmp_path / "two.npy")!r}, t.score_archs(t.NETWORK, archs, batch, t.FAST))
"""
    np.save(tmp_path / "archs.npy", archs)
    subprocess.run([sys.executable, "-c", script], check=True)
    one = score_archs(NETWORK, archs, batch, FAST)
    np.testing.assert_allclose(np.load(tmp_path / "two.npy"), one, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proxies": ["snipp"]}, "unknown proxy 'snipp': did you mean 'snip'"),
        ({"proxies": []}, "no proxy"),
        ({"batch": Batch(jnp.zeros((4, 8, 8, 1)), jnp.array([0, 1, 2, 4]))}, "label 4 does not fit .* num_classes=5"),
        ({"batch": Batch(jnp.zeros((4, 8, 8, 1)), jnp.array([0, 1, 2, -1]))}, "label -1"),
        ({"batch": Batch(jnp.zeros((4, 8, 8, 1)), jnp.array([0, 1]))}, "one label each"),
        ({"batch": Batch(jnp.zeros((4, 6, 8, 1)), jnp.array([0, 1, 2, 3]))}, "multiples of 4"),
        ({"archs": np.full((2, 6), 5, np.int8)}, "architecture 0 has 5"),
        ({"archs": np.zeros((2, 4), np.int8)}, "6"),
    ],
)
def test_bad_input_is_named(change, message, batch, archs):
    given = {"network": NETWORK, "archs": archs, "batch": batch, "proxies": FAST} | change
    with pytest.raises(InputError, match=message):
        next(iter_scores(**given))
