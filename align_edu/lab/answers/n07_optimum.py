"""The second exercise of notebook 07: the temperature where smoothed pairs lose least."""

import math
from typing import Any

import torch

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer
from align_edu.loss import best_temperature


def _cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        (3, 0.5, 1.0),  # the pair 4 times as likely as another: 1 / ln 4 = 0.721348
        (16_384, 0.1, 0.19),  # the paper's batch and smoothing: about 1/63
        (128, 0.02, 0.7),
        (64, 0.0, 0.3),  # no smoothing: 0
    ]
    draws = torch.rand(4, 3, generator=generator, dtype=torch.float64).tolist()
    return by_hand + [(3 + int(500 * a), 0.02 + 0.4 * b, 0.1 + 1.4 * c) for a, b, c in draws]


def _ratio(n: int, e: float) -> float:
    """How many times the pair's target is that of another column."""
    return 1 + n * (1 - e) / e


WRONG = (
    WrongAnswer(
        lambda n, e, gap: gap / math.log(_ratio(n, e)),
        "Without smoothing you divide by zero. Then no temperature is too low: return 0.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else gap / math.log(n * (1 - e) / e),
        "The pair's column gets its ε/N too: the ratio of the targets is 1 + N(1 - ε)/ε.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else gap / math.log((n - 1) * (1 - e) / e),
        "You spread ε over the N - 1 others. It goes over all N columns.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else gap / math.log(1 + (n - 1) * (1 - e) / e),
        "You count N - 1 columns. ε goes over all N of them.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else gap / math.log(1 + (1 - e) / e),
        "N is missing: each column gets ε/N, so the more columns, the larger the ratio.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else gap / math.log(1 + n / e),
        "The pair's part is 1 - ε, not 1: the ratio of the targets is 1 + N(1 - ε)/ε.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else math.log(_ratio(n, e)) / gap,
        "That is the scale 1/σ. Turn the fraction over.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else math.log(_ratio(n, e)),
        "That is the best gap of the logits. A logit is a cosine / σ: divide the cosines' gap by "
        "it.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else gap * math.log(_ratio(n, e)),
        "You multiply by the logits' gap. gap / σ must be equal to it.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else gap / _ratio(n, e),
        "The logarithm is missing: a softmax turns a difference of logits into a ratio.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else gap / math.log2(_ratio(n, e)),
        "That is the logarithm to base 2. The softmax has e: take math.log.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else gap / math.log10(_ratio(n, e)),
        "That is the logarithm to base 10. The softmax has e: take math.log.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else -gap / math.log(_ratio(n, e)),
        "Your ratio is turned over: the pair's target over another's, not the other way round.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else gap / (2 * math.log(_ratio(n, e))),
        "You count both directions. Each has the same best σ, and so has their sum.",
    ),
    WrongAnswer(
        lambda n, e, gap: 0.0 if e == 0 else 1 / math.log(_ratio(n, e)),
        "gap is not used: cosines that differ less need a lower σ.",
    ),
    WrongAnswer(
        lambda n, e, gap: 1 / 64,
        "You return the paper's number. It is what this formula gives for the paper's batch, "
        "smoothing and gap.",
    ),
)

BEST_TEMPERATURE = Exercise(
    "07",
    best_temperature,
    _cases,
    WRONG,
    (
        Hint("When is the loss lowest?", "When the softmax is the target: compare two columns."),
        Hint("How do the targets differ?", "By a factor: (1 - ε + ε/N) / (ε/N)."),
        Hint("What does a softmax do to gap / σ?", "It makes a factor of it: exp(gap / σ)."),
    ),
)
