"""Marks a folder of submitted notebooks: `align-edu grade`.

Each function of an exercise is taken out of each notebook by its name (`align_edu.lab.extract`):
cells may be copied, split, moved or deleted. The functions of one notebook run in one isolated
process (`align_edu.lab.jail`), on the random cases of the lecturer's seed. It returns what the
functions returned; the verdict is made here, with answers that the process never had.
The same folder and the same seed give the same bytes. An attempt to reach the network, files
outside its empty folder, or another process is "forbidden" even where the answer is right.
"""

import ast
import csv
import io
import re
import runpy
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from align_edu.io import InputError, fill_template, usable_cores, written_whole
from align_edu.lab.exercises import EXERCISES, added_exercises, answer_key, exercises_of, judge
from align_edu.lab.extract import Statement, find_function, read_code, written
from align_edu.lab.jail import Job, Limits, Report, find_namespaces, run_jobs
from align_edu.lab.outcomes import Failure
from align_edu.lab.submissions import Submission, find_submissions, printable, read_cells

NOT_ISOLATED = "Nothing was isolated: this submission could reach everything that the lecturer can."
Where = tuple[str, str, str]  # student, notebook, exercise

_NO_MEMORY = re.compile(r"MemoryError:|.*(can't allocate memory|not enough memory|bad_alloc)")
_TEXTS = tomllib.loads(Path(__file__).with_name("grading.toml").read_text("utf-8"))
_USUAL = _TEXTS["imports"]  # of the course, for a notebook that has lost the cell with them
_STARTS = re.compile(r"""^\s*lab\.start\(\s*["'](\d\d)["']""", re.MULTILINE)
_MAKES_CODE = {"exec", "eval", "__import__", "importlib", "compile"}


class Mark(NamedTuple):
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
        names, students = ("exercise", "mistake", "students"), {m.student for m in self.marks}
        return {
            "out": str(self.out), "students": len(students), "functions": len(self.marks),
            "outcomes": dict(Counter(mark.outcome for mark in self.marks).most_common()),
            "misconceptions": [dict(zip(names, row)) for row in self.misconceptions],
            "guards": ["bubblewrap"] if self.isolated else [], "notes": self.notes,
        }  # fmt: skip

    def __str__(self) -> str:
        """Return the class's mistakes as a table, the number of each outcome, and the files."""
        counts, (made, feedback) = self.to_dict(), _files_beside(self.out)
        notes = self.notes if self.isolated else (*self.notes, NOT_ISOLATED)
        values: dict[str, Any] = {"made": made, "feedback": feedback, "notes": notes}
        file, rows = Path(__file__).with_name("grades.txt.j2"), self.misconceptions
        return fill_template(file, counts=counts, rows=rows, **values).rstrip("\n")

    def write(self) -> None:
        """Write the table, the misconceptions beside it, and one text per student in a folder.

        Raises InputError where they cannot be written.
        """
        made, feedback = _files_beside(self.out)
        end = "" if self.isolated else f"{NOT_ISOLATED}\n"
        texts = {made: _csv(("exercise", "mistake", "students"), self.misconceptions)}
        for student, marks in groupby(self.marks, key=lambda each: each.student):
            texts[feedback / f"{student}.txt"] = _feedback(student, marks) + end
        texts[self.out] = _csv(Mark._fields[:-1], [mark[:-1] for mark in self.marks])
        for file, text in texts.items():
            with written_whole(file) as beside:
                beside.write_text(text, encoding="utf-8", newline="\n")


