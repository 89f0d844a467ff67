"""Errors in one line."""

import pytest

from jaxnas.errors import first_line, unknown_name


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
