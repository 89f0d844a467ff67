"""Output in a terminal of 80 columns, in a pipe and for a program, and how Ctrl-C ends a command."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from jaxnas import cli
from jaxnas.cli.stop import keeping, stoppable, this_command
from tests.edits import without_check

SMALL = ["--channels", "2", "--batch-size", "16", "--proxies", "snip,synflow"]
SEARCH = ["search", "--pool", "12", "--budget", "5", "--epochs", "1", *SMALL, "--track", "tensorboard", "--out", "a"]
TRAIN = ["train", "a", "--data", "digits", "--channels", "2", "--cells", "1", "--epochs", "1", "--out", "b"]
COMPARE = ["compare", "--table", "t.csv", "--column", "val", "--budget", "3", "--methods", "rank_aggregation,random"]
COMPARE += ["--seeds", "2", "--out", "c"]
CODE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder in which the commands run one after another."""
    import jaxnas

    folder = tmp_path_factory.mktemp("commands")
    archs = map(jaxnas.NASBENCH201.format, jaxnas.sample(jaxnas.NASBENCH201, 20, seed=1))
    (folder / "t.csv").write_text("".join(["arch,val\n", *(f"{arch},{n}\n" for n, arch in enumerate(archs))]))
    return folder


@pytest.fixture
def run(monkeypatch, capsys, folder):
    """Run the command with the usual width of a terminal; return exit code, stdout and stderr."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")  # the tests' process has started its devices
    monkeypatch.delenv("JAXNAS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(cli.console, "_width", 80)
    monkeypatch.setattr(cli.status, "_width", 80)

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["jaxnas", *args])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code or 0, *capsys.readouterr()

    return call


def may_be_long(line):
    """Text that users copy is not broken: an architecture, an address, a path."""
    return line.lstrip().startswith(("|", "address: ", "place: "))


SLOW = [pytest.param(args, marks=pytest.mark.slow) for args in (SEARCH, TRAIN, ["score", "--sample", "3", *SMALL])]


@pytest.mark.parametrize("args", [*SLOW, COMPARE, ["proxies"], ["data"]])
def test_80_columns_are_enough(run, args):
    code, out, err = run(*args)
    assert code == 0
    assert [line for line in out.splitlines() if len(line) > 80 and not may_be_long(line)] == []
    assert "…" not in out
    assert ("look at it with: tensorboard --logdir a/tensorboard" in out) == (args is SEARCH)
    assert "\x1b" not in out + err  # no terminal, no colours


def events(out):
    """Return the objects of the lines except notes; all lines must be JSON without NaN."""
    found = [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]
    return [event for event in found if event.get("event") != "note"]


@pytest.mark.slow
def test_json_of_a_search(run, folder):
    code, out, _ = run(*SEARCH[:-1], "json", "--json")
    assert code == 0
    found = events(out)
    first, second, *_, last = found
    assert (first["event"], first["stage"], first["total"], first["found"]) == ("start", "scoring", 12, 0)
    assert (second["event"], second["stage"]) == ("progress", "scoring")
    assert {"event": "start", "stage": "proxy_gp"} in found
    training = next(event for event in found if event.get("stage") == "training")
    assert {"rate", "eta_s", "epoch", "loss", "accuracy", "candidates"} <= training.keys()
    assert [event["number"] for event in found if event["event"] == "query"] == [1, 2, 3, 4, 5]
    assert (last["event"], last["out"]) == ("done", "json")
    assert last["result"] == without_check(json.loads((folder / "json" / "result.json").read_text()))
    assert last["result"]["command"] == shlex.join(["jaxnas", *SEARCH[:-1], "json", "--json"])


@pytest.mark.slow
def test_json_of_the_others(run, folder):
    code, out, _ = run(*COMPARE[:-1], "d", "--json")
    first, *_, last = events(out)
    assert (code, first) == (0, {"event": "start", "stage": "rank_aggregation", "total": 2, "found": 0})
    assert [row["method"] for row in last["result"]] == ["rank_aggregation", "random"]
    run(*SEARCH)
    code, out, _ = run(*TRAIN[:-1], "e", "--json")
    found = events(out)
    assert (code, found[0]) == (0, {"event": "start", "stage": "training"})
    assert found[-1]["result"] == json.loads((folder / "e" / "result.json").read_text())
    code, out, _ = run("data", "--json")
    digits, cifar10, *_ = events(out)
    assert (digits["present"], digits["place"]) == (True, None)
    assert (cifar10["name"], cifar10["present"]) == ("cifar10", False)


@pytest.mark.parametrize(
    "args",
    [
        ["search", "nowhere"],
        ["train", "x"],
        ["compare", "--methods", "x"],
        ["data", "get", "x"],
        ["score", "x"],
        ["search", "--track", "x"],
    ],
)
def test_a_mistake_under_json_is_one_line_on_stderr(run, args):
    code, out, err = run(*args, "--json")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def in_terminal(args, **variables):
    """Return what the command writes if stdout and stderr are a terminal."""
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "jaxnas.cli", *args]
    environment = {**os.environ, "TERM": "xterm-256color", **variables}
    process = subprocess.Popen(command, stdout=its, stderr=its, env=environment)
    os.close(its)
    written = b""
    while True:
        try:
            read = os.read(ours, 4096)
        except OSError:  # Linux's end of file
            break
        if not read:
            break
        written += read
    process.wait()
    os.close(ours)
    return written.decode()


def colours(text):
    return {number for code in CODE.findall(text) for number in map(int, code[2:-1].split(";")) if 30 <= number < 108}


def test_colours_are_for_terminals_without_no_color():
    for args in (["data"], ["search", "nowhere"]):
        assert colours(in_terminal(args, NO_COLOR=""))
        assert not colours(in_terminal(args, NO_COLOR="1"))


# A shell that runs the tests in the background makes them and their children ignore Ctrl-C.
STOPPABLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import jaxnas.cli as c; c.main()"


@pytest.mark.slow
def test_ctrl_c_while_a_program_compiles(tmp_path):
    args = ["search", "--out", "my run", "--pool", "40", "--channels", "3"]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen([sys.executable, "-c", STOPPABLE, *args], cwd=tmp_path, env=environment, **pipes)
    assert process.stderr.readline().startswith("each candidate trains")
    assert process.stderr.readline().startswith("scoring: the program compiles first")
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == f"stopped: finished work is kept in my run; resume with: {shlex.join(['jaxnas', *args])}\n"


def test_credentials_are_not_told(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["jaxnas", "score", "--out=s3://me:secret@bucket/a?key=secret", "--sample", "2"])
    assert this_command().startswith("jaxnas score --out=s3://bucket/a --sample 2  (add the credentials")
    monkeypatch.setattr(os, "_exit", lambda code: None)
    with stoppable(), keeping("s3://me:secret@bucket/a?key=secret"):
        raise KeyboardInterrupt
    told = capsys.readouterr().err
    assert told.startswith("stopped: finished work is kept in s3://bucket/a; resume with: jaxnas score")
    assert "secret" not in told
