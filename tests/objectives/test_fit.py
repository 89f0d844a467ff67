"""The rule that fits a training to its images, against counts by hand and the split that it foresees."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnas.data.images import from_arrays, num_validation, split_validation
from jaxnas.errors import InputError
from jaxnas.networks import NETWORKS, DeclaredNetwork
from jaxnas.networks.declared.network import Attention, Conv, LayerNorm, PatchEmbed, Residual
from jaxnas.objectives.config import TrainingConfig
from jaxnas.objectives.fit import ENOUGH, OPTIMIZERS, fit_to_images, fit_to_network, fit_training
from jaxnas.objectives.recipes import RECIPES, get_recipe, with_settings
from jaxnas.table.evaluation import wilson_interval

COUNTS = st.lists(st.integers(2, 300), min_size=2, max_size=12)


@pytest.mark.parametrize(
    ("counts", "share", "batch_size", "epochs"),
    [
        ([48] * 7, 1 / 3, 32, 25),  # 224 images train: 7 steps of 32, and 170 steps are wanted
        ([142] * 10, 1 / 2, 64, 19),  # 710 train: 11 steps of 64, 200 are wanted
        ([2500] * 10, 1 / 2, 64, 6),
        ([2, 2], 1 / 3, 2, 120),
    ],
)
def test_lengths_by_hand(counts, share, batch_size, epochs):
    config = fit_to_images(TrainingConfig(), counts)
    assert (config.validation_fraction, config.batch_size, config.epochs) == (share, batch_size, epochs)
    assert fit_to_images(config, counts) == config


def test_one_validation_set_is_enough_from_five_points_on():
    widths = [high - low for low, high in (wilson_interval(90.0, count) for count in (ENOUGH - 1, ENOUGH))]
    assert widths[0] > 10 >= widths[1]


def test_given_folds_decide_the_share():
    config = fit_to_images(TrainingConfig(folds=3), [48] * 7)
    assert (config.validation_fraction, config.folds, config.batch_size, config.epochs) == (1 / 3, 3, 32, 25)
    assert fit_to_images(config, [48] * 7) == config
    assert fit_to_images(TrainingConfig(folds=5, epochs=2), [500] * 3).validation_fraction == 1 / 5
    with pytest.raises(InputError, match=r"`validation_fraction` must be left out with `folds` = 4, .*, got 0.5"):
        TrainingConfig(folds=4, validation_fraction=0.5)
    with pytest.raises(InputError, match="training `folds` must be at least 1, got 0"):
        TrainingConfig(folds=0)


@given(COUNTS)
def test_every_set_gets_enough_steps(counts):
    config = fit_to_images(TrainingConfig(), counts)
    images = sum(count - num_validation(count, config.validation_fraction) for count in counts)
    steps = images // config.batch_size
    assert 2 <= config.batch_size <= images
    assert config.epochs * steps >= 100 + 10 * len(counts)
    assert config.epochs == 6 or (config.epochs - 1) * steps < 100 + 10 * len(counts)


@given(COUNTS, st.integers(1, 100))
def test_explicit_epochs_train_as_they_did(counts, epochs):
    config = fit_to_images(TrainingConfig(epochs=epochs), counts)
    images = sum(count - num_validation(count, 0.5) for count in counts)
    assert (config.epochs, config.validation_fraction, config.folds) == (epochs, 0.5, 1)
    assert config.batch_size == 64 or images < 64


@given(COUNTS)
def test_what_is_given_stays(counts):
    config = TrainingConfig(epochs=3, batch_size=8, validation_fraction=0.25, folds=1, learning_rate=0.5, seed=4)
    assert fit_to_images(config, counts) == config


@given(COUNTS, st.floats(0.01, 0.99))
def test_the_split_takes_as_many_as_the_rule_counts(counts, fraction):
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    data = from_arrays(images, labels, images[:1], labels[:1])
    _, _, taken = split_validation(data, fraction, seed=0)
    assert (
        np.bincount(taken).tolist() == np.clip(np.rint(fraction * np.array(counts)), 1, np.array(counts) - 1).tolist()
    )


@pytest.mark.parametrize("name", list(NETWORKS))
def test_networks_with_attention_are_trained_by_adamw_and_no_others(name):
    expected = "adamw" if name == "autoformer-tiny" else "sgd"
    config = fit_to_network(TrainingConfig(), NETWORKS[name]())
    found = config.learning_rate, config.weight_decay, config.warm_up
    assert (config.optimizer, found) == (expected, OPTIMIZERS[expected])
    assert fit_to_network(config, NETWORKS[name]()) == config


def test_a_network_of_your_own_with_attention_is_trained_by_adamw():
    attention = DeclaredNetwork("mine", (PatchEmbed(8, 2), Residual(LayerNorm(), Attention(1, head_width=4))))
    plain = DeclaredNetwork("mine", (Conv(8),))
    adamw, sgd = (fit_training(TrainingConfig(), network, [142] * 10) for network in (attention, plain))
    assert (adamw.optimizer, adamw.epochs) == ("adamw", 55)  # 600 steps are wanted, 11 make an epoch
    assert (sgd.optimizer, sgd.epochs) == ("sgd", 19)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@given(st.floats(1e-5, 1), st.floats(0, 1), st.floats(0, 0.9))
def test_given_numbers_of_an_optimizer_stay(optimizer, learning_rate, weight_decay, warm_up):
    config = TrainingConfig(
        optimizer=optimizer, learning_rate=learning_rate, weight_decay=weight_decay, warm_up=warm_up
    )
    assert fit_to_network(config, DeclaredNetwork("mine", (Conv(8),))) == config


def test_the_final_learning_rate_is_at_most_the_one_of_the_optimizer():
    config = TrainingConfig(final_learning_rate=0.5)
    with pytest.raises(InputError, match=r"training `final_learning_rate` must be from 0 to learning_rate, got 0\.5"):
        fit_to_network(config, DeclaredNetwork("mine", (Conv(8),)))


def test_final_trainings_have_an_optimizer_of_the_network():
    assert all(recipe.training.optimizer != "auto" for recipe in RECIPES.values())
    assert get_recipe("darts", None) == ("darts", RECIPES["darts"])
    attention = DeclaredNetwork("mine", (PatchEmbed(8, 2), Residual(LayerNorm(), Attention(1, head_width=4))))
    for network, name in ((None, "nasbench201"), (attention, "autoformer-tiny")):
        published, recipe = get_recipe("mine", network)
        assert (published, recipe.training, dict(recipe.network)) == (name, RECIPES[name].training, {})
    plain = DeclaredNetwork("mine", (PatchEmbed(8, 2), LayerNorm(), Attention(1, head_width=4)))
    assert get_recipe("mine", plain)[1].training == replace(RECIPES["autoformer-tiny"].training, drop_path=0.0)


def test_another_optimizer_has_its_own_numbers():
    recipe = RECIPES["autoformer-tiny"].training
    changed = with_settings(recipe, {"optimizer": "sgd", "weight_decay": 0.1})
    assert (changed.learning_rate, changed.final_learning_rate, changed.warm_up) == (None, 0.0, None)
    assert (changed.weight_decay, changed.epochs, changed.label_smoothing) == (0.1, 500, 0.1)
    assert with_settings(recipe, {"optimizer": "adamw", "epochs": 3}).learning_rate == recipe.learning_rate
