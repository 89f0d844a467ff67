"""Any arguments of a command that reads a folder: one line and exit code 2; arguments that hypothesis makes."""

import sys

import pytest
from hypothesis import strategies as st

from jaxnas.cli import main
from tests.edits import fuzzed

FLAGS = [
    "--to",
    "--out",
    "--untrained",
    "--data-folder",
    "--csv",
    "--json",
    "--to=onnx",
    "--to=torch",
    "--out=x",
    "-x",
    "--",
]
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
ARGUMENTS = WORDS | st.sampled_from([*FLAGS, ".", "/", "model", "pictures", "~", "$HOME", "s3://a/b", "file:///x", "1"])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in a folder that has folders without a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")
    for name in ("model", "pictures"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize("command", ["export", "predict", "report", "train"])
@fuzzed(arguments=st.lists(ARGUMENTS, max_size=4))
def test_any_arguments_are_refused_by_one_line(command, here, capsys, monkeypatch, arguments):
    monkeypatch.setattr(sys, "argv", ["jaxnas", command, *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sorted(path.name for path in here.iterdir()) == ["model", "pictures"]
