"""Files that were edited or damaged are read right, or refused by name: never another exception."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxnas
from jaxnas.errors import InputError
from jaxnas.objectives.checkpoint import Checkpoints
from jaxnas.objectives.record import Trained, read_record, write_record
from jaxnas.run.config import run_config
from jaxnas.run.search import search_images
from jaxnas.run.study import create_study, load_study
from jaxnas.runtime.files import exclusive
from jaxnas.search import METHODS, SearchResult
from jaxnas.store.folders import open_folder
from jaxnas.store.parts import read_parts

MANY = settings(max_examples=150, deadline=None, derandomize=True)
VALUES = st.sampled_from([None, [], {}, "x", -1, 7, float("inf"), 3.5, True, ["x"], {"a": 1}, [[1]], "<script>", 2**70])
DEEP = "[" * 100_000


def places(value, path=()):
    """Yield the path of every value inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield (*path, key)
        yield from places(child, (*path, key))


def edit(draw, record):
    """Return the record with one value replaced or removed."""
    changed = copy.deepcopy(record)
    *above, last = draw.draw(st.sampled_from(list(places(record))))
    holder = changed
    for key in above:
        holder = holder[key]
    if draw.draw(st.booleans()):
        del holder[last]
    else:
        holder[last] = draw.draw(VALUES)
    return changed


def read_or_refuse(read, name):
    problem = name
    try:
        read()
    except InputError as error:
        problem = str(error)
    assert name in problem
    assert "\n" not in problem


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
    return run.rows(), repr(run), run._repr_html_(), run.intervals(run.config.search.method), run.size


@MANY
@given(draw=st.data())
def test_an_edited_result_is_read_or_refused(folder, draw):
    path = folder / "result.json"
    text = path.read_text()
    try:
        path.write_text(json.dumps(edit(draw, json.loads(text))))
        read_or_refuse(lambda: use(folder), str(folder))
    finally:
        path.write_text(text)


@pytest.mark.parametrize("content", ["", "[]", "1", "{", "null", DEEP, '{"outcomes": {}}', "\x00"], ids=range(8))
def test_a_result_of_another_form_is_refused(folder, content):
    path = folder / "result.json"
    text = path.read_text()
    try:
        path.write_text(content)
        with pytest.raises(InputError, match=r"result.json is damaged or not of a search"):
            use(folder)
    finally:
        path.write_text(text)


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


@MANY
@given(draw=st.data())
def test_an_edited_record_of_training_is_read_or_refused(tmp_path_factory, draw):
    path = tmp_path_factory.mktemp("record") / "training.jsonl"
    write_record(path, {"seed": 0}, {"a": Trained(90.0, 0.1, 3, 1.5, False), "b": Trained(np.nan, 0.1, 1, 1.0, True)})
    lines = list(map(json.loads, path.read_text().splitlines()))
    path.write_text("".join(f"{json.dumps(line)}\n" for line in edit(draw, lines)))
    read_or_refuse(lambda: read_record(path, {"seed": 0}), "training.jsonl")


@MANY
@given(draw=st.data())
def test_an_edited_manifest_is_read_or_refused(tmp_path_factory, draw):
    folder = tmp_path_factory.mktemp("store")
    manifest = {"format": 1, "provenance": {"space": "nasbench201", "seed": 0}}
    (folder / "manifest.json").write_text(json.dumps(edit(draw, manifest)))
    read_or_refuse(lambda: read_parts(open_folder(folder)), "manifest.json")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(draw=st.data())
def test_an_edited_log_of_a_study_is_read_or_refused(tmp_path_factory, draw):
    folder = tmp_path_factory.mktemp("study")
    study = create_study(folder, np.eye(4), list("abcd"), budget=3, method="random")
    study.tell(study.ask(), 1.0)
    study.ask()
    path = folder / "trials.jsonl"
    lines = list(map(json.loads, path.read_text().splitlines()))
    path.write_text("".join(f"{json.dumps(line)}\n" for line in edit(draw, lines)))
    read_or_refuse(lambda: load_study(folder).ask(), str(folder))


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
