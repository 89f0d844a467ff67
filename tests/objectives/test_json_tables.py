"""Tables in JSON: every form gives the same columns, and any other content is refused in one line."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from genotypes import DARTS_V2
from hypothesis import strategies as st

from jaxnas.errors import InputError
from jaxnas.objectives.tabular import load_ids, load_table
from jaxnas.run.inputs import load_pool_scores
from jaxnas.run.tables import guess_space
from jaxnas.spaces import DARTS, NASBENCH101, NASBENCH201, from_index
from tests.edits import DEEP, damage, edit, fuzzed, read_or_refuse

ARCHS = from_index(NASBENCH201, np.array([7, 0, 15_624]))
TEXTS = [NASBENCH201.format(arch) for arch in ARCHS]
ACCURACY = [91.5, None, 10.0]
ROWS = [
    {"arch": text, "acc": value, "cost": number}
    for number, (text, value) in enumerate(zip(TEXTS, ACCURACY, strict=True))
]
VALUES = [{name: row[name] for name in ("acc", "cost")} for row in ROWS]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
BY_NUMBER = {name: {str(row): value for row, value in enumerate(column)} for name, column in COLUMNS.items()}
SUITE_ZERO = {text: {"idx": "1", "acc": row["acc"], "cost": {"score": row["cost"], "time": 0.5}} for text, row in
              zip(TEXTS, ROWS, strict=True)}  # fmt: skip
FORMS = {
    "rows": ROWS,
    "rows under another name": [{"arch_str" if name == "arch" else name: row[name] for name in row} for row in ROWS],
    "columns": COLUMNS,
    "columns by row": BY_NUMBER,
    "rows by row": {str(row): values for row, values in enumerate(ROWS)},
    "rows by architecture": dict(zip(TEXTS, VALUES, strict=True)),
    "Suite-Zero": {"cifar10": SUITE_ZERO},
}


def write(folder, value):
    path = Path(folder, "table.json")
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same(tmp_path, form):
    table = load_table(write(tmp_path, FORMS[form]), NASBENCH201)
    np.testing.assert_array_equal(table.archs, ARCHS)
    assert {*table.columns} - {"idx"} == {"acc", "cost"}
    np.testing.assert_array_equal(table.columns["acc"], [91.5, np.nan, 10.0])
    np.testing.assert_array_equal(table.columns["cost"], [0, 1, 2])


def test_numbers_by_architecture_are_a_column_named_like_the_file(tmp_path):
    table = load_table(write(tmp_path, dict(zip(TEXTS, ACCURACY, strict=True))), NASBENCH201)
    np.testing.assert_array_equal(table.columns["table"], [91.5, np.nan, 10.0])


def test_several_data_sets_are_columns_of_their_names(tmp_path):
    other = {TEXTS[2]: {"acc": 3.0}}
    table = load_table(write(tmp_path, {"cifar10": SUITE_ZERO, "svhn": other}), NASBENCH201)
    np.testing.assert_array_equal(table.columns["cifar10_acc"], [91.5, np.nan, 10.0])
    np.testing.assert_array_equal(table.columns["svhn_acc"], [np.nan, np.nan, 3.0])


def test_texts_of_a_file_are_of_any_encoding_and_lists(tmp_path):
    six = [[4, 0, 3, 1, 4, 3], [0, 0, 0, 0, 0, 0]]
    path = tmp_path / "table.json"
    path.write_text(json.dumps([{"arch": numbers, "acc": 1} for numbers in six]), encoding="utf-8-sig")
    table = load_table(path, NASBENCH201)
    np.testing.assert_array_equal(table.archs, [NASBENCH201.parse(str(tuple(numbers))) for numbers in six])


def test_cells_of_nasbench101_in_two_fields(tmp_path):
    cell = {"module_adjacency": [[0, 1], [0, 0]], "module_operations": ["input", "output"], "acc": 0.9}
    deeper = {
        "module_adjacency": [[0, 1, 0], [0, 0, 1], [0, 0, 0]],
        "module_operations": ["input", "conv3x3-bn-relu", "output"],
        "acc": 0.8,
    }
    for value in ([cell, deeper], {"00005c142e6f48ac74fdcf73e3439874": cell, "b": deeper}):
        path = write(tmp_path, value)
        table = load_table(path, NASBENCH101)
        assert [NASBENCH101.format(arch) for arch in table.archs] == ["output~0", "conv3x3-bn-relu~0|output~1"]
        assert guess_space(str(path), "ids") == "nasbench101"


def test_genotypes_in_every_form(tmp_path):
    arch = DARTS.parse(DARTS_V2)
    fields = eval(DARTS_V2, {"Genotype": dict, "range": range})  # what a JSON file makes of a named tuple
    numbers = [[[node, DARTS.op_names.index(op)] for op, node in fields[cell]] for cell in ("normal", "reduce")]
    forms = [fields, [fields[name] for name in ("normal", "normal_concat", "reduce", "reduce_concat")], numbers]
    path = write(tmp_path, [{"arch": form, "val_accuracy": 90} for form in forms])
    np.testing.assert_array_equal(load_table(path, DARTS).archs, [arch] * 3)
    path = write(tmp_path, {"cifar10": {str([list(map(tuple, cell)) for cell in numbers]): {"val_accuracy": 90}}})
    np.testing.assert_array_equal(load_table(path, DARTS).archs, [arch])
    assert guess_space(str(path), "ids") == "darts"


def test_ids_and_scores_of_a_json_file(tmp_path):
    path = write(tmp_path, {"net-1": {"snip": {"score": 2.0, "time": 1}}, "net-2": {"snip": {"score": 3.0, "time": 1}}})
    assert load_ids(path) == ["net-1", "net-2"]
    path = write(tmp_path, FORMS["Suite-Zero"])
    scores = load_pool_scores(NASBENCH201, path, ("cost",))
    np.testing.assert_array_equal(scores.values[:, 0], [0, 1, 2])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "cannot be read as JSON"),
        ("[1, 2", "cannot be read as JSON"),
        (DEEP, "cannot be read as JSON|Recursion"),
        ('{"a": {"acc": 1}, "a": {"acc": 2}}', "key 'a' comes twice in one object"),
        ("[]", r"must be a list of rows .*, got list \[\]"),
        ("{}", "must be a list of rows"),
        ("[1, 2]", r"must be a list of rows .*, got list \[1, 2\]"),
        ('{"a": "b"}', "must be a list of rows"),
        ('{"arch": ["x"], "acc": [1, 2]}', "column 'acc' has 2 rows, column 'arch' has 1"),
        ('{"arch": {"0": "x"}, "acc": {"1": 1}}', "column 'acc' has other rows than column 'arch'"),
        ('[{"acc": 1}]', "no architecture column 'arch'; the columns are acc"),
        ([{"arch": TEXTS[0], "acc": "bad"}, *ROWS], "row 1: 'acc' must be a number, got 'bad'"),
        ([{"arch": TEXTS[0], "acc": [1]}, *ROWS], r"row 1: 'acc' must be a number, got \[1\]"),
        ([*ROWS, {"acc": 1}], "row 4: architecture ''"),
        ({"0": {"model": "x", "acc": 1}, "1": {"model": "y", "acc": 2}}, "'key' numbers the rows, and 'model' may be"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, value, message):
    path = write(tmp_path, value)
    with pytest.raises(InputError, match=message) as error:
        load_table(path, NASBENCH201)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@fuzzed(draw=st.data(), form=st.sampled_from([*FORMS]))
def test_any_edit_is_read_or_refused(draw, form):
    with tempfile.TemporaryDirectory() as folder:
        if draw.draw(st.booleans()):
            path = write(folder, edit(draw, FORMS[form]))
        else:
            path = Path(folder, "table.json")
            path.write_bytes(damage(draw, json.dumps(FORMS[form]).encode()))
        read_or_refuse(lambda: load_table(path, NASBENCH201), "table.json")
        read_or_refuse(lambda: load_ids(path), "table.json")


@fuzzed(
    value=st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.sampled_from(TEXTS),
        lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5) | st.just("arch"), inside),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_refused(value):
    with tempfile.TemporaryDirectory() as folder:
        path = write(folder, value)
        read_or_refuse(lambda: load_table(path, NASBENCH201), "table.json")
