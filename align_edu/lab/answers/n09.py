"""Exercises of notebook 09: recall at k with several texts for each image, and average ranks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from align_edu.lab.exercises import Cases, exercise

Values = Sequence[float]


def recall_at_k(similarity: Tensor, text_to_image: Tensor, k: int) -> float:
    """Return the share of images that find any of their texts among the k most similar.

    similarity: (I, T), image i in row i, text t in column t. text_to_image: (T,) the image that
    each text describes; every image has a text. A text of another image with the same
    similarity counts as more similar; the other texts of the same image do not count.

    Paper: Section 5.1, Table 1 (image to text).

    >>> similarity = torch.tensor([[0.9, 0.1, 0.5], [0.4, 0.2, 0.3]])
    >>> recall_at_k(similarity, torch.tensor([0, 1, 1]), 1)
    0.5
    """
    import torch

    images = torch.arange(len(similarity))[:, None]
    matching = text_to_image[None] == images  # (I, T)
    best = similarity.masked_fill(~matching, -torch.inf).amax(dim=1, keepdim=True)  # (I, 1)
    rank = 1 + ((similarity >= best) & ~matching).sum(dim=1)  # (I,)
    return (rank <= k).double().mean().item()


def average_ranks(values: Values) -> list[float]:
    """Return the rank of each value, 1 for the smallest; equal values share their mean rank.

    Paper: Section 5.1, Table 3 (Spearman's correlation is that of the ranks).

    >>> average_ranks([0.3, 0.9, 0.3, 0.1])
    [2.5, 4.0, 2.5, 1.0]
    """
    ranks = []
    for value in values:
        below = sum(other < value for other in values)
        equal = sum(other == value for other in values)  # the value itself among them
        ranks.append(below + (equal + 1) / 2)
    return ranks


def _recall_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for n, texts, k in ((20, 50, 1), (24, 61, 3), (30, 80, 5)):
        owner = torch.cat([torch.arange(n), torch.randint(n, (texts - n,), generator=g)])
        owner = owner[torch.randperm(texts, generator=g)]
        scores = torch.randn(n, texts, generator=g)
        scores += 1.5 * (owner[None] == torch.arange(n)[:, None])
        cases += [(scores, owner, k), (scores.round(), owner, k)]  # the second has many ties
    return cases


exercise(recall_at_k, _recall_cases)
exercise(
    average_ranks,
    lambda g: [((torch.randint(-4, 5, (n,), generator=g) / 2).tolist(),) for n in (6, 9, 12, 15)],
)
