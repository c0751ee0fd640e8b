"""Exercises of notebook 09: recall at k with several texts for each image, and average ranks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from align_edu.lab.exercises import Answer, Cases, exercise

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


def _matching(s: Tensor, owner: Tensor) -> Tensor:
    return owner[None] == torch.arange(len(s))[:, None]  # (I, T)


def _best(s: Tensor, owner: Tensor) -> Tensor:
    return s.masked_fill(~_matching(s, owner), -torch.inf).amax(dim=1, keepdim=True)  # (I, 1)


def _found(s: Tensor, owner: Tensor, k: int) -> Tensor:
    """Return which texts are among the first k of their image: (I, T), ties against them."""
    matching = _matching(s, owner)
    wrong = s.masked_fill(matching, -torch.inf)
    return matching & ((wrong[:, None, :] >= s[:, :, None]).sum(dim=2) < k)


def _share(hits: Callable[[Tensor, Tensor, int], Tensor]) -> Answer:
    """Return a recall that is the mean of these hits."""
    return lambda s, t, k: float(hits(s, t, k).double().mean())


def _first_text(s: Tensor, owner: Tensor, k: int) -> Tensor:
    first = _matching(s, owner).double().argmax(dim=1, keepdim=True)  # (I, 1)
    return _found(s, owner, k).gather(1, first)


def _text_to_image(s: Tensor, owner: Tensor, k: int) -> Tensor:
    return (s >= s[owner, torch.arange(len(owner))]).sum(dim=0) <= k


def _in_order(s: Tensor, owner: Tensor, k: int) -> float:
    """Assume that the texts are sorted by image, with the same number for each."""
    return recall_at_k(s, torch.arange(s.shape[1]) * len(s) // s.shape[1], k)


def _mean_of_texts(s: Tensor, owner: Tensor, k: int) -> Tensor:
    matching = _matching(s, owner)
    mean = (s * matching).sum(dim=1, keepdim=True) / matching.sum(dim=1, keepdim=True)
    return ((s >= mean) & ~matching).sum(dim=1) < k


def _ranks(rank: Callable[[int, int], float]) -> Answer:
    """Return ranks computed from how many values lie below, and how many are equal."""
    return lambda v: [rank(sum(o < x for o in v), sum(o == x for o in v)) for x in v]


def _order(values: Values) -> list[int]:
    return sorted(range(len(values)), key=lambda place: values[place])


exercise(
    recall_at_k,
    _recall_cases,
    times={"per_cent": 100},
    ties_win=_share(lambda s, t, k: (s > _best(s, t)).sum(dim=1) < k),
    own_ties_lose=_share(lambda s, t, k: (s >= _best(s, t)).sum(dim=1) <= k),
    all_of_them=_share(lambda s, t, k: (_found(s, t, k) | ~_matching(s, t)).all(dim=1)),
    first_text=_share(_first_text),
    share_of_texts=_share(lambda s, t, k: _found(s, t, k).sum(1) / _matching(s, t).sum(1)),
    by_text=lambda s, t, k: float(_found(s, t, k).sum() / len(t)),
    text_to_image=_share(_text_to_image),
    in_order=_in_order,
    mean_of_texts=_share(_mean_of_texts),
    first_place=lambda s, t, k: recall_at_k(s, t, 1),
    one_too_many=lambda s, t, k: recall_at_k(s, t, k + 1),
    one_too_few=lambda s, t, k: recall_at_k(s, t, k - 1),
    least_similar=lambda s, t, k: recall_at_k(-s, t, k),
    number_of_hits=lambda s, t, k: recall_at_k(s, t, k) * len(s),
    by_k=lambda s, t, k: recall_at_k(s, t, k) / k,
    absolute=lambda s, t, k: recall_at_k(s.abs(), t, k),
)

exercise(
    average_ranks,
    lambda g: [((torch.randint(-4, 5, (n,), generator=g) / 2).tolist(),) for n in (6, 9, 12, 15)],
    by_place=lambda v: [_order(v).index(place) + 1 for place in range(len(v))],
    lowest=_ranks(lambda below, equal: below + 1),
    highest=_ranks(lambda below, equal: below + equal),
    dense=lambda v: [sorted(set(v)).index(value) + 1 for value in v],
    from_0=lambda v: [rank - 1 for rank in average_ranks(v)],
    from_largest=lambda v: average_ranks([-value for value in v]),
    argsort=_order,
    argsort_from_1=lambda v: [place + 1 for place in _order(v)],
    rising=lambda v: sorted(average_ranks(v)),
    sorted_values=sorted,
    rounded_down=_ranks(lambda below, equal: below + (equal + 1) // 2),
    half_of_equals=_ranks(lambda below, equal: below + equal / 2),
    divided=lambda v: [rank / len(v) for rank in average_ranks(v)],
    absolute=lambda v: average_ranks([abs(value) for value in v]),
    tensor=lambda v: torch.tensor(average_ranks(v)),
)
