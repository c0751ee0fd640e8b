"""A class that hands in notebooks: right, wrong in each known way, broken in every other way.

The notebooks are those of the course, with an answer's source in place of each stub.
"""

import ast
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from align_edu.lab.course import find_lesson
from align_edu.lab.exercises import EXERCISES

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
Cells = list[str]
# A lecturer's file with an exercise.
MINE = '''
from align_edu import lab


def half(x):
    """Return half of x."""
    return x / 2


HINTS = (lab.Hint("What?", "Divide."), lab.Hint("By what?", "2."), lab.Hint("How?", "x / 2"))
WRONG = (lab.WrongAnswer(lambda x: x // 2, "That rounds down: use /."),)
lab.add_exercise(lab.Exercise("mine", half, lambda generator: [(3,), (8,)], WRONG, HINTS))
'''


@dataclass(frozen=True)
class Expected:
    """What the mark of one function must be; its mistake holds the words."""

    student: str
    exercise: str
    outcome: str
    words: str = ""


@cache
def notebook_text(number: str) -> str:
    """A notebook of the course, without what its cells printed."""
    notebook = json.loads((NOTEBOOKS / f"{find_lesson(number).file}.ipynb").read_text("utf-8"))
    for cell in notebook["cells"]:
        cell.pop("outputs", None)
    return json.dumps(notebook)


def hand_in(folder: Path, student: str, number: str, answers: dict[str, Cells]) -> Path:
    """Write a student's notebook: the cells of each answer in place of the stub."""
    notebook = json.loads(notebook_text(number))
    cells = []
    for cell in notebook["cells"]:
        stub = re.match(r"def (\w+)\(.*\):\n    \.\.\.", "".join(cell["source"]))
        if stub and stub[1] in answers:
            cells += [code_cell(text) for text in answers[stub[1]]]
            cells.append(code_cell(f"lab.check({stub[1]})"))
        else:
            cells.append(cell)
    return save(folder, student, number, cells)


def save(folder: Path, student: str, number: str, cells: Sequence[dict[str, Any]]) -> Path:
    file = folder / student / f"{find_lesson(number).file}.ipynb"
    file.parent.mkdir(exist_ok=True)
    notebook = json.loads(notebook_text(number)) | {"cells": list(cells)}
    file.write_text(json.dumps(notebook), encoding="utf-8")
    return file


def code_cell(text: str) -> dict[str, Any]:
    return {"cell_type": "code", "source": text.splitlines(keepends=True), "metadata": {}}


def wrong_answer(name: str, number: int) -> Cells:
    """The cells of a known mistake: bound to the name, or called by a function above its helper."""
    shipped = f'find_exercise("{name}").wrong[{number}].function'
    cells = [f"chosen_{name} = {shipped}", "from align_edu.lab.exercises import find_exercise"]
    if number % 2:
        return [*cells[::-1], f"{name} = chosen_{name}"]
    return [f"def {name}(*given):\n    return chosen_{name}(*given)", *cells]


def source_cells(function: Callable[..., Any], name: str) -> Cells:
    """The imports of a function's module, the module's things that it uses, and itself."""
    tree = ast.parse(inspect.getsource(sys.modules[function.__module__])).body
    imports = [node for node in tree if isinstance(node, (ast.Import, ast.ImportFrom))]
    lines = [ast.unparse(node) for node in imports]
    lines = [line for line in lines if "pytest" not in line and "align_edu.lab" not in line]
    defined = {each: node for node in tree for each in bound(node)}
    wanted, seen = [function.__name__], []
    while wanted:
        each = wanted.pop()
        if each in defined and each not in seen:
            seen.append(each)
            wanted += [n.id for n in ast.walk(defined[each]) if isinstance(n, ast.Name)]
    source = [ast.unparse(node) for node in tree if set(bound(node)) & set(seen)]
    return ["\n".join(lines), re.sub(rf"\b{function.__name__}\b", name, "\n\n\n".join(source))]


def bound(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [each.id for each in node.targets if isinstance(each, ast.Name)]
    return []


def from_tests(test: str) -> list[tuple[Any, ...]]:
    """The functions that a test of the lab is parametrised with."""
    rows: list[tuple[Any, ...]] = []
    for file in sorted(Path(__file__).parent.glob("test_lab*.py")):
        module = import_module(f"tests.{file.stem}")
        marks = getattr(getattr(module, test, None), "pytestmark", [])
        rows += [row for mark in marks if "function" in mark.args[0] for row in mark.args[1]]
    plain = [row for row in rows if inspect.isfunction(row[1]) and row[1].__closure__ is None]
    return [row for row in plain if row[1].__name__ not in SLOW and row[1].__name__ != "<lambda>"]


# Their libraries take 5 to 10 s of computing to import: once here would be as long as all others.
SLOW = {
    "share_by_building_bert",
    "adds_a_pooler",
    "forgets_the_way_back",
    "scaled_by_the_library",
    "normalises_as_a_classifier",
}


def hand_in_right(folder: Path, every: int = 1) -> list[Expected]:
    """Of the shipped answers, and the unusual ones of the other tests, one in ``every``."""
    rows = [(name, each.reference) for name, each in EXERCISES.items()]
    rows += [(row[0], row[1]) for row in from_tests("test_an_unusual_right_answer_passes")]
    expected = []
    for name, function in rows[::every]:
        if name == "learning_rate_at":  # which imports the whole training
            continue
        student = f"right_{name}_{function.__name__}"
        cells = source_cells(function, name)
        hand_in(folder, student, EXERCISES[name].notebook, {name: cells})
        expected.append(Expected(student, name, "right"))
    return expected


def hand_in_wrong(folder: Path, every: int = 1) -> list[Expected]:
    """Of the known mistakes, and of those as other people write them, one in ``every``."""
    expected = []
    for number in dict.fromkeys(exercise.notebook for exercise in EXERCISES.values()):
        names = [name for name, each in EXERCISES.items() if each.notebook == number]
        for i in range(int(number) % every, max(len(EXERCISES[n].wrong) for n in names), every):
            group = [name for name in names if i < len(EXERCISES[name].wrong)]
            student = f"wrong_{number}_{i:02}"
            hand_in(folder, student, number, {name: wrong_answer(name, i) for name in group})
            for name in group:
                mistake = EXERCISES[name].wrong[i].mistake
                expected.append(Expected(student, name, "wrong", mistake))
    rows = from_tests("test_a_mistake_is_named_however_it_is_written")
    for name, function, words in rows[:: max(1, every // 3)]:
        student = f"writes_{name}_{function.__name__}"
        cells = source_cells(function, name)
        hand_in(folder, student, EXERCISES[name].notebook, {name: cells})
        expected.append(Expected(student, name, "wrong", words))
    return expected


def hand_in_code(folder: Path, rows: Iterable[tuple[str, str, Cells]]) -> list[Expected]:
    """Cells for `chance_loss` of notebook 00: what it is called, the outcome, the cells."""
    expected = []
    for student, outcome, cells in rows:
        hand_in(folder, student, "00", {"chance_loss": cells})
        expected.append(Expected(student, "chance_loss", outcome))
    return expected
