"""Ranks of right candidates, with ties counted against the model, and recall at k from them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.evaluation.record import bootstrap_interval
from align_edu.io import InputError

CELLS = 2**23  # similarities in memory at a time


def exact_vectors(name: str, vectors: Tensor, *, unit: bool = False) -> Tensor:
    """Return embeddings (N, D) as float64 on the CPU, with length 1 if ``unit``.

    Equal vectors must get equal similarities. In float32 the position in a matrix decides the
    last bit of a sum, so sums are computed in float64 and then rounded.
    Raises InputError with the first row that is not finite.
    """
    broken = (~vectors.isfinite()).any(dim=1).nonzero()
    if len(broken):
        raise InputError(
            f"{name} embeddings, row {int(broken[0])}: not finite; the model or its input is broken"
        )
    exact = vectors.detach().to("cpu", torch.float64)
    return F.normalize(exact, dim=1) if unit else exact


def chunks(queries: int, gallery: int) -> tuple[Tensor, ...]:
    """Return the rows of queries in chunks that keep the matrix of similarities small."""
    return torch.arange(queries).split(max(1, CELLS // gallery))


def best_ranks(similarity: Tensor, right: Tensor, best: Tensor | None = None) -> Tensor:
    """Return the rank of each query's best right candidate: (Q,); 1 is the best.

    similarity: (Q, G). right: (Q, G) booleans. best: (Q, 1) similarity of the best right
    candidate, computed when None. A wrong candidate that is as similar counts as more similar;
    other right candidates push nothing down.

    >>> best_ranks(torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[False, True, False]])).tolist()
    [3]
    """
    if best is None:
        best = similarity.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + ((similarity >= best) & ~right).sum(dim=1)


def chunked_ranks(
    query: Tensor, gallery: Tensor, right: Callable[[Tensor], Tensor], itself: Tensor | None = None
) -> Tensor:
    """Return the :func:`best_ranks` of many queries without holding all similarities: (Q,).

    query: (Q, D) and gallery: (G, D), from :func:`exact_vectors`. right: rows of queries (C,)
    to booleans (C, G). itself: (Q,) the gallery item that is the query and is never found.
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

    queries: (Q, D). images: (I, D). relevant: (Q, I) booleans. Where fewer than k images are
    relevant, the share is of those.
    """
    top = (queries @ images.T).topk(min(k, len(images)), dim=1).indices  # (Q, k)
    hits = relevant.gather(1, top).sum(dim=1)
    return hits.double() / relevant.sum(dim=1).clamp(1, k)
