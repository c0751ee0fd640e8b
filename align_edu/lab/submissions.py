"""Finds submitted notebooks in a folder, whose they are, and reads the Python in their cells."""

import __future__

import ast
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager

from align_edu.io import InputError
from align_edu.lab.course import COURSE
from align_edu.lab.exercises import EXERCISES

MOST_BYTES = 64 * 2**20  # of a file; a notebook of the course with its pictures has 0.2 million
MOST_CODE = 10**6  # characters
FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | __future__.annotations.compiler_flag
_RUNS_AS_PYTHON = re.compile(r"\A(\s*%%(time|timeit|capture|prun)\b.*\n)+")  # after the magic
_LEFT_OUT = ("get_ipython().", "lab.")  # magics, and calls of the lab


class Unreadable(ValueError):
    """A file is not a notebook that can be read; the text says why in a few words."""


@dataclass(frozen=True)
class Submission:
    """One submitted notebook.

    student: the first sub-folder, or the file's name without the notebook's. notebook: the file's
    path below the folder. number: of the notebook in the course (or the name of the lecturer's),
    if the file's name contains it. file: the path.
    """

    student: str
    notebook: str
    number: str
    file: Path


def find_submissions(folder: Path) -> list[Submission]:
    """Return the notebooks below a folder, sorted by student and name.

    Links, hidden files and Jupyter's checkpoints are left out.
    Raises InputError where none is found.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "anna").mkdir()
    >>> for name in ("anna/00_start_here.ipynb", "06_the_contrastive_loss_by_hand_ben.ipynb"):
    ...     _ = (folder / name).write_text("")
    >>> [(each.student, each.number) for each in find_submissions(folder)]
    [('anna', '00'), ('ben', '06')]
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the one that holds the submissions")
    found = []
    for file in folder.rglob("*.ipynb"):
        inside = file.relative_to(folder)
        if file.is_symlink() or any(part.startswith(".") for part in inside.parts):
            continue
        number, rest = _split(file.stem)
        student = inside.parts[0] if len(inside.parts) > 1 else rest or file.stem
        found.append(Submission(printable(student), printable(inside.as_posix()), number, file))
    if not found:
        raise InputError(f"{folder}: no notebook (*.ipynb) in it; collect the submissions there")
    return sorted(found, key=lambda each: (each.student, each.notebook))


def read_cells(file: Path) -> list[str]:
    """Return the text of each code cell of a notebook.

    Raises Unreadable.
    """
    if not file.is_file():
        raise Unreadable("it is no file")
    if file.stat().st_size > MOST_BYTES:
        raise Unreadable(f"it is larger than {MOST_BYTES // 2**20} MB")
    try:
        notebook = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        raise Unreadable("it is not JSON") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise Unreadable("it has no cells")
    code = [
        _text(cell.get("source"))
        for cell in cells
        if isinstance(cell, dict) and cell.get("cell_type") == "code"
    ]
    if sum(map(len, code)) > MOST_CODE:
        raise Unreadable(f"it has more than {MOST_CODE:,} letters of code")
    return code


def parse_cell(text: str) -> list[ast.stmt] | None:
    """Return the statements of a code cell, without magics, or None where it is not Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            plain = TransformerManager().transform_cell(_RUNS_AS_PYTHON.sub("", text))
            body = ast.parse(plain).body
            compile(plain, "<cell>", "exec", FLAGS, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    calls = [isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) for node in body]
    return [n for n, c in zip(body, calls) if not c or not ast.unparse(n).startswith(_LEFT_OUT)]


def number_in(cells: list[str]) -> str:
    """Return the number that a notebook is opened with, or nothing.

    >>> number_in(['from align_edu import lab', 'lab.start("06")'])
    '06'
    """
    found = re.search(r"""^\s*lab\.start\(\s*["'](\d\d)["']""", "\n".join(cells), re.MULTILINE)
    return found[1] if found else ""


def added_exercises() -> list[str]:
    """Return the names of the exercises that `add_exercise` added to those of the course."""
    numbers = {lesson.number for lesson in COURSE}
    return [name for name, exercise in EXERCISES.items() if exercise.notebook not in numbers]


def printable(text: str) -> str:
    """Return the text with characters that UTF-8 cannot hold written out.

    >>> printable("anna" + chr(0xDCFF)) == "anna" + chr(92) + "udcff"
    True
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _split(stem: str) -> tuple[str, str]:
    """The number of the notebook that a file's name contains, and the rest of the name."""
    for lesson in COURSE:
        if lesson.file in stem:
            return lesson.number, stem.replace(lesson.file, "", 1).strip("_- ")
    for name in {EXERCISES[exercise].notebook for exercise in added_exercises()}:
        if found := re.fullmatch(rf"{re.escape(name)}(?:[_\- ]+(.*))?", stem):
            return name, found[1] or ""
    found = re.match(r"(\d\d)(?=\D|$)", stem)
    return (found[1] if found else ""), stem


def _text(source: object) -> str:
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""
