"""Nested settings and their flat names: each value has one place, and the record is the same in every version."""

import json
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from jaxnas.errors import InputError
from jaxnas.objectives.config import TrainingConfig
from jaxnas.run.config import CompareConfig, RunConfig, from_record, run_config
from jaxnas.run.sections import EvaluationConfig, LimitConfig, SearchConfig
from jaxnas.scoring.config import ScoringConfig
from jaxnas.search import PRESETS, RobotConfig

RECORDED = """{
 "space": "nasbench201", "data": "digits", "channels": 2, "cells_per_stage": 1, "proxies": ["snip", "synflow"],
 "batch_size": 16, "pool": 12, "normalization": "rank", "preset": "paper", "method": "robot", "budget": 5,
 "compare": "random", "table": null, "column": "", "test_column": "",
 "training": {"epochs": 1, "batch_size": 64, "learning_rate": 0.02, "final_learning_rate": 0.0, "momentum": 0.9,
  "nesterov": true, "weight_decay": 0.0005, "clip_norm": 5.0, "crop_padding": 0, "flip": false, "cutout": 0,
  "label_smoothing": 0.0, "drop_path": 0.0, "auxiliary_weight": 0.0, "validation_fraction": 0.5, "seed": 7},
 "together": 2, "at_once": 1, "seed": 7
}"""  # content of result.json, written by version 0.1 before settings were nested


def test_a_record_of_flat_settings_is_read_and_written_as_it_was():
    recorded = json.loads(RECORDED)
    config = from_record(recorded)
    expected = run_config(
        preset="paper",
        channels=2,
        proxies=("snip", "synflow"),
        batch_size=16,
        pool=12,
        normalization="rank",
        budget=5,
        compare="random",
        training=TrainingConfig(
            epochs=1,
            batch_size=64,
            optimizer="sgd",
            learning_rate=0.02,
            warm_up=0.0,
            weight_decay=5e-4,
            validation_fraction=0.5,
        ),
        together=2,
        seed=7,
    )
    assert config == expected
    written = json.loads(json.dumps(config.record()))
    defaults = {"folds": 1, "optimizer": "sgd", "warm_up": 0.0}
    later_settings = {"compare": ["random"], "training": recorded["training"] | defaults}
    assert {name: written[name] for name in recorded} == recorded | later_settings
    limits = {field.name for config in (LimitConfig, EvaluationConfig) for field in fields(config)}
    later = {"scoring", "minimize", "custom", "plugins", "pixels", "time", "confirm", "training_seed", "warm_start"}
    assert set(written) - set(recorded) == later | limits


def test_a_record_is_read_back():
    config = run_config("darts", "paper", precision="bfloat16", memory=2.5, seed=3)
    assert from_record(json.loads(json.dumps(config.record()))) == config
    assert config.scoring == ScoringConfig(seed=3, precision="bfloat16", memory=2.5)


def test_the_seed_has_one_place():
    config = RunConfig(scoring=ScoringConfig(seed=1), training=TrainingConfig(seed=2), seed=3)
    assert (config.scoring.seed, config.training.seed) == (3, 3)
    assert replace(config, seed=4) == RunConfig(seed=4)


def test_flat_names_of_attributes_are_found_with_a_warning():
    config = run_config(budget=7)
    with pytest.warns(DeprecationWarning, match=r"RunConfig\.budget is now RunConfig\.search\.budget"):
        assert config.budget == 7
    with pytest.raises(AttributeError, match="bugdet"):
        _ = config.bugdet


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(bugdet=3), "unknown setting 'bugdet': did you mean 'budget'?"),
        (dict(method="robt"), "unknown method 'robt': did you mean 'robot'?"),
        (dict(compare="randm"), "unknown method 'randm': did you mean 'random'?"),
        (dict(preset="papr"), "unknown preset 'papr': did you mean 'paper'?"),
        (dict(normalization="minmx"), "unknown normalization 'minmx': did you mean 'minmax'?"),
        (dict(proxies=("snip", "synflo")), "unknown proxy 'synflo': did you mean 'synflow'?"),
        (dict(proxies=()), "`proxies` must name at least one proxy"),
        (dict(budget=0), "`budget` must be at least 1, got 0"),
        (dict(at_once=0), "`at_once` must be at least 1, got 0"),
        (dict(seed=-1), "`seed` must be from 0 to 4294967295, got -1"),
        (dict(table="a.csv"), "needs the column that the search maximises"),
        (dict(table="a.csv", column="a", at_once=2), "`at_once` must be 1 where accuracies are looked up"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    with pytest.raises(InputError) as error:
        run_config(**settings)
    assert str(error.value).startswith(message) or message in str(error.value)


def test_what_a_program_added_by_name_is_accepted(monkeypatch):
    monkeypatch.setitem(PRESETS, "mine", RobotConfig(kappa=1.0))
    assert run_config(preset="mine").search == SearchConfig(method="robot", preset="mine")
    assert CompareConfig(preset="mine").preset == "mine"


def test_settings_are_read_without_jax():
    code = "import sys, jaxnas.run.config; print({'jax', 'numpy', 'pyarrow'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
