"""Quizzes with feedback for every option, and the bank of core questions with short answers.

A quiz is shown as widgets in JupyterLab and as plain text elsewhere.
"""

import html
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from align_edu.io import InputError
from align_edu.lab.progress import note_answer

LETTERS = "abcdefgh"
_FOLDER = resources.files("align_edu.lab") / "quizzes"
QUIZZES = tuple(sorted(file.name.removesuffix(".json") for file in _FOLDER.iterdir()))
_STYLE = (resources.files("align_edu.lab") / "quiz.css").read_text(encoding="utf-8")


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
    """The questions of a notebook, displayed as widgets in JupyterLab."""

    number: str
    questions: tuple[Question, ...]

    def __repr__(self) -> str:
        lines = [f'Answer with lab.quiz("{self.number}", "…"), one letter a question.']
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

    choice = ipywidgets.RadioButtons(
        options=[(option.text, letter) for letter, option in zip(LETTERS, question.options)],
        value=None,
        layout={"width": "auto"},
    )
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
    """Return the questions of a notebook's quiz, or of the bank for "core".

    Raises InputError where it has none.

    >>> bank = load_questions("core")
    >>> len(load_questions("00")), len(bank), bank[12].paper, bank[12].cells[0].notebook
    (4, 26, 'Section 4.1', '05')
    """
    if number not in QUIZZES:
        raise InputError(f"notebook {number!r} has no quiz; choose one of {', '.join(QUIZZES)}")
    rows = json.loads((_FOLDER / f"{number}.json").read_text(encoding="utf-8"))
    for row in rows:
        row["options"] = tuple(Option(**each) for each in row["options"])
        row["cells"] = tuple(Cell(**each) for each in row.get("cells", ()))
    return tuple(Question(**row) for row in rows)
