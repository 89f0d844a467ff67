import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import strategies as st

from jaxnas.errors import InputError
from jaxnas.objectives.tabular import Table, align, load_ids, load_nasbench201, load_proxy_scores, load_table
from jaxnas.spaces import NASBENCH201, enumerate_archs, from_index, sample
from tests.edits import fuzzed

ARCHS = from_index(NASBENCH201, np.array([7, 0, 15_624]))
TEXTS = [NASBENCH201.format(arch) for arch in ARCHS]
ACCURACY = np.array([91.5, np.nan, 10.0])
ROBOT_ROWS = [
    {str(i): i, "arch": text, "valacc": np.float64(accuracy), "cost": i}
    for i, (text, accuracy) in enumerate(zip(TEXTS, ACCURACY, strict=True))
]


def write_csv(path, arch="arch"):
    accuracy = ["" if np.isnan(value) else str(value) for value in ACCURACY]
    rows = [f"{text},{value},{i}" for i, (text, value) in enumerate(zip(TEXTS, accuracy, strict=True))]
    path.write_text("\n".join([f"{arch},valacc,cost", *rows]))


def write_parquet(path, arch="arch"):
    accuracy = pa.array(ACCURACY, from_pandas=True)
    pa.parquet.write_table(pa.table({arch: TEXTS, "valacc": accuracy, "cost": pa.array([0, 1, 2], pa.int16())}), path)


def write_npz(path, arch="arch"):
    columns = {"valacc": ACCURACY.astype(np.float32), "cost": np.arange(3)}
    np.savez(
        path, **{arch: np.array(TEXTS, "S")}, **columns, ops=ARCHS, names=np.array(list("abc")), other=np.arange(9)
    )


def write_pickle(path, arch="arch"):
    rows = [{arch if key == "arch" else key: value for key, value in row.items()} for row in ROBOT_ROWS]
    path.write_bytes(pickle.dumps(rows))


WRITERS = {".csv": write_csv, ".parquet": write_parquet, ".npz": write_npz, ".p": write_pickle}


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("arch_column", ["arch", "genotype"])
def test_every_kind_of_table_gives_the_same(tmp_path, ending, arch_column):
    path = tmp_path / f"table{ending}"
    WRITERS[ending](path, arch_column)
    table = load_table(path, NASBENCH201, arch_column)
    np.testing.assert_array_equal(table.archs, ARCHS)
    assert table.archs.dtype == np.int8
    assert list(table.columns) == ["valacc", "cost"]
    np.testing.assert_array_equal(table.columns["valacc"], ACCURACY)
    assert {column.dtype for column in table.columns.values()} == {np.dtype(np.float64)}


