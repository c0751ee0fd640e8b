"""What a student has solved and answered: a file on their machine, and a table of it."""

import html
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align_edu.io import InputError, read_json, write_json
from align_edu.lab.course import COURSE
from align_edu.lab.exercises import EXERCISES

VARIABLE = "ALIGN_EDU_PROGRESS"  # another file, or nothing: then no progress is kept
_MARKS = {"solved": "●", "shown": "◐", "tried": "○", "open": "·"}
_WORDS = {
    "solved": "solved",
    "shown": "solved after the answer was shown",
    "tried": "tried",
    "open": "open",
}
_COLOURS = {"solved": "#1b7837", "shown": "#8c6bb1", "tried": "#d95f02", "open": "#bbbbbb"}


@dataclass
class Progress:
    """Tries of each exercise, and the last answer to each question of a quiz.

    exercises: by name, {"tries": n, "solved": bool, "shown": bool}. answers: by notebook, then
    by the question's place from 1 on, whether the last answer was right.
    """

    exercises: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, dict[str, bool]] = field(default_factory=dict)

    def state(self, exercise: str) -> str:
        """Return "solved", "shown" (solved, but the answer was looked at), "tried" or "open".

        >>> Progress({"cosine": {"tries": 2, "solved": True}}).state("cosine")
        'solved'
        """
        known = self.exercises.get(exercise, {})
        if known.get("solved"):
            return "shown" if known.get("shown") else "solved"
        return "tried" if known.get("tries") else "open"

    def rows(self) -> list[tuple[str, str, list[str], int, int]]:
        """Return number, title, states of the exercises, right answers and questions, a notebook
        a row; those without exercise and quiz are left out, and a quiz of no notebook that was
        not begun."""
        from align_edu.lab.quiz import QUIZZES, load_questions  # which keeps its answers here

        rows: list[tuple[str, str, list[str], int, int]] = []
        for lesson in COURSE:
            number = lesson.number
            names = [name for name, each in EXERCISES.items() if each.notebook == number]
            asked = len(load_questions(number)) if number in QUIZZES else 0
            right = sum(self.answers.get(number, {}).values())
            if names or asked:
                rows.append((number, lesson.title, [self.state(n) for n in names], right, asked))
        for number in sorted(self.answers.keys() & set(QUIZZES) - {row[0] for row in rows}):
            right, asked = sum(self.answers[number].values()), len(load_questions(number))
            rows.append((number, "Questions of the whole course", [], right, asked))
        return rows

    def __str__(self) -> str:
        rows = self.rows()
        width = max(len(row[1]) for row in rows)
        lines = [
            f"{number}  {title:<{width}}  exercises {' '.join(_MARKS[s] for s in states):<5}"
            f"  quiz {right} of {asked}"
            for number, title, states, right, asked in rows
        ]
        solved = sum(s in {"solved", "shown"} for row in rows for s in row[2])
        total = sum(len(row[2]) for row in rows)
        legend = ", ".join(f"{_MARKS[state]} {words}" for state, words in _WORDS.items())
        return "\n".join([*lines, f"{solved} of {total} exercises solved. {legend}."])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cells = []
        for number, title, states, right, asked in self.rows():
            dots = " ".join(
                f'<span title="{_WORDS[s]}" style="color:{_COLOURS[s]}">{_MARKS[s]}</span>'
                for s in states
            )
            bar = f'<progress value="{right}" max="{max(asked, 1)}"></progress> {right} of {asked}'
            cells.append(
                f"<tr><td>{number}</td><td style='text-align:left'>{html.escape(title)}</td>"
                f"<td style='font-size:140%'>{dots}</td><td>{bar}</td></tr>"
            )
        head = "<tr><th></th><th></th><th>exercises</th><th>quiz</th></tr>"
        legend = ", ".join(f"{_MARKS[state]} {words}" for state, words in _WORDS.items())
        return f"<table>{head}{''.join(cells)}</table><p>{legend}</p>"


def progress() -> Progress:
    """Return what this student has solved and answered; a notebook shows it as a table.

    It is read from a file in the home folder, or the one that ALIGN_EDU_PROGRESS names; nothing
    leaves the machine. Remove the file to begin anew.
    """
    file = progress_file()
    if file is None or not file.is_file():
        return Progress()
    try:
        kept = read_json(file)
        return Progress(
            {str(name): dict(each) for name, each in kept["exercises"].items()},
            {str(n): {str(p): bool(r) for p, r in of.items()} for n, of in kept["answers"].items()},
        )
    except (InputError, KeyError, TypeError, ValueError, AttributeError):
        _set_aside(file)
        return Progress()


def progress_file() -> Path | None:
    """Return the file that keeps the progress, or None where none is kept.

    >>> os.environ.get(VARIABLE) != "" or progress_file() is None
    True
    """
    if os.environ.get("NBGRADER_EXECUTION") == "autograde":
        return None  # the progress on this machine is the lecturer's
    named = os.environ.get(VARIABLE)
    if named is None:
        return Path.home() / ".align_edu" / "progress.json"
    return Path(named) if named else None


def note_try(exercise: str, *, solved: bool = False, shown: bool = False) -> None:
    """Keep that an exercise was tried, solved, or its answer shown; solved stays solved."""
    kept = progress()
    known = kept.exercises.setdefault(exercise, {"tries": 0, "solved": False, "shown": False})
    if shown:
        known["shown"] = known["shown"] or not known["solved"]
    else:
        known["tries"] += 1
        known["solved"] = known["solved"] or solved
    _keep(kept)


def note_answer(number: str, place: int, right: bool) -> None:
    """Keep whether the last answer to a question of a notebook's quiz was right."""
    kept = progress()
    kept.answers.setdefault(number, {})[str(place)] = right
    _keep(kept)


def _keep(kept: Progress) -> None:
    """Write the file; a full disk or a home that is read-only must not stop the lesson."""
    file = progress_file()
    if file is not None:
        try:
            write_json(file, {"exercises": kept.exercises, "answers": kept.answers})
        except InputError as error:
            print(f"Progress is not kept: {error}.")


def _set_aside(file: Path) -> None:
    """A damaged file is kept under another name, not overwritten."""
    try:
        file.replace(file.with_suffix(".damaged.json"))
        print(f"{file} was damaged; it is kept as {file.with_suffix('.damaged.json').name}.")
    except OSError:
        pass
