"""Quizzes with feedback for every option, and the progress that a student's machine keeps."""

import functools
import html
import json
import os
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from align_edu.io import InputError, fill_template, read_json, write_json
from align_edu.lab.course import COURSE
from align_edu.lab.exercises import EXERCISES, exercises_of

LETTERS = "abcdefgh"
_FOLDER = resources.files("align_edu.lab") / "quizzes"
QUIZZES = tuple(sorted(file.name.removesuffix(".json") for file in _FOLDER.iterdir()))
_STYLE = (resources.files("align_edu.lab") / "quiz.css").read_text(encoding="utf-8")
VARIABLE = "ALIGN_EDU_PROGRESS"  # names another file; empty: no progress is kept
_STATES = {  # mark, meaning, colour
    "solved": ("●", "solved", "#1b7837"),
    "shown": ("◐", "solved after the answer was shown", "#8c6bb1"),
    "tried": ("○", "tried", "#d95f02"),
    "open": ("·", "open", "#bbbbbb"),
}
_LEGEND = ", ".join(f"{mark} {meaning}" for mark, meaning, _ in _STATES.values())


@dataclass(frozen=True)
class Option:
    """One answer to choose, and the feedback to it."""

    text: str
    right: bool
    feedback: str


@dataclass(frozen=True)
class Cell:
    """A code cell that answers a question: the heading above it, and code that only it contains."""

    notebook: str
    heading: str
    snippet: str


@dataclass(frozen=True)
class Question:
    """A question with one right option; those of the bank also have what follows the options."""

    question: str
    paper: str  # the part of the paper that answers it
    options: tuple[Option, ...]
    kind: str = ""  # "general", or "paper" for a question about ALIGN
    number: int = 0  # its place among those of its kind, from 1
    answer: str = ""  # in short
    corrected: str = ""  # how the answer differs from the usual one
    cells: tuple[Cell, ...] = ()  # those that answer it
    comes_later: str | None = None  # the number of the lesson that will answer it

    def feedback(self, letter: str) -> tuple[bool, str]:
        """Return whether a choice is right, and the feedback to it."""
        option = dict(zip(LETTERS, self.options)).get(letter.lower())
        if option is None:
            last = LETTERS[len(self.options) - 1]
            return False, f"{letter!r} is not an option; choose a to {last}."
        verdict = "Right" if option.right else "No"
        return option.right, f"{verdict} ({letter.lower()}). {option.feedback} ({self.paper})"


@dataclass(frozen=True)
class Quiz:
    """The questions of a notebook: widgets in JupyterLab, plain text elsewhere."""

    number: str
    questions: tuple[Question, ...]

    def __repr__(self) -> str:
        lines = [f'Answer with lab.quiz("{self.number}", "…"), one letter per question.']
        for place, question in enumerate(self.questions, 1):
            lines.append(f"\n{place}. {question.question}")
            lines += [f"   {a}  {option.text}" for a, option in zip(LETTERS, question.options)]
        return "\n".join(lines)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        try:
            return {**self.widget()._repr_mimebundle_(), "text/plain": repr(self)}
        except ImportError:
            return {"text/plain": repr(self)}

    def widget(self) -> Any:
        """Return the quiz as one widget. Raises ImportError without ipywidgets."""
        import ipywidgets

        questions = enumerate(self.questions, 1)
        return ipywidgets.VBox([_question_widget(self.number, *each) for each in questions])


def _question_widget(number: str, place: int, question: Question) -> Any:
    import ipywidgets

    options = [(option.text, letter) for letter, option in zip(LETTERS, question.options)]
    choice = ipywidgets.RadioButtons(options=options, value=None, layout={"width": "auto"})
    feedback = ipywidgets.HTML()

    def react(change: dict[str, Any]) -> None:
        right, reply = question.feedback(change["new"])
        kind = "right" if right else "wrong"
        feedback.value = f'<p class="{kind}">{html.escape(reply, quote=False)}</p>'
        note_answer(number, place, right)

    choice.observe(react, names="value")
    text = html.escape(question.question, quote=False)
    title = ipywidgets.HTML(f"<style>{_STYLE}</style><b>{text}</b>")
    return ipywidgets.VBox([title, choice, feedback]).add_class("align-quiz")


def quiz(number: str, answers: str | None = None) -> Quiz | None:
    """Return the quiz of a notebook, or print the feedback to answers given as letters.

    >>> quiz("00", "ba")
    1. Right (b). Yes. The paper trades quality for scale, ... (Section 3)
    2. Right (a). Yes: the image and the text encoder are both trained from scratch, ...
    """
    questions = load_questions(number)
    if answers is None:
        return Quiz(number, questions)
    letters = [letter for letter in answers if letter.isalnum()]
    for place, (question, letter) in enumerate(zip(questions, letters), 1):
        right, reply = question.feedback(letter)
        print(f"{place}. {reply}")
        note_answer(number, place, right)
    return None


def load_questions(number: str) -> tuple[Question, ...]:
    """Return the questions of a notebook's quiz, or of the bank for "core"; else InputError."""
    if number not in QUIZZES:
        raise InputError(f"notebook {number!r} has no quiz; choose one of {', '.join(QUIZZES)}")
    rows = json.loads((_FOLDER / f"{number}.json").read_text(encoding="utf-8"))
    for row in rows:
        row["options"] = tuple(Option(**each) for each in row["options"])
        row["cells"] = tuple(Cell(**each) for each in row.get("cells", ()))
    return tuple(Question(**row) for row in rows)


@dataclass
class Progress:
    """What was tried, by exercise, and which questions were answered rightly, by notebook."""

    exercises: dict[str, dict[str, Any]] = field(default_factory=dict)  # tries, solved, shown
    answers: dict[str, dict[str, bool]] = field(default_factory=dict)  # by the question's place

    def state(self, exercise: str) -> str:
        """Return "solved", "shown" (solved after the answer was shown), "tried" or "open"."""
        noted = self.exercises.get(exercise, {})
        if noted.get("solved"):
            return "shown" if noted.get("shown") else "solved"
        return "tried" if noted.get("tries") else "open"

    def rows(self) -> list[tuple[str, str, list[str], int, int]]:
        """Return number, title, states of exercises, right answers and questions by notebook."""
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
        file = Path(__file__).with_name("progress.html.j2")
        return fill_template(file, rows=self.rows(), states=_STATES, legend=_LEGEND)


def progress() -> Progress:
    """Return what this student has solved and answered; a notebook shows it as a table.

    ALIGN_EDU_PROGRESS names its file, else it lies in the home folder. Remove it to start afresh;
    a damaged one is renamed, not lost.
    """
    file = progress_file()
    try:
        return _parsed(read_json(file)) if file and file.is_file() else Progress()
    except Exception:  # unreadable, or of another shape
        assert file is not None
    aside = file.with_suffix(".damaged.json")  # so that it is not overwritten
    try:
        file.replace(aside)
        print(f"{file} was damaged; it is kept as {aside.name}.")
    except OSError as error:
        _complain(f"{file} cannot be read ({error.strerror})")
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
        _complain(f"no home folder; name a file in {VARIABLE}")
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
        _complain(str(error))


@functools.cache
def _complain(reason: str) -> None:
    """Say why no progress is kept, each reason only once."""
    print(f"Progress is not kept: {reason}.")