@pytest.mark.parametrize("ending", WRITERS)
def test_errors_of_every_kind_of_table(tmp_path, ending):
    path = tmp_path / f"table{ending}"
    with pytest.raises(InputError, match="No such file"):
        load_table(path, NASBENCH201)
    WRITERS[ending](path)
    with pytest.raises(InputError, match=r"no architecture column 'model'; the columns are .*valacc, cost"):
        load_table(path, NASBENCH201, "model")
    content = path.read_bytes()
    for damaged in (content[: len(content) * 2 // 5], content[:10], b""):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"table{ending}") as error:
            load_table(path, NASBENCH201)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch,acc\n", "the table is empty"),
        (f"arch,acc\n{TEXTS[0]},1\n|none~0|,2\n", r"row 2: architecture '\|none~0\|'"),
        (f"arch,acc\n{TEXTS[0]},1\n,2\n", "row 2: architecture"),
        (f"arch,acc\n{TEXTS[0]},1\n{TEXTS[1]},failed\n", "row 2: 'acc' must be a number, got 'failed'"),
        (f"arch,acc\n{TEXTS[0]},1.5\n{TEXTS[1]},2020-01-01\n", r"row 2: 'acc' must be a number, got '2020-01-01'"),
        (f'arch,acc\n{TEXTS[0]},"93,5"\n', r"row 1: 'acc' must be a number, got '93,5'; a comma is the decimal"),
        (f"arch;acc\n{TEXTS[0]};93,5\n{TEXTS[1]};1.093,5\n", r"row 2: 'acc' must be a number, got '1.093,5'"),
        (f"arch,acc,acc\n{TEXTS[0]},1,2\n", "two columns have the same name"),
        (f"arch,acc\n{TEXTS[0]},1,2\n", "Expected 2 columns, got 3"),
    ],
)
def test_errors_in_a_csv(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        load_table(tmp_path / "bad.csv", NASBENCH201)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "must be a list of table rows"),
        ({"arch": 1}, "must be a list of table rows"),
        ([1.0, 2.0], "no architecture column 'arch'; the columns are bad"),
        ([*ROBOT_ROWS, {"valacc": 1}], "no architecture column 'arch'; the columns are valacc"),
        ([ROBOT_ROWS[1], ROBOT_ROWS[0] | {"cost": {}}], r"row 2: 'cost' must be a number, got \{\}"),
        ([None] * NASBENCH201.size + ["x"], "no architecture column"),
    ],
)
def test_errors_in_a_pickle(tmp_path, rows, message):
    (tmp_path / "bad.p").write_bytes(pickle.dumps(rows))
    with pytest.raises(InputError, match=message):
        load_table(tmp_path / "bad.p", NASBENCH201)


class CallsSystem:
    def __reduce__(self):
        return os.system, ("exit 1",)


def test_a_table_pickle_that_calls_the_system_is_refused(tmp_path, monkeypatch):
    (tmp_path / "bad.p").write_bytes(pickle.dumps([ROBOT_ROWS[0] | {"note": CallsSystem()}]))
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("code from the file ran"))
    with pytest.raises(InputError, match=r"bad\.p: .*global posix\.system is refused"):
        load_table(tmp_path / "bad.p", NASBENCH201)


def test_unknown_ending(tmp_path):
    with pytest.raises(InputError, match=r"unknown kind of table '\.xlsx'; its name must end in \.csv"):
        load_table(tmp_path / "table.xlsx", NASBENCH201)


def test_a_pickle_of_numbers_is_in_index_order(tmp_path):
    values = np.random.default_rng(0).random(NASBENCH201.size)
    (tmp_path / "nb2_test.p").write_bytes(pickle.dumps(list(values)))
    table = load_table(tmp_path / "nb2_test.p", NASBENCH201)
    np.testing.assert_array_equal(table.archs, enumerate_archs(NASBENCH201))
    np.testing.assert_array_equal(table.columns["nb2_test"], values)


def test_columns_of_text_are_left_out_and_refused_by_name(tmp_path):
    (tmp_path / "t.csv").write_text(f"arch,acc,note\n{TEXTS[0]},1,fine\n{TEXTS[1]},NA,3\n{TEXTS[2]},none,odd\n")
    table = load_table(tmp_path / "t.csv", NASBENCH201)
    np.testing.assert_array_equal(table.columns["acc"], [1, np.nan, np.nan])
    assert list(table.columns) == ["acc"]
    with pytest.raises(InputError, match=r"row 1: 'note' must be a number, got 'fine'"):
        align(table, NASBENCH201, ARCHS, "note")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_spreadsheet_with_index_decimal_commas_and_empty_ends(tmp_path, encoding, delimiter):
    rows = [";arch;acc;;", f"0;{TEXTS[0]};93,5;;", f"1;{TEXTS[1]};;;", f"2;{TEXTS[2]};-1,25e1;;", ";;;;"]
    (tmp_path / "t.csv").write_text("\n".join(rows).replace(";", delimiter) + "\n", encoding=encoding)
    table = load_table(tmp_path / "t.csv", NASBENCH201)
    np.testing.assert_array_equal(table.archs, ARCHS)
    assert table.columns.keys() == {"acc"}
    np.testing.assert_array_equal(table.columns["acc"], [93.5, np.nan, -12.5])


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("arch,acc\n007,1\n 8 ,2\n", ["007", "8"]),
        (",acc\n0,1\n1,2\n", ["0", "1"]),
        ("index,acc\na;b,1\n2020-01-01,2\n", ["a;b", "2020-01-01"]),
        ("n,arch,acc\n0,x,1\n1,y,2\n", ["x", "y"]),
    ],
)
def test_ids_of_any_kind(tmp_path, text, ids):
    (tmp_path / "t.csv").write_text(text)
    assert load_ids(tmp_path / "t.csv") == ids


