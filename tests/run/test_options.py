"""Any value of any setting: kept as JSON, or refused by one line; values that hypothesis makes."""

import json
from dataclasses import asdict, fields

import numpy as np
import pytest
from hypothesis import strategies as st

from jaxnas.objectives.config import TrainingConfig
from jaxnas.run.config import PLACES, CompareConfig, from_record, run_config
from jaxnas.scoring.config import ScoringConfig
from jaxnas.search.config import PredictorConfig, ProxyGPConfig, RobotConfig
from tests.edits import fuzzed, read_or_refuse

NUMBERS = st.integers() | st.floats() | st.integers(-3, 300).map(np.int64) | st.floats(-1, 9).map(np.float32)
ANY_VALUE = NUMBERS | st.text(max_size=8) | st.booleans() | st.lists(st.text(max_size=4) | st.integers(), max_size=3)


@fuzzed(flat=st.dictionaries(st.sampled_from([*PLACES, "seed"]), ANY_VALUE, min_size=1, max_size=2))
def test_any_value_of_any_setting_of_a_search_is_kept_as_json_or_refused_in_one_line(flat):
    def make():
        config = run_config(**flat)
        assert str(from_record(json.loads(json.dumps(config.record())))) == str(config)  # NaN prints as itself

    read_or_refuse(make, "")


@pytest.mark.parametrize(
    "kind", [TrainingConfig, CompareConfig, ScoringConfig, RobotConfig, ProxyGPConfig, PredictorConfig]
)
@fuzzed(draw=st.data())
def test_any_value_of_any_configuration_is_kept_as_json_or_refused_in_one_line(kind, draw):
    names = st.sampled_from([field.name for field in fields(kind)])
    given = draw.draw(st.dictionaries(names, ANY_VALUE, min_size=1, max_size=2))

    def make():
        config = kind(**given)
        record = json.loads(json.dumps(asdict(config), allow_nan=False))
        read = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
        assert kind(**read) == config

    read_or_refuse(make, "")
