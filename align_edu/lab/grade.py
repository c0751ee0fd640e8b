"""Marks a folder of submitted notebooks: `align-edu grade`.

Each function of an exercise is taken out of each notebook by its name (`align_edu.lab.extract`):
cells may be copied, split, moved or deleted. The functions of one notebook run in one isolated
process (`align_edu.lab.jail`), on the random cases of the lecturer's seed. It returns what the
functions returned; the verdict is made here, with answers that the process never had.

The same folder and the same seed give the same bytes. No submission stops the others. The outcome
"right" gives 1 point, all others none: "wrong", with the mistake where it is known, and those in
`grading.toml`. An attempt to reach the network, files outside its empty folder, or another process
is "forbidden" even where the answer is right.
"""

import ast
import runpy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from align_edu.io import InputError, usable_cores
from align_edu.lab.exercises import EXERCISES, added_exercises, answer_key, exercises_of
from align_edu.lab.extract import Statement, find_function, read_code, written
from align_edu.lab.jail import Job, Limits, find_namespaces, run_jobs
from align_edu.lab.marks import TEXTS, Grades, Mark, Where, files_beside, mark_of_report, plain_mark
from align_edu.lab.submissions import Submission, find_submissions, number_in, read_cells

_USUAL = TEXTS["imports"]  # of the course, for a notebook that has lost the cell with them
_MAKES_CODE = {"exec", "eval", "__import__", "importlib", "compile"}


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

    folder: with a folder or zip per student, or with files that carry the students' names. seed:
    of the hidden cases. out: the table of marks, a CSV file in a folder that exists. seconds,
    megabytes: of computing and memory for one function, without imports. workers: submissions at a
    time (default: one per core). progress: show a bar. unprotected: run submissions without
    isolation; each page then says so. exercises: a Python file that adds a lecturer's exercises.

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
    submissions, notes = find_submissions(folder, skip=files_beside(out)[1])
    namespaces = None if unprotected else find_namespaces()
    limits, private = Limits(seconds, megabytes), (folder, out.parent)
    notebooks = [_jobs(each, seed) for each in submissions]
    bar = tqdm(total=len(notebooks), desc="grading", unit=" notebooks", disable=not progress)

    def mark(jobs: list[Job | Mark]) -> list[Mark]:
        running = [each for each in jobs if isinstance(each, Job)]
        reports = iter(run_jobs(running, limits, namespaces, private))
        bar.update()
        return [
            mark_of_report(each, next(reports), limits) if isinstance(each, Job) else each
            for each in jobs
        ]

    with bar, ThreadPoolExecutor(workers or usable_cores()) as pool:
        marks = tuple(each for marks in pool.map(mark, notebooks) for each in marks)
    grades = Grades(marks, out, not unprotected, tuple(notes))
    grades.write()
    return grades


def read_exercises(file: str | Path) -> None:
    """Run a lecturer's Python file, which adds exercises; raise InputError where it fails."""
    try:
        runpy.run_path(str(file), run_name="exercises")
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"--exercises {file}: {type(error).__name__}: {error}") from error


def _jobs(submission: Submission, seed: int) -> list[Job | Mark]:
    """The functions of a notebook to run, and the marks of those that cannot; nothing runs."""
    student = (submission.student, submission.notebook)
    try:
        cells = read_cells(submission)
        statements, broken = read_code(cells)
        names = _expected(submission.number, number_in(cells), statements)
        if not names:
            raise InputError("it is no notebook of the course that has exercises")
        notes = [f"not Python: code cell {', '.join(map(str, broken))}"] if broken else []
        return [_job((*student, name), statements, seed, notes) for name in names]
    except (InputError, RecursionError, MemoryError) as error:
        reason = str(error) if isinstance(error, InputError) else "its code is nested too deep"
        wheres = [(*student, name) for name in exercises_of(submission.number) or [""]]
        return [plain_mark(each, "unreadable", [reason], reason=reason) for each in wheres]


def _job(where: Where, statements: Sequence[Statement], seed: int, broken: list[str]) -> Job | Mark:
    """One function with the statements that it needs, and what the lecturer may want to know."""
    name = where[2]
    needed = find_function(statements, name)
    if needed is None:
        elsewhere = f" It may stand in what is {broken[0]}." if broken else ""
        return plain_mark(where, "missing", broken, elsewhere=elsewhere)
    if not needed:
        return plain_mark(where, "stub", broken)
    notes = []
    kinds = len({ast.dump(each.node) for each in written(statements, name)})
    if kinds > 1:
        notes.append(f"{kinds} definitions; the last one counts")
    names = {each for step in needed for each in step.needs}
    usual = sorted(names & set(_USUAL) - {each for step in statements for each in step.binds})
    if usual:
        notes.append(f"not imported: {', '.join(usual)}")
    texts = [ast.unparse(step.node) for step in needed]
    if any("align_edu" in text for text in texts):
        notes.append("uses align_edu")
    if names & _MAKES_CODE:
        notes.append("makes code while it runs")
    steps = [*((0, _USUAL[each]) for each in usual), *zip((step.cell for step in needed), texts)]
    return Job(where, steps, answer_key(EXERCISES[name], seed), notes + broken)


def _expected(named: str, started: str, statements: Sequence[Statement]) -> list[str]:
    """The exercises to mark: by the notebook's name, by `lab.start`, or by what it defines."""
    defined = [name for name in EXERCISES if any(name in each.binds for each in statements)]
    added = [name for name in added_exercises() if name in defined]
    for names in (exercises_of(named), exercises_of(started)):
        if set(names) & set(defined):
            return list(dict.fromkeys([*names, *added]))
    return defined or exercises_of(named) or exercises_of(started)
