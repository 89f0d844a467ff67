"""Settings of the site: `sphinx-build -W --keep-going .github/docs build/site` builds it, without a network."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

project = "jaxnas"
copyright = "the jaxnas developers"
release = version = version_of("jaxnas")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "generated",
]
if "check" not in tags:  # noqa: F821  # which sphinx-build defines; the pages of source code have nothing to check
    extensions.append("sphinx.ext.viewcode")
exclude_patterns = ["**.ipynb_checkpoints"]

html_theme = "furo"
html_title = "jaxnas"
html_static_path = ["assets"]
html_css_files = ["extra.css"]
html_show_sphinx = False

myst_enable_extensions = ["attrs_inline", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # the notebook keeps its outputs; tests/test_docs.py runs it
copybutton_selector = "div:not(.highlight-text) > div.highlight > pre"  # printed output is not meant for copying

default_role = "code"  # `name` in a docstring is code
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_mock_imports = ["altair", "jinja2", "vl_convert"]  # the extra `report` is not needed to read its docstrings
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
