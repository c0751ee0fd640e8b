"""Exercises of notebook 06: the contrastive loss, and one direction with smoothed labels."""

import torch
from torch import Tensor

from align_edu.lab.exercises import Cases, exercise


def align_loss(image: Tensor, text: Tensor, sigma: float) -> Tensor:
    """Return the plain loss of a batch: eq. (1) + eq. (2), no label smoothing.

    image, text: (N, D), of any length; row i of one belongs to row i of the other.

    Paper: Section 4.1, eq. (1) and eq. (2).

    >>> image = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    >>> text = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    >>> round(align_loss(image, text, 0.5).item(), 6)
    1.326823
    """
    import torch
    from torch.nn import functional as F

    x, y = F.normalize(image, dim=1), F.normalize(text, dim=1)
    logits = x @ y.T / sigma  # (N, N), image i in row i, text j in column j
    labels = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)


def smoothed_loss(logits: Tensor, label_smoothing: float) -> Tensor:
    """Return one direction of the loss: the cross-entropy of each row with a smoothed target.

    logits: (N, N), row i belongs to column i. label_smoothing: ε, spread over all N columns.

    Paper: Section 5 (label smoothing 0.1), eq. (1).

    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    >>> [round(smoothed_loss(logits, e).item(), 4) for e in (0.0, 0.1)]
    [0.1269, 0.2269]
    """
    import torch

    n = len(logits)
    target = (1 - label_smoothing) * torch.eye(n).to(logits) + label_smoothing / n  # (N, N)
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


def _loss_cases(g: torch.Generator) -> Cases:
    def pairs(n: int, d: int) -> tuple[Tensor, Tensor]:
        """Return vectors of all lengths, in which a pair has something in common."""
        shared, image, text = torch.randn(3, n, d, generator=g)
        return 3 * (image + 0.5 * shared), text + 0.5 * shared + 0.3

    cases: Cases = [(*pairs(n, d), s) for n, d, s in ((5, 3, 1.0), (4, 9, 0.2), (7, 3, 1 / 64))]
    image, text = torch.randn(2, 12, 4, generator=g)
    return [*cases, (image, text, 0.001)]  # strangers, logits near 1,000: a plain exp overflows


# Any two of the wrong losses differ in some case, so that each mistake has a name.
WRONG_LOSSES = exercise(align_loss, _loss_cases).wrong

exercise(
    smoothed_loss,
    lambda g: [
        (4 * torch.randn(n, n, generator=g), e) for n, e in ((5, 0.1), (8, 0.5), (12, 0.02))
    ],
)
