"""Judges what a function gave: right, or which known mistake it looks like.

The check in a notebook and `align-edu grade` share it. It sees outcomes only, never the function.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from align_edu.lab.exercise import Exercise
from align_edu.lab.outcomes import Outcome, outcome_of, said, same, shown


@dataclass(frozen=True)
class AnswerKey:
    """An exercise with the cases of one seed, and what the right answer gives for them."""

    exercise: Exercise
    cases: list[tuple[Any, ...]]
    expected: list[Outcome]

    @cached_property
    def mistakes(self) -> list[tuple[str, list[Outcome]]]:
        """What each known mistake is called, and what it gives for the cases."""
        watched = self.exercise.watched
        return [
            (wrong.mistake, [outcome_of(watched(wrong.function), case) for case in self.cases])
            for wrong in self.exercise.wrong
        ]


@dataclass(frozen=True)
class Problem:
    """What is wrong with an answer.

    Parameters
    ----------
    sentence : one or two sentences for the student; the second is the mistake, if it is known.
    mistake : its sentence, or nothing where it is not known.
    got : what the function gave for the first case that is wrong.
    case : that case.
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
    failed = [not same(a, b) for a, b in zip(key.expected, got, strict=True)]
    if not any(failed):
        return None
    first = failed.index(True)
    call = f"{key.exercise.name}({', '.join(shown(value) for value in key.cases[first])})"
    sentence = f"{call}: expected {said(key.expected[first])}, got {said(got[first])}."
    for mistake, outcomes in key.mistakes:
        if all(same(a, b) for a, b in zip(outcomes, got, strict=True)):
            return Problem(f"{sentence} {mistake}", mistake, got[first], key.cases[first])
    return Problem(sentence, "", got[first], key.cases[first])
