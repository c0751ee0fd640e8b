"""Marks a folder of submitted notebooks: `align-edu grade`.

Each function of an exercise is taken out of each notebook by its name (`align_edu.lab.extract`)
and called in a process of its own that can touch nothing (`align_edu.sandbox`), with the random
cases of the lecturer's seed. The process gives back what the function returned, never a verdict;
the verdict is made here, by the judge of `lab.check`, with answers that the process never had.

The student is the first sub-folder, or what a file's name adds to the notebook's. Cells may be
copied, split, moved or deleted; where a function is defined several times, the last one counts and
the note says so. A note also tells where an answer uses this package: it stays right, and the
lecturer decides.

The same folder and the same seed give the same bytes. No submission stops the others: whatever it
does becomes one of the outcomes

- right: 1 point; all others give none;
- wrong, with the mistake where it is known; error: it raises or crashes;
- not attempted (still `...`), missing (not in the notebook), unreadable (no notebook);
- time, memory, exit (it ended the program);
- forbidden: it asked for the network, for files outside its own empty folder, or for another
  process. That counts even where the answer is right.

What holds a submission back is told in `align_edu.sandbox.kernel`, also where the system offers
less than Linux does.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from align_edu.cores import usable_cores
from align_edu.io import InputError
from align_edu.lab.cells import Code, read_code
from align_edu.lab.exercises import EXERCISES
from align_edu.lab.extract import Found, find_function
from align_edu.lab.judge import AnswerKey, answer_key
from align_edu.lab.marks import (
    Mark,
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
    find_submissions,
    number_in,
    read_cells,
)
from align_edu.sandbox.job import Job, Limits
from align_edu.sandbox.pool import Sandbox

MOST_WORKERS = 4  # by default: each holds torch in memory


@dataclass(frozen=True)
class Grades:
    """All marks of a folder.

    Parameters
    ----------
    marks : one for each student, notebook and exercise, sorted.
    out : the table that was written.
    guards : what the kernel added to the limits.
    """

    marks: tuple[Mark, ...]
    out: Path
    guards: tuple[str, ...]

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
        """How many functions came out how, the most frequent first."""
        return dict(Counter(mark.outcome for mark in self.marks).most_common())

    @property
    def students(self) -> int:
        """How many students there are."""
        return len({mark.student for mark in self.marks})

    def to_dict(self) -> dict[str, Any]:
        """Return what was written and what came out, for JSON."""
        rows = [
            {"exercise": exercise, "mistake": mistake, "students": count}
            for exercise, mistake, count in self.misconceptions
        ]
        return {
            "out": str(self.out),
            "students": self.students,
            "functions": len(self.marks),
            "outcomes": self.outcomes,
            "misconceptions": rows,
            "guards": list(self.guards),
        }


@dataclass(frozen=True)
class _Task:
    """One exercise of one notebook, before it is run."""

    submission: Submission
    exercise: str
    found: Found
    broken: tuple[int, ...] = ()
    unreadable: str = ""


def grade_folder(
    folder: str | Path,
    seed: int,
    out: str | Path,
    seconds: float = Limits.seconds,
    megabytes: int = Limits.megabytes,
    workers: int | None = None,
    progress: bool = False,
) -> Grades:
    """Mark the notebooks below a folder; write the marks, a text a student, and the mistakes.

    Parameters
    ----------
    folder : with a sub-folder a student, or with files that carry the students' names.
    seed : of the hidden random cases, 0 or larger.
    out : the table of marks, a CSV file in a folder that exists.
    seconds : of computing for one function, imports apart.
    megabytes : of memory for one function, beside Python and torch.
    workers : functions at a time (default: one a core, 4 at most).
    progress : whether a bar is shown on standard error.

    Raises InputError for bad input, and where the system cannot lock a submission in.
    """
    folder, out = Path(folder), Path(out)
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed {seed}: give a whole number from 0 on")
    if not 1 <= seconds <= 3600 or megabytes < 64 or (workers is not None and workers < 1):
        raise InputError("give a function 1 to 3600 seconds, 64 megabytes or more, and a worker")
    if not out.parent.is_dir() or out.is_dir():
        raise InputError(f"--out {out}: name a file in a folder that exists, such as grades.csv")
    submissions = find_submissions(folder)
    tasks = [task for each in submissions for task in _tasks(each)]
    names = sorted({task.exercise for task in tasks if task.found.state == "written"})
    keys = {name: answer_key(EXERCISES[name], seed) for name in names}
    limits = Limits(seconds, megabytes)
    marks, guards = _run_all(tasks, keys, limits, workers, (folder, out.parent), progress)
    grades = Grades(tuple(marks), out, guards)
    write_marks(out, grades.marks, grades.misconceptions)
    return grades


def summary(grades: Grades) -> str:
    """Return the class's mistakes as a table, how many functions came out how, and the files."""
    counts = ", ".join(f"{count} {outcome}" for outcome, count in grades.outcomes.items())
    lines = [
        misconceptions_text(grades.misconceptions),
        f"{grades.students} students, {len(grades.marks)} functions: {counts}",
        f"marks: {grades.out}, with {misconceptions_file(grades.out).name} and "
        f"{feedback_file(grades.out, '').parent.name}/ beside it",
    ]
    if missing := {"landlock", "seccomp"} - set(grades.guards):
        lines.append(
            f"note: this system has no {' and no '.join(sorted(missing))}; submissions were held "
            "by Python's audit hook and limits alone"
        )
    return "\n".join(lines)


