"""What the loss can be at all: its chance level, its floor, and the temperature of the floor."""

import math

from torch import Tensor
from torch.nn import functional as F


def loss_floor(n: int, label_smoothing: float) -> float:
    """Return the smallest value the summed loss can take: twice the entropy of its targets.

    Paper: Section 5 (label smoothing 0.1); without smoothing the floor is 0.

    >>> round(loss_floor(16384, 0.1), 2)
    2.59
    """
    other = label_smoothing / n
    own = 1 - label_smoothing + other
    entropy = -own * math.log(own)
    if label_smoothing > 0:
        entropy -= (n - 1) * other * math.log(other)
    return 2 * entropy


def best_temperature(n: int, label_smoothing: float, gap: float) -> float:
    """Return the temperature at which the loss of N pairs is lowest.

    gap: how much nearer each image is to its own text than to the others, as a difference of
    cosines. Without smoothing the best temperature is 0: the sharper, the better.

    Paper: Section 6.1 (the learned temperature "converged to about 1/64"); the minimum of
    eq. (1) + eq. (2) over σ where all pairs have the same gap.

    >>> round(1 / best_temperature(16384, 0.1, gap=0.19))
    63
    """
    if label_smoothing == 0:
        return 0.0
    return gap / math.log(1 + n * (1 - label_smoothing) / label_smoothing)


def chance_loss(n: int) -> float:
    """Return the summed loss of a model that knows nothing: 2 ln N.

    Paper: Section 4.1, eq. (1) and eq. (2) with equal similarities.

    >>> round(chance_loss(16384), 2)
    19.41
    """
    return 2 * math.log(n)


def cosine_gap(image: Tensor, text: Tensor) -> Tensor:
    """Return how much nearer the pairs are than other images and texts, in mean cosines.

    image, text: (N, D), N > 1; row i of one belongs to row i of the other. A scalar in [-2, 2],
    for ``best_temperature``, found without the N × N matrix.

    Paper: Section 4.1 (cosine similarity).

    >>> import torch
    >>> round(cosine_gap(torch.eye(3), torch.eye(3)).item(), 4)
    1.0
    """
    x, y = F.normalize(image.float(), dim=1), F.normalize(text.float(), dim=1)  # (N, D)
    own = (x * y).sum(dim=1).mean()
    whole = x.mean(dim=0) @ y.mean(dim=0)  # mean over all N² cosines
    return (own - whole) * len(x) / (len(x) - 1)
