"""Any value of any setting of a search: kept as JSON, or refused by one line; values that hypothesis makes."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnas.run.config import PLACES, from_record, run_config
from tests.edits import read_or_refuse

NUMBERS = st.integers() | st.floats() | st.integers(-3, 300).map(np.int64) | st.floats(-1, 9).map(np.float32)
ANY_VALUE = NUMBERS | st.text(max_size=8) | st.booleans() | st.lists(st.text(max_size=4) | st.integers(), max_size=3)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from([*PLACES, "seed"]), ANY_VALUE, min_size=1, max_size=2))
def test_any_value_of_any_setting_is_kept_as_json_or_refused_in_one_line(flat):
    def make():
        config = run_config(**flat)
        assert str(from_record(json.loads(json.dumps(config.record())))) == str(config)  # NaN prints as itself

    read_or_refuse(make, "")
