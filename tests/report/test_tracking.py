"""The logs of a search, read by the readers of TensorBoard and MLflow."""

import json

import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.objectives.training import TrainingConfig
from jaxnas.report import tracking
from jaxnas.report.tracking import how_to_look, track
from jaxnas.run.config import run_config
from jaxnas.run.search import search_images
from jaxnas.runtime.events import Noted, QueryAnswered, SearchStarted, StageStarted, ignore, join_listeners
from tests.integration import require

MlflowClient = require("mlflow").MlflowClient
EventAccumulator = require("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
make_ndarray = require("tensorboard.util.tensor_util").make_ndarray
CONFIG = run_config(
    channels=2,
    batch_size=16,
    pool=12,
    budget=4,
    proxies=("snip", "synflow"),
    method="robot",
    training=TrainingConfig(epochs=1),
)


def started(**settings):
    """Return the event of a search that begins."""
    return SearchStarted("a search", run_config(**settings).record(), str)


def from_tensorboard(folder):
    """Return scalars {name: {step: value}} and texts {name: {step: text}}; the last value of a repeated step counts."""
    found = EventAccumulator(str(folder)).Reload()
    tags = found.Tags()
    scalars = {name: {event.step: event.value for event in found.Scalars(name)} for name in tags["scalars"]}
    texts = {
        name: {event.step: make_ndarray(event.tensor_proto).item().decode() for event in found.Tensors(name)}
        for name in tags["tensors"]
    }
    return scalars, texts


def from_mlflow(folder):
    """Return the only run of the store, its metrics {name: {step: value}}, and its record."""
    client = MlflowClient(tracking_uri=f"sqlite:///{folder.absolute()}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("jaxnas").experiment_id])
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    metrics = {name: {one.step: one.value for one in values} for name, values in history.items()}
    return run, metrics, client.download_artifacts(run.info.run_id, "result.json")


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """Return a folder in which the same search ran twice, both runs, and the events of the first."""
    folder = tmp_path_factory.mktemp("run")
    told = []
    runs = [
        search_images(CONFIG, folder, on_event=join_listeners(track(("tensorboard", "mlflow"), folder), listener))
        for listener in (told.append, ignore)
    ]
    return folder, runs, told


@pytest.mark.slow
def test_both_trackers_log_every_query(followed):
    folder, (run, again), told = followed
    assert again.selected == run.selected
    result = run.outcomes["robot"].result
    steps = range(1, 5)
    expected = {
        "robot/validation_accuracy": dict(zip(steps, result.objective, strict=True)),
        "robot/best": dict(zip(steps, np.maximum.accumulate(result.objective), strict=True)),
        "robot/seconds": dict(zip(steps, result.cost, strict=True)),
        "robot/test_accuracy": {4: run.test_accuracy},
    }
    scalars, texts = from_tensorboard(folder / "tensorboard")
    stored, metrics, record = from_mlflow(folder / "mlflow")
    for name, values in expected.items():
        assert scalars[name] == pytest.approx(values)
        assert metrics[name] == pytest.approx(values)
    assert scalars["scoring/architectures"][12] == metrics["scoring/architectures"][12] == 12
    for row in run.rows():
        text = f"{row['phase']}: {row['arch']}"
        assert text in texts["robot/query"][row["query"]]
        assert stored.data.tags[f"robot/query/{row['query']:03d}"] == text
    for index in result.queries:
        assert metrics[f"training/{index}/loss"].keys() == scalars[f"training/{index}/loss"].keys() != set()
        assert 0 < max(metrics[f"training/{index}/accuracy"].values()) <= 100
    assert run.selected in texts["robot/selected"][4]
    assert stored.data.tags["robot/selected/004"] == run.selected
    assert (stored.data.params["method"], stored.data.params["training.epochs"]) == ("robot", "1")
    assert '"method": "robot"' in texts["settings"][0]
    assert stored.info.status == "FINISHED"
    with open(record) as file:
        assert json.load(file)["outcomes"]["robot"]["selected"] == run.selected
    assert [event.number for event in told if isinstance(event, QueryAnswered)] == [1, 2, 3, 4]
    assert isinstance(next(event for event in told if not isinstance(event, Noted)), SearchStarted)
    assert told[-1].record["outcomes"]["robot"]["selected"] == run.selected


@pytest.mark.slow
def test_other_settings_are_another_run(tmp_path):
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    for seed in (0, 1, 1):
        tracking.mlflow(tmp_path)(started(seed=seed))  # and no event of its end
    runs = client.search_runs([client.get_experiment_by_name("jaxnas").experiment_id])
    assert sorted((run.data.params["seed"], run.info.status) for run in runs) == [("0", "RUNNING"), ("1", "RUNNING")]


def test_what_diverged_has_no_number(tmp_path, capfd):
    listener = track(("tensorboard", "mlflow"), tmp_path)
    for event in (started(), StageStarted("robot"), QueryAnswered(1, 2, "bo", 1, np.nan, 0.5, np.nan)):
        listener(event)
    scalars, texts = from_tensorboard(tmp_path / "tensorboard")
    assert scalars == {"robot/seconds": {1: 0.5}}
    assert texts["robot/query"][1].endswith(" (diverged)\n```")
    assert capfd.readouterr().err == ""


def test_nothing_is_written_before_the_search_starts(tmp_path):
    track(("tensorboard", "mlflow"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_former_ways_of_listening_still_work(tmp_path):
    told = []
    with pytest.deprecated_call(match="join_listeners"):
        listener = tracking.tensorboard(tmp_path).also(told.append)
    with (
        pytest.deprecated_call(match="`on_event`"),
        pytest.raises(InputError, match="the architectures of the pool, got 13"),
    ):
        search_images(run_config(pool=12, budget=13), tmp_path, events=listener)
    listener(started())
    assert told[0].title == "a search"
    assert list(tmp_path.iterdir())


def test_mistakes(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="unknown tracker 'mlfow': did you mean 'mlflow'"):
        track(("mlfow",), tmp_path)
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    for name in ("tensorboard", "mlflow"):
        with pytest.raises(InputError, match=rf'pip install "jaxnas\[{name}\]"'):
            track((name,), tmp_path)


def test_the_commands_that_show_it(tmp_path):
    folder = tmp_path / "a run"
    assert how_to_look("tensorboard", folder) == f"tensorboard --logdir '{folder}/tensorboard'"
    assert how_to_look("mlflow", folder) == f"mlflow ui --backend-store-uri 'sqlite:///{folder}/mlflow/mlflow.db'"
