"""Whole searches by an objective of the user's: a function, a command, a plugin's."""

import json
import os
import sys

import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.objectives.named import OBJECTIVES
from jaxnas.run.config import run_config
from jaxnas.run.search import search_images
from tests.tiny import TinyNetwork


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write scores of m0 to m11, and a program whose objective is the number, that fails for m10 and m11."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores.csv").write_text("\n".join(["arch,up,params", *(f"m{i},{i},{100 - i}" for i in range(12))]))
    (tmp_path / "train.py").write_text(
        "import sys\n"
        "number = int(open(sys.argv[1]).read().strip()[1:])\n"
        "open('calls', 'a').write(f'{number} ')\n"
        "sys.exit('no memory') if number > 9 else print('epoch 1', number / 2, sep='\\n')\n"
    )
    return tmp_path


COMMAND = f"{sys.executable} train.py {{arch_file}}"


def search(folder, **flat):
    flat = {
        "objective_command": COMMAND,
        "method": "rank_sum",
        "budget": 4,
        "proxies": ("up",),
        "custom": ("up",),
        **flat,
    }
    run = search_images(run_config("ids", **flat), folder, scores_path="scores.csv")
    run.save(folder)
    return run


def test_a_command_that_fails_stops_counts_or_is_skipped_and_the_same_search_resumes(files):
    with pytest.raises(InputError, match=r"ended with exit status 1: mend it and run the same command again"):
        search(files / "run")
    assert (files / "calls").read_text() == "11 "
    counted = search(files / "counted", on_failure="count")
    assert (counted.selected, counted.outcomes["rank_sum"].result.num_failed) == ("m9", 2)
    skipped = search(files / "skipped", on_failure="skip")
    assert [row["arch"] for row in skipped.rows()] == ["m9", "m8", "m7", "m6"]
    calls = (files / "calls").read_text()
    again = search(files / "skipped", on_failure="skip", compare="single_proxy")
    assert (files / "calls").read_text() == calls + "11 10 "  # what failed is tried again by the second method alone
    assert jaxnas.load_run(files / "skipped").selected == again.selected == "m9"
    log = [
        json.loads(line) for line in (files / "skipped" / "study-rank_sum" / "trials.jsonl").read_text().splitlines()
    ]
    assert log[1]["error"] == "CommandFailed: ended with exit status 1"


def test_a_later_search_by_another_method_takes_the_values_that_are_there(files):
    search(files / "run", on_failure="skip")
    calls = (files / "calls").read_text()
    run = search(files / "run", on_failure="skip", method="single_proxy")
    assert [row["arch"] for row in run.rows()] == ["m9", "m8", "m7", "m6"]
    assert (files / "calls").read_text() == calls + "11 10 "  # what failed is tried again


def test_minimising_within_limits(files):
    limits = dict(max_params=95, objective=("accuracy", "params"))
    run = search(files / "run", minimize=True, on_failure="skip", **limits)
    assert run.outcomes["rank_sum"].result.direction == "minimize"
    assert {row["params"] for row in run.rows()} <= set(range(88, 96))
    assert run.front()[0][0]["arch"] == run.selected


def test_a_plugin_s_objective_by_name(files, monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "number", lambda arch: {"value": np.float32(arch[1:])})
    run = search(files / "run", objective_command=None, objective=("number",))
    assert run.config.measured_on == "number"
    assert run.outcomes["rank_sum"].result.best == 11
    with pytest.raises(InputError, match="unknown objective 'numbr': did you mean 'number'"):
        search(files / "other", objective_command=None, objective=("numbr",))


def test_another_command_or_function_of_the_name_is_not_answered_by_old_values(files, monkeypatch):
    first, second = (f"{sys.executable} -c 'print({value})' {{arch}}" for value in (1, 2))
    assert search(files / "run", objective_command=first).outcomes["rank_sum"].result.best == 1
    assert search(files / "run", objective_command=first).outcomes["rank_sum"].result.best == 1
    with pytest.raises(InputError, match="values of another objective"):
        search(files / "run", objective_command=second)
    script = files / "train.py"
    script.write_text("print(1)")
    command = f"{sys.executable} {script} {{arch}}"
    search(files / "script", objective_command=command)
    script.write_text("print(2)")
    with pytest.raises(InputError, match="values of another objective"):
        search(files / "script", objective_command=command)
    monkeypatch.setitem(OBJECTIVES, "number", lambda arch: 1)
    search(files / "plugin", objective_command=None, objective=("number",))
    monkeypatch.setitem(OBJECTIVES, "number", lambda arch: 2)
    with pytest.raises(InputError, match="values of another objective"):
        search(files / "plugin", objective_command=None, objective=("number",))


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        (dict(table="scores.csv", column="up"), "leave --table scores.csv out"),
        (dict(confirm=2), "confirm must be left out with an objective of your own"),
        (dict(objective_command="train.py"), "must have {arch_file} or {arch}"),
        (dict(on_failure="ignore"), "unknown on_failure 'ignore'"),
        (dict(query_time="soon"), "soon"),
        (dict(method="rea"), "rea reads decisions"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_runs(files, flat, message):
    with pytest.raises(InputError, match=message):
        search(files / "run", **flat)
    assert not (files / "calls").exists()


def test_a_function_evaluates_the_candidates_of_a_network(tmp_path):
    images, labels = np.random.default_rng(0).random((60, 4, 4, 1), np.float32), np.arange(60) % 3
    data = jaxnas.standardize(jaxnas.from_arrays(images, labels, images[:9], labels[:9], name="noise"))
    asked = []

    def digits(arch):
        asked.append(arch)
        return (int(arch[0]) + int(arch[1]),)

    settings = dict(proxies=("l2_norm",), method="random", budget=9, pool=9, batch_size=6, objective=digits)
    run = jaxnas.search_network(TinyNetwork(), data, tmp_path, **settings)
    assert (run.selected, run.outcomes["random"].result.best, len(asked)) == ("22", 4, 9)
    assert repr(run).startswith("<Run random on digits, 9 queries, digits 4:")
    jaxnas.search_network(TinyNetwork(), data, tmp_path, **settings)
    assert len(asked) == 9


def test_a_function_of_any_name_evaluates_the_candidates(tmp_path, monkeypatch):
    """`accuracy` stands for training in the settings; the function changes the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()

    def accuracy(arch):
        os.chdir(tmp_path / "other")
        return float(arch.count("2"))

    data = jaxnas.from_arrays(np.random.default_rng(0).random((30, 4, 4, 2), np.float32), np.arange(30) % 3)
    options = dict(method="random", proxies="params", pool=5, budget=3, batch_size=8, objective=accuracy)
    run = jaxnas.search_network(TinyNetwork(), jaxnas.standardize(data), "run", **options)
    assert jaxnas.load_run(tmp_path / "run").selected == run.selected
    assert [row["objective"] for row in run.rows()] == [accuracy(row["arch"]) for row in run.rows()]
    assert not (tmp_path / "run" / "training.jsonl").exists()
    assert list((tmp_path / "other").iterdir()) == []
    with pytest.raises(InputError, match="`archs` must have at least one architecture"):
        jaxnas.search_network(TinyNetwork(), jaxnas.standardize(data), tmp_path, archs=[], **options)
