"""Settings of a final training: the values of a recipe, and the user's values that replace them."""

import json

import pytest

from jaxnas.errors import InputError
from jaxnas.run.train import train_config

DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), "
    "('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)


def test_the_recipe_of_darts():
    config = train_config(DARTS_V2)
    assert (config.space, config.training.epochs, config.training.batch_size) == ("darts", 600, 96)
    assert dict(config.network) == {"channels": 36, "cells_per_stage": 6, "auxiliary": True}
    without = train_config(DARTS_V2, network={"channels": 4}, auxiliary_weight=0.0, epochs=3)
    assert dict(without.network) == {"channels": 4, "cells_per_stage": 6, "auxiliary": False}
    assert without.training.epochs == 3


def test_spaces_without_a_recipe_take_nasbench201s():
    config = train_config("64-41414-0_00_000")
    assert (config.space, config.network, config.training.batch_size) == ("transnas101-micro", (), 256)


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"config": {"space": "darts"}, "outcomes": {}})])
def test_a_search_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(InputError, match=r"result\.json is damaged"):
        train_config(str(tmp_path))
