"""The `Literal` aliases list the names of the library."""

import subprocess
import sys

import pytest

from jaxnas.data.catalogue import DATASETS
from jaxnas.data.tasks import TASKS
from jaxnas.proxies import PROXIES, PROXY_SETS
from jaxnas.report.tracking import TRACKERS
from jaxnas.runtime import names
from jaxnas.runtime.workers import ENGINES
from jaxnas.scoring.engine import DEFAULT_PROXIES
from jaxnas.search import METHODS, PRESETS
from jaxnas.spaces import SPACES
from jaxnas.table.normalize import NORMALIZATIONS


@pytest.mark.parametrize(
    ("alias", "expected"),
    {
        "SpaceName": SPACES,
        "MethodName": METHODS,
        "PresetName": PRESETS,
        "Normalization": NORMALIZATIONS,
        "ProxyName": PROXIES,
        "ProxySet": PROXY_SETS,
        "ProxyOrSet": [*PROXIES, *PROXY_SETS],
        "Engine": ENGINES,
        "ImageName": [name for name, data in DATASETS.items() if data.kind == "images"],
        "DownloadName": [name for name, data in DATASETS.items() if data.files],
        "TableName": ["nasbench201"],
        "Task": TASKS,
        "Tracker": TRACKERS,
    }.items(),
)
def test_an_alias_lists_the_names_of_the_library(alias, expected):
    assert names.names(getattr(names, alias)) == tuple(expected)


def test_names_import_nothing():
    code = "import sys; before = set(sys.modules); import jaxnas.runtime.names; print(*set(sys.modules) - before)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"jax", "numpy", "pyarrow", "typer"} & set(loaded)


def test_the_default_proxies_are_the_set_of_robot():
    assert names.ROBOT_PROXIES == PROXY_SETS["robot"] == DEFAULT_PROXIES
