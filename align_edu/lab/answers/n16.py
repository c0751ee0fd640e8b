"""Exercises of notebook 16."""

from collections.abc import Callable
from typing import Any

import torch

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer

SECONDS_A_DAY = 86_400


def days_of_run(
    forward_gflop: float, pairs: float, chips: int, peak_tflops: float, share: float
) -> float:
    """Return the days that a run takes: its FLOPs over what the chips really do in a day.

    forward_gflop: of one pair through both towers, forwards; the backward pass is twice that.
    pairs: seen in the whole run. peak_tflops: TFLOP/s of one chip; share: of it that is reached.

    Paper: Section 5 (1,024 cores, 1.2 million steps).

    >>> round(days_of_run(1.0, 86_400e6, 1000, 1.0, 0.3), 6)
    10.0
    """
    flops = 3 * forward_gflop * 1e9 * pairs
    return flops / (chips * peak_tflops * 1e12 * share) / SECONDS_A_DAY


def _days_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand: list[tuple[Any, ...]] = [(1.0, 86_400e6, 1000, 1.0, 0.3), (10.0, 86.4e6, 1, 3.0, 0.5)]
    drawn = torch.rand(5, 5, generator=generator).tolist()
    return by_hand + [
        (10 * a + 1, 1e9 * (b + 0.1), int(1000 * c) + 2, 100 * d + 5, 0.2 + 0.6 * e)
        for a, b, c, d, e in drawn
    ]


def _times(change: Callable[[float, float, int, float, float], float]) -> Callable[..., float]:
    """The right answer times something that should not be there."""
    return lambda g, n, chips, peak, share: (
        days_of_run(g, n, chips, peak, share) * change(g, n, chips, peak, share)
    )


DAYS_OF_RUN = (
    WrongAnswer(
        _times(lambda g, n, chips, peak, share: 1 / 3),
        "Only the forward pass is counted: the backward pass takes twice as much again.",
    ),
    WrongAnswer(
        _times(lambda g, n, chips, peak, share: 2 / 3),
        "The backward pass is twice the forward pass, not once: three in all.",
    ),
    WrongAnswer(
        _times(lambda g, n, chips, peak, share: 4 / 3),
        "Four passes: that is with the towers computed twice, as the gradient cache does.",
    ),
    WrongAnswer(
        _times(lambda g, n, chips, peak, share: share * share),
        "The share slows the run down: divide by it.",
    ),
    WrongAnswer(
        _times(lambda g, n, chips, peak, share: share),
        "The share is missing: no chip reaches its peak.",
    ),
    WrongAnswer(
        _times(lambda g, n, chips, peak, share: chips),
        "All chips work at once: divide by their number.",
    ),
    WrongAnswer(
        _times(lambda g, n, chips, peak, share: 1 / chips),
        "You divide by the chips twice: pairs counts all pairs of the run, and each is seen on "
        "one chip only.",
    ),
    WrongAnswer(
        _times(lambda g, n, chips, peak, share: SECONDS_A_DAY),
        "Those are seconds: a day has 86,400 of them.",
    ),
    WrongAnswer(
        _times(lambda g, n, chips, peak, share: 24),
        "Those are hours: a day has 24 of them.",
    ),
    WrongAnswer(
        _times(lambda g, n, chips, peak, share: 1000),
        "A TFLOP is 1,000 GFLOP: bring both to FLOP first.",
    ),
    WrongAnswer(
        _times(lambda g, n, chips, peak, share: 1e-3),
        "A TFLOP is 1,000 GFLOP, and you have it the other way round.",
    ),
    WrongAnswer(
        lambda g, n, chips, peak, share: 3 * g * 1e9 / (chips * peak * 1e12 * share) / 86_400,
        "That is one pair: multiply by the pairs of the whole run.",
    ),
)

EXERCISES = (
    Exercise(
        "16",
        days_of_run,
        _days_cases,
        DAYS_OF_RUN,
        (
            Hint("How much is there to compute?", "Three forward passes a pair, times all pairs."),
            Hint("How fast is it computed?", "chips × peak × share, in FLOP/s."),
            Hint("In which unit?", "1e9 FLOP a GFLOP, 1e12 a TFLOP, 86,400 seconds a day."),
        ),
    ),
)
