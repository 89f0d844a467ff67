"""Searches in tables of any ids: what is joined, left out and refused."""

import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.run.config import run_config
from jaxnas.run.search import given_scores, search_images
from jaxnas.run.tables import guess_space, look_up, matching_scores
from jaxnas.runtime.events import Noted

NB201 = [jaxnas.NASBENCH201.format(arch) for arch in jaxnas.sample(jaxnas.NASBENCH201, 3, seed=0)]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write a table of m0 to m29 and scores of m5 to m34; m9 has no accuracy, m10 has one score."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{i};m{i};{'' if i == 9 else f'{i},5'};{100 - i};text" for i in range(30)]
    (tmp_path / "table.csv").write_text("\n".join([";arch;acc;ms;note", *rows]), encoding="utf-8-sig")
    scores = [f"m{i},{i},{'NA' if i == 10 else -i},{i}" for i in range(5, 35)]
    (tmp_path / "scores.csv").write_text("\n".join([",up,down,acc", *scores]))
    return tmp_path


def test_a_look_up_keeps_what_has_both_and_says_what_it_leaves_out(files):
    found = look_up("ids", "table.csv", ("acc", ""), "scores.csv")
    texts = [found.space.format(arch) for arch in found.scores.archs]
    assert texts == [f"m{i}" for i in range(5, 30) if i != 9]
    assert found.scores.proxies == ("up", "down")  # not acc, which is the objective
    np.testing.assert_array_equal(found.objective.values, [i + 0.5 for i in range(5, 30) if i != 9])
    assert np.isnan(found.scores.values[texts.index("m10"), 1])
    assert found.notes == (
        "24 architectures; the search reads acc of table.csv; proxies up, down of scores.csv",
        "architectures left out: 5 with scores alone, 5 in the table alone, 1 without acc",
        "columns of text left out: note",
    )


@pytest.mark.parametrize(("column", "minimize", "best"), [("acc", False, "m29"), ("ms", True, "m29")])
def test_a_search_finds_the_best_of_its_direction_and_is_read_back(files, column, minimize, best):
    flat = dict(table="table.csv", column=column, minimize=minimize, method="rank_sum", budget=24)
    notes = []
    listen = lambda event: notes.append(event) if isinstance(event, Noted) else None  # noqa: E731
    run = search_images(run_config("ids", **flat), files / "run", scores_path="scores.csv", on_event=listen)
    run.save(files / "run")
    again = jaxnas.load_run(files / "run")
    assert run.selected == again.selected == best
    assert run.outcomes["rank_sum"].result.best == {"acc": 29.5, "ms": 71}[column]
    assert [row["arch"] for row in again.rows()] == [row["arch"] for row in run.rows()]
    assert len(notes) == 3


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        (dict(column="note"), "row 1: 'note' must be a number, got 'text'"),
        (dict(column="ac"), "unknown column 'ac': did you mean 'acc'"),
        (dict(column="acc", method="rea"), "rea changes decisions of architectures, and ids have none"),
        (dict(column="acc", budget=25), "`budget` must be from 1 to 24"),
    ],
)
def test_what_does_not_fit_is_refused(files, flat, message):
    with pytest.raises(InputError, match=message):
        search_images(run_config("ids", **{"table": "table.csv", **flat}), files / "run", scores_path="scores.csv")


def test_tables_without_a_common_architecture_are_refused(files):
    (files / "other.csv").write_text("arch,up\nx,1\n")
    with pytest.raises(InputError, match=r"no architecture in common: the first of the scores is 'x', .* 'm0'"):
        look_up("ids", "table.csv", ("acc", ""), "other.csv")


@pytest.mark.parametrize(
    ("ids", "space"),
    [
        (NB201, "nasbench201"),
        ([*NB201, "mine"], "ids"),
        (["64-41414-1_02_333", "64-41414-2_02_333"], "transnas101-micro"),
        (["1", "2"], "ids"),
    ],
)
def test_the_space_of_a_table_is_that_which_reads_it(tmp_path, ids, space):
    (tmp_path / "t.csv").write_text("\n".join(["arch,acc", *(f"{text},1" for text in ids)]))
    assert guess_space(str(tmp_path / "t.csv"), "nasbench201") == space


def test_a_table_by_name_takes_the_scores_of_its_images():
    assert matching_scores("nasbench201", "c10_valid_val_12") == "cifar10"
    assert matching_scores("nasbench201", "c100_val_200") == "cifar100"
    assert matching_scores("mine.csv", "c10") is None
    with pytest.raises(InputError, match=r"no shipped scores are of the images of column 'im120_val_12'"):
        matching_scores("nasbench201", "im120_val_12")
    other = run_config("nasbench201", table="nasbench201", column="c10_valid_val_12", data="cifar10")
    assert given_scores(other, None) is None  # images that the caller chose are scored


@pytest.mark.data
@pytest.mark.parametrize("seed", range(2))
def test_the_published_table_by_name_alone(tmp_path, data_folder, seed):
    columns = dict(column="c10_valid_val_12", test_column="robot_c10_test")
    config = run_config("nasbench201", table="nasbench201", seed=seed, **columns)
    assert search_images(config, tmp_path, data_folder=data_folder).test_accuracy == pytest.approx(94.37, abs=0.01)
