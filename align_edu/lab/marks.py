"""Marks: what each outcome is worth, what the student reads, and the files that hold them."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from align_edu.io import written_whole
from align_edu.lab.jail import Job, Limits, Report
from align_edu.lab.judge import judge
from align_edu.lab.outcomes import Failure, Outcome
from align_edu.lab.submissions import printable

COLUMNS = ("student", "notebook", "exercise", "mark", "outcome", "mistake", "note")
Where = tuple[str, str, str]  # student, notebook, exercise

_NO_MEMORY = re.compile(r"MemoryError:|.*(can't allocate memory|not enough memory|bad_alloc)")
# By how a function ended: its outcome, and the sentence for the student.
_SENTENCES = {
    "stub": ("not attempted", "still to be written."),
    "missing": (
        "missing",
        "not in the notebook. Is it spelled like this, and was the file saved?{elsewhere}",
    ),
    "refused": ("forbidden", "it asked for {tried}. A function that is graded works alone."),
    "time": ("time", "no answer after {seconds:g} s of computing. Does a loop ever end?"),
    "memory": ("memory", "it asked for more than {megabytes} MB of memory."),
    "exit": ("exit", "it ended the whole program. Return a value instead."),
    "absent": ("error", "there is no function of that name once the cells have run."),
    "crash": ("error", "it crashed the process that ran it."),
    "garbage": ("error", "what came back cannot be read."),
    "stopped": ("error", "it was stopped by an error."),
    "right": ("right", "right."),
}


@dataclass(frozen=True)
class Mark:
    """One row of the table, and the sentence that the student reads.

    mark: 1 or 0. outcome: one of those that `align_edu.lab.grade` lists. mistake: the sentence of
    a known mistake, or empty. note: for the lecturer. said: for the student.
    """

    student: str
    notebook: str
    exercise: str
    mark: int
    outcome: str
    mistake: str
    note: str
    said: str


def plain_mark(where: Where, ended: str, notes: Iterable[str], **values: Any) -> Mark:
    """Return the mark of a function that ended so, with the values that its sentence mentions.

    >>> plain_mark(("anna", "00.ipynb", "chance_loss"), "stub", []).said
    'chance_loss: still to be written.'
    """
    outcome, sentence = _SENTENCES[ended]
    return _mark(where, outcome, f"{where[2]}: {sentence.format(**values)}", notes)


def unreadable_mark(where: Where, reason: str) -> Mark:
    """Return the mark of each exercise of a file that cannot be read."""
    said = f"The file cannot be read: {reason}. Save the notebook once more and hand that in."
    return _mark(where, "unreadable", said, [reason])


def mark_of_report(job: Job, report: Report, limits: Limits) -> Mark:
    """Return the mark of a function for what its run reported."""
    where, key = job.where, job.key
    notes = [*job.notes]
    notes += [f"cell {cell}: {error}" if cell else error for cell, error in report.failed]
    if report.answers:
        notes.append("imported the answers of the course")
    if report.refused:
        tried = ", ".join(report.refused)
        return plain_mark(where, "refused", [*notes, f"tried: {tried}"], tried=tried)
    ended, outcomes = report.ended, report.outcomes
    if ended == "done" and len(outcomes) != len(key.cases):
        ended = "garbage"
    problem = judge(key, outcomes) if ended == "done" else None
    if problem and not problem.mistake and any(map(_lacks_memory, outcomes)):
        ended = "memory"
    if ended != "done" or problem is None:
        return plain_mark(where, "right" if ended == "done" else ended, notes, **vars(limits))
    if problem.mistake or not isinstance(problem.got, Failure):
        return _mark(where, "wrong", problem.sentence, notes, problem.mistake)
    if problem.got.kind == "NotImplementedError":
        return plain_mark(where, "stub", notes)
    return _mark(where, "error", problem.sentence, [*notes, str(problem.got)])


def write_marks(
    out: Path, marks: Sequence[Mark], misconceptions: Iterable[tuple[str, str, int]], note: str = ""
) -> None:
    """Write the table, the misconceptions beside it, and one text per student in a folder.

    note: a sentence that each text ends with. Raises InputError where they cannot be written.
    """
    texts = {misconceptions_file(out): _csv(("exercise", "mistake", "students"), misconceptions)}
    for student, rows in groupby(marks, key=lambda each: each.student):
        file = feedback_folder(out) / f"{student}.txt"
        texts[file] = feedback(list(rows)) + (f"{note}\n" if note else "")
    texts[out] = _csv(COLUMNS, [[getattr(each, name) for name in COLUMNS] for each in marks])
    for file, text in texts.items():
        with written_whole(file) as beside:
            beside.write_text(text, encoding="utf-8", newline="\n")


def misconceptions_file(out: Path) -> Path:
    """Return the path of the table of misconceptions, beside the marks."""
    return out.with_name(f"{out.stem}_misconceptions.csv")


def feedback_folder(out: Path) -> Path:
    """Return the folder of the students' feedback, beside the marks."""
    return out.with_name(f"{out.stem}_feedback")


def feedback(marks: Sequence[Mark]) -> str:
    """Return what a student reads: a paragraph per exercise, under the notebooks' names."""
    lines = [marks[0].student, ""]
    for notebook, rows in groupby(marks, key=lambda each: each.notebook):
        lines.append(notebook)
        for said in dict.fromkeys(each.said for each in rows):
            lines += ["", said]
        lines.append("")
    return "\n".join(lines)


def _lacks_memory(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and _NO_MEMORY.match(str(outcome)) is not None


def _mark(where: Where, outcome: str, said: str, notes: Iterable[str], mistake: str = "") -> Mark:
    note = "; ".join(" ".join(_lasting(note).split()) for note in dict.fromkeys(notes))
    return Mark(*where, int(outcome == "right"), outcome, mistake, note, _lasting(said))


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
    """A spreadsheet would compute a text that begins like a formula; students choose texts."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell
