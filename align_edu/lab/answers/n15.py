"""Exercise of notebook 15: the contrastive loss from a few rows of logits at a time."""

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.exercises import Cases, exercise


def loss_by_tiles(x: Tensor, y: Tensor, sigma: float, tile: int) -> Tensor:
    """Return eq. (1) + eq. (2) of N normalised pairs, from ``tile`` rows of logits at a time.

    Paper: Section 4.1, eq. (1) and eq. (2), without label smoothing.

    >>> loss_by_tiles(torch.eye(4), torch.eye(4), 0.5, 3).item()
    0.681506...
    """
    import torch

    columns = torch.full((len(y),), -torch.inf, dtype=x.dtype)  # log-sum-exp of each, so far
    rows = torch.zeros((), dtype=x.dtype)
    for start in range(0, len(x), tile):
        logits = x[start : start + tile] @ y.T / sigma  # (T, N)
        rows = rows + (logits.logsumexp(dim=1) - 2 * logits.diagonal(start)).sum()
        columns = torch.logaddexp(columns, logits.logsumexp(dim=0))
    return (rows + columns.sum()) / len(x)


def _tile_cases(g: torch.Generator) -> Cases:
    sizes = [(7, 3, 0.5, 3), (12, 5, 0.1, 4), (10, 4, 0.25, 1)]
    sizes += [(9, 6, 1.0, 9), (6, 4, 1.0, 20), (11, 3, 0.004, 4)]
    return [
        (*F.normalize(torch.randn(2, n, width, generator=g), dim=2), sigma, tile)
        for n, width, sigma, tile in sizes
    ]


exercise(loss_by_tiles, _tile_cases)
