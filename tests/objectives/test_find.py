"""The tables that users name, and the test column that belongs to a column of NAS-Bench-201."""

import pytest

from jaxnas.cli.command import Given
from jaxnas.cli.options import columns_of
from jaxnas.errors import InputError
from jaxnas.objectives.find import find_table, matching_test_column


@pytest.mark.parametrize(
    ("column", "test"),
    [
        ("c10_valid_val_12", "robot_c10_test"),
        ("natsbench_c10_test_200", "robot_c10_test"),
        ("c100_val_12", "robot_c100_test"),
        ("im120_val_200", "robot_im120_test"),
        ("params_M", ""),
    ],
)
def test_the_reported_accuracy_is_of_the_data_set_of_the_column(column, test):
    assert matching_test_column(column) == test
    assert columns_of("nasbench201", Given({"column": column})) == {"column": column, "test_column": test}
    assert columns_of("nasbench201", Given({"column": column, "test_column": "t"}))["test_column"] == "t"


def test_other_tables_have_no_default_columns():
    assert columns_of("mine.csv", Given({"column": "c10_val"})) == {"column": "c10_val", "test_column": ""}
    assert columns_of("nasbench201", Given({})) == {"column": "c10_valid_val_12", "test_column": "robot_c10_test"}


def test_a_table_is_a_known_name_or_a_file(tmp_path):
    (tmp_path / "mine.csv").write_text("arch,acc\n")
    find_table("nasbench201")
    find_table(str(tmp_path / "mine.csv"))
    with pytest.raises(InputError, match=r"none\.csv: no such file; give a table \.csv"):
        find_table(str(tmp_path / "none.csv"))
