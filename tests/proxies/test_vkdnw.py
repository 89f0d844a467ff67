"""VKDNW against the whole Jacobian and the quantiles of NumPy."""

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxnas.proxies import Batch, Quantities, draws, ntk, num_layers, vkdnw

NETWORK = golden.NETWORKS["small"]
ARCH = np.array([3, 4, 2, 1, 0, 3], np.int8)  # every op: convolutions on edges 0 (3x3), 2 (1x1), 5 (3x3)
CONVOLUTIONS = {0: "conv_3x3", 2: "conv_1x1", 5: "conv_3x3"}


def tensors_in_use():
    """Return (path, indices in stacked axes) of every tensor in the order in which the network uses them."""

    def conv_norm(name):
        return [(f"{name}/{tensor}", ()) for tensor in ("conv", "norm_gamma", "norm_beta")]

    listed = conv_norm("stem")
    for stage in (1, 2, 3):
        for edge, op in CONVOLUTIONS.items():
            listed += [(f"stage{stage}/{op}{kind}", (0, edge)) for kind in ("", "_bias")]
        if stage < 3:
            block = f"reduction{stage}"
            listed += [*conv_norm(f"{block}/conv_a"), *conv_norm(f"{block}/conv_b"), (f"{block}/shortcut", ())]
    return [*listed, ("norm_gamma", ()), ("norm_beta", ()), ("classifier", ()), ("classifier_bias", ())]


def entropy_of_deciles(jacobian, logits):
    """Return the Jacobian [n K P] and the logits [n K] in NumPy, term by term."""
    information = 0
    for along, row in zip(jacobian, logits, strict=True):
        share = np.exp(row - row.max())
        share = 0.95 * share / share.sum() + 0.05 / len(row)
        information = information + along.T @ (np.diag(share) - np.outer(share, share)) @ along / len(logits)
    deciles = np.quantile(np.linalg.svd(information, compute_uv=False), np.arange(1, 10) / 10)
    shares = deciles / deciles.sum()
    return -np.sum(shares * np.log(shares))


@pytest.fixture(scope="module")
def case(params, batch):
    """Return quantities, and the oracle's logits [n K] and derivatives [n K P] by the first entry of each tensor."""
    with jax.enable_x64(True):
        q = Quantities(NETWORK, jax.tree.map(jnp.asarray, params), jnp.asarray(ARCH), Batch(*map(jnp.asarray, batch)))
        flat = flatten_dict(q.noise.params, sep="/")
        for path in flat:
            if not path.endswith(("bias", "gamma", "beta")):
                flat[path] = flat[path] * (2 / np.prod(flat[path].shape[-4:-1] if flat[path].ndim >= 4 else 16)) ** 0.5
        flat["classifier"] = q.noise.params["classifier"] * (2 / 16) ** 0.5
        nested = {}
        for path, leaf in flat.items():
            *folders, name = path.split("/")
            node = nested
            for folder in folders:
                node = node.setdefault(folder, {})
            node[name] = leaf
        stats = jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.full(leaf.shape, 1.0 * path[-1].key.endswith("variance")), q.shapes["batch_stats"]
        )

        def logits(params):
            return NETWORK.apply({"params": params, "batch_stats": stats}, q.noise.images, ARCH, train=False)

        whole = flatten_dict(jax.jit(jax.jacrev(logits))(nested), sep="/")
        firsts = [whole[path][(slice(None), slice(None), *at)] for path, at in tensors_in_use()]
        jacobian = np.stack([leaf.reshape(*leaf.shape[:2], -1)[:, :, 0] for leaf in firsts], axis=2)
        return q, np.asarray(jax.jit(logits)(nested)), jacobian


@pytest.mark.slow
@pytest.mark.parametrize("most", [128, 20], ids=["all tensors", "the first twenty"])
def test_equal_to_the_whole_jacobian(case, monkeypatch, most):
    q, logits, jacobian = case
    monkeypatch.setattr(ntk, "_MOST_TENSORS", most)
    with jax.enable_x64(True):
        expected = entropy_of_deciles(jacobian[:, :, :most], logits)
        np.testing.assert_allclose(float(vkdnw(q) - num_layers(q)), expected, rtol=1e-6)


def test_root_of_many_classes_has_the_right_expectation():
    with jax.enable_x64(True):
        logits = jnp.asarray(np.random.default_rng(0).normal(size=40))
        shares = 0.95 * np.exp(logits) / np.exp(logits).sum() + 0.05 / 40
        root = np.asarray(draws.fisher_root(logits))
        np.testing.assert_allclose(root.T @ root, np.diag(shares) - np.outer(shares, shares), atol=1e-15)


@pytest.mark.slow
def test_many_classes_are_estimated_without_bias(case, monkeypatch):
    """With a bound of 4 classes ten are many: the mean of 40 estimates of J'(diag p - pp')J is nearly exact."""
    q, logits, jacobian = case
    shares = 0.95 * np.exp(logits) / np.exp(logits).sum(1, keepdims=True) + 0.05 / logits.shape[1]
    middle = shares[:, :, None] * np.eye(logits.shape[1]) - shares[:, :, None] * shares[:, None, :]
    exact = np.einsum("nkp,nkl,nlq->pq", jacobian, middle, jacobian)
    monkeypatch.setattr(draws, "MOST_ROWS", 4)
    with jax.enable_x64(True):
        entries = draws.entries_of(NETWORK, q.batch.images.shape[1:], q.arch)
        stats = draws.fresh_statistics(q.shapes["batch_stats"], jnp.float64)
        images, used = q.noise.images[:16], np.asarray(q.fisher_rows[1])

        @jax.jit
        def estimate(key):
            rows = draws.fisher_rows(key, NETWORK, q._kaiming, stats, images, q.arch, entries)
            rows = rows[:, :, np.flatnonzero(used)].reshape(-1, used.sum())
            return rows.T @ rows

        keys = jax.random.split(jax.random.key(5), 40)
        estimates = np.stack([estimate(key) for key in keys])
    error = np.linalg.norm(estimates.mean(0) - exact) / np.linalg.norm(exact)
    single = np.linalg.norm(estimates - exact, axis=(1, 2)) / np.linalg.norm(exact)
    assert error < 2 * np.mean(single) / 40**0.5
    assert estimates.shape[1:] == exact.shape


@pytest.mark.slow
def test_depth_decides_and_the_entropy_between_equals(case):
    q, _, _ = case
    with jax.enable_x64(True):
        assert 0 < float(vkdnw(q) - num_layers(q)) < np.log(9)
        assert float(num_layers(q)) == 1 + 3 * 3 + 2 * 3 + 1
