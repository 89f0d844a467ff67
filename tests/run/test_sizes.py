"""Limits filter a pool before it is scored, and fronts trade the objective off with sizes."""

import json

import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.run.config import run_config
from jaxnas.run.search import search_images
from jaxnas.run.sections import LimitConfig
from jaxnas.run.sizes import filter_texts, front, within_limits
from jaxnas.runtime.events import Noted
from tests.tiny import TINY, TinyNetwork

SIZES = {"params": np.array([1.0, 2.0, 3.0, np.nan]), "flops": np.array([9.0, 8.0, 1.0, 1.0])}


def test_limits_keep_what_is_within_all_of_them():
    within, note = within_limits(LimitConfig(max_params=2), SIZES)
    assert within.tolist() == [True, True, False, False]  # an unknown size is beyond the limit
    assert note == "2 of 4 architectures are within the limits: at most 2 params"
    assert within_limits(LimitConfig(max_params=2, max_flops=8), SIZES)[0].tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (dict(max_params=0.5), "none of the 4 architectures is within params 0.5: the least .* is params 1"),
        (dict(max_params=2, max_flops=5), "the least within the other limits is params 3, flops 8"),
        (dict(max_latency=2), "--max-latency needs the latency of architectures, .*; name it by --latency-column"),
    ],
)
def test_limits_that_nothing_is_within_are_refused_with_the_nearest_bound(limits, message):
    with pytest.raises(InputError, match=message):
        within_limits(LimitConfig(**limits), SIZES)


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        (dict(objective=("accuracy", "size")), "unknown size 'size': choose from params"),
        (dict(objective=("accuracy", "params", "params")), "`objective` must name each once"),
        (dict(max_params=-1), "`max_params` must be at least 0, got -1"),
        (dict(max_params="few"), "`max_params` must be a number, got 'few'"),
    ],
)
def test_settings_that_are_refused(flat, message):
    with pytest.raises(InputError, match=message):
        run_config(**flat)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write a table in which accuracy and cost both rise with the number of a model."""
    monkeypatch.chdir(tmp_path)
    rows = [f"m{i},{50 + i},{100 * i},{i / 10}" for i in range(20)]
    (tmp_path / "table.csv").write_text("\n".join(["arch,acc,params,edge_ms", *rows]))
    (tmp_path / "scores.csv").write_text("\n".join(["arch,up", *(f"m{i},{i}" for i in range(20))]))
    return tmp_path


def test_a_limit_on_a_column_and_a_front(files):
    flat = dict(table="table.csv", column="acc", method="random", budget=6, latency_column="edge_ms", max_latency=0.9)
    config = run_config("ids", **flat, objective=("accuracy", "params", "latency"))
    run = search_images(config, files / "run", scores_path="scores.csv")
    run.save(files / "run")
    assert len(run.scores.archs) == 10
    rows, volume = run.front()
    assert len(rows) == 6  # better is larger: nothing dominates
    assert rows[0] == {"arch": run.selected, **{"objective": run.outcomes["random"].result.best}, **run.size}
    again = jaxnas.load_run(files / "run")
    assert again.front() == (rows, volume)
    assert json.loads((files / "run" / "result.json").read_text())["fronts"]["random"]["hypervolume"] == volume
    with pytest.raises(InputError, match=r"the objective flops needs a column of that name in table\.csv or"):
        search_images(
            run_config("ids", **flat, objective=("accuracy", "flops")), files / "run", scores_path="scores.csv"
        )


def test_a_pool_of_a_network_is_filtered_by_its_sizes(tmp_path):
    images, labels = np.random.default_rng(0).random((60, 4, 4, 1), np.float32), np.arange(60) % 3
    data = jaxnas.standardize(jaxnas.from_arrays(images, labels, images[:9], labels[:9], name="noise"))
    settings = dict(proxies=("l2_norm",), method="random", budget=2, pool=9, batch_size=6)
    training = jaxnas.TrainingConfig(epochs=1, batch_size=8)
    notes = []
    run = jaxnas.search_network(
        TinyNetwork(),
        data,
        tmp_path,
        **settings,
        training=training,
        max_params=90,
        archs=["22", "02", "20", "00", "11", "02"],
        keep=lambda text: text != "11",
        on_event=lambda event: notes.append(event.message) if isinstance(event, Noted) else None,
    )
    base = 36 + 8 + 15  # stem, its normalisation, classifier; a convolution has 20 more
    params = {"02": base + 20, "20": base + 20, "00": base}
    assert notes[0] == "4 architectures are kept"
    texts = [TINY.format(arch) for arch in run.scores.archs]
    assert dict(zip(texts, run.sizes["params"], strict=True)) == params
    assert run.size.keys() == {"params", "flops", "depth"}
    assert run.scores.proxies == ("l2_norm",)


def test_a_size_that_no_queried_architecture_has_gives_an_empty_front():
    """The finished search can then be written."""
    result = jaxnas.METHODS["random"](np.eye(4), np.arange(4.0), budget=2, seed=0)
    queries, volume = front(result, {"latency": np.full(4, np.nan)}, ("latency",))
    assert (queries.tolist(), volume) == ([], 0.0)


def test_a_limit_far_above_all_sizes_names_the_unit():
    within, note = within_limits(LimitConfig(max_params=1e6), {"params": np.array([0.5, 2.0])})
    assert within.all()
    assert "--max-params is 1,000 times the largest value, 2, or more" in note
    assert "times" not in within_limits(LimitConfig(max_params=1999), {"params": np.array([0.5, 2.0])})[1]


@pytest.mark.parametrize("answer", ["False", float("nan"), None, 1])
def test_keep_must_return_a_truth_value(answer):
    with pytest.raises(InputError, match=f"`keep` must return True or False, got {answer!r} for x"):
        filter_texts(["x"], lambda text: answer)


def test_keep_may_return_truth_values_of_numpy():
    assert filter_texts(["x", "y"], lambda text: np.array([text == "y"])[0]).tolist() == [False, True]
