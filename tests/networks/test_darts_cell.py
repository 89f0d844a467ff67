"""Dropping paths in the cells of DARTS; `test_darts` compares whole networks with a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnas.networks.darts_cell import GenotypeCell
from jaxnas.networks.layers import RunMode
from jaxnas.spaces.darts import OP_NAMES


def outputs_of_cell(op, num_keys, rate):
    """Of a normal cell whose edges all have that op, without dropping and with `num_keys` generators."""
    rng = np.random.default_rng(0)
    inputs = tuple(jnp.asarray(rng.normal(size=(2, 4, 4, 8)), jnp.float32) for _ in range(2))
    decisions = jnp.array([[0, op, op]] * 4)
    cell = GenotypeCell(channels=2, reduces=False, halves_first=False, mode=RunMode(norm=True, train=True))
    params = cell.init(jax.random.key(0), (inputs, None), decisions, None)["params"]

    def run(key, rate):
        ((_, out), _), _ = cell.apply({"params": params}, (inputs, None), decisions, rate, rngs={"drop_path": key})
        return out

    keys = jax.random.split(jax.random.key(1), num_keys)
    return run(keys[0], None), jax.jit(jax.vmap(run, (0, None)))(keys, rate)


def test_identities_are_not_dropped():
    plain, dropped = outputs_of_cell(OP_NAMES.index("skip_connect"), 4, 0.9)
    np.testing.assert_allclose(dropped, np.broadcast_to(plain, dropped.shape), rtol=1e-5, atol=1e-6)


def test_dropping_a_path_keeps_the_mean():
    """Of a node that is fed by the inputs: each edge of each image is there with probability 3/4, times 4/3."""
    plain, dropped = outputs_of_cell(OP_NAMES.index("sep_conv_3x3"), 2000, 0.25)
    first_node = np.asarray(dropped)[..., :2]
    np.testing.assert_allclose(first_node.mean(0), plain[..., :2], atol=5 * first_node.std() / 2000**0.5)
    none_left = (first_node == 0).all(axis=(2, 3, 4))
    assert 0.03 < none_left.mean() < 0.1  # 1/16


def test_dropping_nothing_changes_nothing():
    plain, dropped = outputs_of_cell(OP_NAMES.index("dil_conv_5x5"), 2, 0.0)
    np.testing.assert_allclose(dropped, np.broadcast_to(plain, dropped.shape), rtol=1e-5, atol=1e-6)
