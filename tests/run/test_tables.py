"""Searches in tables of any ids: what is joined, left out and refused."""

import numpy as np
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.run.comparison import compare_methods
from jaxnas.run.config import CompareConfig, run_config
from jaxnas.run.search import given_scores, search_images
from jaxnas.run.sections import LimitConfig
from jaxnas.run.tables import guess_space, leave_out_unmeasured, look_up, matching_scores
from jaxnas.runtime.events import Noted
from jaxnas.runtime.names import ROBOT_PROXIES
from jaxnas.store.scores import Scores
from jaxnas.store.tables import write_scores

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


def test_the_record_has_the_proxies_that_were_read_and_a_choice_of_six_reads_six(files):
    values = np.random.default_rng(0).normal(size=(12, 7))
    names = (*ROBOT_PROXIES, "mine")
    rows = [",".join([f"m{row}", *map(str, line), str(row)]) for row, line in enumerate(values)]
    (files / "seven.csv").write_text("\n".join([f"arch,{','.join(names)},acc", *rows]))
    for chosen, read in ((None, names), (ROBOT_PROXIES, ROBOT_PROXIES), (("mine",), ("mine",))):
        config = run_config(
            "ids", table="seven.csv", column="acc", method="rank_sum", budget=3, proxies=chosen, custom=("mine",)
        )
        run = search_images(config, "run", scores_path="seven.csv")
        assert run.scores.proxies == run.config.search.proxies == read
        run.save("run")
        assert jaxnas.load_run("run").config.search.proxies == read


