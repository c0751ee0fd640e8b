"""Exercises of notebook 08."""

import math
from typing import Any

import torch

from align_edu.lab.answers import n08_step
from align_edu.lab.exercise import Exercise, Hint, WrongAnswer


def learning_rate_at(step: int, total: int, warmup: int, peak: float) -> float:
    """Return the learning rate at a step: up to the peak in a line, then down to zero in a line.

    Paper: Section 5.

    >>> [round(learning_rate_at(step, 100, 10, 1.0), 6) for step in (0, 5, 10, 55, 100)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    from align_edu.training.recipe import learning_rate_factor  # only here: it is slow to import

    return peak * learning_rate_factor(step / total, warmup / total)


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


def _ramp(step: int, warmup: int) -> float:
    return step / warmup if step < warmup else 1.0


def _decay(step: int, total: int, warmup: int) -> float:
    return (total - step) / (total - warmup)


LEARNING_RATE_AT = (
    WrongAnswer(
        lambda step, total, warmup, peak: peak * (total - step) / total,
        "There is no warm-up: the rate must start at zero and rise to the peak first.",
    ),
    WrongAnswer(
        lambda step, total, warmup, peak: peak * _ramp(step, warmup),
        "It never decays: after the warm-up the rate must fall to zero at the last step.",
    ),
    WrongAnswer(
        lambda step, total, warmup, peak: (
            peak * (_ramp(step, warmup) if step < warmup else 1 - step / total)
        ),
        "The rate jumps where the warm-up ends: the decay must start from the peak there, so count "
        "its steps from the end of the warm-up.",
    ),
    WrongAnswer(
        lambda step, total, warmup, peak: (
            peak * (_ramp(step, warmup) if step < warmup else 1 - (step - warmup) / total)
        ),
        "The rate does not reach zero at the last step: the decay has total - warmup steps, not "
        "total.",
    ),
    WrongAnswer(
        lambda step, total, warmup, peak: (
            peak * (step // warmup if step < warmup else (total - step) // (total - warmup))
        ),
        "You divide with //, which rounds down to a whole number: use /.",
    ),
    WrongAnswer(
        lambda step, total, warmup, peak: (
            peak
            * (
                _ramp(step, warmup)
                if step < warmup
                else (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
            )
        ),
        "That is a cosine decay. The paper's decay is linear.",
    ),
    WrongAnswer(
        lambda step, total, warmup, peak: (
            peak * ((step + 1) / warmup if step < warmup else _decay(step, total, warmup))
        ),
        "The warm-up is one step ahead: at step 0 the rate is zero.",
    ),
    WrongAnswer(
        lambda step, total, warmup, peak: peak * min(step / warmup, _decay(step, total, warmup)),
        "You divide by zero when there is no warm-up: ask whether step is below warmup first.",
    ),
    WrongAnswer(
        lambda step, total, warmup, peak: (
            _ramp(step, warmup) if step < warmup else _decay(step, total, warmup)
        ),
        "You return a fraction of the peak: multiply by the peak.",
    ),
    WrongAnswer(
        lambda step, total, warmup, peak: (
            peak * (_ramp(step, warmup) if step < warmup else (step - warmup) / (total - warmup))
        ),
        "After the warm-up the rate rises again from zero: the decay goes the other way round.",
    ),
)

EXERCISES = (
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
        builds_on=("align_edu.training.recipe:learning_rate_factor",),
    ),
    n08_step.EXERCISE,
)
