"""`make notebooks`: runs the cells, stores one canonical form, and refuses what fails."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from align_edu.io import InputError
from align_edu.lab.write_notebooks import METADATA, canonical, main, rewrite


def notebook(*sources: str) -> Any:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])


def stored(folder: Path, *sources: str) -> Path:
    path = folder / "00_start_here.ipynb"
    nbformat.write(notebook(*sources), path)
    return path


def test_cells_run_in_order_and_their_outputs_are_stored_in_canonical_form(tmp_path: Path) -> None:
    path = stored(tmp_path, "x = 20", "print('a')\nprint('b')\nx + 1")
    rewrite(path)
    found = json.loads(path.read_text())
    assert found["metadata"] == METADATA
    assert [cell["execution_count"] for cell in found["cells"]] == [1, 2]
    assert [cell["id"] for cell in found["cells"]] == ["cell-01", "cell-02"]
    assert [cell["metadata"] for cell in found["cells"]] == [{}, {}]
    stream, value = found["cells"][1]["outputs"]
    assert stream["text"] == ["a\n", "b\n"]
    assert value["data"] == {"text/plain": ["21"]}


def test_running_twice_changes_no_byte(tmp_path: Path) -> None:
    path = stored(tmp_path, "print(1)", "from align_edu import lab\nlab.quiz('00')")
    rewrite(path)
    first = path.read_bytes()
    rewrite(path)
    assert path.read_bytes() == first
    assert b"widget" not in first
    assert b"Which pairs of image and text" in first


def test_what_a_widget_shows_when_it_is_used_is_no_output_of_the_cell(tmp_path: Path) -> None:
    path = stored(
        tmp_path,
        "import ipywidgets\nout = ipywidgets.Output()\nout",
        "with out:\n    print('hidden')\nprint('shown')",
    )
    rewrite(path)
    shown = json.loads(path.read_text())["cells"][1]["outputs"]
    assert [output["text"] for output in shown] == [["shown\n"]]


def test_a_cell_that_raises_is_told_and_the_file_stays(tmp_path: Path) -> None:
    path = stored(tmp_path, "1 / 0")
    before = path.read_bytes()
    with pytest.raises(InputError, match="00_start_here.ipynb.*ZeroDivisionError"):
        rewrite(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_cell_that_writes_to_standard_error_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path, "import sys", "print('careful', file=sys.stderr)")
    with pytest.raises(InputError, match="cell 2 writes to standard error: careful"):
        rewrite(path)


def test_the_command_says_what_breaks_the_conventions_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stored(tmp_path, "print(1)")
    assert main([str(path)]) == 1
    said = capsys.readouterr().out
    assert "1 code cells; 15 to 30 are right" in said
    assert str(path) in said


def test_only_the_tags_that_the_conventions_know_are_kept() -> None:
    book = notebook("1")
    book.cells[0].metadata = {"tags": ["raises-exception", "nbval-ignore-output"], "execution": {}}
    canonical(book)
    assert book.cells[0].metadata == {"tags": ["nbval-ignore-output"]}
