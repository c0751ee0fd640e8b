"""Exercises of notebook 11: an image plus words, and the best matches without the query image."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.exercises import Cases, exercise

unit = partial(F.normalize, dim=0)


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


def _order(s: Tensor) -> list[int]:
    return s.argsort(descending=True, stable=True).tolist()


def _set(s: Tensor, query: int, value: float) -> Tensor:
    return s.index_fill(0, torch.tensor(query), value)


exercise(
    combine,
    _combine_cases,
    as_they_come=lambda i, p, m, w: unit(i + w * (p - m)),
    sum_not_normalised=lambda i, p, m, w: unit(i) + w * (unit(p) - unit(m)),
    nothing_normalised=lambda i, p, m, w: i + w * (p - m),
    image_weighed=lambda i, p, m, w: unit(w * unit(i) + unit(p) - unit(m)),
    plus_weighed=lambda i, p, m, w: unit(unit(i) + w * unit(p) - unit(m)),
    both_added=lambda i, p, m, w: combine(i, p, -m, w),
    signs=lambda i, p, m, w: combine(i, m, p, w),
    no_minus=lambda i, p, m, w: unit(unit(i) + w * unit(p)),
    difference_normalised=lambda i, p, m, w: unit(unit(i) + w * unit(p - m)),
    normalised_again=lambda i, p, m, w: unit(unit(i) + w * unit(unit(p) - unit(m))),
    only_image=lambda i, p, m, w: unit(unit(i) + w * (p - m)),
    only_texts=lambda i, p, m, w: unit(i + w * (unit(p) - unit(m))),
    no_weight=lambda i, p, m, w: combine(i, p, m, 1.0),
    mixed=lambda i, p, m, w: unit((1 - w) * unit(i) + w * (unit(p) - unit(m))),
    l1=lambda i, p, m, w: unit(unit(i) + w * (unit(p) - unit(m)), p=1),
)

exercise(
    top_k_without,
    _top_cases,
    with_query=lambda s, q, k: _order(s)[:k],
    drops_best=lambda s, q, k: _order(s)[1 : k + 1],
    cut_first=lambda s, q, k: [place for place in _order(s)[:k] if place != q],
    shifted=lambda s, q, k: _order(torch.cat([s[:q], s[q + 1 :]]))[:k],
    set_to_zero=lambda s, q, k: _order(_set(s, q, 0.0))[:k],
    comes_back=lambda s, q, k: _order(_set(s, q, -torch.inf))[:k],
    topk=lambda s, q, k: _set(s, q, -torch.inf).topk(k).indices.tolist(),
    last_of_equals=lambda s, q, k: [
        place for place in s.argsort(stable=True).flip(0).tolist() if place != q
    ][:k],
    least_similar=lambda s, q, k: top_k_without(-s, q, k),
    tensor=lambda s, q, k: torch.tensor(top_k_without(s, q, k)),
    values=lambda s, q, k: s[top_k_without(s, q, k)].tolist(),
    absolute=lambda s, q, k: top_k_without(s.abs(), q, k),
    without_equals=lambda s, q, k: [place for place in _order(s) if s[place] != s[q]][:k],
    rising=lambda s, q, k: sorted(top_k_without(s, q, k)),
    from_1=lambda s, q, k: [place + 1 for place in top_k_without(s, q, k)],
)
