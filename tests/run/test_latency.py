"""Predicted latencies against explicit leave-one-out fits, and measured ones kept in a file and asked for once."""

import json

import numpy as np
import pytest
from hypothesis import strategies as st

from jaxnas.data.images import from_arrays, standardize
from jaxnas.errors import InputError
from jaxnas.networks import NASBench201Network
from jaxnas.run import latency
from jaxnas.run.latency import Latencies, features, fit_ridge
from jaxnas.runtime.events import Noted
from jaxnas.runtime.records import with_check
from jaxnas.spaces import NASBENCH201, sample
from tests.edits import DEEP, Altered, damage, edit, fuzzed, read_or_refuse, without_check

IMAGES = np.random.default_rng(0).random((20, 4, 4, 1), np.float32)
DATA = standardize(from_arrays(IMAGES, np.arange(20) % 2))
POOL = sample(NASBENCH201, 50, seed=0)
SIZES = {"flops": np.arange(50.0)}


@pytest.fixture
def cost(monkeypatch):
    """Measure by a sum over the ops of an architecture, and return the list of what was measured."""
    asked = []

    def fake(model):
        asked.append(model)
        return float(1 + NASBENCH201.parse(model)[:3].sum())

    monkeypatch.setattr(latency, "init_variables", lambda network, *rest: {"params": {}})
    monkeypatch.setattr(NASBench201Network, "params_for", lambda self, params, arch: params)
    monkeypatch.setattr(latency, "make_model", lambda network, arch, *rest, **more: NASBENCH201.format(arch))
    monkeypatch.setattr(latency, "time_model", fake)
    return asked


def make(path, bound=5.0, events=None):
    network = NASBench201Network(num_classes=2, channels=4, cells_per_stage=1)
    return Latencies(NASBENCH201, network, DATA, path, bound, [].append if events is None else events.append)


def test_the_error_is_that_of_fits_without_each_row(monkeypatch):
    monkeypatch.setattr(latency, "RIDGE", np.array([0.3]))
    rng = np.random.default_rng(1)
    x, y, rows = rng.normal(size=(30, 5)), rng.normal(size=30), np.arange(20)
    predicted, error = fit_ridge(x, y, rows)

    def fit(chosen):
        centre = x[chosen].mean(0)
        inner = (x[chosen] - centre).T @ (x[chosen] - centre) + 0.3 * np.eye(5)
        slope = np.linalg.solve(inner, (x[chosen] - centre).T @ (y[chosen] - y[chosen].mean()))
        return y[chosen].mean() + (x - centre) @ slope

    np.testing.assert_allclose(predicted, fit(rows))
    left_out = [y[row] - fit(np.delete(rows, row))[row] for row in rows]
    assert error == pytest.approx(np.sqrt(np.mean(np.square(left_out))))


def test_a_pool_is_predicted_from_a_sample_and_measured_once(tmp_path, cost):
    events = []
    first = make(tmp_path / "latency.json", events=events)
    found = first.predict(POOL, SIZES, seed=0)
    assert len(cost) == latency.SAMPLE
    measured = np.isfinite(first.of(POOL))
    np.testing.assert_array_equal(found[measured], 1 + POOL[measured][:, :3].sum(1, dtype=int))
    assert first.record()["error_ms"] > 0
    assert "leave-one-out error" in events[-1].message
    again = make(tmp_path / "latency.json")
    later = next(arch for arch, known in zip(POOL, measured, strict=True) if not known)
    again(later)  # a candidate, which does not change the pool of a resumed search
    cost.pop()
    np.testing.assert_array_equal(again.predict(POOL, SIZES, seed=0), found)
    assert len(cost) == latency.SAMPLE


def test_a_candidate_above_the_bound_is_named_and_refused(tmp_path, cost):
    events = []
    latencies = make(tmp_path / "latency.json", bound=3.0, events=events)
    assert [latencies.admits(np.array(arch, np.int8)) for arch in ([1, 1, 0, 0, 0, 0], [4, 0, 0, 0, 0, 0])] == [
        True,
        False,
    ]
    (note,) = events
    assert isinstance(note, Noted)
    assert note.message.endswith("takes 5 ms, above 3: not trained")


def test_another_device_is_refused(tmp_path, cost):
    path = tmp_path / "latency.json"
    make(path)(POOL[0])
    record = without_check(json.loads(path.read_text()))
    record["made_with"]["device"] = "1 x abacus"
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="device is 1 x abacus, not "):
        make(path)


def test_features_are_scaled():
    columns = features(NASBENCH201, POOL, SIZES)
    assert columns.shape == (50, 6 * 5 + 1)
    np.testing.assert_allclose(columns.mean(0), 0, atol=1e-9)
    assert set(np.round(columns.std(0), 6)) <= {0.0, 1.0}


@pytest.mark.slow
def test_a_network_is_measured_alone(tmp_path):
    latencies = make(tmp_path / "latency.json")
    assert 0 < latencies(np.array([0, 0, 0, 1, 0, 0], np.int8)) < 1000  # no path: the classifier alone


@fuzzed(draw=st.data())
def test_an_edited_file_of_latencies_has_the_same_numbers_or_is_refused(cost_file, draw):
    path, measured = cost_file

    def use():
        assert make(path).measured == measured

    whole = json.loads(path.read_text())
    changed = json.dumps(edit(draw, whole)).encode() if draw.draw(st.booleans()) else damage(draw, path.read_bytes())
    with Altered(path, changed):
        read_or_refuse(use, str(path))
    with Altered(path, json.dumps(edit(draw, without_check(whole)))):  # of an earlier version
        read_or_refuse(lambda: make(path), str(path))


@pytest.fixture(scope="module")
def cost_file(tmp_path_factory):
    """Return a file of latencies, and what it says."""
    path = tmp_path_factory.mktemp("latency") / "latency.json"
    measured = {"a": 1.5, "b": 0.25}
    path.write_text(json.dumps(with_check({"made_with": make(path).made_with, "measured": measured})))
    return path, measured


@pytest.mark.parametrize(
    "content", ["", "[]", "1", "null", DEEP, '{"made_with": {}, "measured": {"a": NaN}}'], ids=range(6)
)
def test_what_is_no_file_of_latencies_is_refused(tmp_path, content):
    (tmp_path / "latency.json").write_text(content)
    with pytest.raises(InputError, match=r"latency.json is damaged \(.*; remove it to measure again"):
        make(tmp_path / "latency.json")