def test_whole_numbers_are_the_same_ids_in_every_file(tmp_path):
    pa.parquet.write_table(pa.table({"acc": [1.0, 2.0], "__index_level_0__": [3, 4]}), tmp_path / "i.parquet")
    pa.parquet.write_table(pa.table({"arch": [3.0, 4.0], "acc": [1.0, 2.0]}), tmp_path / "f.parquet")
    assert load_ids(tmp_path / "i.parquet") == load_ids(tmp_path / "f.parquet") == ["3", "4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arch,acc\nx,1\ny,2\nx,3\n", "rows 1 and 3: both are of architecture 'x'; keep one"),
        ("arch,acc\nx,1\n,2\n", "row 2: the architecture is missing"),
        ("model,acc\nx,1\n", "no architecture column 'arch', and the first column is not an index"),
        ("arch,acc\n", "the table is empty"),
    ],
)
def test_ids_that_are_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        load_ids(tmp_path / "t.csv")


def test_align_follows_the_architectures():
    archs = sample(NASBENCH201, 50, seed=0)
    table = Table(archs, {"index": np.arange(50.0)})
    order = np.random.default_rng(0).permutation(50)[:20]
    np.testing.assert_array_equal(align(table, NASBENCH201, archs[order], "index"), order)
    np.testing.assert_array_equal(align(table, NASBENCH201, archs[[3, 3]], "index"), [3, 3])
    assert align(table, NASBENCH201, archs[:0], "index").shape == (0,)


def test_errors_of_align():
    table = Table(ARCHS[:2], {"accuracy": ACCURACY[:2]})
    with pytest.raises(InputError, match="unknown column 'acuracy': did you mean 'accuracy'"):
        align(table, NASBENCH201, ARCHS[:2], "acuracy")
    with pytest.raises(InputError) as error:
        align(table, NASBENCH201, ARCHS[[2, 0, 2]], "accuracy")
    assert str(error.value) == f"the table lacks 2 of 3 architectures, the first is {TEXTS[2]}"
    with pytest.raises(InputError, match="more than once") as error:
        align(Table(ARCHS[[0, 1, 1]], {"accuracy": ACCURACY}), NASBENCH201, ARCHS[:1], "accuracy")
    assert TEXTS[1] in str(error.value)
    with pytest.raises(InputError):
        align(table, NASBENCH201, ARCHS[:, :5], "accuracy")


def proxy_file(tmp_path, **changes):
    filled = np.random.default_rng(0).random((2, NASBENCH201.size, 2)).astype(np.float32)
    filled[1, 5, 0] = -1e8
    arrays = {"filled": filled, "datasets": np.array(["cifar10", "cifar100"]), "columns": np.array(["jacov", "snip"])}
    arrays |= changes
    (tmp_path / "nb201").mkdir()
    kept = {key: value for key, value in arrays.items() if value is not None}
    np.savez(tmp_path / "nb201" / "nb201_proxies.npz", **kept)
    return filled


