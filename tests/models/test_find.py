"""The folders of models, and a model that an earlier search of the folder selected."""

import json

import pytest

from jaxnas.errors import InputError
from jaxnas.models.files import load_model
from jaxnas.models.find import find_model


def write(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def test_a_model_of_an_earlier_search_is_refused(tmp_path):
    model = tmp_path / "trained" / "model"
    write(model / "model.json", {"space": "mine", "arch": "2:conv3"})
    for selected in ("2:conv3", "4:conv3"):
        outcomes = {"random": {"selected": selected}}
        write(tmp_path / "result.json", {"config": {"space": "mine"}, "outcomes": outcomes})
        if selected == "2:conv3":
            assert find_model(tmp_path) == model
    for find in (find_model, load_model):
        with pytest.raises(InputError, match=r"is of 2:conv3, but the search in .* has since selected 4:conv3"):
            find(tmp_path)
    assert find_model(model) == find_model(model.parent) == model
