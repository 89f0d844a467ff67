"""Warm starts: what is read of runs and tables of earlier tasks, what is refused, that a search uses it."""

import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.run.config import run_config
from jaxnas.run.find import find_earlier
from jaxnas.run.search import search_images
from jaxnas.run.warm_start import load_earlier
from jaxnas.runtime.events import Noted
from jaxnas.table.evaluation import kendall

SPACE = jaxnas.NASBENCH201
ARCHS = jaxnas.sample(SPACE, 40, seed=0)
VALUES = (ARCHS == 3).sum(1) + 0.1 * ARCHS[:, 0] + 0.01 * np.arange(40)


def write(path, columns, rows=range(40)):
    names = ",".join(["arch", *columns])
    lines = [",".join([SPACE.format(ARCHS[row]), *(str(column[row]) for column in columns.values())]) for row in rows]
    path.write_text("\n".join([names, *lines]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a table of an earlier task, the scores of a new one, and a run of the earlier task."""
    monkeypatch.chdir(tmp_path)
    unknown = ["" if row == 39 else value for row, value in enumerate(VALUES)]
    write(tmp_path / "earlier.csv", {"old": unknown, "loss": -VALUES})
    write(tmp_path / "scores.csv", {"flat": np.arange(40) % 3})
    config = run_config("nasbench201", table="earlier.csv", column="old", budget=12, method="random")
    search_images(config, "run", scores_path="scores.csv").save("run")
    return tmp_path


def listen_to(notes):
    return lambda event: notes.append(event.message) if isinstance(event, Noted) else None


def load(warm_start, minimize=False, method="proxy_gp", space=SPACE, notes=None):
    config = run_config("nasbench201", warm_start=warm_start, method=method, minimize=minimize)
    return load_earlier(config, (method,), space, ARCHS, None, listen_to([] if notes is None else notes))


def test_what_runs_and_tables_say_of_the_pool(folder):
    notes = []
    columns = load(("run", "earlier.csv:old"), notes=notes)
    assert columns.shape == (40, 2)
    assert kendall(columns[:39, 1], VALUES[:39]) > 0.999  # the last is predicted
    assert kendall(columns[:, 0], VALUES) > 0.3
    queries = jaxnas.load_run("run").outcomes["random"].result.queries
    assert kendall(columns[queries, 0], VALUES[queries]) > 0.999
    assert notes == [
        "warm start: run evaluated 12 architectures, 12 of the pool of 40",
        "warm start: earlier.csv:old evaluated 39 architectures, 39 of the pool of 40",
    ]


def test_the_direction_is_that_of_the_search_for_tables_and_of_the_run_for_runs(folder):
    loss, run = load(("earlier.csv:loss", "run"), minimize=True).T
    assert kendall(loss, -VALUES) > 0.999
    assert kendall(run, VALUES) < -0.3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing", "no finished search in nothing: it has no result.json"),
        ("earlier.csv", "earlier.csv is a table: give the column of the earlier task too, as in earlier.csv:COLUMN"),
        ("nasbench201", "nasbench201 is a table: give the column of the earlier task too"),
        ("earlier.csv:", "no finished search in earlier.csv:: it has no result.json"),
        ("none.csv:old", "none.csv: no such file; give a table"),
    ],
)
def test_what_is_not_there_is_refused_at_once(folder, source, message):
    with pytest.raises(InputError) as error:
        find_earlier(source)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"warm_start": ("earlier.csv:new",)}, "unknown column 'new'"),
        ({"warm_start": ("run",), "method": "robot"}, "no method of this search reads earlier tasks (robot)"),
        (
            {"warm_start": ("run",), "space": jaxnas.SPACES["darts"]},
            "run is a search of nasbench201, this one is of darts",
        ),
        ({"warm_start": ("earlier.csv:old",), "space": jaxnas.SPACES["darts"]}, "by architectures of darts: "),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(folder, given, message):
    with pytest.raises(InputError) as error:
        load(**given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_objective_of_the_users_has_no_warm_start():
    with pytest.raises(InputError, match="warm_start must be left out with an objective of your own"):
        run_config("nasbench201", objective=("mine",), warm_start=("run",))


def test_a_search_begins_with_what_was_best(folder):
    flat = dict(table="earlier.csv", column="loss", minimize=True, method="proxy_gp", budget=1)
    config = run_config("nasbench201", warm_start=("earlier.csv:loss",), **flat)
    run = search_images(config, folder / "new", scores_path="scores.csv")
    assert run.outcomes["proxy_gp"].result.best <= -np.sort(VALUES)[-3]
    run.save(folder / "new")
    assert jaxnas.load_run(folder / "new").config.search.warm_start == ("earlier.csv:loss",)
