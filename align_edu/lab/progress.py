"""What a student has solved and answered: a file on their machine, and a table of it."""

import functools
import html
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from align_edu.io import InputError, read_json, write_json
from align_edu.lab.course import COURSE
from align_edu.lab.exercises import EXERCISES, exercises_of

VARIABLE = "ALIGN_EDU_PROGRESS"  # names another file; empty: no progress is kept
_STATES = {  # mark, meaning, colour
    "solved": ("●", "solved", "#1b7837"),
    "shown": ("◐", "solved after the answer was shown", "#8c6bb1"),
    "tried": ("○", "tried", "#d95f02"),
    "open": ("·", "open", "#bbbbbb"),
}
_LEGEND = ", ".join(f"{mark} {meaning}" for mark, meaning, _ in _STATES.values())
# What reading a file of another shape may raise.
_ODD_SHAPES = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


@dataclass
class Progress:
    """What was tried, by exercise, and which questions were answered rightly, by notebook."""

    exercises: dict[str, dict[str, Any]] = field(default_factory=dict)  # tries, solved, shown
    answers: dict[str, dict[str, bool]] = field(default_factory=dict)  # by the question's place

    def state(self, exercise: str) -> str:
        """Return "solved", "shown" (solved after the answer was shown), "tried" or "open".

        >>> Progress({"cosine": {"tries": 2, "solved": True}}).state("cosine")
        'solved'
        """
        noted = self.exercises.get(exercise, {})
        if noted.get("solved"):
            return "shown" if noted.get("shown") else "solved"
        return "tried" if noted.get("tries") else "open"

    def rows(self) -> list[tuple[str, str, list[str], int, int]]:
        """Return one row per notebook with exercises or a quiz, and per quiz that was begun.

        Number, title, states of the exercises, right answers, number of questions.
        """
        from align_edu.lab.quiz import QUIZZES, load_questions  # quiz imports this module

        titles = {lesson.number: lesson.title for lesson in COURSE}
        for exercise in EXERCISES.values():
            titles.setdefault(exercise.notebook, "Exercises of your own")
        for number in sorted(self.answers.keys() & set(QUIZZES)):
            titles.setdefault(number, "Questions of the whole course")
        rows = []
        for number, title in titles.items():
            states = [self.state(name) for name in exercises_of(number)]
            questions = len(load_questions(number)) if number in QUIZZES else 0
            right = sum(self.answers.get(number, {}).values())
            if states or questions:
                rows.append((number, title, states, right, questions))
        return rows

    def __repr__(self) -> str:
        rows = self.rows()
        wide, wider = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
        states = [state for row in rows for state in row[2]]
        solved = sum(state in {"solved", "shown"} for state in states)
        lines = [
            f"{number:<{wide}}  {title:<{wider}}"
            f"  exercises {' '.join(_STATES[state][0] for state in states):<5}"
            f"  quiz {right} of {questions}"
            for number, title, states, right, questions in rows
        ]
        return "\n".join([*lines, f"{solved} of {len(states)} exercises solved. {_LEGEND}."])

    def _repr_html_(self) -> str:
        cells = []
        for number, title, states, right, questions in self.rows():
            dots = " ".join(
                f'<span title="{meaning}" style="color:{colour}">{mark}</span>'
                for mark, meaning, colour in map(_STATES.__getitem__, states)
            )
            bar = f'<progress value="{right}" max="{max(questions, 1)}"></progress>'
            cells.append(
                f"<tr><td>{html.escape(number)}</td>"
                f"<td style='text-align:left'>{html.escape(title)}</td>"
                f"<td style='font-size:140%'>{dots}</td><td>{bar} {right} of {questions}</td></tr>"
            )
        head = "<tr><th></th><th></th><th>exercises</th><th>quiz</th></tr>"
        return f"<table>{head}{''.join(cells)}</table><p>{_LEGEND}</p>"


def progress() -> Progress:
    """Return what this student has solved and answered; a notebook shows it as a table.

    It is read from a file in the home folder, or the one that ALIGN_EDU_PROGRESS names. Remove the
    file to start afresh. A damaged file is renamed, not lost.
    """
    file = progress_file()
    try:
        return _parsed(read_json(file)) if file and file.is_file() else Progress()
    except PermissionError as error:
        _complain(f"Progress is not kept: {error}.")
    except (InputError, *_ODD_SHAPES):
        assert file is not None
        aside = file.with_suffix(".damaged.json")  # so that it is not overwritten
        try:
            file.replace(aside)
            print(f"{file} was damaged; it is kept as {aside.name}.")
        except OSError:
            _complain(f"Progress is not kept: {file} is damaged and cannot be renamed.")
    return Progress()


def progress_file() -> Path | None:
    """Return the file that keeps the progress, or None where none is kept."""
    if os.environ.get("NBGRADER_EXECUTION") == "autograde":
        return None  # the progress on this machine is the lecturer's
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    try:
        return Path.home() / ".align_edu" / "progress.json"
    except RuntimeError:
        _complain(f"Progress is not kept: no home folder; name a file in {VARIABLE}.")
        return None


def note_try(exercise: str, *, solved: bool = False, shown: bool = False) -> None:
    """Record that an exercise was tried, solved, or its answer shown; solved stays solved."""
    kept = progress()
    noted = kept.exercises.setdefault(exercise, {"tries": 0, "solved": False, "shown": False})
    if shown:
        noted["shown"] = noted["shown"] or not noted["solved"]
    else:
        noted["tries"] += 1
        noted["solved"] = noted["solved"] or solved
    _keep(kept)


def note_answer(number: str, place: int, right: bool) -> None:
    """Record whether the last answer to a question of a notebook's quiz was right."""
    kept = progress()
    kept.answers.setdefault(number, {})[str(place)] = right
    _keep(kept)


def _parsed(kept: Any) -> Progress:
    """Return the progress in a file's JSON; raise an error for any other shape."""
    kinds = {"tries": int, "solved": bool, "shown": bool}
    exercises = {
        str(name): {key: kind(each.get(key, 0)) for key, kind in kinds.items()}
        for name, each in kept["exercises"].items()
    }
    answers = {
        str(number): {str(place): bool(right) for place, right in each.items()}
        for number, each in kept["answers"].items()
    }
    return Progress(exercises, answers)


def _keep(kept: Progress) -> None:
    """Write the file; a full disk or a read-only home must not stop the lesson."""
    file = progress_file()
    try:
        if file:
            write_json(file, asdict(kept))
    except (InputError, OSError) as error:
        _complain(f"Progress is not kept: {error}.")


@functools.cache
def _complain(words: str) -> None:
    """Print a complaint, each only once."""
    print(words)
