"""Marks a folder of submitted notebooks: `align-edu grade`.

Each function of an exercise is taken out of each notebook by its name (`align_edu.lab.extract`).
The functions of one notebook run in one isolated process (`align_edu.lab.jail`), on the random
cases of the lecturer's seed. The process returns what the functions returned, never a verdict; the
verdict is made here, by the judge of `lab.check`, with answers that the process never had.

The student is the first sub-folder, or what a file's name adds to the notebook's. Cells may be
copied, split, moved or deleted; where a function is defined several times, the last one counts and
the note says so. A note also says where an answer uses this package: it stays right, and the
lecturer decides.

The same folder and the same seed give the same bytes. No submission stops the others: whatever it
does becomes one of the outcomes

- right: 1 point; all others give none;
- wrong, with the mistake where it is known; error: it raises or crashes;
- not attempted (still `...`, or raises NotImplementedError), missing (not in the notebook),
  unreadable (not a notebook);
- time, memory, exit (it ended the program);
- forbidden: it attempted to reach the network, files outside its empty folder, or another process.
  That counts even where the answer is right.
"""

import ast
import runpy
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from align_edu.cores import usable_cores
from align_edu.io import InputError
from align_edu.lab.exercises import EXERCISES
from align_edu.lab.extract import Statement, find_function, read_code, written
from align_edu.lab.jail import Job, Limits, Report, bwrap_problem, run_jobs
from align_edu.lab.judge import AnswerKey, answer_key
from align_edu.lab.marks import (
    Mark,
    Where,
    feedback_file,
    mark_of_report,
    mark_without_running,
    misconceptions_file,
    misconceptions_text,
    write_marks,
)
from align_edu.lab.submissions import (
    Submission,
    Unreadable,
    added_exercises,
    find_submissions,
    number_in,
    read_cells,
)

# The course's imports, for a notebook that has lost the cell with them.
_USUAL = {
    "torch": "import torch", "math": "import math", "np": "import numpy as np", "re": "import re",
    "F": "from torch.nn import functional as F", "Tensor": "from torch import Tensor",
    "Counter": "from collections import Counter", "unicodedata": "import unicodedata",
    "itertools": "import itertools", "collections": "import collections",
    "numpy": "import numpy", "nn": "from torch import nn", "pl": "import polars as pl",
}  # fmt: skip
NOT_ISOLATED = "Nothing was isolated: this submission could reach everything that the lecturer can."


@dataclass(frozen=True)
class Grades:
    """All marks of a folder.

    Parameters
    ----------
    marks : one for each student, notebook and exercise, sorted.
    out : the table that was written.
    isolated : whether bubblewrap isolated the submissions.
    """

    marks: tuple[Mark, ...]
    out: Path
    isolated: bool

    @property
    def misconceptions(self) -> list[tuple[str, str, int]]:
        """Exercise, mistake, and how many students made it; the most frequent first."""
        students = {(m.exercise, m.mistake, m.student) for m in self.marks if m.mistake}
        counts = Counter((exercise, mistake) for exercise, mistake, _ in students)
        order = list(EXERCISES)
        return sorted(
            ((exercise, mistake, count) for (exercise, mistake), count in counts.items()),
            key=lambda row: (-row[2], order.index(row[0]), row[1]),
        )

    @property
    def outcomes(self) -> dict[str, int]:
        """How many functions had each outcome, the most frequent first."""
        return dict(Counter(mark.outcome for mark in self.marks).most_common())

    @property
    def students(self) -> int:
        """The number of students."""
        return len({mark.student for mark in self.marks})

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and the file, for JSON."""
        names = ("exercise", "mistake", "students")
        return {
            "out": str(self.out),
            "students": self.students,
            "functions": len(self.marks),
            "outcomes": self.outcomes,
            "misconceptions": [dict(zip(names, row)) for row in self.misconceptions],
            "guards": ["bubblewrap"] if self.isolated else [],
        }


@dataclass(frozen=True)
class _Function:
    """A function of a notebook before it runs: "written", "stub", "missing" or "unreadable"."""

    where: Where
    state: str
    steps: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""


def grade_folder(
    folder: str | Path,
    seed: int,
    out: str | Path,
    seconds: float = Limits.seconds,
    megabytes: int = Limits.megabytes,
    workers: int | None = None,
    progress: bool = False,
    unprotected: bool = False,
    exercises: str | Path | None = None,
) -> Grades:
    """Mark the notebooks below a folder; write the marks, a text per student, and the mistakes.

    Parameters
    ----------
    folder : with a sub-folder per student, or with files that carry the students' names.
    seed : of the hidden random cases, 0 or larger.
    out : the table of marks, a CSV file in a folder that exists.
    seconds : of computing for one function, imports excluded.
    megabytes : of memory for one function, beside Python and torch.
    workers : submissions at a time (default: one per core).
    progress : whether a bar is shown on standard error.
    unprotected : run the submissions without isolation; each page then says so.
    exercises : a Python file that adds a lecturer's exercises with `lab.add_exercise`.

    Raises InputError for bad input, and where bubblewrap cannot isolate a submission.
    """
    folder, out = Path(folder), Path(out)
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed {seed}: give a whole number from 0 on")
    if not 1 <= seconds <= 3600 or megabytes < 64 or (workers is not None and workers < 1):
        raise InputError("give a function 1 to 3600 seconds, 64 megabytes or more, and a worker")
    if not out.parent.is_dir() or out.is_dir():
        raise InputError(f"--out {out}: name a file in a folder that exists, such as grades.csv")
    if exercises is not None:
        read_exercises(exercises)
    submissions = find_submissions(folder)
    if not unprotected and (problem := bwrap_problem()):
        raise InputError(problem)
    marks = _run_all(
        [_functions(each) for each in submissions],
        seed,
        Limits(seconds, megabytes),
        private=(folder, out.parent),
        workers=min(workers or usable_cores(), len(submissions)),
        isolate=not unprotected,
        progress=progress,
    )
    grades = Grades(tuple(marks), out, not unprotected)
    write_marks(out, marks, grades.misconceptions, NOT_ISOLATED if unprotected else "")
    return grades


def summary(grades: Grades) -> str:
    """Return the class's mistakes as a table, the number of each outcome, and the files."""
    counts = ", ".join(f"{count} {outcome}" for outcome, count in grades.outcomes.items())
    lines = [
        misconceptions_text(grades.misconceptions),
        f"{grades.students} students, {len(grades.marks)} functions: {counts}",
        f"marks: {grades.out}, with {misconceptions_file(grades.out).name} and "
        f"{feedback_file(grades.out, '').parent.name}/ beside it",
    ]
    return "\n".join(lines if grades.isolated else [*lines, f"note: {NOT_ISOLATED}"])


