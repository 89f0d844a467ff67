"""An installed jaxnas keeps its promises: a light import, and every public name exists."""

import subprocess
import sys

import pytest

import jaxnas

HEAVY = {"flax", "gpjax", "jax", "jaxlib", "numpy", "optax", "orbax", "pyarrow", "ray", "scipy", "sklearn"}


def run(code):
    """Return what a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("statement", ["import jaxnas", "from jaxnas import InputError", "from jaxnas.cli import main"])
def test_importing_is_light(statement):
    loaded = run(f"import sys; {statement}; print(*sys.modules)").split()
    assert "jaxnas" in loaded
    assert not HEAVY & set(loaded)


def test_every_public_name_resolves():
    names = run("from jaxnas import *; print(*[name for name in dir() if not name.startswith('_')])").split()
    assert names == sorted(jaxnas.__all__) == dir(jaxnas)
    assert {"NASBENCH201", "robot", "score_archs", "search_network"} <= set(names)


def test_a_name_that_is_not_there():
    assert not hasattr(jaxnas, "nothing")
