"""Import packages of the extra `test-integration`, which some tests need in addition to those of `test`."""

import importlib
import importlib.util
import os
from types import ModuleType

import pytest


def require(name: str) -> ModuleType:
    """Import a package; skip the tests if it is missing, or fail if JAXNAS_REQUIRE_INTEGRATION=1."""
    require_installed(name.partition(".")[0])
    return importlib.import_module(name)


def require_installed(name: str) -> None:
    """Do the same without importing the package: Ray reads its settings when it is imported."""
    if importlib.util.find_spec(name) is None:
        reason = f"needs the package {name}: pip install -e '.[test-integration]'"
        if os.environ.get("JAXNAS_REQUIRE_INTEGRATION") == "1":
            pytest.fail(reason)
        pytest.skip(reason, allow_module_level=True)
