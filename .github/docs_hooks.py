"""What the site says of the code is read from the code while it is built: help texts, proxies, names, docstrings.

A page has a line `<!-- generated: NAME -->` where the function of GENERATED with that name puts its Markdown. The
docstrings' compact sections ("Args: one, what it is; two, ...") and the comments behind fields become lists.
"""

import io
import json
import os
import re
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 84  # characters of a help text that fit a page
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")  # colours, which typer forces on in GitHub's actions


def command_line() -> str:
    """The help text of every command, as `--help` prints it."""
    import typer

    from jaxnas.cli import app

    command = typer.main.get_command(app)
    return "\n".join(_help_of(command, command.make_context("jaxnas", ["--help"], resilient_parsing=True), "jaxnas"))


def _help_of(command, context, path):
    with patch.dict(os.environ, COLUMNS=str(WIDTH)), redirect_stdout(io.StringIO()) as printed:
        command.format_help(context, context.make_formatter())
    lines = map(str.rstrip, ESCAPE.sub("", printed.getvalue()).strip().splitlines())
    text = "\n".join(lines)
    yield f"## `{path}`\n\n```text\n{text}\n```\n"
    for name, child in getattr(command, "commands", {}).items():
        inner = child.make_context(name, [], parent=context, resilient_parsing=True)
        yield from _help_of(child, inner, f"{path} {name}")


def proxy_table() -> str:
    """A row for each proxy, as `jaxnas proxies` lists them."""
    from jaxnas.proxies import PROXIES, about

    rows = ["| proxy | reads | passes forward / backward | sees | better | source |", "|---|---|---|---|---|---|"]
    for name, proxy in PROXIES.items():
        line = about(name)
        link = f"[`{name}`][{proxy.__module__}.{proxy.__name__}]"
        needs = ", ".join(f"`{need}`" for need in line.needs)
        better = "higher" if line.higher_is_better else "lower"
        rows.append(
            f"| {link} | {needs} | {line.forward:g} / {line.backward:g} | {line.sees} | {better} | {line.source} |"
        )
    return "\n".join(rows) + "\n"


def proxy_sets() -> str:
    """A row for each set of proxies that has a name."""
    from jaxnas.proxies import PROXY_SETS

    rows = [f"| `{name}` | {', '.join(f'`{member}`' for member in members)} |" for name, members in PROXY_SETS.items()]
    return "| set | proxies |\n|---|---|\n" + "\n".join(rows) + "\n"


def public_names() -> dict[str, str]:
    """Every name of `jaxnas.__all__`, and the module that defines it."""
    import jaxnas

    package = griffe.load("jaxnas", search_paths=[ROOT], resolve_aliases=True, allow_inspection=False)
    defined = {}
    for name in jaxnas.__all__:
        found = package[name].final_target if package[name].is_alias else package[name]
        # A module may be called like what it defines: then the name of the package is that of the latter.
        defined[name] = found.path if found.is_module else found.parent.path
    return defined


def name_table() -> str:
    """A row for each public name, with a link to its entry."""
    rows = [f"| [`jaxnas.{name}`][{module}.{name}] | `{module}` |" for name, module in public_names().items()]
    return "| name | defined in |\n|---|---|\n" + "\n".join(rows) + "\n"


GENERATED = {function.__name__: function for function in (command_line, proxy_table, proxy_sets, name_table)}


