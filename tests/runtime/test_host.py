"""The version is that of the installation, or of the source where the package is only on the path."""

import importlib.metadata
import tomllib
from pathlib import Path

import jaxnas
from jaxnas.runtime.host import package_version

ROOT = Path(__file__).parents[2]


def test_the_version_is_that_of_the_source(monkeypatch):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert package_version() == jaxnas.__version__ == declared

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert package_version() == jaxnas.__version__ == declared
    monkeypatch.setattr("jaxnas.runtime.host.__file__", "/nowhere/jaxnas/runtime/host.py")
    assert package_version() == "unknown"