def test_proxy_scores_by_name_with_failures_as_nan(tmp_path):
    filled = proxy_file(tmp_path)
    archs, scores = load_proxy_scores(tmp_path, "cifar100", ["snip", "jacob_cov", "jacov"])
    np.testing.assert_array_equal(archs, enumerate_archs(NASBENCH201))
    assert np.argwhere(np.isnan(scores)).tolist() == [[5, 1], [5, 2]]
    np.testing.assert_array_equal(np.nan_to_num(scores[:, [1, 0]], nan=-1e8), filled[1])
    assert scores.dtype == np.float64
    with pytest.raises(InputError, match="unknown data set 'cifar-10': did you mean 'cifar10'"):
        load_proxy_scores(tmp_path, "cifar-10", ["snip"])
    with pytest.raises(InputError, match="unknown proxy 'snap': did you mean 'snip'"):
        load_proxy_scores(tmp_path, "cifar10", ["snap"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filled": None}, "no array 'filled'"),
        ({"filled": np.zeros((2, 9, 2))}, r"'filled' must have shape .*, got \(2, 9, 2\)"),
    ],
)
def test_proxy_files_that_do_not_fit(tmp_path, changes, message):
    proxy_file(tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        load_proxy_scores(tmp_path, "cifar10", ["snip"])


def test_missing_public_tables_say_how_to_get_them(tmp_path):
    with pytest.raises(InputError, match=r"nb201_table\.npz; put it there, or run `jaxnas data get robot`"):
        load_nasbench201(tmp_path)
    with pytest.raises(InputError, match=r"nb201_proxies\.npz; compile them"):
        load_proxy_scores(tmp_path, "cifar10", ["snip"])


@pytest.mark.data
def test_nasbench201_optima_are_the_published_ones(data_folder):
    table = load_nasbench201(data_folder)
    for column, index, best in (
        ("robot_c10_test", 6111, 94.373),
        ("robot_c100_test", 9930, 73.513),
        ("robot_im120_test", 857, 47.311),
    ):
        accuracy = align(table, NASBENCH201, enumerate_archs(NASBENCH201), column)
        assert accuracy.argmax() == index
        assert accuracy[index] == pytest.approx(best, abs=1e-3)


@pytest.mark.data
@pytest.mark.slow
def test_robots_files_agree_with_the_compiled_table(data_folder, tmp_path):
    (tmp_path / "nb201").mkdir()
    (tmp_path / "nb201" / "robot_raw").symlink_to(data_folder / "nb201" / "robot_raw")
    robot, compiled = load_nasbench201(tmp_path), load_nasbench201(data_folder)
    np.testing.assert_array_equal(robot.archs, compiled.archs)
    for name, column in robot.columns.items():
        np.testing.assert_allclose(column, compiled.columns[name], rtol=1e-7)
    assert len(robot.columns) == 5


@pytest.mark.data
def test_the_six_proxies_of_robot_are_there(data_folder):
    six = ["grad_norm", "snip", "grasp", "fisher", "synflow", "jacob_cov"]
    archs, scores = load_proxy_scores(data_folder, "ImageNet16-120", six)
    assert archs.shape == scores.shape == (15_625, 6)
    assert np.isfinite(scores).mean() > 0.99
    assert not (scores == -1e8).any()


UNNAMED = ("", "Unnamed: 0", "__index_level_0__")
WHOLE_NUMBERS = st.integers(-(2**63), 2**63 - 1)
CELLS = {
    pa.float64(): st.floats(),
    pa.float32(): st.floats(width=32),
    pa.float16(): st.floats(width=16).map(np.float16),
    pa.int64(): WHOLE_NUMBERS,
    pa.uint8(): st.integers(0, 255),
    pa.bool_(): st.booleans(),
    pa.null(): st.none(),
    pa.string(): st.text() | st.sampled_from(TEXTS) | st.floats().map(str),
    pa.binary(): st.binary(max_size=4),
    pa.list_(pa.int8()): st.lists(st.integers(-9, 9), max_size=2),
    **{pa.timestamp(unit, zone): WHOLE_NUMBERS for unit in ("s", "ns") for zone in (None, "UTC", "Mars/Base")},
    pa.date64(): WHOLE_NUMBERS,
    pa.duration("s"): WHOLE_NUMBERS,
}


@st.composite
def frames(draw):
    """Draw tables with arbitrary columns, most of them with architectures, some with a wrong one."""
    num_rows = draw(st.integers(0, 3))
    archs = draw(st.lists(st.sampled_from(TEXTS), min_size=num_rows, max_size=num_rows))
    if archs and draw(st.booleans()):
        archs[-1] = draw(st.none() | st.text(max_size=5))
    names = draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=4), max_size=3, unique=True))
    columns = [pa.array(archs, pa.string())]
    for _ in names:
        kind = draw(st.sampled_from(list(CELLS)))
        cells = draw(st.lists(st.none() | CELLS[kind], min_size=num_rows, max_size=num_rows))
        columns.append(pa.array(cells, kind))
    return pa.table(columns, names=[draw(st.sampled_from(["arch"] * 9 + ["model"])), *names])


