"""Settings of a search by name: the values of a preset, and the user's values that replace them."""

from jaxnas.run.config import RunConfig, run_config
from jaxnas.run.search import load_pool_scores
from jaxnas.run.sections import NetworkConfig, ProblemConfig, SearchConfig
from jaxnas.scoring.engine import DEFAULT_PROXIES


def test_the_published_search_of_darts():
    config = run_config("darts", "paper", seed=3, pool=None)
    assert (config.search.pool, config.search.budget) == (60_000, 25)
    assert config.network == NetworkConfig(channels=16, cells_per_stage=1)
    training = config.training
    assert (training.epochs, training.batch_size, training.seed) == (10, 576, 3)
    assert (training.learning_rate, training.final_learning_rate, training.drop_path) == (0.1, 0.005, 0.2)
    changed = run_config("darts", "paper", epochs=2, pool=70, channels=4)
    assert (changed.search.pool, changed.search.budget) == (70, 25)
    assert (changed.network.channels, changed.training.epochs) == (4, 2)


def test_elsewhere_a_preset_is_one_of_robot_alone():
    assert run_config("nasbench201", "paper") == RunConfig(search=SearchConfig(preset="paper"))
    assert run_config("darts") == RunConfig(problem=ProblemConfig(space="darts"))


def test_of_shipped_scores_the_default_are_those_of_robot():
    assert load_pool_scores("transnas101-micro", "jigsaw").proxies == DEFAULT_PROXIES
    assert load_pool_scores("transnas101-micro", "jigsaw", ("nwot", "snip")).proxies == ("nwot", "snip")
