"""Files that were edited or damaged are read right, or refused by name: never another exception."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

import jaxnas
from jaxnas.cli import main
from jaxnas.errors import InputError
from jaxnas.objectives.checkpoint import Checkpoints
from jaxnas.objectives.record import Trained, read_record, write_record
from jaxnas.report import save_comparison
from jaxnas.run.comparison import compare_methods, load_comparison
from jaxnas.run.config import CompareConfig, run_config
from jaxnas.run.search import search_images
from jaxnas.run.study_file import create_study, load_study
from jaxnas.runtime.files import exclusive
from jaxnas.search import METHODS, SearchResult
from jaxnas.store.folders import open_folder
from jaxnas.store.parts import read_parts
from tests.edits import DEEP, Altered, damage, edit, fuzzed, read_or_refuse, without_check


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a search on a table."""
    folder = tmp_path_factory.mktemp("search")
    table = folder / "table.csv"
    table.write_text("arch,acc,a,b\n" + "".join(f"n{i},{i % 17},{i % 5},{i % 7}\n" for i in range(20)))
    config = run_config("ids", table=str(table), column="acc", method="random", budget=4)
    search_images(config, folder, scores_path=str(table)).save(folder)
    return folder


def use(folder):
    run = jaxnas.load_run(folder)
    return str(run.rows()), repr(run), run._repr_html_(), run.intervals(run.config.search.method), run.size


@pytest.fixture(scope="module")
def whole(folder):
    """Return what is read of the undamaged folder."""
    return use(folder)


@fuzzed(draw=st.data())
def test_an_edited_result_of_an_earlier_version_is_read_or_refused(folder, draw):
    path = folder / "result.json"
    with Altered(path, json.dumps(edit(draw, without_check(json.loads(path.read_text()))))):
        read_or_refuse(lambda: use(folder), str(folder))


@fuzzed(draw=st.data())
def test_a_damaged_result_has_the_same_numbers_or_is_refused(folder, whole, draw):
    path = folder / "result.json"
    with Altered(path, damage(draw, path.read_bytes())):
        read_or_refuse(lambda: check_equal(use(folder), whole), str(path))


def test_an_altered_digit_of_a_result_is_refused_by_the_name_of_its_file(folder, capsys, monkeypatch):
    path = folder / "result.json"
    altered = path.read_text().replace('"seed": 0', '"seed": 1')
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    for command in ("report", "train"):
        monkeypatch.setattr("sys.argv", ["jaxnas", command, str(folder)])
        with Altered(path, altered), pytest.raises(SystemExit) as stop:
            main()
        (line,) = capsys.readouterr().err.splitlines()
        assert stop.value.code == 2
        assert line.startswith(f"error: {path} is damaged or not of a search (it was altered")


def test_a_result_of_an_earlier_version_is_read(folder, whole):
    path = folder / "result.json"
    with Altered(path, json.dumps(without_check(json.loads(path.read_text())))):
        check_equal(use(folder), whole)


@pytest.mark.parametrize("content", ["", "[]", "1", "{", "null", DEEP, '{"outcomes": {}}', "\x00"], ids=range(8))
def test_a_result_of_another_form_is_refused(folder, content):
    refused = pytest.raises(InputError, match=r"result.json is damaged or not of a search")
    with Altered(folder / "result.json", content), refused:
        use(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cost", [1.0]),
        ("queries", []),
        ("phase", ["random"]),
        ("weights", [[1.0]]),
        ("fidelity", -1),
        ("spent", [4, 3, 2, 1]),
        ("selected", 7),
        ("budget", "4"),
        ("direction", "up"),
    ],
)
def test_a_field_of_a_result_that_does_not_fit_is_named(tmp_path, field, value):
    result = METHODS["random"](np.ones((5, 2)), np.arange(5.0), budget=4, seed=0)
    (tmp_path / "r.json").write_text(json.dumps({**result.to_dict(), field: value}))
    with pytest.raises(InputError, match=rf"is not a saved search result \(.*{field}"):
        SearchResult.load(tmp_path / "r.json")


@fuzzed(draw=st.data())
def test_an_edited_record_of_training_is_read_or_refused(tmp_path_factory, draw):
    path = tmp_path_factory.mktemp("record") / "training.jsonl"
    write_record(path, {"seed": 0}, {"a": Trained(90.0, 0.1, 3, 1.5, False), "b": Trained(np.nan, 0.1, 1, 1.0, True)})
    lines = list(map(json.loads, path.read_text().splitlines()))
    path.write_text("".join(f"{json.dumps(line)}\n" for line in edit(draw, lines)))
    read_or_refuse(lambda: read_record(path, {"seed": 0}), "training.jsonl")


@fuzzed(draw=st.data())
def test_an_edited_manifest_is_read_or_refused(tmp_path_factory, draw):
    folder = tmp_path_factory.mktemp("store")
    manifest = {"format": 1, "provenance": {"space": "nasbench201", "seed": 0}}
    (folder / "manifest.json").write_text(json.dumps(edit(draw, manifest)))
    read_or_refuse(lambda: read_parts(open_folder(folder)), "manifest.json")


