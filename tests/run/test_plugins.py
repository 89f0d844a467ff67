"""Plugins add to the dictionaries of jaxnas, completely or not at all; their runs are read without them."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from hypothesis import strategies as st

import jaxnas
from jaxnas.errors import InputError
from jaxnas.networks import CUSTOM_NETWORKS
from jaxnas.objectives.named import OBJECTIVES
from jaxnas.proxies.about import about
from jaxnas.run import inherit, plugins
from jaxnas.run.config import run_config
from jaxnas.run.load import Selected
from jaxnas.run.plugins import load_installed_plugins, load_plugin
from jaxnas.run.train import train_config
from jaxnas.spaces import SPACES
from tests.edits import fuzzed, read_or_refuse
from tests.tiny import TinyNetwork

PLUGIN = """
from dataclasses import replace
from jaxnas import random_search
from jaxnas.networks.declared.network import Choose, Conv, Skip

PROXIES = {"sum_of_kernels": lambda q: sum(abs(kernel).sum() for kernel in q.kernels.values())}
SPACES = {"two_convs": (Conv(4), Choose(Conv(4), Skip()))}
METHODS = {"my_random": replace(random_search, name="my_random")}
OBJECTIVES = {"length": len}
"""
DICTIONARIES = (jaxnas.PROXIES, SPACES, jaxnas.METHODS, OBJECTIVES, CUSTOM_NETWORKS)


@pytest.fixture(autouse=True)
def restored():
    """Remove what a test adds."""
    kept = [dict(known) for known in DICTIONARIES]
    modules = set(sys.modules)
    yield
    for known, before in zip(DICTIONARIES, kept, strict=True):
        known.clear()
        known.update(before)
    for name in set(sys.modules) - modules:
        if name.startswith("jaxnas_plugin"):
            del sys.modules[name]


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


def test_a_file_adds_what_its_dictionaries_define(plugin):
    described = load_plugin(plugin)
    assert described.startswith("mine.py sha256:")
    assert load_plugin(plugin) == described
    assert "sum_of_kernels" in jaxnas.PROXIES
    assert SPACES["two_convs"].size == 2
    assert OBJECTIVES["length"]("abc") == 3
    assert run_config("two_convs", method="my_random", proxies=("sum_of_kernels",)).search.custom == (
        "sum_of_kernels",
        "my_random",
    )
    plugin.write_text(PLUGIN + "\nchanged = True\n")
    assert load_plugin(plugin) != described  # the same names from the same file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "defines none of PROXIES, SPACES, METHODS, OBJECTIVES"),
        ("PROXIES = [1]", "PROXIES must be a dictionary by name, got list"),
        ("PROXIES = {'a': 1}", r"PROXIES\['a'\] must be a function, got int"),
        ("PROXIES = {'new': len, 'snip': len}", "there is a 'snip' already"),
        ("PROXIES = {'robot': len}", "there is a 'robot' already"),
        ("OBJECTIVES = {'a,b': len}", "a name must be a text without commas"),
        ("METHODS = {'a': len}", r"METHODS\['a'\] must be a jaxnas.search.Method of that name"),
        ("SPACES = {'a': 3}", r"SPACES\['a'\] must be blocks or a function"),
        ("SPACES = {'a': [len]}", r"SPACES\['a'\] must have blocks such as Conv\(8\).*, got <built-in function len>"),
        ("SPACES = {'a': lambda k: k}", r"SPACES\['a'\] must be blocks or return a network, got int"),
        ("1 / 0", r"cannot be loaded \(ZeroDivisionError: division by zero\)"),
        ("def", r"cannot be loaded \(SyntaxError: "),
    ],
)
def test_a_plugin_that_does_not_fit_adds_nothing(tmp_path, text, message):
    (tmp_path / "bad.py").write_text(text)
    before = [list(known) for known in DICTIONARIES]
    with pytest.raises(InputError, match=message):
        load_plugin(tmp_path / "bad.py")
    assert [list(known) for known in DICTIONARIES] == before
    with pytest.raises(InputError, match="cannot read"):
        load_plugin(tmp_path / "none.py")


def test_installed_packages_name_their_plugins(plugin, monkeypatch):
    monkeypatch.syspath_prepend(plugin.parent)
    entry = EntryPoint("mine", "mine", plugins.PLUGIN_GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    assert load_installed_plugins() == ("mine",)
    assert "sum_of_kernels" in jaxnas.PROXIES


@pytest.mark.slow
def test_a_search_with_functions_and_numbers_of_numpy_is_saved_and_read_elsewhere(tmp_path):
    images, labels = np.random.default_rng(0).random((60, 4, 4, 1), np.float32), np.arange(60) % 3
    data = jaxnas.standardize(jaxnas.from_arrays(images, labels, images[:9], labels[:9], name="noise"))
    mine = {"mine": lambda q: sum(abs(gradient).sum() for gradient in q.gradient.values())}
    training = jaxnas.TrainingConfig(epochs=np.int64(1), batch_size=8, learning_rate=np.float32(0.5))
    numbers = dict(pool=np.int32(9), budget=np.int64(2), seed=np.int64(1), batch_size=np.int64(6))
    with pytest.raises(InputError, match="`batch_size` must be a whole number, got 'many'"):
        jaxnas.search_network(TinyNetwork(), data, tmp_path, proxies=mine, **{**numbers, "batch_size": "many"})
    with pytest.raises(InputError, match="`training` must be a TrainingConfig, got 3"):
        run_config(training=3)
    run = jaxnas.search_network(
        TinyNetwork(), data, tmp_path / "run", proxies=mine, method="random", training=training, **numbers
    )
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (record["config"]["budget"], record["config"]["proxies"]) == (2, ["mine"])
    assert type(run.config.training.learning_rate) is float
    code = f"import jaxnas; print(jaxnas.load_run({str(tmp_path / 'run')!r}).selected)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == run.selected


def test_a_network_of_a_plugin_is_trained_by_its_space(plugin):
    load_plugin(plugin)
    config = train_config("skip", "two_convs", "digits", plugins=("mine.py",))
    assert (config.space, config.network, config.plugins) == ("two_convs", (), ("mine.py",))
    with pytest.raises(InputError, match="`channels` must be left out: the network of space two_convs"):
        train_config("skip", "two_convs", "digits", network={"channels": 4})


def test_a_proxy_that_was_added_is_listed_without_its_costs(plugin):
    load_plugin(plugin)
    facts = about("sum_of_kernels")
    assert (facts.forward, facts.backward, facts.sees, facts.higher_is_better) == (None, None, "unknown", True)


def test_architectures_known_by_ids_have_no_network_to_train(tmp_path, monkeypatch):
    selected = Selected("ids", "net-25", {}, None)
    monkeypatch.setattr(inherit, "load_selected", lambda folder: selected)
    with pytest.raises(InputError, match=r"knows 'net-25' by its id alone, .* search again with the space"):
        inherit.inherit(tmp_path, data="digits")


ENTRIES = st.sampled_from(
    ["1", "None", "len", "[]", "'x'", "(1, 2)", "print", "lambda k: 3", "lambda: 1", "[len]", "{}"]
)
NAMES = st.text(max_size=3).map(repr) | st.sampled_from(["1", "None", "('a',)", "'snip'", "'accuracy'", "'robot'"])
DICTIONARY = st.dictionaries(NAMES, ENTRIES, max_size=2).map(
    lambda entries: "{" + ", ".join(f"{name}: {entry}" for name, entry in entries.items()) + "}"
)
LINES = st.tuples(st.sampled_from([*plugins.KINDS, "OTHER"]), DICTIONARY | ENTRIES).map(" = ".join)


@fuzzed(content=st.lists(LINES, max_size=3).map("\n".join) | st.text() | st.binary())
def test_any_file_is_a_plugin_or_refused_by_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("plugin") / "mine.py"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="replace"))
    before = [dict(known) for known in DICTIONARIES]
    read_or_refuse(lambda: load_plugin(path), str(path))
    for known, kept in zip(DICTIONARIES, before, strict=True):
        assert known.items() >= kept.items()  # nothing of jaxnas is replaced
        known.clear()
        known.update(kept)


@pytest.mark.parametrize(
    "end", ["import sys; sys.exit(2)", "import argparse; p = argparse.ArgumentParser(); p.parse_args(['x'])"]
)
def test_a_program_that_ends_itself_is_no_plugin(tmp_path, end):
    (tmp_path / "train.py").write_text(end)
    with pytest.raises(InputError, match=r"plugin .*train.py cannot be loaded \(SystemExit: 2\)"):
        load_plugin(tmp_path / "train.py")
