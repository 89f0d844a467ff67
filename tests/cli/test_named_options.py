"""Every option that a help text or a message names exists in the command where it appears."""

import ast
import re
from pathlib import Path

import pytest
import typer

import jaxnas
from jaxnas import cli

PACKAGE = Path(jaxnas.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
COMMANDS = typer.main.get_command(cli.app).commands
FLAGS = {name: {flag for one in command.params for flag in one.opts} for name, command in COMMANDS.items()}
EVERYWHERE = {"--help", "--version"}
OF_OTHER_PROGRAMS = {"--logdir", "--backend-store-uri", "--page"}  # of TensorBoard and MLflow, and a style of CSS
# Where the messages of a module, or of one of its functions or classes, appear.
WHERE = {
    "run.config:CompareConfig": ("compare",),
    "run.config": ("search",),
    "run.inherit:inherit": ("search",),  # of the search that is to be run again
    "cli.train:train": ("export",),  # the next command
    "models.find": ("train",),
    "run.find": ("score",),
    "run.inherit": ("train",),
    "run.own": ("search",),
    "run.search": ("search",),
    "run.sizes": ("search",),
    "run.supernet": ("search",),
    "runtime.distributed": ("score",),
    "runtime.ray_workers": ("search", "score", "compare"),
    "runtime.workers": ("search", "score", "compare"),
    "store.parts": ("score",),
    "store.tables": ("score",),
    "cli.terminal": ("score",),
    "cli.idle": ("search",),
    "cli.search:compare": ("compare",),
    "cli.search": ("search",),
}


def texts(tree):
    """Yield the strings of a module except docstrings and help texts, with the top-level name that they are in."""
    for top in tree.body:
        skipped = set()
        for node in ast.walk(top):
            is_help = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("setting", "Option", "Argument")
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if is_help or is_docstring:
                skipped.update(map(id, ast.walk(node)))
        for node in ast.walk(top):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
                yield getattr(top, "name", ""), node.value


def named():
    """Yield module, top-level name and option of every message."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for name, text in texts(ast.parse(path.read_text())):
            for option in set(OPTION.findall(text)) - OF_OTHER_PROGRAMS - EVERYWHERE:
                if (not name.isupper() and name != "") or not module.startswith(("run.sections", "objectives")):
                    yield module, name, option


MESSAGES = sorted(set(named()))


@pytest.mark.parametrize(("module", "name", "option"), MESSAGES)
def test_an_option_in_a_message_exists_where_the_message_appears(module, name, option):
    own = module.removeprefix("cli.") if module.startswith("cli.") else ""
    where = WHERE.get(f"{module}:{name}") or WHERE.get(module) or ((own,) if own in COMMANDS else ())
    assert where, f"add {module} to WHERE: its message names {option}"
    for command in where:
        assert option in FLAGS[command] or any(flag.startswith(f"{option}-") for flag in FLAGS[command])


def test_there_are_messages_that_name_options():
    assert {module.partition(".")[0] for module, _, _ in MESSAGES} >= {"cli", "run", "runtime", "store"}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_in_a_help_text_exists_in_its_command(command):
    for parameter in COMMANDS[command].params:
        text = getattr(parameter, "help", None) or ""
        for of_another, option in re.findall(rf"(?:jaxnas (\w+) )?({OPTION.pattern})", text):
            assert option in FLAGS[of_another or command], f"{parameter.name}: {option}"
