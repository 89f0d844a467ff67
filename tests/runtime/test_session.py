"""Scores, searches and trainings do not depend on the JAX settings of the session; seeds have one range."""

import jax
import numpy as np
import pytest
from tiny import TINY, TinyNetwork

from jaxnas.data.batch import Batch
from jaxnas.data.images import ImageData, minibatch
from jaxnas.errors import InputError
from jaxnas.objectives.config import TrainingConfig
from jaxnas.objectives.training import TrainingObjective
from jaxnas.runtime.session import fixed_settings, make_key
from jaxnas.runtime.settings import LAST_SEED
from jaxnas.scoring.config import ScoringConfig
from jaxnas.scoring.engine import score_archs
from jaxnas.search import METHODS
from jaxnas.spaces import enumerate_archs, sample

SETTINGS = {
    "rbg": lambda: jax.default_prng_impl("rbg"),
    "old threefry": lambda: jax.threefry_partitionable(False),
    "bfloat16": lambda: jax.default_matmul_precision("bfloat16"),
    "float64": lambda: jax.enable_x64(True),
    "NaN checks": lambda: jax.debug_nans(True),
    "inf checks": lambda: jax.debug_infs(True),
    "no jit": lambda: jax.disable_jit(True),
    "strict types": lambda: jax.numpy_dtype_promotion("strict"),
    "strict ranks": lambda: jax.numpy_rank_promotion("raise"),
    "no transfers": lambda: jax.transfer_guard("disallow"),
}
ARCHS = enumerate_archs(TINY)


def score():
    images = np.random.default_rng(0).normal(size=(4, 4, 4, 2)).astype(np.float32)
    batch = Batch(images, np.array([0, 1, 2, 0], np.int32))
    configs = (ScoringConfig(seed=3), ScoringConfig(seed=3, init="independent"))
    return np.stack([score_archs(TinyNetwork(), ARCHS, batch, ("grad_norm", "zen"), config) for config in configs])


def search():
    values = np.random.default_rng(1).normal(size=(9, 2))
    found = [METHODS[name](values, values[:, 0], budget=4, seed=5) for name in ("random", "robot")]
    return np.array([result.queries for result in found])


def train():
    rng = np.random.default_rng(2)
    images, labels = rng.normal(size=(24, 4, 4, 2)).astype(np.float32), np.arange(24, dtype=np.int32) % 3
    data = ImageData("noise", images, labels, images[:6], labels[:6], 3)
    config = TrainingConfig(epochs=1, batch_size=4, seed=7, crop_padding=1, flip=True)
    objective = TrainingObjective(TinyNetwork(), ARCHS, data, config)
    return np.array([objective.result(8).validation_accuracy, objective.result(8).loss])


WORK = {"score": score, "search": search, "train": train}


@pytest.fixture(scope="module")
def usual():
    return {name: work() for name, work in WORK.items()}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("work", WORK)
def test_numbers_are_the_same_under_any_setting(usual, work, setting):
    with SETTINGS[setting]():
        np.testing.assert_array_equal(WORK[work](), usual[work])


def test_settings_are_those_of_the_session_between_the_steps_and_afterwards():
    with jax.default_prng_impl("rbg"):
        with fixed_settings():
            assert jax.config.jax_default_prng_impl == "threefry2x32"
        assert jax.config.jax_default_prng_impl == "rbg"


@pytest.mark.parametrize("seed", [-1, LAST_SEED + 1, 2**70])
@pytest.mark.parametrize(
    "use",
    [
        make_key,
        lambda seed: sample(TINY, 2, seed),
        lambda seed: ScoringConfig(seed=seed),
        lambda seed: TrainingConfig(seed=seed),
        lambda seed: METHODS["random"](np.eye(3), np.arange(3.0), budget=2, seed=seed),
        lambda seed: minibatch(
            ImageData("ones", np.ones((4, 2, 2, 1)), np.array([0, 1, 0, 1]), *[None] * 2, 2), 2, seed
        ),
    ],
    ids=["key", "sample", "scoring", "training", "search", "batch"],
)
def test_a_seed_out_of_range_is_named(use, seed):
    with pytest.raises(InputError, match=r"seed` must be from 0 to 4294967295, got"):
        use(seed)


@pytest.mark.parametrize("seed", [1.5, "1", None])
def test_a_seed_that_is_not_a_whole_number_is_named(seed):
    with pytest.raises(InputError, match="seed` must be a whole number"):
        ScoringConfig(seed=seed)


def test_every_integer_type_in_range_is_a_seed():
    for seed in (np.int64(3), np.uint8(3), np.array(3)):
        assert jax.random.key_data(make_key(seed)).tolist() == jax.random.key_data(make_key(3)).tolist()
    assert make_key(LAST_SEED) != make_key(0)
