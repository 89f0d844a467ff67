"""Import paths of version 0.1: each is found, warns, and has the same objects as the new path."""

import importlib
import sys

import pytest

from jaxnas.runtime.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_has_the_objects_of_the_new_one(old, monkeypatch):
    monkeypatch.delitem(sys.modules, old, raising=False)
    new = importlib.import_module(MOVED[old])
    with pytest.warns(DeprecationWarning, match=f"{old} has moved to {MOVED[old]}"):
        module = importlib.import_module(old)
    names = [name for name in vars(new) if not name.startswith("__")]
    assert names
    assert all(getattr(module, name) is getattr(new, name) for name in names)


def test_other_names_are_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("jaxnas.nowhere")
