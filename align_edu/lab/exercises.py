"""The exercises: what each asks for, the reference answer, the cases it is tried on, hints."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from align_edu.errors import InputError
from align_edu.lab.wrong_answers import CHANCE_LOSS, LEARNING_RATE_AT, RECALL_AT_1, WrongAnswer
from align_edu.loss import chance_loss
from align_edu.training.recipe import learning_rate_factor


@dataclass(frozen=True)
class Hint:
    """One step of help, named after the question it answers."""

    name: str
    text: str


@dataclass(frozen=True)
class Exercise:
    """A function for the student to write.

    Parameters
    ----------
    notebook : number of the notebook that asks for it.
    reference : the right answer; its name is the name that the student's function must have.
    cases : given a generator, the arguments to try: hand-worked ones first, then random ones.
    wrong : what goes wrong in practice.
    hints : three steps of help.
    builds_on : library functions that the reference calls, shown with it.
    """

    notebook: str
    reference: Callable[..., Any]
    cases: Callable[[torch.Generator], list[tuple[Any, ...]]]
    wrong: tuple[WrongAnswer, ...]
    hints: tuple[Hint, Hint, Hint]
    builds_on: tuple[Callable[..., Any], ...] = ()

    @property
    def name(self) -> str:
        """The name of the function to write."""
        return self.reference.__name__


def recall_at_1(similarity: Tensor) -> float:
    """Return the fraction of images whose own text is the most similar one.

    similarity: (N, N), image i in row i, its own text in column i. A wrong text that is
    exactly as similar counts as more similar.

    Paper: Section 5.1.

    >>> recall_at_1(torch.tensor([[0.9, 0.2], [0.8, 0.3]]))
    0.5
    """
    own = similarity.diagonal()[:, None]  # (N, 1)
    at_least_as_similar = (similarity >= own).sum(dim=1)  # (N,), the own text included
    return (at_least_as_similar == 1).float().mean().item()


def learning_rate_at(step: int, total: int, warmup: int, peak: float) -> float:
    """Return the learning rate at a step: up to the peak in a line, then down to zero in a line.

    Paper: Section 5.

    >>> [round(learning_rate_at(step, 100, 10, 1.0), 6) for step in (0, 5, 10, 55, 100)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    return peak * learning_rate_factor(step / total, warmup / total)


def _recall_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        [[0.9, 0.1, 0.2], [0.3, 0.8, 0.4], [0.1, 0.7, 0.6]],  # the last row misses: 2/3
        [[0.2, 0.1], [0.9, 0.3]],  # rows 1/2, columns 1/2 of another pair
        [[0.3, 0.1, 0.9], [0.2, 0.4, 0.1], [0.4, 0.3, 0.2]],  # rows 1/3
        [[0.7, 0.2, 0.1], [0.5, 0.5, 0.1], [0.1, 0.2, 0.6]],  # row 2 ties with a wrong text: 2/3
        [[-0.5]],
    ]
    sizes = (4, 7, 50)
    random = [torch.rand(n, n, generator=generator) * 2 - 1 for n in sizes]
    return [(torch.tensor(rows),) for rows in by_hand] + [
        (matrix + 0.7 * torch.eye(len(matrix)),) for matrix in random
    ]


def _rate_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [(step, 100, 10, 0.5) for step in (0, 1, 5, 10, 11, 55, 99, 100)] + [
        (0, 10, 0, 2.0),
        (5, 10, 0, 2.0),
        (10_000, 1_200_000, 10_000, 1e-3),
    ]
    total = int(torch.randint(50, 1000, (), generator=generator))
    warmup = int(torch.randint(2, total // 2, (), generator=generator))
    steps = torch.randint(0, total + 1, (8,), generator=generator).tolist()
    return by_hand + [(step, total, warmup, 3e-3) for step in steps]


def _chance_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    random = torch.randint(3, 5000, (4,), generator=generator).tolist()
    return [(n,) for n in (2, 128, 16384, *random)]


EXERCISES = {
    exercise.name: exercise
    for exercise in (
        Exercise(
            "00",
            chance_loss,
            _chance_cases,
            CHANCE_LOSS,
            (
                Hint("How likely is a blind guess?", "One choice in N is right: 1/N."),
                Hint("What loss does a probability give?", "Minus its natural logarithm."),
                Hint("How many losses are added?", "Two: image to text and text to image."),
            ),
        ),
        Exercise(
            "00",
            recall_at_1,
            _recall_cases,
            RECALL_AT_1,
            (
                Hint("Rows or columns?", "A row holds one image's similarities to all texts."),
                Hint("Where is the right answer?", "Row i is a hit when column i is its largest."),
                Hint("A number or a fraction?", "Average the hits: `.float().mean()`."),
            ),
        ),
        Exercise(
            "08",
            learning_rate_at,
            _rate_cases,
            LEARNING_RATE_AT,
            (
                Hint("Which part of the run?", "Ask first whether step is below warmup."),
                Hint("How steep is the way up?", "peak in warmup steps: peak * step / warmup."),
                Hint("Where does the way down end?", "At total: (total - step) steps are left."),
            ),
            builds_on=(learning_rate_factor,),
        ),
    )
}


def find_exercise(name: str) -> Exercise:
    """Return the exercise whose function has that name.

    Raises InputError for another name.

    >>> find_exercise("recall_at_1").notebook
    '00'
    """
    if name not in EXERCISES:
        raise InputError(f"no exercise is called {name!r}; there are {', '.join(EXERCISES)}")
    return EXERCISES[name]
