"""Settings of a search by name: the values of a preset, and the user's values that replace them."""

import subprocess
import sys

import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.run.comparison import compare_methods
from jaxnas.run.config import CompareConfig, RunConfig, run_config
from jaxnas.run.inputs import load_pool_scores, make_batch
from jaxnas.run.search import search_images, search_network
from jaxnas.run.sections import NetworkConfig, ProblemConfig, SearchConfig
from jaxnas.run.train import train_arch, train_config
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
    assert run_config("nasbench201", "paper") == RunConfig(search=SearchConfig(method="robot", preset="paper"))
    assert run_config("darts") == RunConfig(problem=ProblemConfig(space="darts"))


def test_of_shipped_scores_the_default_are_those_of_robot():
    assert load_pool_scores("transnas101-micro", "jigsaw").proxies == DEFAULT_PROXIES
    assert load_pool_scores("transnas101-micro", "jigsaw", ("nwot", "snip")).proxies == ("nwot", "snip")


def test_shipped_scores_come_before_a_folder_of_their_name(tmp_path, monkeypatch):
    (tmp_path / "jigsaw").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_pool_scores("transnas101-micro", "jigsaw").proxies == DEFAULT_PROXIES
    with pytest.raises(InputError, match="no scores in"):
        load_pool_scores("transnas101-micro", "./jigsaw")


def search_in(place, listen):
    search_images(RunConfig(), place, on_event=listen)


def search_network_in(place, listen):
    data = jaxnas.standardize(jaxnas.load_images("digits"))
    search_network(jaxnas.NASBench201Network(channels=2, cells_per_stage=1), data, place, on_event=listen)


def train_in(place, listen):
    train_arch(train_config("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", data="digits"), place, on_event=listen)


@pytest.mark.parametrize("start", [search_in, search_network_in, train_in])
def test_a_folder_that_cannot_be_written_into_is_refused_before_any_work(start, tmp_path):
    (tmp_path / "file").write_text("")
    events = []
    with pytest.raises(InputError, match=r"cannot write into .*file: .*; choose another folder"):
        start(tmp_path / "file", events.append)
    assert events == []


@pytest.mark.data
def test_a_comparison_is_refused_before_any_work(tmp_path, data_folder):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write into"):
        compare_methods(("random",), CompareConfig(), range(1), tmp_path / "file", data_folder=data_folder)


def test_the_default_minibatch_of_few_images_has_all_of_them():
    images, labels = np.random.default_rng(0).random((40, 2, 2)), np.repeat([0, 1], 20)
    data = jaxnas.from_arrays(images, labels)
    assert len(make_batch(data, SearchConfig.batch_size, 0).labels) == 32
    with pytest.raises(InputError, match="from 2 to 32, the training images of arrays, got 65"):
        make_batch(data, 65, 0)


CALLS = """
from jaxnas import InputError, NASBench201Network, search_network

for network in ("nasbench201", NASBench201Network(num_classes=3)):
    try:
        search_network(network, "digits", "out")
    except InputError as error:
        print(error)
"""


def test_names_in_place_of_a_network_or_of_images_are_refused(tmp_path):
    """In a process of its own, as the tests' checks of types would refuse them first."""
    run = subprocess.run([sys.executable, "-c", CALLS], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    network, images = run.stdout.splitlines()
    assert network == "`network` must be a network, such as NASBench201Network(num_classes=10), got str"
    assert images == "`data` must be images, see `load_images` and `from_arrays`, got str"
    assert list(tmp_path.iterdir()) == []
