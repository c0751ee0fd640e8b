"""Marks: what each outcome is worth, what the student reads, and the files that hold them."""

import csv
import io
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from align_edu.io import written_whole
from align_edu.lab.exercises import EXERCISES, judge
from align_edu.lab.jail import Job, Limits, Report
from align_edu.lab.outcomes import Failure
from align_edu.lab.submissions import printable

NOT_ISOLATED = "Nothing was isolated: this submission could reach everything that the lecturer can."
COLUMNS = ("student", "notebook", "exercise", "mark", "outcome", "mistake", "note")
Where = tuple[str, str, str]  # student, notebook, exercise

_NO_MEMORY = re.compile(r"MemoryError:|.*(can't allocate memory|not enough memory|bad_alloc)")
TEXTS = tomllib.loads(Path(__file__).with_name("grading.toml").read_text("utf-8"))


@dataclass(frozen=True)
class Mark:
    """One row of the table, and the sentence that the student reads."""

    student: str
    notebook: str
    exercise: str
    mark: int  # 1 or 0
    outcome: str  # "wrong", or one of those in grading.toml
    mistake: str  # the sentence of a known mistake, or empty
    note: str  # for the lecturer
    said: str  # for the student


@dataclass(frozen=True)
class Grades:
    """All marks of a folder, sorted by student, notebook and exercise."""

    marks: tuple[Mark, ...]
    out: Path  # the table of marks
    isolated: bool  # by bubblewrap
    notes: tuple[str, ...] = ()  # what was not marked, or odd

    @property
    def misconceptions(self) -> list[tuple[str, str, int]]:
        """Exercise, mistake, and how many students made it; the most frequent first."""
        students = {(m.exercise, m.mistake, m.student) for m in self.marks if m.mistake}
        counts = Counter((exercise, mistake) for exercise, mistake, _ in students)
        order = list(EXERCISES)
        rows = [(*made, count) for made, count in counts.items()]
        return sorted(rows, key=lambda row: (-row[2], order.index(row[0]), row[1]))

    def to_dict(self) -> dict[str, Any]:
        """Return the counts and the file, for JSON."""
        names = ("exercise", "mistake", "students")
        return {
            "out": str(self.out),
            "students": len({mark.student for mark in self.marks}),
            "functions": len(self.marks),
            "outcomes": dict(Counter(mark.outcome for mark in self.marks).most_common()),
            "misconceptions": [dict(zip(names, row)) for row in self.misconceptions],
            "guards": ["bubblewrap"] if self.isolated else [],
            "notes": self.notes,
        }

    def __str__(self) -> str:
        """Return the class's mistakes as a table, the number of each outcome, and the files."""
        counts, (made, feedback) = self.to_dict(), files_beside(self.out)
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts["outcomes"].items())
        rows = [f"{n:>8}  {name:16}  {mistake}" for name, mistake, n in self.misconceptions]
        head = f"{'students':>8}  {'exercise':16}  mistake" if rows else "no known mistake"
        notes = self.notes if self.isolated else (*self.notes, NOT_ISOLATED)
        return "\n".join([
            head,
            *rows,
            f"{counts['students']} students, {counts['functions']} functions: {outcomes}",
            f"marks: {self.out}, with {made.name} and {feedback.name}/ beside it",
            *(f"note: {note}" for note in notes),
        ])  # fmt: skip

    def write(self) -> None:
        """Write the table, the misconceptions beside it, and one text per student in a folder.

        Raises InputError where they cannot be written.
        """
        made, feedback = files_beside(self.out)
        end = "" if self.isolated else f"{NOT_ISOLATED}\n"
        texts = {made: _csv(("exercise", "mistake", "students"), self.misconceptions)}
        for student, marks in groupby(self.marks, key=lambda each: each.student):
            texts[feedback / f"{student}.txt"] = _feedback(student, marks) + end
        rows = [[getattr(mark, name) for name in COLUMNS] for mark in self.marks]
        texts[self.out] = _csv(COLUMNS, rows)
        for file, text in texts.items():
            with written_whole(file) as beside:
                beside.write_text(text, encoding="utf-8", newline="\n")


def files_beside(out: Path) -> tuple[Path, Path]:
    """Return the table of misconceptions and the folder of feedback, beside the marks."""
    return out.with_name(f"{out.stem}_misconceptions.csv"), out.with_name(f"{out.stem}_feedback")


def plain_mark(where: Where, ended: str, notes: Iterable[str], **values: Any) -> Mark:
    """Return the mark of a function that ended so, with the values that its sentence mentions."""
    outcome, sentence = TEXTS["sentences"][ended]
    return _mark(where, outcome, sentence.format(name=where[2], **values), notes)


def mark_of_report(job: Job, report: Report, limits: Limits) -> Mark:
    """Return the mark of a function for what its run reported."""
    where, key, outcomes, ended = job.where, job.key, report.outcomes, report.ended
    notes = [*job.notes, *report.notes]
    if report.refused:
        tried = ", ".join(dict.fromkeys(report.refused))
        return plain_mark(where, "refused", [*notes, f"tried: {tried}"], tried=tried)
    if ended == "done" and len(outcomes) != len(key.cases):
        ended = "garbage"
    problem = judge(key, outcomes) if ended == "done" else None
    failures = [str(each) for each in outcomes if isinstance(each, Failure)]
    if problem and not problem.mistake and any(map(_NO_MEMORY.match, failures)):
        problem, ended = None, "memory"
    if problem is None:
        return plain_mark(where, ended, notes, **vars(limits))
    if problem.mistake or not isinstance(problem.got, Failure):
        return _mark(where, "wrong", problem.sentence, notes, problem.mistake)
    if problem.got.kind == "NotImplementedError":
        return plain_mark(where, "stub", notes)
    return _mark(where, "error", problem.sentence, [*notes, str(problem.got)])


def _mark(where: Where, outcome: str, said: str, notes: Iterable[str], mistake: str = "") -> Mark:
    note = "; ".join(" ".join(_lasting(note).split()) for note in dict.fromkeys(notes))
    return Mark(*where, int(outcome == "right"), outcome, mistake, note, _lasting(said))


def _lasting(text: str) -> str:
    """The text without what differs from run to run: addresses in memory."""
    return printable(re.sub(r"0x[0-9a-f]{6,}", "0x…", text))


def _feedback(student: str, marks: Iterable[Mark]) -> str:
    """What a student reads: a paragraph per exercise, under the notebooks' names."""
    lines = [student, ""]
    for notebook, rows in groupby(marks, key=lambda each: each.notebook):
        lines.append(notebook)
        for said in dict.fromkeys(each.said for each in rows):
            lines += ["", said]
        lines.append("")
    return "\n".join(lines)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return file.getvalue()


def _harmless(cell: object) -> object:
    """A spreadsheet would compute a text that begins like a formula; students choose texts."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell
