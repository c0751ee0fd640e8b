"""Marks: what an outcome is worth, what the student reads, and the files that hold them."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from align_edu.io import written_whole
from align_edu.lab.judge import AnswerKey, judge
from align_edu.lab.submissions import printable
from align_edu.sandbox.job import Limits
from align_edu.sandbox.outcomes import Outcome
from align_edu.sandbox.pool import Report

COLUMNS = ("student", "notebook", "exercise", "mark", "outcome", "mistake", "note")
Where = tuple[str, str, str]  # student, notebook, exercise

_NO_MEMORY = re.compile(r"MemoryError:|.*(can't allocate memory|not enough memory|bad_alloc)")


@dataclass(frozen=True)
class Mark:
    """One row of the table, and the sentence that the student reads.

    Parameters
    ----------
    mark : 1 or 0.
    outcome : one of those that `align_edu.lab.grade` lists.
    mistake : the sentence of a known mistake, or nothing.
    note : for the lecturer.
    said : for the student.
    """

    student: str
    notebook: str
    exercise: str
    mark: int
    outcome: str
    mistake: str
    note: str
    said: str


def mark_without_running(where: Where, state: str, reason: str, notes: Sequence[str]) -> Mark:
    """Return the mark of what is a stub, missing, or in a file that cannot be read.

    >>> mark_without_running(("anna", "00.ipynb", "chance_loss"), "stub", "", []).said
    'chance_loss: still to be written.'
    """
    exercise = where[2]
    if state == "stub":
        return _mark(where, "not attempted", f"{exercise}: still to be written.", notes)
    if state == "missing":
        said = f"{exercise}: not in the notebook. Is it spelled like this, and was the file saved?"
        said += f" It may stand in what is {reason}." if reason else ""
        return _mark(where, "missing", said, notes)
    said = f"The file cannot be read: {reason}. Save the notebook once more and hand that in."
    return _mark(where, "unreadable", said, [*notes, reason])


def mark_of_report(
    where: Where, report: Report, key: AnswerKey, limits: Limits, notes: Sequence[str]
) -> Mark:
    """Return the mark of what came back from a run; the verdict is made here, not there."""
    notes = [*notes, *(f"cell {cell}: {error}" if cell else error for cell, error in report.failed)]
    if report.answers:
        notes.append("imported the answers of the course")
    name = where[2]
    if report.refused or report.ended == "disk":
        tried = ", ".join(report.refused) or "more files than its folder may hold"
        said = f"{name}: it asked for {tried}. A function that is graded works alone."
        return _mark(where, "forbidden", said, [*notes, f"tried: {tried}"])
    if report.ended != "done":
        outcome, said = _ended(report, limits)
        return _mark(where, outcome, f"{name}: {said}", notes)
    if len(report.outcomes) != len(key.cases):
        return _mark(where, "error", f"{name}: {_SENTENCES['garbage'][1]}", notes)
    problem = judge(key, report.outcomes)
    if problem is None:
        return _mark(where, "right", f"{name}: right.", notes)
    if problem.mistake:
        return _mark(where, "wrong", problem.sentence, notes, problem.mistake)
    if any(_is_without_memory(outcome) for outcome in report.outcomes):
        outcome, said = _ended(Report("memory"), limits)
        return _mark(where, outcome, f"{name}: {said}", notes)
    raised = isinstance(problem.got, str) and ": " in problem.got
    if raised:
        notes.append(str(problem.got))
    return _mark(where, "error" if raised else "wrong", problem.sentence, notes)


def write_marks(
    out: Path, marks: Sequence[Mark], misconceptions: Iterable[tuple[str, str, int]]
) -> None:
    """Write the table, the misconceptions beside it, and one text a student in a folder.

    Raises InputError where they cannot be written.
    """
    for student, own in groupby(marks, key=lambda each: each.student):
        _write(feedback_file(out, student), feedback(list(own)))
    rows = [(exercise, mistake, count) for exercise, mistake, count in misconceptions]
    _write(misconceptions_file(out), _csv(("exercise", "mistake", "students"), rows))
    _write(out, _csv(COLUMNS, [[getattr(each, name) for name in COLUMNS] for each in marks]))


def feedback(marks: Sequence[Mark]) -> str:
    """Return what a student reads: a paragraph an exercise, under the notebooks' names."""
    lines = [marks[0].student, ""]
    for notebook, own in groupby(marks, key=lambda each: each.notebook):
        lines.append(notebook)
        for said in dict.fromkeys(each.said for each in own):
            lines += ["", said]
        lines.append("")
    return "\n".join(lines)


def misconceptions_text(rows: Sequence[tuple[str, str, int]]) -> str:
    """Return the table of misconceptions for a reader.

    >>> print(misconceptions_text([("cosine", "The root is missing.", 3)]))
    students  exercise          mistake
           3  cosine            The root is missing.
    """
    if not rows:
        return "no known mistake"
    lines = [f"{'students':>8}  {'exercise':16}  mistake"]
    return "\n".join([*lines, *(f"{n:>8}  {name:16}  {mistake}" for name, mistake, n in rows)])


def misconceptions_file(out: Path) -> Path:
    """Return where the misconceptions are written.

    >>> misconceptions_file(Path("grades.csv")).name
    'grades_misconceptions.csv'
    """
    return out.with_name(f"{out.stem}_misconceptions.csv")


def feedback_file(out: Path, student: str) -> Path:
    """Return where a student's feedback is written.

    >>> feedback_file(Path("grades.csv"), "anna").as_posix()
    'grades_feedback/anna.txt'
    """
    return out.with_name(f"{out.stem}_feedback") / f"{student.replace('/', '_')}.txt"


_SENTENCES = {
    "exit": ("exit", "it ended the whole program. Return a value instead."),
    "absent": ("error", "there is no function of that name once the cells have run."),
    "crash": ("error", "it crashed the process that ran it."),
    "garbage": ("error", "what came back cannot be read."),
    "chatter": ("error", "it gave back far too much."),
    "stopped": ("error", "it was stopped by an error."),
}


def _ended(report: Report, limits: Limits) -> tuple[str, str]:
    """Outcome and sentence for a run that did not come to its end."""
    if report.ended == "time":
        return "time", f"no answer after {limits.seconds:g} s of computing. Does a loop ever end?"
    if report.ended == "memory":
        return "memory", f"it asked for more than {limits.megabytes} MB of memory."
    return _SENTENCES[report.ended]


def _is_without_memory(outcome: Outcome) -> bool:
    return isinstance(outcome, str) and _NO_MEMORY.match(outcome) is not None


def _mark(where: Where, outcome: str, said: str, notes: Iterable[str], mistake: str = "") -> Mark:
    note = "; ".join(" ".join(_lasting(note).split()) for note in dict.fromkeys(notes))
    points = 1 if outcome == "right" else 0
    return Mark(*where, points, outcome, mistake, note, _lasting(said))


def _lasting(text: str) -> str:
    """The text without what differs from run to run: addresses in memory."""
    return printable(re.sub(r"0x[0-9a-f]{6,}", "0x…", text))


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return file.getvalue()


def _harmless(cell: object) -> object:
    """A spreadsheet takes what begins so for a formula, and students choose names and errors."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell


def _write(file: Path, text: str) -> None:
    with written_whole(file) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
