"""Exercises of notebook 06."""

from typing import Any

import torch
from torch import Tensor

from align_edu.lab.answers.n06_losses import WRONG_LOSSES
from align_edu.lab.answers.n06_smoothing import SMOOTHED_LOSS
from align_edu.lab.exercise import Exercise, Hint
from align_edu.loss import contrastive_loss


def align_loss(image: Tensor, text: Tensor, sigma: float) -> Tensor:
    """Return the plain loss of a batch: eq. (1) + eq. (2), no label smoothing.

    image, text: (N, D), of any length; row i of one belongs to row i of the other.

    Paper: Section 4.1, eq. (1) and eq. (2).

    >>> image = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    >>> text = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> round(align_loss(image, text, 0.5).item(), 6)
    1.326823
    """
    return contrastive_loss(image, text, sigma, label_smoothing=0.0)


def _loss_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    def pairs(n: int, d: int) -> tuple[Tensor, Tensor]:
        """Vectors of all lengths, where a pair has something in common."""
        shared, image, text = torch.randn(3, n, d, generator=generator)
        return 3 * (image + 0.5 * shared), text + 0.5 * shared + 0.3

    by_hand = [
        ([[3.0, 4.0], [0.0, 2.0]], [[1.0, 0.0], [1.0, 1.0]], 0.5),  # 1.32682331
        ([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]], 1.0),  # 2 ln(1 + 1/e) = 0.626523
        # ln(1 + e^-1.76) + ln(1 + e^-3.2) = 0.198703
        ([[3.0, 4.0, 0.0], [0.0, 0.0, 5.0]], [[0.0, 2.0, 0.0], [3.0, 0.0, 4.0]], 0.25),
        ([[1.0, 2.0]] * 3, [[2.0, 4.0]] * 3, 0.1),  # all alike: 2 ln 3
        # 2 ln(1 + e^-100): float32 holds no e^100, but every probability here
        ([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]], 0.01),
    ]
    random = [(*pairs(n, d), sigma) for n, d, sigma in ((5, 3, 1.0), (4, 9, 0.2), (7, 3, 1 / 64))]
    image, text = torch.randn(2, 12, 4, generator=generator)
    return [(torch.tensor(x), torch.tensor(y), sigma) for x, y, sigma in by_hand] + [
        *random,
        (image, text, 0.001),  # strangers at logits near 1,000: a plain exp overflows
    ]


EXERCISES = (
    Exercise(
        "06",
        align_loss,
        _loss_cases,
        WRONG_LOSSES,
        (
            Hint("What goes into the softmax?", "Cosines over σ: normalise rows, x @ y.T / sigma."),
            Hint("Which cell is right?", "In row i column i: labels = torch.arange(N)."),
            Hint("Where is eq. (2)?", "In the columns: the same again with the logits transposed."),
        ),
        builds_on=("align_edu.loss:contrastive_loss", "align_edu.loss.contrastive:_direction"),
    ),
    SMOOTHED_LOSS,
)
