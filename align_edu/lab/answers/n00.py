"""Exercises of notebook 00: what a blind guess loses, and how often a picture finds its text."""

import torch
from torch import Tensor

from align_edu.lab.exercises import exercise


def chance_loss(n: int) -> float:
    """Return the loss of a model that knows nothing, in a batch of `n` pairs: 2 ln N.

    Paper: Section 4.1, eq. (1) and eq. (2).

    >>> round(chance_loss(16_384), 2)
    19.41
    """
    import math

    return 2 * math.log(n)


def recall_at_1(similarity: Tensor) -> float:
    """Return the fraction of images whose matching text is more similar than any other.

    similarity: (N, N), image i in row i, its text in column i. A wrong text with the same
    similarity counts as more similar.

    Paper: Section 5.1.

    >>> recall_at_1(torch.tensor([[0.9, 0.2], [0.8, 0.3]]))
    0.5
    """
    matching = similarity.diagonal()[:, None]  # (N, 1)
    at_least_as_similar = (similarity >= matching).sum(dim=1)  # (N,), the matching text included
    return (at_least_as_similar == 1).float().mean().item()


exercise(chance_loss, lambda g: torch.randint(3, 5000, (4, 1), generator=g).tolist())
exercise(
    recall_at_1,
    lambda g: [(torch.rand(n, n, generator=g) * 2 - 1 + 0.7 * torch.eye(n),) for n in (4, 7, 50)],
)