def on_page_markdown(markdown, page, config, files):
    """Called by MkDocs with the text of each page."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda found: GENERATED[found[1]](), markdown)


def on_files(files, config):
    """Called by MkDocs with all files: adds pictures of experiments, and a page for every notebook beside itself."""
    for picture in (ROOT / "experiments" / "results").glob("*.png"):
        files.append(File.generated(config, f"figures/{picture.name}", abs_src_path=str(picture)))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        content = notebook_page(json.loads(notebook.content_string), Path(notebook.src_uri).name)
        files.append(File.generated(config, notebook.src_uri.replace(".ipynb", ".md"), content=content))
    return files


def notebook_page(notebook: dict, name: str) -> str:
    """The cells of a notebook as Markdown, with the text and the pictures that they print."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        text = ""
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                parts.append(f"![what the cell draws](data:image/png;base64,{''.join(data['image/png']).strip()})")
            else:
                text += "".join(output.get("text", data.get("text/plain", "")))
        if text:
            parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join([*parts, f"[This page as a notebook]({name})"]) + "\n"


class PlainDocstrings(griffe.Extension):
    """Docstrings as the reference shows them."""

    def on_instance(self, *, obj, **_):
        """Called by griffe for every module, class, function and attribute."""
        if obj.is_alias:
            return
        if obj.docstring:
            names = [parameter.name for parameter in obj.parameters] if obj.is_function else []
            obj.docstring.value = without_links(open_sections(obj.docstring.value, names))
        elif obj.is_attribute and obj.lineno:
            comment = COMMENT.search(obj.lines_collection[obj.filepath][obj.lineno - 1])
            if comment:
                text = comment[1][:1].upper() + comment[1][1:]
                obj.docstring = griffe.Docstring(without_links(text), parent=obj)

    def on_class_members(self, *, cls, **_):
        """Called by griffe once a class is read: its fields become a list in the text of the class."""
        if "__post_init__" in cls.members:
            cls["__post_init__"].public = False
        items = []
        for field in cls.attributes.values():
            if field.is_alias or field.annotation is None or "property" in field.labels:
                continue
            field.public = False  # no entry of its own
            default = "" if field.value is None else f" = `{field.value}`"
            text = f": {field.docstring.value}" if field.docstring else ""
            items.append(f"- `{field.name}` (`{field.annotation}`){default}{text}")
        if items:
            text = cls.docstring.value if cls.docstring else ""
            cls.docstring = griffe.Docstring(f"{text}\n\n**Fields:**\n\n" + "\n".join(items), parent=cls)


COMMENT = re.compile(r"(?<=\s)# (?!type:|noqa)(.*?)\s*(?:# (?:type:|noqa).*)?$")
ARGUMENT = re.compile(r"(?P<name>\w+)(?P<shape> \[[^]]*\])?, (?P<what>.*)")
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Source): (?=\S)")


def open_sections(text: str, names: list[str]) -> str:
    """A section that begins on the line of its title is a paragraph; of arguments, a list of those it names."""
    lines, out = text.splitlines(), []
    while lines:
        line = lines.pop(0)
        found = SECTION.match(line)
        if not found:
            out.append(line)
            continue
        body = [line[found.end() :]]
        while lines and lines[0].startswith("  "):
            body.append(lines.pop(0).strip())
        if found[1] == "Source":  # goes on without an indentation
            while lines and lines[0].strip() and not SECTION.match(lines[0]):
                body.append(lines.pop(0).strip())
        said = " ".join(body)
        items = _items(said, names) if found[1] == "Args" else []
        out += ["", f"**{found[1]}:**", "", *items] if items else ["", f"**{found[1]}:** {said}"]
        out.append("")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()


def without_links(text: str) -> str:
    """Brackets are shapes, [A M], and no links; code keeps them as they are."""
    lines = []
    for line in text.splitlines():
        parts = [line] if line.startswith("    ") else line.split("`")
        lines.append("`".join(part if number % 2 else part.replace("[", r"\[") for number, part in enumerate(parts)))
        if line.startswith("    "):
            lines[-1] = line
    return "\n".join(lines)


def _items(said, names):
    items = []
    for part in said.split("; "):
        found = ARGUMENT.match(part)
        if found and found["name"] in names:
            items.append(f"- `{found['name']}`{found['shape'] or ''}: {found['what']}")
        elif items:
            items[-1] += f"; {part}"
        else:
            return []
    return items
