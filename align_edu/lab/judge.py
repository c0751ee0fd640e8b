"""Judges what a function returned: right, or wrong, with the known mistake that it looks like.

The check in a notebook and `align-edu grade` share it. It compares outcomes only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from align_edu.lab.exercises import Exercise
from align_edu.lab.outcomes import Outcome, outcome_of, said, same, shown


@dataclass(frozen=True)
class AnswerKey:
    """An exercise with the cases of one seed, and what the right answer returns for them."""

    exercise: Exercise
    cases: list[tuple[Any, ...]]
    expected: list[Outcome]

    @cached_property
    def mistakes(self) -> list[tuple[str, list[Outcome]]]:
        """Each known mistake: its sentence, and what it returns for the cases."""
        watched = self.exercise.watched
        return [
            (wrong.mistake, [outcome_of(watched(wrong.function), case) for case in self.cases])
            for wrong in self.exercise.wrong
        ]


@dataclass(frozen=True)
class Problem:
    """What is wrong with an answer.

    sentence: for the student; it ends with the mistake. mistake: empty where it is unknown. got,
    case: what the function returned for the first case that is wrong, and that case.
    """

    sentence: str
    mistake: str
    got: Outcome
    case: tuple[Any, ...] = ()


def answer_key(exercise: Exercise, seed: int) -> AnswerKey:
    """Return the key of an exercise for the random cases of a seed.

    >>> from align_edu.lab.exercises import find_exercise
    >>> answer_key(find_exercise("chance_loss"), 0).expected[0]
    1.3862943611198906
    """
    cases = exercise.cases(torch.Generator().manual_seed(seed))
    right = exercise.watched(exercise.reference)
    return AnswerKey(exercise, cases, [outcome_of(right, case) for case in cases])


def judge(key: AnswerKey, got: Sequence[Outcome]) -> Problem | None:
    """Return what is wrong with the outcomes, one for each case of the key, or None.

    >>> from align_edu.lab.exercises import find_exercise
    >>> key = answer_key(find_exercise("chance_loss"), 0)
    >>> judge(key, key.expected)
    >>> judge(key, [7.0] * len(key.cases)).sentence
    'chance_loss(2): expected 1.38629, got 7.'
    """
    wrong = (i for i, pair in enumerate(zip(key.expected, got, strict=True)) if not same(*pair))
    first = next(wrong, None)
    if first is None:
        return None
    case = key.cases[first]
    call = f"{key.exercise.name}({', '.join(map(shown, case))})"
    sentence = f"{call}: expected {said(key.expected[first])}, got {said(got[first])}."
    for mistake, outcomes in key.mistakes:
        if all(map(same, outcomes, got)):
            return Problem(f"{sentence} {mistake}", mistake, got[first], case)
    return Problem(sentence, "", got[first], case)
