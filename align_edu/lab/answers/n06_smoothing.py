"""The second exercise of notebook 06: one direction of the loss with smoothed labels."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer
from align_edu.loss import contrastive


def smoothed_loss(logits: Tensor, label_smoothing: float) -> Tensor:
    """Return one direction of the loss: the cross-entropy of each row with a smoothed target.

    logits: (N, N), row i belongs to column i. label_smoothing: ε, spread over all N columns.

    Paper: Section 5 (label smoothing 0.1), eq. (1).

    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> [round(smoothed_loss(logits, e).item(), 4) for e in (0.0, 0.1)]
    [0.1269, 0.2269]
    """
    return contrastive._direction(logits, None, label_smoothing)


def _cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        ([[2.0, 0.0], [0.0, 2.0]], 0.0),  # ln(1 + e^-2) = 0.126928
        ([[2.0, 0.0], [0.0, 2.0]], 0.1),  # 0.05 of each row is 2 too low: 0.226928
        ([[0.0, 0.0, 0.0]] * 3, 0.1),  # knows nothing: ln 3
        ([[1.0, 3.0, 0.0], [0.0, 2.0, 0.0], [2.0, 0.0, 1.0]], 0.25),
    ]
    random = [(5, 0.1), (8, 0.5), (12, 0.02)]
    return [(torch.tensor(rows), smoothing) for rows, smoothing in by_hand] + [
        (4 * torch.randn(n, n, generator=generator), smoothing) for n, smoothing in random
    ]


def _against(logits: Tensor, own: float, other: float) -> Tensor:
    """Cross-entropy against a target with ``own`` on the diagonal and ``other`` elsewhere."""
    target = torch.full_like(logits, other).fill_diagonal_(own)
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


def _right(logits: Tensor, e: float) -> Tensor:
    n = len(logits)
    return _against(logits, 1 - e + e / n, e / n)


def _mixed_probability(logits: Tensor, e: float) -> Tensor:
    own = logits.softmax(dim=1).diagonal()  # (N,)
    return -((1 - e) * own + e / len(logits)).log().mean()


def _divergence(logits: Tensor, e: float) -> Tensor:
    n = len(logits)
    target = torch.full_like(logits, e / n).fill_diagonal_(1 - e + e / n)
    return F.kl_div(logits.log_softmax(dim=1), target, reduction="batchmean")


WRONG = (
    WrongAnswer(
        lambda logits, e: _against(logits, 1.0, 0.0),
        "label_smoothing is not used: your target is 1 on the pair and 0 elsewhere.",
    ),
    WrongAnswer(
        lambda logits, e: _right(logits, 0.1),
        "Your smoothing is always 0.1. Use the argument.",
    ),
    WrongAnswer(
        lambda logits, e: _against(logits, 1 - e, e / (len(logits) - 1)),
        "You spread ε over the N - 1 others. It goes over all N columns, the pair's own among "
        "them.",
    ),
    WrongAnswer(
        lambda logits, e: _against(logits, 1 - e, e / len(logits)),
        "Your target does not add up to 1: the pair's own column gets its ε/N too.",
    ),
    WrongAnswer(
        lambda logits, e: _against(logits, 1 - e + e, e),
        "Every column gets the whole ε. Divide it by N.",
    ),
    WrongAnswer(
        lambda logits, e: _against(logits, 1 + e / len(logits), e / len(logits)),
        "The pair keeps its 1, so your target adds up to more than 1. Take ε away from it first.",
    ),
    WrongAnswer(
        lambda logits, e: _against(logits, 1 - e, 0.0),
        "You take ε away from the pair and give it to no column.",
    ),
    WrongAnswer(
        lambda logits, e: _against(logits, e + (1 - e) / len(logits), (1 - e) / len(logits)),
        "ε and 1 - ε have changed places: the pair gets the small part.",
    ),
    WrongAnswer(
        _mixed_probability,
        "You smooth the prediction: the logarithm stands outside. Smooth the target, and take the "
        "mean of the logarithms.",
    ),
    WrongAnswer(
        lambda logits, e: _against((1 - e) * logits, 1.0, 0.0),
        "You shrink the logits. The logits stay; the target changes.",
    ),
    WrongAnswer(
        lambda logits, e: (1 - e) * _against(logits, 1.0, 0.0) - e * logits.mean(),
        "The part of all columns is the mean of the logits: it needs log_softmax, as the pair "
        "does.",
    ),
    WrongAnswer(
        _divergence,
        "You subtract the target's own entropy: that is the divergence, whose floor is 0. The "
        "gradient is the same, the value is not.",
    ),
    WrongAnswer(
        lambda logits, e: _right(logits, e) * len(logits),
        "You add over the rows. Eq. (1) has 1/N: take their mean.",
    ),
    WrongAnswer(
        lambda logits, e: _right(logits, e) / len(logits),
        "You take the mean over all N × N cells. Add along each row, then take the mean of the "
        "rows.",
    ),
    WrongAnswer(
        lambda logits, e: _right(logits.T, e),
        "Your softmax runs down the columns: that is the other direction.",
    ),
    WrongAnswer(
        lambda logits, e: _right(logits, e) + _right(logits.T, e),
        "You add both directions. Only the rows are asked for here.",
    ),
)

SMOOTHED_LOSS = Exercise(
    "06",
    smoothed_loss,
    _cases,
    WRONG,
    (
        Hint("What is the target?", "ε / N in each of N columns, and 1 - ε more in the pair's."),
        Hint("What does a row cost?", "-(target * logits.log_softmax(dim=1)).sum(dim=1)."),
        Hint("Is there a function for it?", "F.cross_entropy has an argument label_smoothing."),
    ),
    builds_on=("align_edu.loss.contrastive:_direction",),
)
