"""The `Literal` aliases list the names of the library."""

import subprocess
import sys
from pathlib import Path

import pytest

from jaxnas.data.public import DATASETS
from jaxnas.data.tasks import TASKS
from jaxnas.models.export import EXPORTS
from jaxnas.proxies import PROXIES, PROXY_SETS, expand_names, passes_of
from jaxnas.report.tracking import TRACKERS, track
from jaxnas.run.config import run_config
from jaxnas.runtime import names
from jaxnas.runtime.names import split_names
from jaxnas.runtime.workers import ENGINES
from jaxnas.scoring.engine import DEFAULT_PROXIES, get_proxies
from jaxnas.search import METHODS, PRESETS
from jaxnas.spaces import SPACES
from jaxnas.store.shipped import load_scores
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
        "ExportName": EXPORTS,
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


@pytest.mark.parametrize("listed", ["snip, synflow", "snip,synflow,", ["snip", "synflow"], ("snip", "synflow")])
def test_a_text_is_one_name_or_several_separated_by_commas(listed):
    """Wherever names are given: it is not read letter by letter."""
    assert split_names(listed) == expand_names(listed) == ("snip", "synflow")
    assert tuple(get_proxies(listed)) == run_config(proxies=listed).search.proxies == ("snip", "synflow")
    assert load_scores("nasbench201", "cifar10", listed).proxies == ("snip", "synflow")
    assert passes_of(listed) == passes_of(["snip", "synflow"])
    assert track("", Path("unused")) is not None
