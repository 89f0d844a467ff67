"""Settings of a search by name: what a preset stands for, and what a user puts in its place."""

from jaxnas.run.run import RunConfig, run_config
from jaxnas.run.search import load_pool_scores
from jaxnas.scoring.engine import DEFAULT_PROXIES


def test_the_published_search_of_darts():
    config = run_config("darts", "paper", seed=3, pool=None)
    assert (config.pool, config.budget, config.channels, config.cells_per_stage) == (60_000, 25, 16, 1)
    training = config.training
    assert (training.epochs, training.batch_size, training.seed) == (10, 576, 3)
    assert (training.learning_rate, training.final_learning_rate, training.drop_path) == (0.1, 0.005, 0.2)
    changed = run_config("darts", "paper", epochs=2, pool=70, channels=4)
    assert (changed.pool, changed.budget, changed.channels, changed.training.epochs) == (70, 25, 4, 2)


def test_elsewhere_a_preset_is_one_of_robot_alone():
    assert run_config("nasbench201", "paper") == RunConfig(preset="paper")
    assert run_config("darts") == RunConfig(space="darts")


def test_of_shipped_scores_the_default_are_those_of_robot():
    assert load_pool_scores("transnas101-micro", "jigsaw").proxies == DEFAULT_PROXIES
    assert load_pool_scores("transnas101-micro", "jigsaw", ("nwot", "snip")).proxies == ("nwot", "snip")
