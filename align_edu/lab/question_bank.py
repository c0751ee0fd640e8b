"""The core questions of the course, with short answers and the cells that measure them."""

import json
from dataclasses import dataclass
from importlib import resources

from align_edu.lab.course import find_lesson
from align_edu.lab.quiz import Question, load_questions

CORE = "core"  # as in lab.quiz("core")


@dataclass(frozen=True)
class Cell:
    """A code cell that answers a question by a measurement.

    Parameters
    ----------
    notebook : the two digits of the notebook's name.
    heading : the last heading above the cell.
    snippet : code of this cell that no other cell of the notebook contains.
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
    choice : the question with its options, as in `lab.quiz("core")`.
    answer : the short answer.
    corrected : how the answer differs from the usual one; empty where it does not.
    cells : the notebook cells that answer it.
    comes_later : the number of the lesson that will answer it, where no cell does so yet.
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
    return tuple(
        BankQuestion(
            row["kind"],
            row["number"],
            choice,
            row["answer"],
            row["corrected"],
            tuple(Cell(**cell) for cell in row["cells"]),
            row["comes_later"],
        )
        for row, choice in zip(rows, load_questions(CORE), strict=True)
    )


def find_questions(number: str) -> tuple[BankQuestion, ...]:
    """Return the questions that a notebook answers, or will answer.

    Raises InputError for a number that no notebook has.

    >>> [(found.kind, found.number) for found in find_questions("11")]
    [('paper', 12), ('paper', 14)]
    """
    find_lesson(number)
    return tuple(question for question in load_bank() if number in question.notebooks)
