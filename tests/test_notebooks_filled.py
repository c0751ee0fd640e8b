"""Notebooks: written in one form; filled in with the answers, they give what is stored."""

import ast
import inspect
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from align_edu.lab.__main__ import METADATA, rewrite, run, store_outputs
from align_edu.lab.exercises import EXERCISES
from tests.samples import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SHIPPED = {n: each for n, each in EXERCISES.items() if each.notebook.isdecimal()}
# What the lab says of an exercise differs; all else must be as it is stored.
VERDICT = re.compile(
    r"\w+: (still to be written|right|yours is in use|"
    r"ours is in use until yours (is written|passes its check))\."
)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def fill(notebook: Any) -> list[str]:
    """Write the body of the shipped answer into each stub; return the names."""
    filled = []
    for cell in code_cells(notebook):
        stub = re.match(r"def (\w+)\((.*)\):\n    \.\.\.\n", cell.source)
        if stub and stub[1] in SHIPPED:
            reference = SHIPPED[stub[1]].reference
            assert stub[2].split(", ") == list(inspect.signature(reference).parameters)
            _, _, body = inspect.getsource(reference).split('"""')
            cell.source = cell.source.replace("    ...\n", body, 1)
            filled.append(stub[1])
    return filled


def texts(cell: Any) -> str:
    """What a cell printed or returned, without the lab's verdicts and without pictures."""
    if "nbval-ignore-output" in cell.metadata.get("tags", []):
        return ""
    parts = [o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in cell.outputs]
    return VERDICT.sub("<verdict>", "".join(parts))


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name[:2])
def test_with_the_answers_in_place_a_notebook_gives_what_is_stored(path):
    notebook, stored = read(path), read(path)
    names = [name for name, each in SHIPPED.items() if each.notebook == path.name[:2]]
    assert sorted(fill(notebook)) == sorted(names)
    run(notebook, path.name, FOLDER)
    for cell, before in zip(code_cells(notebook), code_cells(stored), strict=True):
        assert texts(cell) == texts(before), cell.source
    printed = "".join(texts(cell) for cell in code_cells(notebook))
    assert printed.count("<verdict>") == 2 * len(names)


@pytest.mark.long
def test_notebook_16_runs_and_explains_itself_without_torch_xla():
    notebook = read(FOLDER / "16_full_scale_on_tpu.ipynb")
    blocked = nbformat.v4.new_code_cell("import sys; sys.modules['torch_xla'] = None")
    notebook.cells.insert(0, blocked)
    run(notebook, "16 without torch_xla", FOLDER)  # raises where a cell fails
    printed = [texts(cell) for cell in code_cells(notebook)]
    assert any(text.startswith("torch_xla is not installed here") for text in printed)
    assert any("host 127 reads" in text for text in printed)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name[:2])
def test_a_students_function_is_reached_through_the_lab_alone(path):
    names = {name for name, each in SHIPPED.items() if each.notebook == path.name[:2]}
    uses = []
    for cell in code_cells(read(path)):
        nodes = list(ast.walk(ast.parse(cell.source)))
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        lab_calls = [c for c in calls if ast.unparse(c.func) in {"lab.check", "lab.yours_or_ours"}]
        given = [ast.unparse(call.args[0]) for call in lab_calls]
        used = [node.id for node in nodes if isinstance(node, ast.Name) and node.id in names]
        assert sorted(used) == sorted(given), cell.source
        uses += used
    assert sorted(uses) == sorted([*names, *names])  # once to check, once to use


@pytest.fixture
def write_cells(tmp_path):
    def write(*sources: str) -> Path:
        path = tmp_path / "00_start_here.ipynb"
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return path

    return write


def test_cells_run_in_order_and_their_outputs_are_stored_the_same_each_time(write_cells):
    path = write_cells(
        "from align_edu import lab\nlab.quiz('00')",
        "import ipywidgets\nout = ipywidgets.Output()\nout",
        "with out:\n    print('hidden')\nprint('a')\nprint('b')\n21",
    )
    rewrite(path)
    first, found = path.read_bytes(), json.loads(path.read_text())
    assert found["metadata"] == METADATA
    cells = [(cell["execution_count"], cell["id"], cell["metadata"]) for cell in found["cells"]]
    assert cells == [(1, "cell-01", {}), (2, "cell-02", {}), (3, "cell-03", {})]
    stream, value = found["cells"][2]["outputs"]  # without what the widget shows
    assert stream["text"] == ["a\n", "b\n"] and value["data"] == {"text/plain": ["21"]}
    assert b"widget-view" not in first and b"Which pairs of image and text" in first
    rewrite(path)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("1 / 0", "00_start_here.ipynb: a cell fails: ZeroDivisionError"),
        ("import sys\nprint('no', file=sys.stderr)", "cell 1 writes to standard error: no"),
    ],
)
def test_a_cell_that_fails_or_warns_is_reported_and_the_file_stays(
    source, words, write_cells, capsys
):
    path = write_cells(source)
    before = path.read_bytes()
    assert store_outputs([str(path)]) == 1
    assert words in capsys.readouterr().out
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]
