"""Writes an nbgrader assignment from a notebook of the course: its exercises become graded cells.

python -m align_edu.lab.nbgrader_assignment 06 --out COURSE [--seed 7] [--only-exercises]
"""

import argparse
import ast
import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from align_edu.io import InputError, folder_written_whole, written_whole
from align_edu.lab import CheckFailed, find_mistake
from align_edu.lab.course import find_lesson
from align_edu.lab.exercises import Exercise, added_exercises, exercises_of, find_exercise
from align_edu.lab.grade import read_exercises

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"  # of the checkout
STUB = re.compile(r"^def (\w+)\(([^)]*)\):\n    \.\.\.$", re.MULTILINE)
DATA = "../data_samples"  # as a notebook of the checkout names it
CONFIG = Path(__file__).with_name("nbgrader_config.txt")  # for a course without one


def write_assignment(
    number: str, folder: str | Path, *, seed: int = 0, notebooks: str | Path = NOTEBOOKS,
    only_exercises: bool = False, exercises: str | Path | None = None,
) -> Path:  # fmt: skip
    """Write the notebook of a lesson as an nbgrader assignment; return the written notebook.

    Each exercise becomes a solution cell, which holds the reference between nbgrader's marks,
    and a locked cell of hidden tests, worth as many points as the exercise is difficult. The
    samples that other cells read, and the diagrams, are copied beside the notebook.

    number: the two digits of the notebook's name, or the whole name of a lecturer's notebook.
    folder: the root of the nbgrader course. seed: of the random cases in the hidden tests.
    only_exercises: keep the title, the start cell and the exercises; autograding then takes
    seconds. exercises: a Python file that adds a lecturer's exercises.

    Raises InputError for a lesson without a notebook or exercises, and when the assignment exists.
    """
    import nbformat

    added = ""
    if exercises is not None:
        read_exercises(exercises)
        added = Path(exercises).read_text(encoding="utf-8")
    mine = {find_exercise(name).notebook for name in added_exercises()}
    name = number if number in mine else find_lesson(number).file
    home, config = Path(folder, "source", name), Path(folder, "nbgrader_config.py")
    if home.exists():
        raise InputError(f"{home}: exists already; remove it or choose another course folder")
    file = Path(notebooks, f"{name}.ipynb")
    try:
        stored = nbformat.read(file, as_version=4)
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: no such notebook ({error}); name its folder") from error
    stored.cells = list(_graded(stored.cells, number, seed, only_exercises, added))
    with folder_written_whole(home) as beside:
        beside.mkdir(parents=True)
        _bring_files(stored.cells, Path(notebooks), beside)
        text = nbformat.writes(stored) + "\n"
        (beside / f"{name}.ipynb").write_text(text, encoding="utf-8")
    if not config.exists():
        with written_whole(config) as part:
            shutil.copyfile(CONFIG, part)
    return home / f"{name}.ipynb"


def assert_right(name: str, function: Callable[..., Any], seed: int) -> None:
    """Raise CheckFailed unless the function solves the exercise; the hidden tests call this."""
    if mistake := find_mistake(find_exercise(name), function, seed):
        raise CheckFailed(mistake)
    print(f"{name}: right.")


def _graded(
    cells: list[Any], number: str, seed: int, only_exercises: bool, added: str
) -> Iterator[Any]:
    """The cells of the assignment, without outputs. ``added``: the lecturer's Python file."""
    missing = set(exercises_of(number))
    if not missing:
        raise InputError(f"notebook {number} has no exercises to grade; choose another")
    mine = set(added_exercises())
    names = missing | mine
    for place, cell in enumerate(cells):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        stub = STUB.search(cell.source) if cell.cell_type == "code" else None
        after = cells[place + 1].source if place + 1 < len(cells) else ""
        if stub and stub[1] in names:
            names.remove(stub[1])
            yield _solution(cell, stub, find_exercise(stub[1]))
            difficulty = re.findall(r"Difficulty (\d) of 5", cells[place - 1].source)
            points = int(difficulty[-1]) if difficulty else 1
            yield _tests(stub[1], points, seed, added if stub[1] in mine else "")
        elif not only_exercises or place == 0 or "lab.start(" in cell.source or STUB.search(after):
            yield cell
    if gone := ", ".join(sorted(missing & names)):
        raise InputError(f"notebook {number} has no stub for {gone}; mend it")


