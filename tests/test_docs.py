"""The site's pages: their code runs and prints what they say, the reference is complete, every script has its numbers.

Blocks of a page run from top to bottom in one folder: `python` in one namespace, `bash` blocks with a line that calls
`jaxnas` by bash, with the real command; the port in them becomes a free one. A `text` block that follows is what they
print, line by line: spaces and seconds may differ, and a line "..." stands for any lines. Behind the comment
`<!-- prints: like -->` all numbers and architectures may differ: they come from a training.
"""

import contextlib
import importlib.util
import io
import itertools
import json
import os
import pkgutil
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import jaxnas
from tests.integration import require, require_installed

ROOT = Path(__file__).parents[1]
DOCS = ROOT / ".github" / "docs"
if not DOCS.is_dir():
    pytest.skip("a source distribution has no pages", allow_module_level=True)

BLOCK = re.compile(r"^```(python|bash|text)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^jaxnas ", re.MULTILINE)  # marks a block that is run
LIKE = "<!-- prints: like -->"
PORT = "9876"

MARKS = {
    "differences.md": (),
    "index.md": pytest.mark.slow,  # runs a search with the default settings
    "methods.md": pytest.mark.slow,
    "reference/api.md": pytest.mark.slow,
    "tutorials/first-search.ipynb": pytest.mark.slow,
    "tutorials/limits.md": pytest.mark.slow,
    "tutorials/mobilenet.md": pytest.mark.slow,
    "tutorials/nasbench101.md": (),
    "tutorials/own-images.md": pytest.mark.slow,
    "tutorials/own-method.md": (),
    "tutorials/own-objective.md": pytest.mark.slow,
    "tutorials/own-proxy.md": pytest.mark.slow,
    "tutorials/own-space.md": pytest.mark.slow,
    "tutorials/own-table.md": pytest.mark.slow,
    "tutorials/picture-folder.md": pytest.mark.slow,
    "tutorials/read-a-report.md": pytest.mark.slow,
    "tutorials/reproduce-the-paper.md": (pytest.mark.data, pytest.mark.slow),
    "tutorials/scale-out.md": pytest.mark.slow,
    "tutorials/train-and-export.md": pytest.mark.slow,
    "tutorials/transformers.md": pytest.mark.slow,
}


def blocks_of(page):
    """Yield (language, code, expected output or None, whether numbers may differ) of every block that runs."""
    text = re.sub(r"^( +)```.*?^\1```$", "", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    found = list(BLOCK.finditer(text))
    for block, after in itertools.zip_longest(found, found[1:]):
        if block[1] == "python" or (block[1] == "bash" and COMMAND.search(block[2])):
            between = text[block.end() : after.start()].strip() if after and after[1] == "text" else None
            expected = after[2] if between in ("", LIKE) else None
            yield block[1], block[2], expected, between == LIKE


def run_python(code, names, page):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, page, "exec"), names)
    return out.getvalue()


def run_bash(code, port):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", code.replace(PORT, str(port))]
    environment = {**os.environ, "PATH": path, "COLUMNS": "80"}
    environment.pop("XLA_FLAGS", None)  # searches of the default size take minutes without XLA's optimizations
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def comparable(text, like):
    """Return the lines of a text without the parts that may differ."""
    text = re.sub(r"\d+(\.\d+)? s\b", "_ s", text)
    if like:
        text = re.sub(r"(?<=,)\n  (?=\S)", " ", text)  # line breaks depend on the numbers in a line
        text = re.sub(r"\|[\w~|+]+\|", "architecture", text)
        text = re.sub(r"[+-]?\d+(\.\d+)?(?![\w.])", "_", text)
        text = re.sub(r"\b(bo|greedy)\b", "phase", text)
    return [" ".join(line.split()) for line in text.strip().splitlines() if line.strip()]


def check_printed(expected, printed, like):
    expected, left = comparable(expected, like), comparable(printed, like)
    for number, line in enumerate(expected):
        if line == "...":
            rest = expected[number + 1 :]
            left = left[len(left) - len(rest) :] if "..." not in rest else left[left.index(rest[0]) :]
        else:
            assert left, f"printed was not: {line}\nof\n{printed}"
            assert line == left.pop(0), f"the page says {line!r}, printed was\n{printed}"
    assert not left, f"the page does not say {left}"


PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
PAGES = [page for page in PAGES if any(True for _ in blocks_of(page))]


