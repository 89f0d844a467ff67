"""What objectives may return, and commands as objectives."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.objectives.call import command_objective, to_objective
from jaxnas.runtime.calls import CommandFailed
from tests.integration import require


@pytest.mark.parametrize(
    "value",
    [2, 2.0, np.float32(2), np.int64(2), np.array([2.0]), np.array(2), jnp.float32(2), (2,), [2.0], {"accuracy": 2.0}],
)
def test_one_number_in_any_form_is_taken(value):
    found = to_objective(value)
    assert (found, type(found)) == (2.0, float)


def test_a_tensor_of_torch_is_taken():
    torch = require("torch")
    assert to_objective(torch.tensor(2.0)) == to_objective(torch.tensor([2.0])) == 2.0


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, r"None \(NoneType\)"),
        ((1, 2), r"\(1, 2\) \(tuple\)"),
        ({"a": 1, "b": 2}, "dict"),
        ("93.1", r"'93.1' \(str\)"),
        (np.zeros(2), "ndarray"),
        (True, "True"),
        ([], "list"),
        (object, "type"),
    ],
)
def test_what_is_not_one_number_is_refused_by_its_name(value, shown):
    with pytest.raises(InputError, match=f"an objective must return one number, got .*{shown}") as error:
        to_objective(value)
    assert "\n" not in str(error.value)


PRINTS = "import sys; print('epoch 1'); print(len(open(sys.argv[1]).read().strip())); print()"


def command(code, *arguments):
    return " ".join([sys.executable, "-c", f'"{code}"', *arguments])


def test_the_last_line_of_a_command_is_the_objective():
    assert command_objective(command(PRINTS, "{arch_file}"))("a b'c") == 5
    echo = command_objective(command("import sys; print(len(sys.argv[1]))", "{arch}"))
    assert echo("$HOME; x") == 8  # no shell reads it


@pytest.mark.parametrize(
    ("code", "seconds", "message"),
    [
        ("raise SystemExit(3)", None, "ended with exit status 3"),
        ("print('no')", None, "its last line must be a number, got 'no'"),
        ("pass", None, "its last line must be a number, got ''"),
        ("import time; time.sleep(60)", 0.3, "took longer than 0.3 s"),
    ],
)
def test_commands_that_fail(code, seconds, message):
    with pytest.raises(CommandFailed, match=message):
        command_objective(command(code, "{arch}"), seconds)("x")


@pytest.mark.parametrize(
    ("text", "message"),
    [("train.py", "must have {arch_file} or {arch}"), ("train '{arch}", "No closing quotation")],
)
def test_command_lines_that_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        command_objective(text)
    with pytest.raises(InputError, match="cannot run 'no-such-program'"):
        command_objective("no-such-program {arch}")("x")


@pytest.mark.parametrize("value", [np.ma.masked, np.ma.array([1.0], mask=[True]), [np.ma.masked]])
def test_a_masked_number_is_a_failure(value):
    assert np.isnan(to_objective(value))


@pytest.mark.parametrize("value", [np.timedelta64(5), np.datetime64("2020-01-01"), np.array([5], "m8[ns]")])
def test_times_are_not_numbers(value):
    with pytest.raises(InputError, match="must return one number"):
        to_objective(value)
