"""Errors in one line."""

import pickle

import pytest

from jaxnas.errors import InputError, first_line, unknown_name


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError("no columns\nin row 3"), "no columns"),
        (ValueError("\n  late \n"), "late"),
        (KeyError("name"), "'name'"),
        (EOFError(), "EOFError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_the_first_line_of_an_exception_or_its_class(error, shown):
    assert first_line(error) == shown
    assert first_line(EOFError(), "no details") == "no details"


def test_an_unknown_name_suggests_the_nearest():
    assert str(unknown_name("proxy", "Snp", ["snip", "plain"])) == (
        "unknown proxy 'Snp': did you mean 'snip'? choose from snip, plain"
    )


@pytest.mark.parametrize("name", ["a\nb", "a\r\nb", "a\x0bb", "a\u2028b"])
def test_a_message_is_one_line_whatever_the_names_in_it(name):
    error = InputError(f"no column {name}: rename one")
    assert str(error) == "no column a b: rename one"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
