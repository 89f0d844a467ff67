"""A saved run that is loaded equals the original, also for a custom space; results have good reprs in notebooks."""

import contextlib
import json

import numpy as np
import pytest
from edits import places, without_check
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnas.errors import InputError
from jaxnas.report import save_comparison
from jaxnas.run.advice import ImageSummary
from jaxnas.run.comparison import compare_methods, load_comparison
from jaxnas.run.config import CompareConfig, run_config
from jaxnas.run.load import load_run, load_selected
from jaxnas.run.run import Outcome, Run
from jaxnas.runtime.frames import html_table, to_pandas
from jaxnas.search import SearchResult, random_search
from jaxnas.spaces import NASBENCH201, sample, to_index
from jaxnas.spaces.declared import choice_space
from jaxnas.store.scores import Scores
from jaxnas.table.evaluation import wilson_interval
from jaxnas.table.normalize import normalize


def make_run(space, pool=12) -> Run:
    """Return a random search over random scores, one of them NaN; its third candidate diverged."""
    draw = np.random.default_rng(3)
    values, accuracy = draw.normal(size=(pool, 2)), draw.uniform(50, 90, pool)
    values[4, 1] = np.nan
    table, masked = normalize(values)
    accuracy[random_search(table, accuracy, budget=6, seed=0).queries[2]] = np.nan
    result = random_search(table, accuracy, budget=6, seed=0)
    scores = Scores(sample(space, pool, seed=2), values, ("snip", "mine"), {"space": space.name, "data": "x"}, {})
    config = run_config(space=space.name, method="random", budget=6)
    outcome = Outcome(result, 71.25, {result.selected: 60.5, int(result.queries[2]): np.nan})
    images = ImageSummary("pets", (4, 6, 3), ("cat", "dog"), 60, 40, 20, 52.5)
    run = Run(config, space, scores, masked, {"random": outcome}, {"scoring": 1.5}, {"jax": "0"})
    return run._replace(images=images, notes=("train longer",))


SPACES = [NASBENCH201, choice_space("mine", ((8, 16), ("conv", "pool"), (1, 2, 3, 4)))]


