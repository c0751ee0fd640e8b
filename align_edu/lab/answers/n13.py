"""Exercises of notebook 13: how many pairs a score needs, and the noise that no data mends."""

import torch
from torch import Tensor

from align_edu.lab.exercises import Cases, exercise


def pairs_needed(sizes: Tensor, scores: Tensor, score: float) -> float:
    """Return with how many pairs a curve of scores reaches a score.

    sizes: (N,) numbers of pairs, growing. scores: (N,) what is reached with each, growing; between
    two sizes it grows by the same amount with every doubling of the pairs. score: between the
    first and the last of scores.

    Paper: Section 6.2, Table 9.

    >>> sizes, scores = torch.tensor([1_000.0, 4_000.0]), torch.tensor([0.1, 0.3])
    >>> round(pairs_needed(sizes, scores, 0.2))
    2000
    """
    above = int((scores < score).sum().clamp(min=1))  # the first size that reaches it
    low, high = sizes[above - 1], sizes[above]
    part = (score - scores[above - 1]) / (scores[above] - scores[above - 1])
    return float(low * (high / low) ** part)


def never_mended(counts: Tensor) -> list[int]:
    """Return the kinds that a model calls by a wrong name, however many pairs it has seen.

    counts: (K, K), in row i and column j the pairs whose picture shows kind i and whose text says
    kind j. A contrastive model trained to the end prefers the text whose share among the pairs of
    the picture is largest compared with its share among all pairs.

    Paper: Section 4.1 (the loss whose optimum this is).

    >>> never_mended(torch.tensor([[6.0, 4.0], [7.0, 3.0]]))
    [0, 1]
    """
    lift = counts / counts.sum(dim=1, keepdim=True) / counts.sum(dim=0)  # (K, K)
    named = lift.argmax(dim=1)
    return [kind for kind, name in enumerate(named.tolist()) if name != kind]


def _curve_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for points in (2, 3, 5, 6):
        sizes = (500 * (1.7 + 3 * torch.rand(points, generator=g)).cumprod(0)).round()
        scores = (0.02 + 0.2 * torch.rand(points, generator=g)).cumsum(0)
        place = int(torch.randint(points - 1, (1,), generator=g))
        part = 0.2 + 0.6 * torch.rand(1, generator=g).item()
        score = (1 - part) * scores[place] + part * scores[place + 1]
        cases.append((sizes, scores, score.item()))
    return cases


def _counts_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for kinds, common in ((3, 4.0), (5, 20.0), (8, 50.0), (8, 2.0)):
        pictures = 10 * common ** torch.rand(kinds, 1, generator=g)  # some kinds are common
        mixed = torch.rand(kinds, kinds, generator=g) + 0.5 * torch.eye(kinds)
        cases.append(((10 * pictures * mixed).round() + 1,))
    return cases


exercise(pairs_needed, _curve_cases)
exercise(never_mended, _counts_cases)
