"""Notebooks with their exercises filled in: by the answers, and by everything that is wrong."""

import ast
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from align_edu import lab
from align_edu.lab.checks import CheckFailed
from align_edu.lab.exercise import Exercise
from align_edu.lab.exercises import EXERCISES
from align_edu.lab.nbgrader_assignment import answer_body

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHIPPED = {n: each for n, each in EXERCISES.items() if each.notebook.isdecimal()}
# What the lab says of an exercise differs; all else must be as it is stored.
SAID = (
    r"\w+: (still to be written|right|yours is in use|"
    r"ours is in use until yours (is written|passes its check))\."
)


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def stub_of(exercise: Exercise) -> str:
    """The cell of a notebook that asks for a function."""
    (path,) = (path for path in NOTEBOOKS if path.name[:2] == exercise.notebook)
    start = f"def {exercise.name}("
    (cell,) = (c.source for c in code_cells(read(path)) if c.source.startswith(start))
    assert isinstance(cell, str)
    return cell


def fill(notebook: Any, body_of: Callable[[Exercise], str]) -> list[int]:
    """Put a body into each stub; return the places of these code cells, from 0."""
    filled = []
    for place, cell in enumerate(code_cells(notebook)):
        name = re.match(r"def (\w+)\(.*\n    \.\.\.\n", cell.source)
        if name and name[1] in SHIPPED:
            body = textwrap.indent(body_of(SHIPPED[name[1]]), "    ")
            cell.source = cell.source.replace("    ...", body, 1)
            filled.append(place)
    return filled


def failing_cells(notebook: Any, path: Path, folder: Path) -> list[int]:
    """Run a notebook by nbval, strictly; the cells that differ from what is stored, from 0."""
    (folder / "notebooks").mkdir()
    (folder / "data_samples").symlink_to(ROOT / "data_samples")
    copy = folder / "notebooks" / path.name
    nbformat.write(notebook, copy)
    rules = folder / "sanitize.cfg"
    rules.write_text(f"[said]\nregex: {SAID}\nreplace: what the lab says\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q", "-rf",
         "--nbval-cell-timeout=120", f"--nbval-sanitize-with={rules}", "-p", "no:cacheprovider",
         f"--rootdir={folder}", str(copy)],
        cwd=folder, env=dict(os.environ), capture_output=True, text=True,
    )  # fmt: skip
    assert re.search(r"\d+ passed", done.stdout), done.stdout[-3000:] + done.stderr[-1000:]
    found = re.findall(r"^FAILED .*::Cell (\d+)", done.stdout, re.MULTILINE)
    if found:
        print(done.stdout[-6000:])
    return sorted({int(place) for place in found})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name[:2])
def test_with_the_answers_in_place_a_notebook_gives_what_is_stored(
    path: Path, tmp_path: Path
) -> None:
    notebook = read(path)
    filled = fill(notebook, lambda exercise: "\n".join(answer_body(exercise.reference)))
    asked = [name for name, each in SHIPPED.items() if each.notebook == path.name[:2]]
    assert len(filled) == len(asked)
    assert failing_cells(notebook, path, tmp_path) == []


def test_with_wrong_answers_in_place_only_their_checks_fail(tmp_path: Path) -> None:
    path = NOTEBOOKS[0]
    notebook = read(path)
    filled = fill(
        notebook,
        lambda exercise: (
            "from align_edu.lab.exercises import find_exercise\n"
            f"wrong = find_exercise({exercise.name!r}).wrong[1].function\n"
            f"return wrong({', '.join(parameters_in(stub_of(exercise)))})"
        ),
    )
    assert len(filled) == 2
    assert failing_cells(notebook, path, tmp_path) == filled


def parameters_in(cell: str) -> list[str]:
    (function,) = (node for node in ast.parse(cell).body if isinstance(node, ast.FunctionDef))
    return [argument.arg for argument in function.args.args]


@pytest.mark.parametrize("name", SHIPPED)
def test_each_wrong_answer_fails_its_check_and_leaves_ours_in_use(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `yours_or_ours` gives is what the notebook has with the stub: the rest is the same."""
    exercise = SHIPPED[name]
    cell = stub_of(exercise)
    wrong_cell = cell.replace("...", f"return _wrong({', '.join(parameters_in(cell))})", 1)
    for wrong in exercise.wrong:
        names: dict[str, Any] = {"lab": lab, "_wrong": wrong.function}
        with pytest.raises(CheckFailed) as caught:
            exec(wrong_cell, names)
        assert str(caught.value).endswith(wrong.mistake)
        assert lab.yours_or_ours(names[name]) is exercise.reference
        said = f"{name}: ours is in use until yours passes its check.\n"
        assert capsys.readouterr().out == said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name[:2])
def test_a_students_function_is_reached_through_the_lab_alone(path: Path) -> None:
    names = {name for name, each in SHIPPED.items() if each.notebook == path.name[:2]}
    uses = []
    for cell in code_cells(read(path)):
        tree = ast.parse(cell.source)
        through = {
            id(node.args[0])
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and ast.unparse(node.func) in {"lab.check", "lab.yours_or_ours"}
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in names:
                assert id(node) in through, cell.source
                uses.append(node.id)
    assert sorted(uses) == sorted([*names, *names])  # once to check, once to use
