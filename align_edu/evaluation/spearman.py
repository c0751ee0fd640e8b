"""Spearman's correlation with the bootstrap of Crisscrossed Captions."""

import torch
from torch import Tensor

RESAMPLES = 1_000
_CELLS = 2**22  # drawn values in memory at a time


def average_ranks(values: Tensor) -> Tensor:
    """Return the ranks (B, N) of each row's values, from 1; equal values share their mean rank."""
    ordered = values.sort(dim=1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to + 1).double() / 2


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Return Spearman's correlation (B,) of the rows of a and b (B, N); 0 for constant rows."""
    x, y = average_ranks(a), average_ranks(b)
    x, y = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    size = x.norm(dim=1) * y.norm(dim=1)
    return torch.where(size > 0, (x * y).sum(dim=1) / size.clamp(min=1e-300), 0.0)


def bootstrap_spearman(
    query: Tensor, human: Tensor, model: Tensor, *, resamples: int = RESAMPLES, seed: int = 0
) -> Tensor:
    """Return the correlation of human and model scores in each resample: (resamples,) float64.

    query: (P,) whole numbers, the query of each of P rated pairs. human, model: (P,) scores.
    Each resample draws half of the queries without replacement, and one pair of each, so that
    a query with many pairs counts no more than one with few.

    Paper: Section 5.1, Table 3; the scheme is that of Parekh et al. (2021), Section 5.
    """
    order = query.argsort(stable=True)
    counts = query.unique(return_counts=True)[1]  # (Q,)
    starts = counts.cumsum(0) - counts
    generator = torch.Generator().manual_seed(seed)
    half = max(2, len(counts) // 2)
    rows = max(1, _CELLS // len(counts))
    parts = []
    for start in range(0, resamples, rows):
        some = min(rows, resamples - start)
        drawn = torch.rand(some, len(counts), generator=generator).argsort(dim=1)[:, :half]
        place = (torch.rand(some, half, generator=generator) * counts[drawn]).long()
        pairs = order[starts[drawn] + place]  # (B, half)
        parts.append(spearman(human[pairs], model[pairs]))
    return torch.cat(parts)
