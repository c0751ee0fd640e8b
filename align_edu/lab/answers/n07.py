"""Exercises of notebook 07."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.answers.n07_optimum import BEST_TEMPERATURE
from align_edu.lab.exercise import Exercise, Hint, WrongAnswer


def temperature_gradient(cosines: Tensor, sigma: float) -> Tensor:
    """Return the derivative in σ of eq. (1) + eq. (2), without label smoothing.

    cosines: (N, N), image i in row i, its text in column i; the logits are cosines / σ.

    For each row and each column: the pair's cosine, minus the mean cosine that the softmax
    expects, over σ². It is above zero where the pairs stand out, and σ falls.

    Paper: Section 4.1, eq. (1) and eq. (2).

    >>> cosines = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(temperature_gradient(cosines, 0.5).item(), 4)  # 8 / (1 + e²)
    0.9536
    """
    logits = cosines / sigma  # (N, N)
    by_row = (logits.softmax(dim=1) * cosines).sum(dim=1)  # (N,)
    by_column = (logits.softmax(dim=0) * cosines).sum(dim=0)  # (N,)
    return (2 * cosines.diagonal() - by_row - by_column).mean() / sigma**2


def _cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        ([[1.0, 0.0], [0.0, 1.0]], 0.5),  # 8 / (1 + e²) = 0.953623
        ([[0.0, 1.0], [1.0, 0.0]], 1.0),  # the wrong way round: -2 / (1 + 1/e) = -1.462117
        ([[0.5, 0.5], [0.5, 0.5]], 0.1),  # nothing stands out: 0
        ([[0.6, 0.9, 0.1], [0.0, 0.7, -0.2], [0.3, -0.4, 0.8]], 0.25),
    ]
    cases = [(torch.tensor(rows, dtype=torch.float64), sigma) for rows, sigma in by_hand]
    for n, sigma in ((4, 1.0), (6, 0.2), (9, 1 / 64)):
        cosines = 2 * torch.rand(n, n, generator=generator, dtype=torch.float64) - 1
        cases.append((cosines, sigma))
    return cases


def _over_rows(cosines: Tensor, sigma: float, weights: Tensor) -> Tensor:
    """One direction of the derivative, with these weights in place of the softmax."""
    return (cosines.diagonal() - (weights * cosines).sum(dim=1)).mean() / sigma**2


def _both(cosines: Tensor, sigma: float, one: Callable[[Tensor, float], Tensor]) -> Tensor:
    return one(cosines, sigma) + one(cosines.T, sigma)


def _eq1(cosines: Tensor, sigma: float) -> Tensor:
    return _over_rows(cosines, sigma, (cosines / sigma).softmax(dim=1))


def _of_uniform(cosines: Tensor, sigma: float) -> Tensor:
    return _over_rows(cosines, sigma, torch.full_like(cosines, 1 / len(cosines)))


def _of_flat(cosines: Tensor, sigma: float) -> Tensor:
    return _over_rows(cosines, sigma, cosines.softmax(dim=1))


def _of_multiplied(cosines: Tensor, sigma: float) -> Tensor:
    return _over_rows(cosines, sigma, (cosines * sigma).softmax(dim=1))


def _of_negatives(cosines: Tensor, sigma: float) -> Tensor:
    own = torch.eye(len(cosines), dtype=torch.bool)
    return _over_rows(cosines, sigma, (cosines / sigma).masked_fill(own, -torch.inf).softmax(dim=1))


def _of_hardest(cosines: Tensor, sigma: float) -> Tensor:
    return _over_rows(cosines, sigma, F.one_hot(cosines.argmax(dim=1), len(cosines)).double())


def _misses(cosines: Tensor, sigma: float) -> Tensor:
    own = (cosines / sigma).softmax(dim=1).diagonal()
    return ((1 - own) * cosines.diagonal()).mean() / sigma**2


def _loss(cosines: Tensor, sigma: float) -> Tensor:
    return F.cross_entropy(cosines / sigma, torch.arange(len(cosines)))


def _of_smoothed(cosines: Tensor, sigma: float) -> Tensor:
    target = 0.9 * cosines.diagonal() + 0.1 * cosines.mean(dim=1)
    expected = ((cosines / sigma).softmax(dim=1) * cosines).sum(dim=1)
    return (target - expected).mean() / sigma**2


TEMPERATURE_GRADIENT = (
    WrongAnswer(
        lambda cosines, sigma: -_both(cosines, sigma, _eq1),
        "The sign is turned round. The loss has -cos/σ for the pair, and the derivative of 1/σ is "
        "-1/σ²: two minus signs.",
    ),
    WrongAnswer(
        lambda cosines, sigma: sigma * _both(cosines, sigma, _eq1),
        "You divide by σ once: that is the derivative in log σ. In σ itself it is 1/σ².",
    ),
    WrongAnswer(
        lambda cosines, sigma: sigma**2 * _both(cosines, sigma, _eq1),
        "The chain rule is missing: the logits are cosines / σ, and the derivative of 1/σ is "
        "-1/σ².",
    ),
    WrongAnswer(
        lambda cosines, sigma: -(sigma**2) * _both(cosines, sigma, _eq1),
        "That is the derivative in the scale 1/σ, CLIP's. Asked for is the one in σ.",
    ),
    WrongAnswer(
        lambda cosines, sigma: _both(cosines, sigma, _eq1) / sigma,
        "There is one σ too many: the mean is one of cosines, not of logits.",
    ),
    WrongAnswer(
        _eq1,
        "That is eq. (1) alone, the rows. Add the columns, eq. (2).",
    ),
    WrongAnswer(
        lambda cosines, sigma: _eq1(cosines.T, sigma),
        "That is eq. (2) alone, the columns. Add the rows, eq. (1).",
    ),
    WrongAnswer(
        lambda cosines, sigma: 2 * _eq1(cosines, sigma),
        "You take the rows twice. The second softmax runs down the columns.",
    ),
    WrongAnswer(
        lambda cosines, sigma: _both(cosines, sigma, _eq1) / 2,
        "You average the two directions. The paper's loss is their sum.",
    ),
    WrongAnswer(
        lambda cosines, sigma: _both(cosines, sigma, _eq1) * len(cosines),
        "You add over the pairs. Both equations have 1/N: take the mean.",
    ),
    WrongAnswer(
        lambda cosines, sigma: _both(cosines, sigma, _of_uniform),
        "You subtract the plain mean of a row. The softmax weighs it: p times the cosine, added "
        "up.",
    ),
    WrongAnswer(
        lambda cosines, sigma: _both(cosines, sigma, _of_flat),
        "Your softmax is over the cosines. It runs over the logits, cosines / σ.",
    ),
    WrongAnswer(
        lambda cosines, sigma: _both(cosines, sigma, _of_multiplied),
        "Your softmax is over cosines times σ. The logits are cosines / σ.",
    ),
    WrongAnswer(
        lambda cosines, sigma: _both(cosines, sigma, _of_negatives),
        "Your softmax leaves the pair out. The denominator runs over all j, the pair among them.",
    ),
    WrongAnswer(
        lambda cosines, sigma: _both(cosines, sigma, _of_hardest),
        "You subtract the largest cosine only. All count, each with its probability.",
    ),
    WrongAnswer(
        lambda cosines, sigma: 2 * cosines.diagonal().mean() / sigma**2,
        "That is the pair's part alone. The denominator depends on σ too.",
    ),
    WrongAnswer(
        lambda cosines, sigma: _both(cosines, sigma, _misses),
        "1 - p weighs the pair, and the other columns are left out. Each has its p times its "
        "cosine.",
    ),
    WrongAnswer(
        lambda cosines, sigma: _both(cosines, sigma, _of_smoothed),
        "Your target is smoothed. This exercise is the plain eq. (1) + eq. (2).",
    ),
    WrongAnswer(
        lambda cosines, sigma: _both(cosines, sigma, _loss),
        "You return the loss. Asked for is how it changes with σ.",
    ),
)

EXERCISES = (
    Exercise(
        "07",
        temperature_gradient,
        _cases,
        TEMPERATURE_GRADIENT,
        (
            Hint("What is one row's loss?", "logsumexp(cosines / σ) minus the pair's cosine / σ."),
            Hint("What is the derivative of logsumexp?", "The softmax, times that of each logit."),
            Hint("What is the derivative of a logit?", "That of cos/σ in σ: -cos/σ²."),
        ),
    ),
    BEST_TEMPERATURE,
)
