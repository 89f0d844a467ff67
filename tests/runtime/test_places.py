"""Paths and addresses as users write them, and what messages show of addresses."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxnas.cli import main
from jaxnas.runtime.places import expand, is_address, to_path, without_secrets

SECRET = "abc/DEF@ghi+jkl="  # as real keys are


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PLACE", "there")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")  # JAX may have begun in this process
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("~/x", "/home/me/x"),
        ("~", "/home/me"),
        ("a/~", "a/~"),
        ("$PLACE/x", "there/x"),
        ("${PLACE}.csv", "there.csv"),
        ("$UNKNOWN/x", "$UNKNOWN/x"),
        ("file:///data/x", "/data/x"),
        ("FILE:///data/x", "/data/x"),
        ("s3://bucket/$PLACE/~", "s3://bucket/$PLACE/~"),
        (Path("~/x"), "/home/me/x"),
        ("digits", "digits"),
    ],
)
def test_a_place_is_expanded_as_a_shell_does(place, expected):
    assert expand(place) == expected
    assert to_path(place) == Path(expected)


def test_schemes_are_known_in_any_case():
    assert [is_address(text) for text in ("S3://bucket/x", "gs://b", "s3:/x", "C:/x")] == [True, True, False, False]


@given(st.text("ab/@:+=%", min_size=1).filter(lambda text: "secret" not in text))
def test_no_part_of_a_secret_is_shown(noise):
    shown = without_secrets(f"s3://user:secret{noise}secret@bucket/folder?key=secret")
    assert shown == "s3://bucket/folder"


def test_without_secrets_of_a_key_with_slash_and_at():
    assert without_secrets(f"s3://me:{SECRET}@bucket/x") == "s3://bucket/x"


@pytest.mark.parametrize(
    "args",
    [
        ["report", "~/none"],
        ["report", "$PLACE/none"],
        ["search", "--scores", "~/none.parquet"],
        ["search", "--table", "$PLACE/none.csv"],
        ["search", "--data", "~/none.npz"],
        ["score", "--archs", "~/none.txt"],
        ["search", "--plugin", "~/none.py"],
        ["train", "~/none"],
        ["compare", "--scores", "~/none.parquet"],
        ["export", "~/none", "--to", "torch"],
        ["predict", "~/none", "x.png"],
    ],
)
def test_every_option_and_argument_that_names_a_place_expands_it(args, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["jaxnas", *args])
    with pytest.raises(SystemExit) as stop:
        main()
    message = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2
    assert "/home/me/none" in message or "there/none" in message, message
