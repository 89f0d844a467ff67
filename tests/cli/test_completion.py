"""Shell completion as bash and zsh request it, and the help of every command, whose examples must parse."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import jaxnas
from jaxnas.cli import app

JAXNAS = Path(sys.executable).with_name("jaxnas")


def complete(line, shell="bash", **variables):
    """Return the completions that the shell gets for the last word of the line."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_TYPER_COMPLETE_ARGS": line}
    told = subprocess.run(
        [JAXNAS],
        env={**os.environ, **words, **variables, "_JAXNAS_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stderr == ""
    return told.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("jaxnas se", ["search"]),
        ("jaxnas search trans", ["transnas101-micro", "transnas101-macro"]),
        ("jaxnas search --method re", ["rea", "reinforce"]),
        ("jaxnas search --proxies snip,grasp,s", ["snip,grasp,synflow", "snip,grasp,synflow_no_bn"]),
        ("jaxnas search transnas101-micro --scores j", ["jigsaw"]),
        ("jaxnas search --track tensorboard,", ["tensorboard,mlflow"]),
        ("jaxnas score --strategy l", ["loop"]),
        ("jaxnas data get c", ["cifar10", "cifar100"]),
    ],
)
def test_bash(line, expected):
    assert complete(line)[: len(expected)] == expected


def test_zsh():
    assert '"float32"' in complete("jaxnas score --precision f", "zsh")[-1]


@pytest.mark.parametrize(
    ("command", "option", "first"),
    [
        *(("score", "data", "digits"), ("search", "compare", "robot"), ("search", "table", "nasbench201")),
        *(("compare", "scores", "cifar10"), ("compare", "methods", "robot"), ("train", "space", "nasbench201")),
        *(("search", "preset", "default"), ("search", "normalization", "minmax"), ("search", "engine", "local")),
        *(("score", "task", "class_scene"), ("score", "init", "shared"), ("score", "strategy", "auto")),
    ],
)
def test_options_complete(command, option, first):
    found = typer.main.get_command(app).commands[command]
    (parameter,) = (one for one in found.params if one.name == option)
    with found.make_context(command, ["x"] if command == "train" else []) as context:
        assert parameter.shell_complete(context, "")[0].value == first


def test_it_can_be_shown_and_installed(tmp_path):
    def ask(option):
        command = ["bash", "-c", f"{shlex.quote(str(JAXNAS))} {option}; exit $?"]  # it detects its shell
        variables = {**os.environ, "HOME": str(tmp_path)}
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout

    assert "_JAXNAS_COMPLETE=complete_bash" in ask("--show-completion")
    assert "completion installed in" in ask("--install-completion")
    assert "complete_bash" in next((tmp_path / ".bash_completions").iterdir()).read_text()


def test_nothing_heavy_is_imported_for_it():
    """The command line by itself imports neither JAX nor pyarrow."""
    code = "import sys, types; jaxnas = types.ModuleType('jaxnas'); jaxnas.__path__ = sys.argv[1:]\n"
    code += "sys.modules['jaxnas'] = jaxnas; import jaxnas.cli; print('jax' in sys.modules, 'pyarrow' in sys.modules)"
    told = subprocess.check_output([sys.executable, "-c", code, *jaxnas.__path__], text=True)
    assert told.split() == ["False", "False"]


def commands(command, path=()):
    """Return all commands with the words that a user types for them."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


COMMANDS = {" ".join(path): command for path, command in commands(typer.main.get_command(app)) if path}


def test_all_commands_are_known():
    expected = {"score", "search", "train", "compare", "report", "proxies", "data", "data get"}
    assert COMMANDS.keys() >= expected


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_the_help_can_be_parsed(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    examples = re.findall(r"^ +jaxnas (.*)", COMMANDS[name].help, re.MULTILINE)
    assert examples
    assert any(f"{example} ".startswith(f"{name} ") for example in examples)
    for example in examples:
        path, command, arguments = [], typer.main.get_command(app), shlex.split(example)
        while arguments and arguments[0] in getattr(command, "commands", {}):
            command = command.commands[arguments[0]]
            path.append(arguments.pop(0))
        command.make_context(" ".join(path), arguments)


def test_the_same_option_has_the_same_help():
    found = {}
    for name, command in COMMANDS.items():
        for parameter in command.params:
            about = getattr(parameter, "help", None) or ""
            found.setdefault(parameter.name, {})[name] = about.split(" Default: ")[0]
    differ = {option for option, helps in found.items() if len(set(helps.values())) > 1}
    assert differ == {
        "batch_size",  # batch size of the proxies, and of a training
        "budget",  # architectures to train, or to look up; `compare` only looks up
        "column",  # `compare` maximises alone
        "space",  # argument of `train` after the architecture
        "out",  # a folder; for `score` also an address; for `report` a file
        "proxies",  # `compare` also takes names that scores of the user have
    }
