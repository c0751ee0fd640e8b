"""Every notebook keeps the conventions, and the rules that say so find each breach."""

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest

from align_edu.lab.course import COURSE
from align_edu.lab.notebook_rules import METADATA, find_faults

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> dict[str, Any]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
        for output in cell.get("outputs", []):
            for kind, value in output.get("data", {}).items():
                if isinstance(value, list):
                    output["data"][kind] = "".join(value)
            if isinstance(output.get("text"), list):
                output["text"] = "".join(output["text"])
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_notebook_keeps_the_conventions(path: Path) -> None:
    assert find_faults(read(path), path.stat().st_size, path.name[:2]) == []


def test_there_are_notebooks_and_each_is_in_the_course() -> None:
    assert {"00_start_here", "08_training_on_toy_cc3m"} <= {path.stem for path in NOTEBOOKS}
    assert {path.stem for path in NOTEBOOKS} <= {lesson.file for lesson in COURSE}


def test_a_notebook_that_exists_says_how_long_it_takes() -> None:
    written = {path.stem for path in NOTEBOOKS}
    assert {lesson.file for lesson in COURSE if lesson.minutes} == written


# From here on: the rules themselves, on notebooks made to break them.


def code(source: str, count: int = 0, **changes: Any) -> dict[str, Any]:
    cell = {"cell_type": "code", "source": source, "execution_count": count, "outputs": []}
    return {**cell, "metadata": {}, **changes}


def prose(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "source": source, "metadata": {}}


def good() -> dict[str, Any]:
    """The smallest notebook without a fault."""
    middle = [code(f"print({place})") for place in range(14)]
    cells = [
        prose("# A title\n\nYou will be able to read it."),
        code('from align_edu import lab\n\nlab.start("00")'),
        *middle,
        code('lab.quiz("00")'),
        prose("## Now you can say\n\n- something."),
    ]
    for count, cell in enumerate((c for c in cells if c["cell_type"] == "code"), 1):
        cell["execution_count"] = count
    return {"metadata": copy.deepcopy(METADATA), "cells": cells}


def faults_with(cell: dict[str, Any]) -> list[str]:
    """Faults of the good notebook with its third code cell replaced, or prose put there."""
    notebook = good()
    if cell["cell_type"] == "code":
        notebook["cells"][3] = {**cell, "execution_count": 3}
    else:
        notebook["cells"].insert(3, cell)
    return find_faults(notebook, 1000, "00")


def output(**fields: Any) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": "", **fields}


def picture(data: dict[str, Any]) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data, "metadata": {}}


def png(size: int) -> str:
    return base64.b64encode(bytes(size)).decode()


def test_a_clean_notebook_has_no_fault() -> None:
    assert find_faults(good(), 1000, "00") == []


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
        (code("x", metadata={"tags": ["raises-exception"]}), "tags"),
        (code("x", metadata={"jupyter": {"source_hidden": True}}), "metadata"),
        (code("x", outputs=[output(output_type="error", ename="ValueError")]), "ValueError"),
        (code("x", outputs=[output(name="stderr", text="warned")]), "standard error"),
        (code("x", outputs=[output(text="/home/me/file")]), "place of this machine"),
        (code("x", outputs=[output(text="<object at 0x7f3a2b1c>")]), "place of this machine"),
        (
            code(
                "x", outputs=[output(output_type="display_data", data={"image/png": png(60_001)})]
            ),
            "60,001 bytes",
        ),
        (
            code("x", outputs=[picture({"application/vnd.jupyter.widget-view+json": {}})]),
            "widget",
        ),
        (prose("word " * 121), "121 words"),
        (prose("The loss fell to 0.83 here."), "measurement"),
        (prose("It takes 12 seconds."), "measurement"),
        (prose("The recall is 87 %."), "measurement"),
        (prose("We saw 900 pairs/s."), "measurement"),
    ],
)
def test_each_breach_in_a_cell_is_found(cell: dict[str, Any], fault: str) -> None:
    assert fault in "\n".join(faults_with(cell))


@pytest.mark.parametrize(
    "text",
    [
        "The paper reports 75.7 % (Table 1).",
        "Images have 58 × 58 pixels and a batch has 128 pairs.",
        "The temperature starts at 1.0 (Section 5).",
    ],
)
def test_numbers_of_the_paper_and_sizes_are_allowed(text: str) -> None:
    assert faults_with(prose(text)) == []


def test_too_few_and_too_many_code_cells_are_found() -> None:
    few, many = good(), good()
    del few["cells"][2:6]
    many["cells"][3:3] = [code("x") for _ in range(20)]
    assert "12 code cells" in find_faults(few, 1000, "00")[0]
    assert "36 code cells" in find_faults(many, 1000, "00")[0]


def test_long_cells_on_the_whole_are_found() -> None:
    notebook = good()
    for cell in notebook["cells"][2:-2]:
        cell["source"] = "\n".join(["x = 1"] * 7)
    assert "median" in "\n".join(find_faults(notebook, 1000, "00"))


def test_too_much_prose_on_the_whole_is_found() -> None:
    notebook = good()
    notebook["cells"][3:3] = [prose("word " * 119) for _ in range(16)]
    assert "words of prose" in "\n".join(find_faults(notebook, 1000, "00"))


def test_cells_run_out_of_order_or_never_are_found() -> None:
    swapped, never = good(), good()
    swapped["cells"][2]["execution_count"] = 9
    never["cells"][2]["execution_count"] = None
    for notebook in (swapped, never):
        assert "not run in order" in "\n".join(find_faults(notebook, 1000, "00"))


def test_other_metadata_is_found() -> None:
    notebook = good()
    notebook["metadata"]["widgets"] = {"state": {}}
    assert "canonical" in "\n".join(find_faults(notebook, 1000, "00"))


def test_a_large_file_is_found() -> None:
    assert "250,001 bytes" in "\n".join(find_faults(good(), 250_001, "00"))


@pytest.mark.parametrize(
    ("place", "fault"),
    [(0, "title"), (1, "lab.start"), (-2, "lab.quiz"), (-1, "Now you can say")],
)
def test_a_missing_opening_or_ending_is_found(place: int, fault: str) -> None:
    notebook = good()
    notebook["cells"][place]["source"] = "x"
    assert fault in "\n".join(find_faults(notebook, 1000, "00"))


def test_the_start_cell_must_name_its_own_notebook() -> None:
    assert "lab.start" in "\n".join(find_faults(good(), 1000, "08"))


def test_an_exercise_without_its_header_is_found() -> None:
    header = "## Exercise\n\nDifficulty 2 of 5, importance 4 of 5, about 10 minutes.\n\nWrite it."
    check = "def cosine(x, y):\n    ...\n\n\nlab.check(cosine)"
    notebook = good()
    notebook["cells"][3] = code(check, 3)
    notebook["cells"][2] = prose(header)
    clean = [fault for fault in find_faults(notebook, 1000, "00") if "header" in fault]
    assert clean == []
    notebook["cells"][2] = prose(header.replace(", about 10 minutes", ""))
    assert "lacks the exercise's header" in " ".join(find_faults(notebook, 1000, "00"))
    notebook["cells"][2] = prose("It takes 10 minutes.")
    assert "typed-in measurement" in " ".join(find_faults(notebook, 1000, "00"))
