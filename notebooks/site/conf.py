"""Sphinx's settings for the site: notebooks as stored, docstrings, equations as MathML.

A page asks for nothing outside the site: the theme brings its own files, and equations are
rendered when the site is built.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

from docutils.nodes import Element, SkipNode
from latex2mathml.converter import convert
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))  # for `uses`

project = "align_edu"
author = "The align_edu authors"
release = metadata.version("align-edu")
extensions = ["myst_nb", "sphinx.ext.autodoc"]

html_theme = "furo"
html_title = "align_edu"
html_copy_source = False
html_static_path = html_css_files = ["site.css"]
html_theme_options = {
    "announcement": '<a href="try/index.html">Try it: the model ranks pictures in your browser</a>'
}

html_math_renderer = "mathml"  # see `setup`

nb_execution_mode = "off"  # the stored outputs are those that the tests compare
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # the scoreboard's claims stand two levels below its title
# Widgets need a kernel; what they print or draw beside it is shown.
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # they would come from outside

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
default_role = "py:obj"

_TAG = re.compile(r"\\tag\{(\w+)\}")


def _inline(translator, node: Element) -> None:
    translator.body.append(convert(node.astext()))
    raise SkipNode


def _block(translator, node: Element) -> None:
    text = node.astext()
    number = "".join(f"({tag})" for tag in _TAG.findall(text))
    formula = convert(_TAG.sub("", text), display="block")
    translator.body.append(f'<div class="equation">{formula}<span>{number}</span></div>')
    raise SkipNode


def _name_notebooks(app: Sphinx, what: str, name: str, obj, options, lines: list[str]) -> None:
    """Append the notebooks that use a function to its docstring."""
    from uses import notebooks_that_use

    if used := notebooks_that_use(Path(app.srcdir)).get(name):
        links = ", ".join(f":doc:`{book[:2]} </{book}>`" for book in used)
        lines += ["", f"Notebooks: {links}", ""]


def setup(app: Sphinx) -> None:
    """Register the equations, and the links from functions to notebooks."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("autodoc-process-docstring", _name_notebooks)
