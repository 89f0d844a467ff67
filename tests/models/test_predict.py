"""Pictures of any size are predicted as arrays of the model's size are; unreadable ones are named."""

import numpy as np
import pytest
from PIL import Image

from jaxnas.errors import InputError
from jaxnas.models.graph import Block, Graph, Layer
from jaxnas.models.model import Model
from jaxnas.models.predict import find_pictures, predict_files


def brightness_model(channels=3):
    """Return a model that says "light" where the mean of the first channel is above 1/2."""
    kernel = np.zeros((channels, 2), np.float32)
    kernel[0] = [-10, 10]
    settings = (("features", 2), ("bias", 1))
    layers = (Layer("mean1", "mean", ("x",), (channels,)), Layer("dense1", "dense", ("mean1",), (2,), settings))
    block = Block("classifier", ("images",), ("x",), ((4, 4, channels),), layers)
    graph = Graph((4, 4, channels), (0.5,) * channels, (1.0,) * channels, ("dark", "light"), (block,))
    tensors = {"kernel": kernel, "bias": np.zeros(2, np.float32)}
    return Model("mine", "0", graph, {"params": {"classifier": {"dense1": tensors}}, "batch_stats": {}})


def test_files_and_folders_are_predicted_in_order(tmp_path):
    Image.new("RGB", (9, 5), (250, 0, 0)).save(tmp_path / "red.png")
    Image.new("L", (4, 4), 10).save(tmp_path / "night.jpg")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    files = find_pictures([tmp_path / "red.png", tmp_path])
    assert [file.name for file in files] == ["red.png", "night.jpg", "red.png", "torn.png"]
    found = list(predict_files(brightness_model(), files))
    assert [one.class_name for one in found] == ["light", "dark", "light", ""]
    assert found[3].problem
    assert found[0].probability == max(found[0].probabilities) > 0.99
    assert list(predict_files(brightness_model(), [])) == []


def test_what_cannot_be_predicted_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no picture .*nowhere\.png"):
        find_pictures([tmp_path / "nowhere.png"])
    with pytest.raises(InputError, match="no pictures in"):
        find_pictures([tmp_path])
    with pytest.raises(InputError, match="takes 5 channels"):
        list(predict_files(brightness_model(5), [tmp_path / "a.png"]))