def _solution(cell: Any, stub: re.Match[str], exercise: Exercise) -> Any:
    """The exercise's cell with the reference as the body; nbgrader puts the stub back."""
    source = textwrap.dedent(inspect.getsource(exercise.reference))
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    first = function.body[1 if ast.get_docstring(function) else 0].lineno
    body = textwrap.dedent("\n".join(source.splitlines()[first - 1 : function.end_lineno]))
    solution = textwrap.indent(f"### BEGIN SOLUTION\n{body}\n### END SOLUTION", "    ")
    head = stub[0].partition("\n")[0]
    cell.source = cell.source.replace(stub[0], f"{head}\n{solution}", 1)
    cell.metadata["nbgrader"] = _metadata(exercise.name, solution=True)
    return cell


def _tests(name: str, points: int, seed: int, added: str) -> Any:
    """The locked cell of hidden tests; it adds the lecturer's exercises first."""
    import nbformat

    unit = "point" if points == 1 else "points"
    first = f'exec({added!r}, {{"__name__": "exercises"}})\n\n' if added else ""
    text = f"""\
# {points} {unit}: here {name} is tried on cases that you do not see.
### BEGIN HIDDEN TESTS
{first}from align_edu.lab.nbgrader_assignment import assert_right

assert_right("{name}", {name}, seed={seed})
### END HIDDEN TESTS"""
    cell = nbformat.v4.new_code_cell(text, id=f"tests-{name}"[:64])
    cell.metadata["nbgrader"] = _metadata(f"{name}-tests", solution=False) | {"points": points}
    return cell


def _metadata(name: str, *, solution: bool) -> dict[str, Any]:
    """What nbgrader, schema 3, keeps of a cell: a solution, or locked tests."""
    kinds = {"solution": solution, "grade": not solution, "locked": not solution, "task": False}
    return {"schema_version": 3, "grade_id": name, **kinds}


def _bring_files(cells: list[Any], notebooks: Path, home: Path) -> None:
    """Copy the diagrams and the samples that the cells name into ``home``, to be read there."""
    code = [cell for cell in cells if cell.cell_type == "code"]
    text, read = ("\n".join(cell.source for cell in some) for some in (cells, code))
    named = [notebooks / "images" / name for name in re.findall(r"\]\(images/([\w.]+)\)", text)]
    samples = notebooks.parent / "data_samples"
    if DATA in read:
        found = sorted(samples.iterdir()) if samples.is_dir() else [samples]
        named += [file for file in found if re.search(rf"\b{re.escape(file.name)}\b", read)]
    for file in named:
        if not file.exists():
            raise InputError(f"{file}: missing, and the notebook needs it; use a whole checkout")
        copied = home / file.parent.name / file.name
        copied.parent.mkdir(exist_ok=True)
        (shutil.copytree if file.is_dir() else shutil.copy)(file, copied)
    for cell in code:
        cell.source = cell.source.replace(DATA, samples.name)


def main(argv: Sequence[str] | None = None) -> int:
    """Write one assignment and return the exit status: 0 done, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m align_edu.lab.nbgrader_assignment")
    add = parser.add_argument
    add("number", help="of the notebook, such as 06; or the name of your notebook")
    add("--out", dest="folder", metavar="COURSE", type=Path, required=True, help="its root folder")
    add("--seed", type=int, default=0, help="of the hidden cases")
    add("--notebooks", type=Path, default=NOTEBOOKS, help="the folder of the notebooks")
    add("--only-exercises", action="store_true", help="leave out all other cells but the first")
    add("--exercises", type=Path, metavar="FILE", help="Python that adds your exercises")
    options = vars(parser.parse_args(argv))
    try:
        written = write_assignment(**options)
    except InputError as error:
        sys.stderr.write(f"nbgrader_assignment: {' '.join(str(error).split())}\n")
        return 2
    config = options["folder"] / "nbgrader_config.py"
    if "code_stub" not in config.read_text(encoding="utf-8"):
        print(f'{config} is kept; add to it: c.ClearSolutions.code_stub = {{"python": "..."}}')
    print(f"{written}\nNext, in {config.parent}: nbgrader generate_assignment {written.stem}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
