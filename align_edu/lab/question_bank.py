"""The core questions of the course: short answers, and the notebook cells that measure them."""

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from align_edu.lab.course import find_lesson
from align_edu.lab.quiz import Question, load_questions

CORE = "core"  # lab.quiz("core") asks them


@dataclass(frozen=True)
class Cell:
    """A code cell that answers a question by a measurement.

    Parameters
    ----------
    notebook : the two digits of the notebook's name.
    heading : the last heading above the cell.
    snippet : code that stands in this cell and in no other of the notebook.
    """

    notebook: str
    heading: str
    snippet: str


@dataclass(frozen=True)
class BankQuestion:
    """One question of the bank.

    Parameters
    ----------
    kind : "general", or "paper" for a question about ALIGN.
    number : its place among those of its kind, from 1.
    choice : the question with options to choose from, as `lab.quiz("core")` asks it.
    answer : the short answer.
    corrected : how the answer differs from the one often given; empty where it does not.
    cells : the notebook cells that answer it.
    comes_later : the number of the lesson that will answer it, where none does so yet.
    """

    kind: str
    number: int
    choice: Question
    answer: str
    corrected: str
    cells: tuple[Cell, ...]
    comes_later: str | None

    @property
    def notebooks(self) -> tuple[str, ...]:
        """The numbers of the lessons that answer it, now or later."""
        numbers = [cell.notebook for cell in self.cells]
        return tuple(dict.fromkeys([*numbers, *filter(None, [self.comes_later])]))


def load_bank() -> tuple[BankQuestion, ...]:
    """Return all questions: the general ones, then those about the paper.

    >>> bank = load_bank()
    >>> len(bank), bank[12].choice.paper, bank[12].notebooks
    (26, 'Section 4.1', ('05',))
    """
    file = resources.files("align_edu.lab") / "quizzes" / f"{CORE}.json"
    rows = json.loads(file.read_text(encoding="utf-8"))
    choices = load_questions(CORE)
    return tuple(_question(row, choice) for row, choice in zip(rows, choices, strict=True))


def find_questions(number: str) -> tuple[BankQuestion, ...]:
    """Return the questions that a notebook answers, or will answer.

    Raises InputError for a number that no notebook has.

    >>> [(found.kind, found.number) for found in find_questions("11")]
    [('paper', 12), ('paper', 14)]
    """
    find_lesson(number)
    return tuple(question for question in load_bank() if number in question.notebooks)


def _question(row: dict[str, Any], choice: Question) -> BankQuestion:
    return BankQuestion(
        row["kind"],
        row["number"],
        choice,
        row["answer"],
        row["corrected"],
        tuple(Cell(**cell) for cell in row["cells"]),
        row["comes_later"],
    )
