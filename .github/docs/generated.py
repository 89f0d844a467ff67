"""What the site reads from the code while Sphinx builds it: help texts, proxies, modules, fields.

A page has a line `<!-- generated: NAME ARGUMENTS -->` where the function of GENERATED with that name puts its Markdown.
"""

import dataclasses
import inspect
import pkgutil
import re

WIDTH = 84  # characters of a help text that fit a page


def command_line() -> str:
    """Return the help text of every command, as `--help` prints it."""
    import typer

    from jaxnas.cli import app

    return "\n".join(_help_of(app, typer.main.get_command(app), []))


def _help_of(app, command, path):
    from typer.testing import CliRunner

    printed = (
        CliRunner(env={"COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH)})
        .invoke(app, [*path, "--help"], prog_name="jaxnas")
        .output
    )
    yield f"## `{' '.join(['jaxnas', *path])}`\n\n```text\n{printed.strip()}\n```\n"
    for name, child in getattr(command, "commands", {}).items():
        yield from _help_of(app, child, [*path, name])


def proxy_table() -> str:
    """Return a row for each proxy, as `jaxnas proxies` lists them."""
    from jaxnas.proxies import PROXIES, about

    rows = ["| proxy | reads | passes forward / backward | sees | better | source |", "|---|---|---|---|---|---|"]
    for name, proxy in PROXIES.items():
        line = about(name)
        link = f"{{any}}`{name} <{proxy.__module__}.{proxy.__name__}>`"
        needs = ", ".join(f"`{need}`" for need in line.needs)
        better = "higher" if line.higher_is_better else "lower"
        rows.append(
            f"| {link} | {needs} | {line.forward:g} / {line.backward:g} | {line.sees} | {better} | {line.source} |"
        )
    return "\n".join(rows) + "\n"


def proxy_sets() -> str:
    """Return a row for each set of proxies that has a name."""
    from jaxnas.proxies import PROXY_SETS

    rows = [f"| `{name}` | {', '.join(f'`{member}`' for member in members)} |" for name, members in PROXY_SETS.items()]
    return "| set | proxies |\n|---|---|\n" + "\n".join(rows) + "\n"


def modules(package: str) -> str:
    """Return an entry for each module of a package and of its packages; of `jaxnas` itself, only the single modules."""
    entry = "## `{0}`\n\n```{{eval-rst}}\n.. automodule:: {0}\n   :ignore-module-all:\n```\n"
    return "\n".join(entry.format(name) for name in module_names(package))


def module_names(package: str) -> list[str]:
    """Return the names of a package's modules, the package first; of `jaxnas`, of those that no folder holds."""
    root = __import__(package, fromlist=["__path__"])
    if package == "jaxnas":
        names = [f"jaxnas.{found.name}" for found in pkgutil.iter_modules(root.__path__) if not found.ispkg]
    else:
        names = [package, *(found.name for found in pkgutil.walk_packages(root.__path__, f"{package}."))]
    return [name for name in names if not name.rpartition(".")[2].startswith("_")]


GENERATED = {function.__name__: function for function in (command_line, proxy_table, proxy_sets, modules)}
PLACEHOLDER = re.compile(r"<!-- generated: (\w+) ?([\w.]*) -->")


def fill_page(app, name, source):
    """Put what is generated into a page (Sphinx event `source-read`)."""
    source[0] = PLACEHOLDER.sub(lambda found: GENERATED[found[1]](*found[2].split()), source[0])


FIELD = re.compile(r"^    (\w+): [^#\n]*(?:#:? (?!type:|noqa)(.*?))?\s*(?:# (?:type:|noqa).*)?$", re.MULTILINE)
CODE = re.compile(r"(`[^`]*`)")


def add_fields(app, what, name, obj, options, lines):
    """List the fields of a class with the comments behind them, where its docstring has no section of attributes."""
    if what != "class" or not (dataclasses.is_dataclass(obj) or hasattr(obj, "_fields")):
        return
    if any(line.strip() == "Attributes:" for line in lines):
        return
    try:
        fields = dict(FIELD.findall(inspect.getsource(obj)))
    except OSError:
        return
    documented = [f"    {field}: {text}" for field, text in fields.items() if text and not field.startswith("_")]
    if documented:
        lines += ["", "Attributes:", *documented, ""]


TITLE = re.compile(r"\w+:$")
SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Source): \S")


def plain_text(app, what, name, obj, options, lines):
    """Make plain text of what reStructuredText would read as markup: bars, asterisks, trailing underscores, tables."""
    made, compact, code = [], False, False  # compact: in a section that begins on the line of its title
    for line in lines:
        before = made[-1] if made else ""
        text = next((earlier for earlier in reversed(made) if earlier), "")
        compact = bool(SECTION.match(line)) or (compact and line.startswith("  "))
        begins_code = line.startswith("    ") and not before and not text.startswith(" ") and not TITLE.match(text)
        code = begins_code or (code and (not line or line.startswith("    ")))
        if begins_code:
            made += [line] if text.endswith("::") else ["::", "", line]
        elif code:
            made.append(line)
        elif line.startswith("|"):  # a Markdown table stays as it is written
            made += [f"    {line}"] if before.startswith("    |") else ["::", "", f"    {line}"]
        elif SECTION.match(line):
            made += ["", _escaped(line)]
        else:
            made.append(_escaped(line.strip() if compact else line))
    lines[:] = made


def _escaped(line):
    parts = CODE.split(line)
    parts[::2] = [re.sub(r"[|*]|(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def escape_types(app, what, name, obj, options, lines):
    """Escape the asterisks of the types that napoleon read from annotations, such as `Float[Array, "*T M"]`."""
    lines[:] = [line.replace("*", "\\*") if ":type:" in line else line for line in lines]


def skip_member(app, what, name, obj, skip, options):
    """Leave out the fields of named tuples, whose docstrings are Python's own."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app):
    """Connect the functions of this module (called by Sphinx)."""
    app.connect("source-read", fill_page)
    app.connect("autodoc-process-docstring", add_fields, priority=100)
    app.connect("autodoc-process-docstring", plain_text, priority=200)
    app.connect("autodoc-process-docstring", escape_types, priority=800)
    app.connect("autodoc-skip-member", skip_member)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