@pytest.mark.parametrize("page", [pytest.param(page, marks=MARKS.get(page, ()), id=page) for page in PAGES])
def test_code_of_pages_runs_and_prints_what_they_say(page, tmp_path, monkeypatch, request):
    if page == "tutorials/reproduce-the-paper.md":
        request.getfixturevalue("data_folder")
    if page == "tutorials/scale-out.md":
        require_installed("ray")
    if page == "tutorials/train-and-export.md":
        require("torch")
        require("onnx")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    for language, code, expected, like in blocks_of(page):
        printed = run_python(code, names, page) if language == "python" else run_bash(code, port)
        if expected is not None:
            check_printed(expected, printed, like)


@pytest.mark.slow
def test_notebook_runs(tmp_path):
    nbclient, nbformat = require("nbclient"), require("nbformat")
    notebook = nbformat.read(DOCS / "tutorials/first-search.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=_at(tmp_path)).execute()


def test_notebook_is_stored_with_outputs_and_no_path():
    text = (DOCS / "tutorials/first-search.ipynb").read_text()
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in cells)
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"stream", "execute_result", "display_data"}, "an error, or something unknown, is stored"


def _at(folder):
    return {"metadata": {"path": str(folder)}}


def generated():
    """Return the module that generates parts of the site from the code."""
    spec = importlib.util.spec_from_file_location("generated", DOCS / "generated.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_has_every_public_module():
    """The command line is documented by its help texts instead."""
    placeholder = re.compile(r"<!-- generated: modules ([\w.]+) -->")
    packages = [package for page in DOCS.rglob("*.md") for package in placeholder.findall(page.read_text())]
    listed = [name for package in packages for name in generated().module_names(package)]
    walked = pkgutil.walk_packages(jaxnas.__path__, "jaxnas.")
    public = [found.name for found in walked if "._" not in found.name and not found.name.startswith("jaxnas.cli")]
    assert sorted(listed) == sorted(public)


def test_public_api_page_has_every_public_name_with_a_line_and_an_example():
    sections = re.split(r"^### `(\w+)`\n\n", (DOCS / "reference/api.md").read_text(), flags=re.MULTILINE)
    names, texts = sections[1::2], sections[2::2]
    assert sorted(names) == sorted(jaxnas.__all__)
    for name, text in zip(names, texts, strict=True):
        assert re.match(r"[A-Z][^\n]+\.\n\n```python\n", text), f"{name} has no line of text and no example"
        assert re.search(rf"\b{name}\b", text.partition("```python")[2]), f"{name} is not in its example"


def test_public_api_page_has_the_names_for_your_own_methods_proxies_spaces_and_checks():
    """Names of subpackages are public if the section on subpackages has them."""
    from jaxnas import testing
    from jaxnas.networks.declared import network

    text = (DOCS / "reference/api.md").read_text().partition("## Subpackages")[2]
    tutorials = (path.read_text() for path in (DOCS / "tutorials").glob("own-*.md"))
    imported = {
        name
        for tutorial in tutorials
        for names in re.findall(r"^from jaxnas\.search import (.*)$", tutorial, re.MULTILINE)
        for name in names.split(", ")
    }
    for name in {*testing.__all__, *network.__all__, *imported} - {"DeclaredNetwork"}:
        assert re.search(rf"\b{name}\b", text), name


def test_reference_has_every_proxy_and_command():
    from jaxnas.proxies import PROXIES, PROXY_SETS

    made = generated()
    assert re.findall(r"^\| \{any\}`(\w+) <", made.proxy_table(), re.MULTILINE) == list(PROXIES)
    assert re.findall(r"^\| `(\w+)` \|", made.proxy_sets(), re.MULTILINE) == list(PROXY_SETS)
    commands = re.findall(r"^## `jaxnas (.*)`", made.command_line(), re.MULTILINE)
    assert {"search", "score", "train", "compare", "proxies", "data", "data get"} <= set(commands)


def test_numbers_name_every_script_and_no_other():
    named = set(re.findall(r"experiments/(\w+\.py)", (DOCS / "numbers.md").read_text()))
    assert named == {path.name for path in (ROOT / "experiments").glob("*.py")}


def test_files_that_pages_name_are_there():
    for page in DOCS.rglob("*.md"):
        for path in re.findall(r"\b((?:experiments|tests|jaxnas)/[\w/-]+\.(?:py|md|png|sh))\b", page.read_text()):
            assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_pages_with_code_are_known():
    """A new page with code must be added to MARKS above."""
    assert set(PAGES) | {"tutorials/first-search.ipynb"} == set(MARKS)