def _run_all(
    tasks: Sequence[_Task],
    keys: dict[str, AnswerKey],
    limits: Limits,
    workers: int | None,
    private: Sequence[Path],
    progress: bool,
) -> tuple[list[Mark], tuple[str, ...]]:
    count = min(workers or min(usable_cores(), MOST_WORKERS), max(1, len(tasks)))
    cases = {name: key.cases for name, key in keys.items()}
    observers = {name: key.exercise.observe for name, key in keys.items() if key.exercise.observe}
    sandbox = Sandbox(cases, limits, count, private, observers)
    bar = tqdm(total=len(tasks), desc="grading", unit=" functions", disable=not progress)
    with bar, sandbox as box, ThreadPoolExecutor(count) as pool:

        def mark(task: _Task) -> Mark:
            made = _mark(task, box, keys, limits)
            bar.update()
            return made

        return list(pool.map(mark, tasks)), tuple(box.guards)


def _mark(task: _Task, box: Sandbox, keys: dict[str, AnswerKey], limits: Limits) -> Mark:
    where = (task.submission.student, task.submission.notebook, task.exercise)
    found, reason = task.found, task.unreadable
    notes = list(found.notes)
    if task.broken:
        reason = f"not Python: code cell {', '.join(map(str, task.broken))}"
        notes.append(reason)
    if found.state != "written":
        return mark_without_running(where, found.state, reason, notes)
    report = box.run(Job(task.exercise, task.exercise, found.cells, found.steps, found.flags))
    return mark_of_report(where, report, keys[task.exercise], limits, notes)


def _tasks(submission: Submission) -> Iterator[_Task]:
    """The exercises of a notebook, each with what was found of it; nothing is run."""
    try:
        cells = read_cells(submission.file)
        code = read_code(cells)
        names = _wanted(submission.number, cells, code)
        found = [(name, find_function(code, name)) for name in names]
    except (Unreadable, RecursionError, MemoryError) as error:
        reason = str(error) if isinstance(error, Unreadable) else "its code is nested too deep"
        for name in _exercises_of(submission.number) or [""]:
            yield _Task(submission, name, Found("unreadable"), unreadable=reason)
        return
    if not found:
        reason = "it is no notebook of the course that has exercises"
        yield _Task(submission, "", Found("unreadable"), unreadable=reason)
    for name, each in found:
        yield _Task(submission, name, each, tuple(code.broken))


def _wanted(number: str, cells: list[str], code: Code) -> list[str]:
    """The exercises that a notebook should hold: by its name, by `lab.start`, by what is in it."""
    named, started = _exercises_of(number), _exercises_of(number_in(cells))
    for names in (named, started):
        if any(map(code.binders, names)):
            return names
    return [name for name in EXERCISES if code.binders(name)] or named or started


def _exercises_of(number: str) -> list[str]:
    return [name for name, exercise in EXERCISES.items() if exercise.notebook == number]
