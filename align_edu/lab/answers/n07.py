"""Exercises of notebook 07: the loss's derivative in σ, and the best σ."""

import torch
from torch import Tensor

from align_edu.lab.exercises import Cases, exercise


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


def best_temperature(n: int, label_smoothing: float, gap: float) -> float:
    """Return the σ that makes the softmax equal to its smoothed target; 0 without smoothing.

    n: texts to choose from. gap: the pair's cosine minus that of every other text.

    Paper: Section 5 (label smoothing 0.1, σ converges to about 1/64).

    >>> round(1 / best_temperature(16_384, 0.1, 0.19))
    63
    """
    import math

    if label_smoothing == 0:
        return 0.0
    ratio = 1 + n * (1 - label_smoothing) / label_smoothing  # of the pair's target to another's
    return gap / math.log(ratio)


def _gradient_cases(g: torch.Generator) -> Cases:
    sizes = ((4, 1.0), (6, 0.2), (9, 1 / 64))
    return [(2 * torch.rand(n, n, generator=g, dtype=torch.float64) - 1, s) for n, s in sizes]


exercise(temperature_gradient, _gradient_cases)
exercise(
    best_temperature,
    lambda g: [
        (3 + int(500 * a), 0.02 + 0.4 * b, 0.1 + 1.4 * c)
        for a, b, c in torch.rand(4, 3, generator=g, dtype=torch.float64).tolist()
    ],
)
