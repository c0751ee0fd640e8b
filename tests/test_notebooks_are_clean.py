"""Every notebook keeps the conventions, and the rules that say so find each breach."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from align_edu.lab.course import COURSE
from align_edu.lab.write_notebooks import canonical, find_faults

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_notebook_keeps_the_conventions(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert find_faults(notebook, path.stat().st_size, path.name[:2]) == []


def test_there_are_notebooks_and_each_is_in_the_course() -> None:
    assert {"00_start_here", "08_training_on_toy_cc3m"} <= {path.stem for path in NOTEBOOKS}
    assert {path.stem for path in NOTEBOOKS} <= {lesson.file for lesson in COURSE}


def test_a_notebook_that_exists_says_how_long_it_takes() -> None:
    written = {path.stem for path in NOTEBOOKS}
    assert {lesson.file for lesson in COURSE if lesson.minutes} == written


# From here on: the rules themselves, on notebooks made to break them.


def code(source: str, *outputs: dict[str, Any], **metadata: Any) -> Any:
    made = map(nbformat.from_dict, outputs)
    return nbformat.v4.new_code_cell(source, outputs=list(made), metadata=metadata)


prose = nbformat.v4.new_markdown_cell


def faults(change: Callable[[list[Any]], None], size: int = 1000, number: str = "00") -> str:
    """What is wrong with the smallest good notebook once its cells are changed."""
    cells = [
        prose("# A title\n\nYou will be able to read it."),
        code('from align_edu import lab\n\nlab.start("00")'),
        *(code(f"print({place})") for place in range(14)),
        code('lab.quiz("00")'),
        prose("## Now you can say\n\n- something."),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    canonical(notebook)
    change(notebook.cells)
    for place, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{place:02}"
    counted = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for place, cell in enumerate(counted, 1):
        cell.execution_count = cell.metadata.pop("count", place)
    return "\n".join(find_faults(notebook, size, number))


def with_cell(cell: Any) -> Callable[[list[Any]], None]:
    place = slice(3, 4) if cell.cell_type == "code" else slice(3, 3)
    return lambda cells: cells.__setitem__(place, [cell])


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def shown(kind: str, value: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {kind: value}, "metadata": {}}


PNG = base64.b64encode(bytes(60_001)).decode()
ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}


def test_a_clean_notebook_has_no_fault() -> None:
    assert faults(lambda cells: None) == ""


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (code("\n".join(["x = 1"] * 26)), "26 lines"),
        (code("x = '" + "a" * 80 + "'"), "columns"),
        (code("!pip install torch"), "installs"),
        (code("import sys\nsys.path.insert(0, '..')"), "sys.path"),
        (code("import warnings\nwarnings.filterwarnings('ignore')"), "warnings"),
        (code("torch.manual_seed(0)"), "global seed"),
        (code("load('https://example.org/weights')"), "address"),
        (code("plot(x);"), "semicolon"),
        (code(""), "empty"),
        (code("x", tags=["raises-exception"]), "canonical form"),
        (code("x", jupyter={"source_hidden": True}), "canonical form"),
        (code("x", shown("application/vnd.jupyter.widget-view+json", {})), "canonical form"),
        (code("x", ERROR), "ValueError"),
        (code("x", stream("warned", "stderr")), "standard error"),
        (code("x", stream("/home/me/file")), "place of this machine"),
        (code("x", stream("<object at 0x7f3a2b1c>")), "place of this machine"),
        (code("x", shown("image/png", PNG)), "60,001 bytes"),
        (code("x", count=9), "not run in order"),
        (code("x", count=None), "not run in order"),
        (prose("word " * 121), "121 words"),
        (prose("The loss fell to 0.83 here."), "measurement"),
        (prose("It takes 12 seconds."), "measurement"),
        (prose("The recall is 87 %."), "measurement"),
        (prose("We saw 900 pairs/s."), "measurement"),
    ],
)
def test_each_breach_in_a_cell_is_found(cell: Any, fault: str) -> None:
    assert fault in faults(with_cell(cell))


@pytest.mark.parametrize(
    "text",
    [
        "The paper reports 75.7 % (Table 1).",
        "Images have 58 × 58 pixels and a batch has 128 pairs.",
        "The temperature starts at 1.0 (Section 5).",
    ],
)
def test_numbers_of_the_paper_and_sizes_are_allowed(text: str) -> None:
    assert faults(with_cell(prose(text))) == ""


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda cells: cells.__delitem__(slice(2, 6)), "12 code cells"),
        (lambda cells: cells.extend(code("x") for _ in range(20)), "36 code cells"),
        (lambda cells: [c.update(source="x\n" * 7) for c in cells[2:-2]], "median"),
        (lambda cells: cells.extend(prose("word " * 119) for _ in range(16)), "words of prose"),
        (lambda cells: cells[0].update(source="x"), "title"),
        (lambda cells: cells[1].update(source="x"), "lab.start"),
        (lambda cells: cells[-2].update(source="x"), "lab.quiz"),
        (lambda cells: cells[-1].update(source="x"), "Now you can say"),
    ],
)
def test_each_breach_of_the_whole_is_found(change: Any, fault: str) -> None:
    assert fault in faults(change)


def test_a_large_file_and_the_start_of_another_notebook_are_found() -> None:
    assert "250,001 bytes" in faults(lambda cells: None, size=250_001)
    assert "lab.start" in faults(lambda cells: None, number="08")


def test_an_exercise_without_its_header_is_found() -> None:
    header = "## Exercise\n\nDifficulty 2 of 5, importance 4 of 5, about 10 minutes.\n\nWrite it."
    check = code("def cosine(x, y):\n    ...\n\n\nlab.check(cosine)")

    def after(text: str) -> str:
        return faults(lambda cells: cells.__setitem__(slice(2, 4), [prose(text), check]))

    assert after(header) == ""
    assert "lacks the exercise's header" in after(header.replace(", about 10 minutes", ""))
    assert "typed-in measurement" in after("It takes 10 minutes.")
