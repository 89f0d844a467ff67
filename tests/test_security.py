"""What came over a network or from a store is data: it is never unpickled, and never evaluated."""

import ast
import pickle
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import jaxnas
from jaxnas.errors import InputError
from jaxnas.networks import NASBench201Network
from jaxnas.store.folders import open_folder
from jaxnas.store.parts import write_part
from jaxnas.store.store import score_to_store
from jaxnas.store.tables import read_score_table

PACKAGE = Path(jaxnas.__file__).parent
RUNS_CODE = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
ALLOWED = {"files.py"}  # the file of a benchmark is read by an unpickler that accepts only numbers


def imported(tree):
    """Names of all modules that are imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_unpickles_or_evaluates(path):
    tree = ast.parse(path.read_text())
    assert path.name in ALLOWED or not RUNS_CODE & set(imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert getattr(node.func, "id", "") not in {"eval", "exec", "compile", "__import__"}
            keywords = {word.arg: word.value for word in node.keywords}
            allow = keywords.get("allow_pickle")
            assert allow is None or (isinstance(allow, ast.Constant) and allow.value is False)
            assert not (isinstance(keywords.get("shell"), ast.Constant) and keywords["shell"].value)


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_part_that_carries_a_pickle_is_not_unpickled(tmp_path):
    """Arrow once read the type of a column from a pickle in its metadata."""
    trace = tmp_path / "ran"
    pickle.loads(pickle.dumps(Bomb(trace)))
    assert trace.exists()
    trace.unlink()
    batch = jaxnas.Batch(np.ones((2, 4, 4, 3), np.float32), np.array([0, 1], np.int32))
    network = NASBench201Network(num_classes=2, channels=2, cells_per_stage=1)
    archs = jaxnas.sample(jaxnas.NASBENCH201, 2, seed=0)
    score_to_store(tmp_path / "store", jaxnas.NASBENCH201, network, archs, batch, ("params",), data_name="ones")
    (part,) = (tmp_path / "store" / "parts").glob("*.parquet")
    table = pa.parquet.read_table(part)
    extension = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Bomb(trace)),
    }
    field = pa.field("params", pa.float64(), metadata=extension)
    schema = table.schema.set(table.schema.get_field_index("params"), field)
    part.unlink()
    write_part(open_folder(tmp_path / "store"), pa.Table.from_arrays(table.columns, schema=schema))
    with suppress(InputError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a type that pyarrow does not know
        read_score_table(tmp_path / "store")
    assert not trace.exists()
