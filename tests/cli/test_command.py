"""Options generated from dataclasses: their help, their checks and their speed."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from jaxnas.cli import app, main
from jaxnas.cli.command import Given, only, takes
from jaxnas.errors import InputError
from jaxnas.run.config import CompareConfig
from jaxnas.run.sections import NetworkConfig, ProblemConfig, SearchConfig
from jaxnas.runtime.names import MethodName, names
from jaxnas.runtime.settings import REQUIRED, setting, settings_of
from jaxnas.scoring.config import ScoringConfig

PANELS = ["Arguments", "Options", "What", "Budget", "Data", "Hardware", "Output"]


@dataclass(frozen=True)
class Toy:
    """Options with one field of each kind."""

    arch: str = setting(REQUIRED, "An architecture.", argument=True)
    method: MethodName = setting("robot", "A method.")
    methods: tuple[MethodName, ...] = setting((), "Methods.", kind="method")
    prices: tuple[int, ...] = setting((), "Prices.", "Budget")
    size: float | None = setting(None, "A size.", "Data", minimum=0.5)
    everything: bool = setting(False, "All of it.", "Output", flag="--all")
    place: Path | None = setting(None, "A folder.", "Output")


def call(*arguments, **groups):
    """Return the options that a command with these arguments gets."""
    received = []

    def command(toy, given):
        received.append((toy, given))

    application = typer.Typer()
    application.command()(
        takes("size", **(groups or {"toy": Toy, "given": (only(NetworkConfig, "channels"),)}))(command)
    )
    result = CliRunner().invoke(application, arguments)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return received[0] if received else result.output


def test_values_reach_the_dataclass():
    toy, given = call("a", "--method", "rea", "--methods", "rea, random", "--prices", "3,4", "--all", "--place", "b")
    assert toy == Toy("a", "rea", ("rea", "random"), (3, 4), None, True, Path("b"))
    assert given == {}


def test_what_is_not_given_keeps_its_default():
    toy, given = call("a", "--size", "0.5", "--channels", "4")
    assert toy == Toy("a", size=0.5)
    assert given == Given(channels=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "robt"], "unknown method 'robt': did you mean 'robot'? choose from robot, "),
        (["--methods", "rea,randm"], "unknown method 'randm': did you mean 'random'?"),
        (["--prices", "3,x"], "`--prices` must be whole numbers separated by commas, got 'x'"),
        (["--size", "0.25"], "`--size` must be at least 0.5, got 0.25"),
        (["--channels", "0"], "`--channels` must be at least 1, got 0"),
        (["--methods", ""], "`--methods` must not be empty, got ''"),
        (["--methods", " ,"], "`--methods` must not be empty, got ' ,'"),
        (["--method", ""], "`--method` must not be empty, got ''"),
    ],
)
def test_a_value_that_does_not_fit_is_named(arguments, message):
    with pytest.raises(InputError) as error:
        call("a", *arguments)
    assert message in str(error.value)


def test_two_options_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two options of one name"):
        takes(first=(SearchConfig,), second=(only(CompareConfig, "budget"),))


def help_of(*command):
    """Return the help of a command as printed into a pipe of 80 columns."""
    code = "import sys, jaxnas.cli as cli; sys.argv[0] = 'jaxnas'; cli.main()"
    environment = {"COLUMNS": "80", "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    arguments = [sys.executable, "-c", code, *command, "--help"]
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("command", ["search", "score", "train", "compare"])
def test_help_has_panels_in_order_and_fits_80_columns(command):
    text = help_of(command)
    panels = re.findall(r"╭─ (\w+) ─", text)
    assert panels == [panel for panel in PANELS if panel in panels]
    assert panels[:2] == PANELS[:2]
    first = re.findall(r"│ --([\w-]+)", text[text.index("╭─ Options") : text.index("╭─ What")])
    assert len(first) == 4  # the space or the architecture, three options, the help
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "…" not in text
    examples = typer.main.get_command(app).commands[command].help.split("Examples:")[1]
    assert all(line in text for line in examples.splitlines())  # on one line


def test_help_lists_every_choice():
    text = " ".join(help_of("search").replace("│", " ").split())
    for alias in (MethodName, *(ScoringConfig.__annotations__[name] for name in ("init", "precision", "strategy"))):
        assert f"One of {', '.join(names(alias))}." in text
    spaces = "nasbench201, nasbench101, transnas101-micro, transnas101-macro, darts, mobilenet, autoformer-tiny"
    assert f"One of {spaces}, natsbench-size." in text


def test_every_field_that_is_declared_is_an_option():
    search = typer.main.get_command(app).commands["search"]
    options = {parameter.name for parameter in search.params}
    assert options >= {name for config in (ProblemConfig, SearchConfig, NetworkConfig) for name in settings_of(config)}


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--help"], 0, ""),
        (["search", "--help"], 0, ""),
        (["search", "--method", "robt"], 2, "error: unknown method 'robt': did you mean 'robot'?"),
        (["search", "nasbench20"], 2, "error: unknown search space 'nasbench20': did you mean 'nasbench201'?"),
        (["score", "--strategy", "lop"], 2, "error: unknown strategy 'lop': did you mean 'loop'?"),
        (["train", "x", "dart"], 2, "error: unknown search space 'dart': did you mean 'darts'?"),
        (["compare", "--methods", "robot,reaa"], 2, "error: unknown method 'reaa': did you mean 'rea'?"),
    ],
)
def test_help_and_wrong_choices_come_without_jax(arguments, code, expected):
    program = (
        "import atexit, sys, jaxnas.cli as cli\n"
        "atexit.register(lambda: print({'jax', 'numpy', 'pyarrow'} & set(sys.modules)))\n"
        "cli.main()"
    )
    result = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert result.returncode == code
    assert result.stdout.endswith("set()\n")
    assert result.stderr.startswith(expected)
    assert result.stderr.count("\n") == (1 if code else 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "--bogus"], "error: No such option: --bogus"),
        (["search", "--pool", "many"], "error: Invalid value for '--pool'"),
        (["serch"], "error: No such command 'serch'"),
        (["train"], "error: Missing argument 'arch'"),
        (["search", "nasbench301"], "error: unknown search space 'nasbench301'"),
    ],
)
def test_wrong_usage_is_one_line(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["jaxnas", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    captured = capsys.readouterr()
    assert (stopped.value.code, captured.out) == (2, "")
    assert captured.err.startswith(message)
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("other", [["--all"], ["--archs", "archs.txt"]])
def test_two_choices_of_architectures_are_refused(other, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["jaxnas", "score", "--sample", "3", *other])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == f"error: --sample and {other[0]} exclude each other: give one of them\n"
