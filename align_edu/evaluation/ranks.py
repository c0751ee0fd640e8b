"""Ranks of right candidates, recall and rank correlation from them, and bootstrap intervals."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.io import InputError

CELLS = 2**23  # similarities in memory at a time
RESAMPLES = 1_000
LEVEL = 0.95  # of an interval
_DRAWN = 2**22  # drawn values in memory at a time


def exact_vectors(name: str, vectors: Tensor, *, unit: bool = False) -> Tensor:
    """Return embeddings (N, D) as float64 on the CPU, with length 1 if ``unit``.

    Equal vectors must get equal similarities; in float32 their position decides the last bit of
    a sum. Raises InputError with the first row that is not finite.
    """
    for row in (~vectors.isfinite()).any(dim=1).nonzero()[:1].flatten().tolist():
        raise InputError(f"{name} embeddings, row {row}: not finite; the model or input is broken")
    exact = vectors.detach().to("cpu", torch.float64)
    return F.normalize(exact, dim=1) if unit else exact


def chunks(queries: int, gallery: int) -> tuple[Tensor, ...]:
    """Return the rows of queries in chunks that keep the matrix of similarities small."""
    return torch.arange(queries).split(max(1, CELLS // gallery))


def best_ranks(similarity: Tensor, right: Tensor, best: Tensor | None = None) -> Tensor:
    """Return the rank of each query's best right candidate: (Q,); 1 is the best.

    similarity: (Q, G). right: (Q, G) booleans. best: (Q, 1) of the best right candidate, computed
    when None. A wrong candidate that is as similar counts as more similar.

    >>> best_ranks(torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[False, True, False]])).tolist()
    [3]
    """
    if best is None:
        best = similarity.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + ((similarity >= best) & ~right).sum(dim=1)


def chunked_ranks(
    query: Tensor, gallery: Tensor, right: Callable[[Tensor], Tensor], itself: Tensor | None = None
) -> Tensor:
    """Return the :func:`best_ranks` of (Q, D) in (G, D) without holding all similarities: (Q,).

    right: rows of queries (C,) to booleans (C, G). itself: (Q,) items that are the query.
    """
    ranks = []
    for rows in chunks(len(query), len(gallery)):
        similarity = (query[rows] @ gallery.T).float()  # (C, G)
        if itself is not None:
            similarity[torch.arange(len(rows)), itself[rows]] = -torch.inf
        ranks.append(best_ranks(similarity, right(rows)))
    return torch.cat(ranks)


def recall_at(ranks: Tensor, ks: Sequence[int], prefix: str = "R@") -> dict[str, float]:
    """Return the share of ranks up to each k, such as {"R@1": 0.5}."""
    return {f"{prefix}{k}": int((ranks <= k).sum()) / len(ranks) for k in ks}


def recall_intervals(
    ranks: Tensor, ks: Sequence[int], prefix: str = "R@"
) -> dict[str, list[float]]:
    """Return the 95 % bootstrap interval of each :func:`recall_at`."""
    return {f"{prefix}{k}": bootstrap_interval(ranks <= k) for k in ks}


def precision_at_k(queries: Tensor, images: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Return for each query the share of relevant images among the k most similar: (Q,).

    relevant: (Q, I) booleans. Where fewer than k images are relevant, the share is of those.
    """
    top = (queries @ images.T).topk(min(k, len(images)), dim=1).indices  # (Q, k)
    hits = relevant.gather(1, top).sum(dim=1)
    return hits.double() / relevant.sum(dim=1).clamp(1, k)


def bootstrap_interval(values: Tensor, *, resamples: int = RESAMPLES, seed: int = 0) -> list[float]:
    """Return the 95 % bootstrap interval of the mean of ``values``: [low, high].

    values: (Q,), Q > 0, one number per query, such as 1 for a hit and 0 for a miss. The number of
    hits in a resample is binomial: it is drawn directly.

    >>> low, high = bootstrap_interval(torch.tensor([1.0, 1.0, 0.0, 1.0] * 25))
    >>> 0.6 < low < 0.75 < high < 0.9
    True
    """
    numbers = values.double().numpy()
    rng = np.random.default_rng(seed)
    if np.isin(numbers, (0.0, 1.0)).all():
        means = rng.binomial(len(numbers), numbers.mean(), resamples) / len(numbers)
    else:
        draws = (rng.integers(len(numbers), size=len(numbers)) for _ in range(resamples))
        means = np.array([numbers[drawn].mean() for drawn in draws])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]


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
    """Return the correlation of human and model scores (P,) in each resample: (resamples,) float64.

    query: (P,) whole numbers. Each resample draws half of the queries without replacement, and one
    pair of each, so that a query with many pairs counts no more than one with few.
    Paper: Section 5.1, Table 3; the scheme is that of Parekh et al. (2021), Section 5.
    """
    order = query.argsort(stable=True)
    counts = query.unique(return_counts=True)[1]  # (Q,)
    starts = counts.cumsum(0) - counts
    generator = torch.Generator().manual_seed(seed)
    half = max(2, len(counts) // 2)
    parts = []
    for some in torch.arange(resamples).split(max(1, _DRAWN // len(counts))):
        drawn = torch.rand(len(some), len(counts), generator=generator).argsort(dim=1)[:, :half]
        place = (torch.rand(len(some), half, generator=generator) * counts[drawn]).long()
        pairs = order[starts[drawn] + place]  # (B, half)
        parts.append(spearman(human[pairs], model[pairs]))
    return torch.cat(parts)