@fuzzed(draw=st.data())
def test_an_edited_log_of_a_study_is_read_or_refused(tmp_path_factory, draw):
    folder = tmp_path_factory.mktemp("study")
    study = create_study(folder, np.eye(4), list("abcd"), budget=3, method="random")
    study.tell(study.ask(), 1.0)
    study.ask()
    path = folder / "trials.jsonl"
    lines = list(map(json.loads, path.read_text().splitlines()))
    path.write_text("".join(f"{json.dumps(line)}\n" for line in edit(draw, lines)))
    read_or_refuse(lambda: load_study(folder).ask(), str(folder))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Return the folder of a comparison, and its rows."""
    folder = tmp_path_factory.mktemp("comparison")
    table = folder / "table.csv"
    table.write_text("arch,acc,a,b\n" + "".join(f"n{i},{i % 17},{i % 5},{i % 7}\n" for i in range(20)))
    config = CompareConfig("ids", str(table), table=str(table), column="acc", test_column="acc", budget=4)
    found = compare_methods(("random", "single_proxy"), config, range(4), folder)
    save_comparison(folder, found)
    return folder, str(found.rows())


def use_comparison(folder):
    found = load_comparison(folder)
    return str(found.rows()), repr(found), found._repr_html_(), found.config


@fuzzed(draw=st.data())
def test_an_edited_comparison_has_the_same_numbers_or_is_refused(comparison, draw):
    folder, rows = comparison
    path = folder / "comparison.json"
    with Altered(path, json.dumps(edit(draw, json.loads(path.read_text())))):
        read_or_refuse(lambda: check_equal(use_comparison(folder)[0], rows), str(path))


def check_equal(found, expected):
    assert found == expected


@fuzzed(draw=st.data())
def test_an_edited_comparison_of_an_earlier_version_is_read_or_refused(comparison, draw):
    folder, _ = comparison
    path = folder / "comparison.json"
    with Altered(path, json.dumps(edit(draw, without_check(json.loads(path.read_text()))))):
        read_or_refuse(lambda: use_comparison(folder), str(folder))


@fuzzed(draw=st.data(), name=st.sampled_from(["comparison.json", "random.parquet", "single_proxy.parquet"]))
def test_a_damaged_file_of_a_comparison_has_the_same_numbers_or_is_refused(comparison, draw, name):
    folder, rows = comparison
    with Altered(folder / name, damage(draw, (folder / name).read_bytes())):
        read_or_refuse(lambda: check_equal(use_comparison(folder)[0], rows), str(folder / name))


@pytest.fixture(scope="module")
def unchecked(comparison):
    """Return the content of a method's file as earlier versions wrote it."""
    table = pq.read_table(comparison[0] / "random.parquet")
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({b"jaxnas": table.schema.metadata[b"jaxnas"]}), buffer)
    return buffer.getvalue()


@fuzzed(draw=st.data())
def test_a_damaged_file_of_an_earlier_version_is_read_or_refused(comparison, unchecked, draw):
    path = comparison[0] / "random.parquet"
    with Altered(path, damage(draw, unchecked)):
        read_or_refuse(lambda: use_comparison(comparison[0]), str(path))


@pytest.mark.parametrize("content", ["", "[]", "1", "{", "null", DEEP, '{"rows": []}', "\x00"], ids=range(8))
def test_a_comparison_of_another_form_is_refused(comparison, content):
    refused = pytest.raises(InputError, match=r"comparison\.json is damaged or not of a comparison")
    with Altered(comparison[0] / "comparison.json", content), refused:
        use_comparison(comparison[0])


def test_a_comparison_of_other_settings_than_its_files_is_refused(comparison):
    path = comparison[0] / "comparison.json"
    record = without_check(json.loads(path.read_text()))
    record["config"]["budget"] = 7
    refused = pytest.raises(InputError, match=r"random\.parquet was made with other settings \(budget is 4, not 7\)")
    with Altered(path, json.dumps(record)), refused:
        use_comparison(comparison[0])


def test_the_report_of_a_damaged_comparison_is_one_line(comparison, capsys, monkeypatch):
    path = comparison[0] / "comparison.json"
    monkeypatch.setattr("sys.argv", ["jaxnas", "report", str(comparison[0])])
    with Altered(path, path.read_text().replace('"mean": ', '"mean": 1')), pytest.raises(SystemExit) as stop:
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert line.startswith(f"error: {path} is damaged or not of a comparison (it was altered")


STATE = {"kernel": np.arange(6.0), "step": np.zeros((), np.int32)}


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "empty", "flip", "deep", "list"])
def test_a_damaged_checkpoint_is_refused_by_its_folder(tmp_path, damage):
    Checkpoints(tmp_path / "whole").save(1, STATE, {"epoch": 1}, {"seed": 0})
    files = [path for path in sorted((tmp_path / "whole").rglob("*")) if path.is_file()]
    for path in files:
        content = path.read_bytes()
        changed = {
            "cut": content[: len(content) // 2],
            "empty": b"",
            "flip": bytes([*content[: len(content) // 3], content[len(content) // 3] ^ 255])
            + content[len(content) // 3 + 1 :]
            if content
            else b"x",
            "deep": DEEP.encode(),
            "list": b"[]",
        }[damage]
        path.write_bytes(changed)
        read_or_refuse(lambda: Checkpoints(tmp_path / "whole").restore(STATE, {"seed": 0}), "whole")
        path.write_bytes(content)


def test_a_second_process_is_refused_while_the_first_trains(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; from jaxnas.runtime.files import exclusive\n"
        "with exclusive(sys.argv[1], 'training'): print('in', flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "checkpoint")]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "in\n"
        message = f"another process is training in {tmp_path}: wait for its end, or choose another folder"
        with pytest.raises(InputError, match=message), exclusive(tmp_path / "checkpoint", "training"):
            pass
        first.kill()
    with exclusive(tmp_path / "checkpoint", "training"):
        pass
