"""Exercises of notebook 11: an image plus words, and the best matches without the query image."""

import torch
from torch import Tensor

from align_edu.lab.exercises import Cases, exercise


def combine(image: Tensor, plus: Tensor, minus: Tensor, weight: float) -> Tensor:
    """Return the direction of an image with one text added and one subtracted.

    image, plus, minus: (D,) vectors of any length above zero. weight: of both texts; the image
    has weight 1. Returns a unit vector (D,).

    Paper: Section 7, footnote 4.

    >>> one, two, three = 4 * torch.eye(3)
    >>> combine(one, two, three, 2.0)
    tensor([ 0.3333,  0.6667, -0.6667])
    """
    words = plus / plus.norm() - minus / minus.norm()  # (D,)
    total = image / image.norm() + weight * words
    return total / total.norm()


def top_k_without(similarity: Tensor, query: int, k: int) -> list[int]:
    """Return the k most similar images except the query image, the best first.

    similarity: (G,) of the query with each image. query: the index of the query image.
    The lower index comes first where images tie. With a k above what is left, all are returned.

    Paper: Section 7, Figure 5.

    >>> top_k_without(torch.tensor([0.3, 1.0, 0.7]), query=1, k=5)
    [2, 0]
    """
    order = similarity.argsort(descending=True, stable=True).tolist()
    return [place for place in order if place != query][:k]


def _combine_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for width, weight in ((3, 1.0), (5, 2.0), (8, 0.7), (12, 3.0)):
        lengths = 0.5 + 5 * torch.rand(3, 1, generator=g)
        cases.append((*(lengths * torch.randn(3, width, generator=g)), weight))
    return cases


def _top_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for n, k in ((8, 3), (12, 5), (20, 4), (6, 6)):
        row = torch.rand(n, generator=g) * 2 - 1
        query = int(torch.randint(n, (1,), generator=g))
        cases += [((5 * row).round() / 5, query, k), (row, query, k)]  # the first has many ties
    return cases


exercise(combine, _combine_cases)
exercise(top_k_without, _top_cases)
