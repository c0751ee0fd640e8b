"""`make notebooks`: runs the cells, stores one canonical form, and refuses what fails."""

import json
from pathlib import Path

import nbformat
import pytest

from align_edu.lab.write_notebooks import METADATA, canonical, main, rewrite

CELLS = (
    "from align_edu import lab\nlab.quiz('00')",
    "import ipywidgets\nout = ipywidgets.Output()\nout",
    "with out:\n    print('hidden')\nprint('a')\nprint('b')\n21",
)


def stored(folder: Path, *sources: str) -> Path:
    path = folder / "00_start_here.ipynb"
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_cells_run_in_order_and_their_outputs_are_stored_the_same_each_time(tmp_path):
    path = stored(tmp_path, *CELLS)
    rewrite(path)
    first, found = path.read_bytes(), json.loads(path.read_text())
    assert found["metadata"] == METADATA
    assert [cell["execution_count"] for cell in found["cells"]] == [1, 2, 3]
    assert [cell["id"] for cell in found["cells"]] == ["cell-01", "cell-02", "cell-03"]
    assert [cell["metadata"] for cell in found["cells"]] == [{}, {}, {}]
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
def test_a_cell_that_fails_or_warns_is_reported_and_the_file_stays(source, words, tmp_path, capsys):
    path = stored(tmp_path, source)
    before = path.read_bytes()
    assert main([str(path)]) == 1
    assert words in capsys.readouterr().out
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_only_the_tags_that_the_conventions_have_are_kept(tmp_path):
    book = nbformat.read(stored(tmp_path, "1"), 4)
    book.cells[0].metadata = {"tags": ["raises-exception", "nbval-ignore-output"], "execution": {}}
    canonical(book)
    assert book.cells[0].metadata == {"tags": ["nbval-ignore-output"]}