def grade_folder(
    folder: str | Path, seed: int, out: str | Path, seconds: float = Limits.seconds,
    megabytes: int = Limits.megabytes, workers: int | None = None, progress: bool = False,
    unprotected: bool = False, exercises: str | Path | None = None,
) -> Grades:  # fmt: skip
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
    submissions, notes = find_submissions(folder, skip=_files_beside(out)[1])
    namespaces = None if unprotected else find_namespaces()
    limits, private = Limits(seconds, megabytes), (folder, out.parent)
    notebooks = [_jobs(each, seed) for each in submissions]
    bar = tqdm(total=len(notebooks), desc="grading", unit=" notebooks", disable=not progress)

    def mark(jobs: list[Job | Mark]) -> list[Mark]:
        running = [each for each in jobs if isinstance(each, Job)]
        reports = iter(run_jobs(running, limits, namespaces, private))
        bar.update()
        return [
            _mark_of_report(each, next(reports), limits) if isinstance(each, Job) else each
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
        names = _expected(submission.number, "\n".join(cells), statements)
        if not names:
            raise InputError("it is no notebook of the course that has exercises")
        notes = [f"not Python: code cell {', '.join(map(str, broken))}"] if broken else []
        return [_job((*student, name), statements, seed, notes) for name in names]
    except (InputError, RecursionError, MemoryError) as error:
        reason = str(error) if isinstance(error, InputError) else "its code is nested too deep"
        wheres = [(*student, name) for name in exercises_of(submission.number) or [""]]
        return [_plain_mark(each, "unreadable", [reason], reason=reason) for each in wheres]


def _job(where: Where, statements: Sequence[Statement], seed: int, broken: list[str]) -> Job | Mark:
    """One function with the statements that it needs, and what the lecturer may want to know."""
    name = where[2]
    needed = find_function(statements, name)
    if needed is None:
        elsewhere = f" It may stand in what is {broken[0]}." if broken else ""
        return _plain_mark(where, "missing", broken, elsewhere=elsewhere)
    if not needed:
        return _plain_mark(where, "stub", broken)
    notes = []
    if (kinds := len({ast.dump(each.node) for each in written(statements, name)})) > 1:
        notes.append(f"{kinds} definitions; the last one counts")
    names = {each for step in needed for each in step.needs}
    bound = {each for step in statements for each in step.binds}
    if usual := sorted(names & set(_USUAL) - bound):
        notes.append(f"not imported: {', '.join(usual)}")
    texts = [ast.unparse(step.node) for step in needed]
    if any("align_edu" in text for text in texts):
        notes.append("uses align_edu")
    if names & _MAKES_CODE:
        notes.append("makes code while it runs")
    steps = [*((0, _USUAL[each]) for each in usual), *zip((step.cell for step in needed), texts)]
    return Job(where, steps, answer_key(EXERCISES[name], seed), notes + broken)


def _expected(named: str, code: str, statements: Sequence[Statement]) -> list[str]:
    """The exercises to mark: by the notebook's name, by `lab.start`, or by what it defines."""
    defined = [name for name in EXERCISES if any(name in each.binds for each in statements)]
    added = [name for name in added_exercises() if name in defined]
    started = "".join(_STARTS.findall(code)[:1])
    for names in (exercises_of(named), exercises_of(started)):
        if set(names) & set(defined):
            return list(dict.fromkeys([*names, *added]))
    return defined or exercises_of(named) or exercises_of(started)


def _mark_of_report(job: Job, report: Report, limits: Limits) -> Mark:
    """Return the mark of a function for what its run reported."""
    where, key, outcomes, ended = job.where, job.key, report.outcomes, report.ended
    notes = [*job.notes, *report.notes]
    if report.refused:
        tried = ", ".join(dict.fromkeys(report.refused))
        return _plain_mark(where, "refused", [*notes, f"tried: {tried}"], tried=tried)
    if ended == "done" and len(outcomes) != len(key.cases):
        ended = "garbage"
    problem = judge(key, outcomes) if ended == "done" else None
    failures = [str(each) for each in outcomes if isinstance(each, Failure)]
    if problem and not problem.mistake and any(map(_NO_MEMORY.match, failures)):
        problem, ended = None, "memory"
    if problem is None:
        return _plain_mark(where, ended, notes, **vars(limits))
    if problem.mistake or not isinstance(problem.got, Failure):
        return _mark(where, "wrong", problem.sentence, notes, problem.mistake)
    if problem.got.kind == "NotImplementedError":
        return _plain_mark(where, "stub", notes)
    return _mark(where, "error", problem.sentence, [*notes, str(problem.got)])


def _plain_mark(where: Where, ended: str, notes: Iterable[str], **values: Any) -> Mark:
    """Return the mark of a function that ended so, with the values that its sentence mentions."""
    outcome, sentence = _TEXTS["sentences"][ended]
    return _mark(where, outcome, sentence.format(name=where[2], **values), notes)


def _mark(where: Where, outcome: str, said: str, notes: Iterable[str], mistake: str = "") -> Mark:
    note = "; ".join(" ".join(_lasting(note).split()) for note in dict.fromkeys(notes))
    return Mark(*where, int(outcome == "right"), outcome, mistake, note, _lasting(said))


def _lasting(text: str) -> str:
    """The text without what differs from run to run: addresses in memory."""
    return printable(re.sub(r"0x[0-9a-f]{6,}", "0x…", text))


def _files_beside(out: Path) -> tuple[Path, Path]:
    """Return the table of misconceptions and the folder of feedback, beside the marks."""
    return out.with_name(f"{out.stem}_misconceptions.csv"), out.with_name(f"{out.stem}_feedback")


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
    table = ([_harmless(cell) for cell in row] for row in (columns, *rows))
    csv.writer(file, lineterminator="\n").writerows(table)
    return file.getvalue()


def _harmless(cell: object) -> object:
    """A spreadsheet would compute a text that begins like a formula; students choose texts."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell
