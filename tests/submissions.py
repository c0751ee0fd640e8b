"""A class that hands in notebooks: right, wrong in each known way, odd, broken and hostile.

The notebooks are those of the course, with an answer's source in place of each stub.
"""

import ast
import inspect
import json
import re
import textwrap
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from align_edu.lab import jailed
from align_edu.lab.course import find_lesson
from align_edu.lab.exercises import EXERCISES
from align_edu.lab.extract import find_function, read_code

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
Cells = list[str]
HOSTILE = tomllib.loads(Path(__file__).with_name("hostile_submissions.toml").read_text("utf-8"))
ODD: dict[str, Cells] = HOSTILE.pop("odd")
MAGICS, CHECKED = HOSTILE.pop("magics"), HOSTILE.pop("checked")
MINE, FOLDERS = HOSTILE.pop("lecturer"), HOSTILE.pop("folders")
RIGHT, WRONG = ODD["corrected"][1], ODD["corrected"][0]
UNREADABLE: dict[str, bytes] = {
    "empty_file": b"",
    "text": b"def chance_loss(n): return 2 * math.log(n)",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "other_json": b"[1, 2, 3]",
    "no_cells": b'{"metadata": {}}',
    "deep": b"[" * 100_000,
}


@dataclass(frozen=True)
class Expected:
    student: str
    exercise: str
    outcome: str
    words: str = ""


@cache
def notebook_text(number: str) -> str:
    notebook = json.loads((NOTEBOOKS / f"{find_lesson(number).file}.ipynb").read_text("utf-8"))
    for cell in notebook["cells"]:
        cell.pop("outputs", None)
    return json.dumps(notebook)


def hand_in(folder: Path, student: str, number: str, answers: dict[str, Cells]) -> Path:
    cells = []
    for cell in json.loads(notebook_text(number))["cells"]:
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


def source_of(name: str) -> Cells:
    return [textwrap.dedent(inspect.getsource(EXERCISES[name].reference))]


def hand_in_right(folder: Path, every: int = 1) -> list[Expected]:
    expected = []
    for name, exercise in list(EXERCISES.items())[::every]:
        if name != "learning_rate_at":  # which imports the whole training
            hand_in(folder, f"right_{name}", exercise.notebook, {name: source_of(name)})
            expected.append(Expected(f"right_{name}", name, "right"))
    return expected


def hand_in_several(folder: Path) -> list[Expected]:
    """A right answer beside one that crashes; one that waits; and those to the exercise of MINE."""
    crash, half = function("import os\nos.abort()"), "def half(x):\n    return x / 2"
    waits = function("import time\ntime.sleep(1)\nreturn 2 * math.log(n)")
    answers = {"chance_loss": crash, "recall_at_1": source_of("recall_at_1")}
    hand_in(folder, "crashes", "00", answers)
    hand_in(folder, "waits", "00", {"chance_loss": [*waits, half.replace("/", "//")]})
    carl = hand_in(folder, "carl", "00", {"chance_loss": [half]})
    carl.rename(folder / "mine_carl.ipynb")
    return [
        Expected("crashes", "chance_loss", "error"), Expected("crashes", "recall_at_1", "right"),
        Expected("waits", "chance_loss", "right"), Expected("carl", "half", "right"),
        Expected("waits", "half", "wrong", "That rounds down: use /."),
    ]  # fmt: skip


def hand_in_wrong(folder: Path, every: int = 1) -> list[Expected]:
    """Notebooks with one known mistake in each exercise; of all such notebooks every n-th."""
    groups: dict[tuple[str, int], list[str]] = {}
    for name, exercise in EXERCISES.items():
        for i in range(len(exercise.wrong)):
            groups.setdefault((exercise.notebook, i), []).append(name)
    expected = []
    for (number, i), names in list(groups.items())[::every]:
        student = f"wrong_{number}_{i:02}"
        hand_in(folder, student, number, {name: wrong_answer(name, i) for name in names})
        mistakes = ((name, EXERCISES[name].wrong[i].mistake) for name in names)
        expected += [Expected(student, name, "wrong", mistake) for name, mistake in mistakes]
    return expected


def hand_in_code(folder: Path, rows: Iterable[tuple[str, str, Cells]]) -> list[Expected]:
    """Cells for `chance_loss` of notebook 00: what it is called, the outcome, the cells."""
    expected = []
    for student, outcome, cells in rows:
        hand_in(folder, student, "00", {"chance_loss": cells})
        expected.append(Expected(student, "chance_loss", outcome))
    return expected


def hand_in_reordered(folder: Path) -> list[Expected]:
    """The whole notebook from its end to its beginning; and nothing but the answer."""
    file = hand_in(folder, "reversed", "00", {"chance_loss": [RIGHT]})
    save(folder, "reversed", "00", json.loads(file.read_text())["cells"][::-1])
    save(folder, "bare", "00", [code_cell(RIGHT)])
    return [Expected(name, "chance_loss", "right") for name in ("reversed", "bare")]


def hostile_rows(**places: object) -> list[tuple[str, str, Cells]]:
    def placed(text: str) -> str:
        for place, value in places.items():
            text = text.replace(f"{{{place}}}", str(value))
        return text

    return [
        (name, outcome, [placed(c) for c in (function(body) if isinstance(body, str) else body)])
        for outcome, table in HOSTILE.items()
        for name, body in table.items()
    ]


def function(body: str) -> Cells:
    return [f"def chance_loss(n):\n{textwrap.indent(textwrap.dedent(body), '    ')}"]


def taken_out(cells: Cells, patch: pytest.MonkeyPatch) -> Any:
    """`chance_loss` of a notebook's cells as the jail makes it; None for a stub."""
    statements, broken = read_code(["import math, torch\nimport numpy as np", *cells])
    found = find_function(statements, "chance_loss")
    steps = [(each.cell, ast.unparse(each.node)) for each in found]
    patch.setitem(jailed.sys.modules, "__main__", jailed.sys.modules["__main__"])
    patch.setattr(jailed, "report", lambda **message: pytest.fail(str(message)))
    return jailed.build({"name": "chance_loss", "steps": steps}, lambda: None) if steps else None