def test_no_method_reads_the_digits_of_ids(files):
    """The search and the comparison are those without architectures."""
    values = np.random.default_rng(3).normal(size=(40, 3))
    rows = [f"m{row},{a},{b},{c}" for row, (a, b, c) in enumerate(values)]
    (files / "ids.csv").write_text("\n".join(["arch,one,two,acc", *rows]))
    table, objective = jaxnas.normalize(values[:, :2])[0], values[:, 2]
    expected = jaxnas.METHODS["proxy_gp"](table, objective, budget=9, seed=0).queries.tolist()
    assert (
        jaxnas.METHODS["proxy_gp"](
            table, objective, budget=9, seed=0, archs=np.array([[row // 10, row % 10] for row in range(40)])
        ).queries.tolist()
        != expected
    )
    config = run_config("ids", table="ids.csv", column="acc", method="proxy_gp", budget=9)
    run = search_images(config, "run", scores_path="ids.csv")
    assert run.outcomes["proxy_gp"].result.queries.tolist() == expected
    settings = CompareConfig(space="ids", table="ids.csv", column="acc", test_column="acc", scores="ids.csv", budget=9)
    compared = compare_methods(["proxy_gp"], settings, [0], files / "compared")
    assert compared.runs["proxy_gp"].best[0].tolist() == np.maximum.accumulate(objective[expected]).tolist()


def test_a_column_of_latencies_that_is_not_there_is_refused(files):
    config = run_config("ids", table="table.csv", column="acc", latency_column="milliseconds", budget=3)
    with pytest.raises(InputError, match=r"no column 'milliseconds' in table\.csv or scores\.csv"):
        search_images(config, files / "run", scores_path="scores.csv")
    found = look_up("ids", "table.csv", ("acc", ""), "scores.csv", limits=LimitConfig(latency_column="ms"))
    np.testing.assert_array_equal(found.sizes["latency"], [100 - i for i in range(5, 30) if i != 9])
    own = run_config("ids", objective_command="echo {arch}", latency_column="milliseconds", budget=3)
    with pytest.raises(InputError, match=r"no column 'milliseconds' in scores\.csv"):
        search_images(own, files / "run", scores_path="scores.csv")


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        (dict(column="note"), "row 1: 'note' must be a number, got 'text'"),
        (dict(column="ac"), "unknown column 'ac': did you mean 'acc'"),
        (dict(column="acc", method="rea"), "rea reads decisions of architectures, and ids have none"),
        (dict(column="acc", proxies=("ac",), custom=("ac",)), "unknown proxy 'ac': choose from up, down$"),
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
    assert [CompareConfig(column=column).scores for column in ("c10_val", "c100_val")] == ["cifar10", "cifar100"]
    with pytest.raises(InputError, match=r"no shipped scores are of the images of column 'im120_val_12'"):
        CompareConfig(column="im120_val_12")
    assert CompareConfig(column="im120_val_12", scores="mine.csv").scores == "mine.csv"


def write_twice(folder, ending):
    """Write scores of NASBENCH201 architectures, the second of which comes again in row 4."""
    texts = [*NB201, NB201[1]]
    path = folder / f"twice{ending}"
    if ending == ".csv":
        path.write_text("\n".join(["arch,up,acc", *(f"{text},{i},{i}" for i, text in enumerate(texts))]))
    else:
        archs = np.stack([jaxnas.NASBENCH201.parse(text) for text in texts])
        write_scores(path, Scores(archs, np.arange(4.0)[:, None], ("up",), {"space": "nasbench201"}, {}))
    return str(path)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize(
    "flat", [dict(objective_command="echo {arch}"), dict(table="once.csv", column="acc")], ids=["own", "table"]
)
def test_an_architecture_that_comes_twice_in_scores_is_refused_and_named(files, ending, flat):
    (files / "once.csv").write_text("\n".join(["arch,acc", *(f"{text},{i}" for i, text in enumerate(NB201))]))
    config = run_config("nasbench201", budget=4, method="random", **flat)
    with pytest.raises(InputError, match=rf"twice{ending}, rows 2 and 4: both are of architecture \|.*; keep one"):
        search_images(config, files / "run", scores_path=write_twice(files, ending))
    assert not (files / "run").exists()


def test_an_architecture_that_comes_twice_in_a_table_or_a_comparison_is_refused(files):
    twice = write_twice(files, ".csv")
    with pytest.raises(InputError, match=r"the table has architecture \|.* more than once; keep one row"):
        search_images(run_config("nasbench201", table=twice, column="acc", budget=2), files / "run")
    with pytest.raises(InputError, match="rows 2 and 4"):
        compare_methods("random", CompareConfig(table=twice, scores=twice, column="acc"), range(1), files / "run")
    ids = files / "ids.csv"
    ids.write_text("arch,up,acc\na,1,1\nb,2,2\na,3,3\n")
    with pytest.raises(InputError, match="rows 1 and 3: both are of architecture 'a'"):
        look_up("ids", str(ids), ("acc", ""), str(ids))


@pytest.mark.parametrize("cell", ["", "NA", "nan", "None"])
def test_a_row_without_a_value_is_left_out_and_a_failed_one_stays(files, cell):
    values = ["7", cell, "inf"]
    table, scores = files / "some.csv", files / "all.csv"
    table.write_text("\n".join(["arch,acc", *(",".join(row) for row in zip(NB201, values, strict=True))]))
    scores.write_text("\n".join(["arch,up", *(f"{text},{i}" for i, text in enumerate(NB201))]))
    whole = jaxnas.load_table(table, jaxnas.NASBENCH201)
    measured, notes = leave_out_unmeasured(whole, "acc")
    assert [jaxnas.NASBENCH201.format(arch) for arch in measured.archs] == [NB201[0], NB201[2]]
    assert notes == ("architectures left out: 1 without acc",)
    assert leave_out_unmeasured(measured, "acc") == (measured, ())
    found = look_up("nasbench201", str(table), ("acc", ""), str(scores))
    np.testing.assert_array_equal(found.objective.values, [7, np.inf])
    assert found.notes[1] == "architectures left out: 1 without acc"


@pytest.mark.slow
@pytest.mark.parametrize("cell", [""])
def test_an_architecture_without_a_value_is_not_drawn_and_a_failed_one_costs_a_query(files, cell):
    values = ["7", cell, "inf"]
    table = files / "some.csv"
    table.write_text("\n".join(["arch,acc", *(",".join(row) for row in zip(NB201, values, strict=True))]))
    notes = []
    listen = lambda event: notes.append(event.message) if isinstance(event, Noted) else None  # noqa: E731
    flat = dict(table=str(table), column="acc", method="random", proxies=("params",), channels=2, batch_size=4)
    run = search_images(run_config("nasbench201", budget=2, **flat), files / "run", on_event=listen)
    result = run.outcomes["random"].result
    assert {row["arch"] for row in run.rows()} == {NB201[0], NB201[2]}
    assert (run.selected, result.num_failed) == (NB201[0], 1)
    assert "architectures left out: 1 without acc" in notes
    with pytest.raises(InputError, match="`budget` must be from 1 to 2, the architectures of the pool"):
        search_images(run_config("nasbench201", budget=3, **flat), files / "other")


@pytest.mark.data
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_published_table_by_name_alone(tmp_path, data_folder, seed):
    columns = dict(column="c10_valid_val_12", test_column="robot_c10_test")
    config = run_config("nasbench201", table="nasbench201", seed=seed, **columns)
    assert search_images(config, tmp_path, data_folder=data_folder).test_accuracy == pytest.approx(94.37, abs=0.01)