@pytest.mark.parametrize("space", SPACES, ids=["nasbench201", "own"])
def test_a_run_is_read_back(tmp_path, space):
    run = make_run(space)
    run.save(tmp_path)
    again = load_run(tmp_path)
    assert (again.config, again.seconds, again.environment) == (run.config, run.seconds, run.environment)
    assert again.selected == run.selected
    assert again.test_accuracy == run.test_accuracy
    assert (again.images, again.notes) == (run.images, run.notes)
    assert str(again.outcomes["random"].confirmed) == str(run.outcomes["random"].confirmed)
    assert str(again.rows()) == str(run.rows())  # NaN prints as itself
    np.testing.assert_array_equal(again.scores.archs, run.scores.archs)
    np.testing.assert_array_equal(again.scores.values, run.scores.values)
    np.testing.assert_array_equal(again.masked.num_nan, [0, 1])
    ours, theirs = run.outcomes["random"].result, again.outcomes["random"].result
    for name in ("queries", "objective", "cost", "query_weights", "weights", "fidelity", "spent"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype
    again.save(tmp_path / "again")
    for name in ("result.json", "pool.parquet", "queries.parquet"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_measured_accuracies_have_intervals():
    run = make_run(NASBENCH201)
    best = run.outcomes["random"].result.best
    assert run.intervals("random") == {"validation": wilson_interval(best, 40), "test": wilson_interval(71.25, 20)}
    assert run._replace(images=None).intervals("random") == {}
    looked_up = run.images._replace(num_validation=0)  # in a table
    assert run._replace(images=looked_up).intervals("random") == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folder of a run and the content of its result.json."""
    folder = tmp_path_factory.mktemp("saved")
    make_run(NASBENCH201).save(folder)
    return folder, without_check(json.loads((folder / "result.json").read_text()))


@settings(deadline=None)
@given(st.binary() | JSON.map(json.dumps).map(str.encode))
def test_what_is_not_a_search_is_refused(saved, content):
    folder, _ = saved
    (folder / "result.json").write_bytes(content)
    for load in (load_run, load_selected):
        with pytest.raises(InputError, match=r"result\.json is damaged or not of a search"):
            load(folder)


@settings(deadline=None)
@given(st.data())
def test_a_changed_value_is_read_or_refused(saved, data):
    folder, record = saved
    path = data.draw(st.sampled_from(list(places(record))))
    changed = json.loads(json.dumps(record))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = data.draw(JSON)
    (folder / "result.json").write_text(json.dumps(changed))
    for load in (load_run, load_selected):
        with contextlib.suppress(InputError):
            load(folder)


def test_deep_nesting_is_refused(saved):
    folder, _ = saved
    (folder / "result.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"result\.json is damaged"):
        load_run(folder)


def test_an_own_space_is_known_by_its_pool_alone(tmp_path):
    run = make_run(SPACES[1])
    run.save(tmp_path)
    space = load_run(tmp_path).space
    outside = next(arch for arch in sample(SPACES[1], 16, seed=0) if not (run.scores.archs == arch).all(1).any())
    with pytest.raises(InputError, match="not in the pool"):
        space.parse(SPACES[1].format(outside))
    assert load_run(tmp_path, SPACES[1]).space is SPACES[1]
    record = without_check(json.loads((tmp_path / "result.json").read_text()))
    record["space"]["has_order"] = True
    (tmp_path / "result.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="give `space`"):
        load_run(tmp_path)


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(InputError, match="no finished search"):
        load_run(tmp_path)
    make_run(NASBENCH201).save(tmp_path)
    record = without_check(json.loads((tmp_path / "result.json").read_text()))
    for damaged in ("{", "[]", json.dumps({**record, "outcomes": {"random": {}}}), json.dumps({**record, "config": 3})):
        (tmp_path / "result.json").write_text(damaged)
        with pytest.raises(InputError, match="is damaged or not of a search"):
            load_run(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps(record))
    (tmp_path / "pool.parquet").unlink()
    with pytest.raises(InputError, match=r"pool\.parquet"):
        load_run(tmp_path)


def test_data_frames():
    run = make_run(NASBENCH201)
    frame = run.to_pandas()
    assert frame.columns.tolist() == ["method", "query", "phase", "index", "arch", "objective", "seconds"]
    queried = run.scores.archs[run.outcomes["random"].result.queries]
    assert frame["arch"].tolist() == [NASBENCH201.format(arch) for arch in queried]
    assert frame["objective"].isna().tolist() == [False, False, True, False, False, False]
    scores = run.scores.to_pandas()
    np.testing.assert_array_equal(scores["index"], to_index(NASBENCH201, run.scores.archs))
    np.testing.assert_array_equal(scores[["snip", "mine"]], run.scores.values)
    result = run.outcomes["random"].result
    assert result.to_pandas()["arch"].tolist() == result.queries.tolist()


def test_without_pandas(monkeypatch):
    monkeypatch.setattr("jaxnas.runtime.frames.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"jaxnas\[pandas\]"):
        to_pandas({})


def test_representations_are_short_and_safe():
    run = make_run(NASBENCH201)
    for shown in (run, run.scores, run.outcomes["random"].result):
        assert len(repr(shown)) < 200
        assert repr(shown)[0] + repr(shown)[-1] == "<>"
        page = shown._repr_html_()
        assert page.startswith("<table>")
        assert page.endswith("</table>")
    assert "71.25 %" in repr(run)
    assert run.selected in repr(run)
    assert "<td>-</td>" in run._repr_html_()  # the failed training
    assert html_table("<a>", [{"<b>": "<c>"}]).count("&lt;") == 3


def test_a_search_result_is_saved(tmp_path):
    result = make_run(NASBENCH201).outcomes["random"].result
    result.save(tmp_path / "result.json")
    again = SearchResult.load(tmp_path / "result.json")
    assert again.to_dict() == result.to_dict()
    assert again.best == result.best == np.nanmax(result.objective)
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(InputError, match="not a saved search result"):
        SearchResult.load(tmp_path / "result.json")


def test_a_comparison_is_read_back(tmp_path):
    texts = [NASBENCH201.format(arch) for arch in sample(NASBENCH201, 30, seed=0)]
    rows = [f"{text},{number},{number % 7}" for number, text in enumerate(texts)]
    for name, columns in (("scores", "arch,snip,mine"), ("table", "arch,valid,test")):
        (tmp_path / f"{name}.csv").write_text("\n".join([columns, *rows]))
    scores, table = (str(tmp_path / f"{name}.csv") for name in ("scores", "table"))
    config = CompareConfig(scores=scores, table=table, column="valid", test_column="test", budget=5)
    comparison = compare_methods(("single_proxy", "random"), config, range(3), tmp_path / "out")
    save_comparison(tmp_path / "out", comparison)
    again = load_comparison(tmp_path / "out")
    assert again.config == config
    assert list(again.runs) == ["single_proxy", "random"]
    assert again.rows() == comparison.rows()
    frame = again.to_pandas()
    assert frame["method"].tolist() == 3 * ["single_proxy"] + 3 * ["random"]
    assert "3 seeds" in repr(again)
    assert again._repr_html_().count("<tr>") == 3
    (tmp_path / "out" / "random.parquet").unlink()
    with pytest.raises(InputError, match=r"cannot read .*random\.parquet"):
        load_comparison(tmp_path / "out")
    with pytest.raises(InputError, match="no finished comparison"):
        load_comparison(tmp_path)


def test_a_comparison_leaves_out_seeds_whose_candidates_all_failed(tmp_path):
    rows = [f"a{row},{row},{row if row < 4 else 'inf'},{row if row else 'inf'}" for row in range(12)]
    path = tmp_path / "all.csv"
    path.write_text("\n".join(["arch,mine,valid,test", *rows]))
    config = CompareConfig(
        "ids", scores=str(path), table=str(path), column="valid", test_column="test", budget=2, proxies=("mine",)
    )
    comparison = compare_methods("random,rank_sum", config, range(8), str(tmp_path / "out"))
    random = comparison.runs["random"]
    failed = random.selected == -1
    assert 0 < failed.sum() < 8
    np.testing.assert_array_equal(np.isnan(random.best[:, -1]), failed)
    assert not np.isfinite(random.test[failed]).any()
    first, _ = comparison.rows()
    usable = np.isfinite(random.test)
    assert first["seeds"] - first["seeds_without_value"] == usable.sum()
    assert first["mean"] == pytest.approx(random.test[usable].mean())
    assert first["observed"] == pytest.approx(random.best[~failed, -1].mean())
    save_comparison(tmp_path / "out", comparison)
    assert load_comparison(tmp_path / "out").rows() == comparison.rows()