def read_exercises(file: str | Path) -> None:
    """Run a lecturer's Python file, which adds exercises with `lab.add_exercise`.

    Raises InputError where the file is missing or fails.
    """
    try:
        runpy.run_path(str(file), run_name="exercises")
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"--exercises {file}: {type(error).__name__}: {error}") from error


def _run_all(
    notebooks: Sequence[Sequence[_Function]],
    seed: int,
    limits: Limits,
    *,
    private: Sequence[Path],
    workers: int,
    isolate: bool,
    progress: bool,
) -> list[Mark]:
    """Run the functions of each notebook in one process, several notebooks at a time."""
    names = {f.where[2]: 0 for functions in notebooks for f in functions if f.state == "written"}
    keys = {name: answer_key(EXERCISES[name], seed) for name in names}
    bar = tqdm(total=len(notebooks), desc="grading", unit=" notebooks", disable=not progress)

    def mark(functions: Sequence[_Function]) -> list[Mark]:
        jobs = [_job(each, keys) for each in functions if each.state == "written"]
        reports = iter(run_jobs(jobs, limits, private, isolate=isolate))
        bar.update()
        return [_mark(each, reports, keys, limits) for each in functions]

    with bar, ThreadPoolExecutor(workers) as pool:
        return [each for marks in pool.map(mark, notebooks) for each in marks]


def _functions(submission: Submission) -> list[_Function]:
    """The functions to mark in a notebook; nothing runs."""
    student = (submission.student, submission.notebook)
    try:
        cells = read_cells(submission.file)
        statements, broken = read_code(cells)
        names = _expected(submission.number, number_in(cells), statements)
        if not names:
            raise Unreadable("it is no notebook of the course that has exercises")
        reason = f"not Python: code cell {', '.join(map(str, broken))}" if broken else ""
        return [_function((*student, name), statements, reason) for name in names]
    except (Unreadable, RecursionError, MemoryError) as error:
        reason = str(error) if isinstance(error, Unreadable) else "its code is nested too deep"
        names = _exercises_of(submission.number) or [""]
        return [_Function((*student, name), "unreadable", reason=reason) for name in names]


def _function(where: Where, statements: Sequence[Statement], reason: str) -> _Function:
    """One function with the statements to run, and what a lecturer may want to know of it."""
    name = where[2]
    needed = find_function(statements, name)
    if not needed:
        return _Function(where, "missing" if needed is None else "stub", reason=reason)
    notes = []
    kinds = len({ast.dump(each.node) for each in written(statements, name)})
    if kinds > 1:
        notes.append(f"{kinds} definitions; the last one counts")
    names = {each for step in needed for each in step.needs}
    defined = {each for statement in statements for each in statement.binds}
    usual = sorted(names & set(_USUAL) - defined)
    if usual:
        notes.append(f"not imported: {', '.join(usual)}")
    texts = [ast.unparse(step.node) for step in needed]
    if any("align_edu" in text for text in texts):
        notes.append("uses align_edu")
    if names & {"exec", "eval", "__import__", "importlib", "compile"}:
        notes.append("makes code while it runs")
    steps = [*((0, _USUAL[each]) for each in usual), *zip((step.cell for step in needed), texts)]
    return _Function(where, "written", tuple(steps), tuple(notes), reason)


def _expected(named: str, started: str, statements: Sequence[Statement]) -> list[str]:
    """The exercises to mark: by the notebook's name, by `lab.start`, or by what it defines."""
    defined = [name for name in EXERCISES if any(name in each.binds for each in statements)]
    added = [name for name in added_exercises() if name in defined]
    for names in (_exercises_of(named), _exercises_of(started)):
        if set(names) & set(defined):
            return list(dict.fromkeys([*names, *added]))
    return defined or _exercises_of(named) or _exercises_of(started)


def _exercises_of(number: str) -> list[str]:
    return [name for name, exercise in EXERCISES.items() if exercise.notebook == number]


def _job(function: _Function, keys: dict[str, AnswerKey]) -> Job:
    key = keys[function.where[2]]
    return Job(function.where[2], function.steps, key.cases, key.exercise.observe)


def _mark(
    function: _Function, reports: Iterator[Report], keys: dict[str, AnswerKey], limits: Limits
) -> Mark:
    where, reason = function.where, function.reason
    notes = [*function.notes, *([reason] if reason and function.state != "unreadable" else [])]
    if function.state != "written":
        return mark_without_running(where, function.state, reason, notes)
    return mark_of_report(where, next(reports), keys[where[2]], limits, notes)
