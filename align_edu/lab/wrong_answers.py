"""Realistic wrong answers to the exercises, each with the mistake it shows.

A check compares what a student's function returns with what these return, and so can say
which mistake it looks like.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class WrongAnswer:
    """A function that someone might well write, and what is wrong with it."""

    function: Callable[..., Any]
    mistake: str


def _diagonal_is_largest(similarity: Tensor, dim: int) -> Tensor:
    return similarity.argmax(dim=dim) == torch.arange(len(similarity))


def _last_best(similarity: Tensor) -> Tensor:
    return len(similarity) - 1 - similarity.flip(1).argmax(dim=1)


RECALL_AT_1 = (
    WrongAnswer(
        lambda s: _diagonal_is_largest(s, 0).float().mean(),
        "You look down the columns: that asks which image a text finds. Here each row, an image, "
        "looks for its text.",
    ),
    WrongAnswer(
        lambda s: (_diagonal_is_largest(s, 0).float() + _diagonal_is_largest(s, 1)).mean() / 2,
        "You average both directions. Only rows count here: each image looks for its text.",
    ),
    WrongAnswer(
        lambda s: _diagonal_is_largest(s, 1).sum(),
        "You return how many rows are hits. A recall is a fraction: divide by the number of rows.",
    ),
    WrongAnswer(
        lambda s: 100 * _diagonal_is_largest(s, 1).float().mean(),
        "You return per cent. A recall is a fraction between 0 and 1.",
    ),
    WrongAnswer(
        lambda s: (s.argmin(dim=1) == torch.arange(len(s))).float().mean(),
        "You take the least similar text. The best candidate has the largest similarity.",
    ),
    WrongAnswer(
        lambda s: (s.diagonal() >= s.max(dim=1).values).float().mean(),
        "You count a tie as a hit. A model that gives every pair the same score would then be "
        "perfect; a wrong text that is just as similar must count against it.",
    ),
    WrongAnswer(
        lambda s: s.diagonal().mean(),
        "You average the similarities of the matched pairs. Only the order within a row counts, "
        "not how large the numbers are.",
    ),
    WrongAnswer(
        lambda s: (s.diagonal() > 0.5).float().mean(),
        "You compare with a fixed threshold. A row's own text must beat the row's other texts.",
    ),
    WrongAnswer(
        lambda s: 1 - _diagonal_is_largest(s, 1).float().mean(),
        "You return the fraction of misses: one minus the recall.",
    ),
)


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

CHANCE_LOSS = (
    WrongAnswer(
        lambda n: math.log(n),
        "That is one direction only. The loss is the sum of two: image to text and text to image.",
    ),
    WrongAnswer(
        lambda n: 2 * math.log2(n),
        "You count in bits. The paper's log is the natural one: math.log.",
    ),
    WrongAnswer(
        lambda n: 2 * math.log10(n),
        "You take the logarithm to base 10. The paper's log is the natural one: math.log.",
    ),
    WrongAnswer(
        lambda n: -2 * math.log(n),
        "The sign is wrong: a loss is minus the log of a probability, so it is not negative.",
    ),
    WrongAnswer(
        lambda n: math.log(2 * n),
        "The 2 belongs outside the logarithm: two losses of ln N each.",
    ),
    WrongAnswer(
        lambda n: 2 * math.log(n - 1),
        "You leave the right answer out of the choices: the sum under the fraction has N terms, "
        "the matching one among them.",
    ),
    WrongAnswer(
        lambda n: 2 * n * math.log(n),
        "You add up the whole batch. Eq. (1) and eq. (2) both divide by N.",
    ),
    WrongAnswer(
        lambda n: 2 * math.log(n) / n,
        "You divide by N once too often: the average over N equal terms is the term itself.",
    ),
    WrongAnswer(
        lambda n: 2 / n,
        "That is twice the probability of the right choice. The loss is minus its logarithm.",
    ),
)