def number_of(cell):
    return np.nan if cell is None else float(cell)


def load_or_refuse(path):
    try:
        return load_table(path, NASBENCH201), None
    except InputError as error:
        return None, str(error)


@fuzzed(frame=frames(), ending=st.sampled_from([".csv", ".parquet"]), damage=st.none() | st.integers(0, 10**6))
def test_any_frame_is_read_as_it_is_or_refused(frame, ending, damage):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"table{ending}")
        try:
            pa.csv.write_csv(frame, path) if ending == ".csv" else pa.parquet.write_table(frame, path)
        except pa.ArrowException:
            return  # a type of column that such a file cannot hold
        if damage is not None:
            content = path.read_bytes()
            place = damage % (len(content) + 1)
            path.write_bytes(content[:place] + bytes([damage % 256]) + content[place + damage % 2 :])
        table, refusal = load_or_refuse(path)
        if table is None:
            assert refusal.startswith(str(path))
            assert "\n" not in refusal
        if table is None or damage is not None:
            return
        texts = [text for text in frame["arch"].to_pylist() if text]  # CSV readers skip empty lines
        assert list(map(NASBENCH201.format, table.archs)) == texts
        if ending == ".csv":  # as people write its header
            frame = frame.rename_columns([name.strip() for name in frame.column_names])
        assert {*table.columns, *table.texts} == {name for name in frame.column_names if name not in ("arch", *UNNAMED)}
        for name, values in table.columns.items():
            assert values.dtype == np.float64
            kind = frame[name].type
            is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
            if ending == ".csv" and not is_number:
                continue  # a text, which the reader converts
            if ending == ".csv" and pa.types.is_floating(kind):  # decimal, with as few digits as its precision allows
                values = values.astype(kind.to_pandas_dtype())
            if is_number:
                cells = frame[name].to_pylist()[: len(texts)]  # a spreadsheet may end in empty rows
                np.testing.assert_array_equal(values, list(map(number_of, cells)))


@pytest.mark.parametrize("header", [",architecture,acc", "id,arch_name,acc", "Unnamed: 0,ARCH_STR,acc"])
def test_a_named_column_of_architectures_is_taken_instead_of_row_numbers(tmp_path, header):
    (tmp_path / "t.csv").write_text(f"{header}\n0,x,1\n1,y,2\n")
    assert load_ids(tmp_path / "t.csv") == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",model,acc\n0,x,1\n1,y,2\n", "the first column '' numbers the rows, and 'model' may be the architectures"),
        ("id,model,acc\n1,x,1\n2,y,2\n", "the first column 'id' numbers the rows"),
        ("architecture,arch_str,acc\nx,a,1\n", "architecture, arch_str may all be the architectures: rename"),
    ],
)
def test_row_numbers_next_to_texts_are_not_taken_for_architectures(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        load_ids(tmp_path / "t.csv")


@pytest.mark.parametrize("text", [",note,acc\n0,x,1\n1,x,2\n", ",note,acc\n1,x,1\n0,y,2\n", ";acc\n0;9,1\n1;9,2\n"])
def test_an_index_that_can_be_the_architectures_is_taken(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    assert sorted(load_ids(tmp_path / "t.csv")) == ["0", "1"]
