"""Candidates trained together by kernels of their own, in Pallas's interpreter, against one after another."""

import jax
import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.networks import DARTSNetwork, NASBench201Network
from jaxnas.networks.kernels import tiles
from jaxnas.objectives.config import TrainingConfig
from jaxnas.objectives.fit import fit_training
from jaxnas.objectives.programs import Labelled
from jaxnas.objectives.trainer import Trainer

ARCHS = np.array([[3, 0, 4, 1, 2, 3], [1, 2, 3, 3, 4, 2]], np.int8)  # every op, and both convolutions on an edge
STEPS, BATCH, SIDE = 2, 8, 8


def make_trainer(network, strategy):
    rng, number = np.random.default_rng(0), STEPS * BATCH
    images = rng.normal(size=(number, SIDE, SIDE, 3)).astype(np.float32)
    labels = np.arange(number, dtype=np.int32) % network.num_classes
    config = TrainingConfig(epochs=1, batch_size=BATCH, flip=True, learning_rate=0.1)
    config = fit_training(config, network, np.bincount(labels).tolist())
    data = Labelled(images, labels)
    return Trainer(network, config, data, 6, together=len(ARCHS), num_devices=1, strategy=strategy)


def make_network(affine):
    return NASBench201Network(num_classes=2, channels=4, cells_per_stage=1, affine=affine)


@pytest.fixture
def interpreted(monkeypatch):
    jax.clear_caches()
    monkeypatch.setattr(tiles, "IS_INTERPRETED", True)
    yield
    jax.clear_caches()


@pytest.mark.slow
@pytest.mark.parametrize(("affine", "share"), [(False, 1e-2), (True, 1e-3)])
def test_kernels_of_edges_train_as_one_after_another(affine, share, interpreted):
    """Params, running statistics and momentum, up to a share of what two steps move, and to rounding.

    Without gamma and beta the share is larger, as it is for a switch under `vmap`: sums near 0 round differently.
    """
    alone = make_trainer(make_network(affine), "loop")
    expected, initial = alone.fit(ARCHS), jax.tree.map(lambda leaf: np.asarray(leaf[0]), alone._programs[0])
    together = make_trainer(make_network(affine), "vmapped")
    together.strategy = "fused"  # which a CPU refuses
    found = together.fit(ARCHS)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    for ours, theirs in zip(found.states, expected.states, strict=True):
        leaves = (jax.tree_util.tree_leaves_with_path(theirs), *map(jax.tree.leaves, (ours, initial)))
        for (path, leaf), our, first in zip(*leaves, strict=True):
            moved = np.abs(leaf - first).max()
            np.testing.assert_allclose(our, leaf, rtol=0, atol=1e-6 + share * moved, err_msg=jax.tree_util.keystr(path))


def test_kernels_are_refused_for_other_networks_and_devices():
    darts = DARTSNetwork(num_classes=2, channels=4, cells_per_stage=1)
    with pytest.raises(InputError, match="which DARTSNetwork does not"):
        make_trainer(darts, "fused")
    with pytest.raises(InputError, match="needs an NVIDIA GPU, got cpu"):
        make_trainer(make_network(False), "fused")
