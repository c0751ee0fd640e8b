"""Exercises of notebook 09: recall at k with several texts for each image, and average ranks."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from align_edu.lab.exercise import Cases, exercise

Values = Sequence[float]
Recall = Callable[[Tensor, Tensor, int], float]


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


def _recall_cases(generator: torch.Generator) -> Cases:
    cases: Cases = []
    for n, texts, k in ((20, 50, 1), (24, 61, 3), (30, 80, 5)):
        owner = torch.randint(n, (texts - n,), generator=generator)
        owner = torch.cat([torch.arange(n), owner])
        owner = owner[torch.randperm(texts, generator=generator)]
        scores = torch.randn(n, texts, generator=generator)
        scores += 1.5 * (owner[None] == torch.arange(n)[:, None])
        cases += [(scores, owner, k), (scores.round(), owner, k)]  # the second has many ties
    return cases


def _matching(similarity: Tensor, text_to_image: Tensor) -> Tensor:
    return text_to_image[None] == torch.arange(len(similarity))[:, None]  # (I, T)


def _best(similarity: Tensor, text_to_image: Tensor) -> Tensor:
    matching = _matching(similarity, text_to_image)
    return similarity.masked_fill(~matching, -torch.inf).amax(dim=1, keepdim=True)  # (I, 1)


def _found(similarity: Tensor, text_to_image: Tensor, k: int) -> Tensor:
    """Return which texts are among the first k of their image: (I, T), ties against them."""
    matching = _matching(similarity, text_to_image)
    wrong = similarity.masked_fill(matching, -torch.inf)
    ahead = (wrong[:, None, :] >= similarity[:, :, None]).sum(dim=2)  # (I, T)
    return matching & (ahead < k)


def _share(hits: Callable[[Tensor, Tensor, int], Tensor]) -> Recall:
    """Return a recall that is the mean of these hits."""
    return lambda s, t, k: float(hits(s, t, k).double().mean())


def _first_text(similarity: Tensor, text_to_image: Tensor, k: int) -> Tensor:
    first = _matching(similarity, text_to_image).double().argmax(dim=1)  # (I,)
    return _found(similarity, text_to_image, k)[torch.arange(len(first)), first]


def _share_of_texts(similarity: Tensor, text_to_image: Tensor, k: int) -> Tensor:
    texts = _matching(similarity, text_to_image).sum(dim=1)
    return _found(similarity, text_to_image, k).sum(dim=1) / texts


def _text_to_image(similarity: Tensor, text_to_image: Tensor, k: int) -> Tensor:
    matching = similarity[text_to_image, torch.arange(len(text_to_image))]  # (T,)
    return (similarity >= matching).sum(dim=0) <= k


def _in_order(similarity: Tensor, text_to_image: Tensor, k: int) -> float:
    """Assume that the texts are sorted by image, with the same number for each."""
    images, texts = similarity.shape
    return recall_at_k(similarity, torch.arange(texts) * images // texts, k)


def _mean_of_texts(similarity: Tensor, text_to_image: Tensor, k: int) -> Tensor:
    matching = _matching(similarity, text_to_image)
    mean = (similarity * matching).sum(dim=1, keepdim=True) / matching.sum(dim=1, keepdim=True)
    return ((similarity >= mean) & ~matching).sum(dim=1) < k


def _ranks(rank: Callable[[int, int], float]) -> Callable[[Values], list[float]]:
    """Return ranks computed from how many values lie below, and how many are equal."""
    return lambda values: [
        rank(sum(o < v for o in values), sum(o == v for o in values)) for v in values
    ]


def _order(values: Values) -> list[int]:
    return sorted(range(len(values)), key=lambda place: values[place])


RECALL_AT_K = exercise(
    "09",
    recall_at_k,
    _recall_cases,
    ties_win=_share(lambda s, t, k: (s > _best(s, t)).sum(dim=1) < k),
    own_ties_lose=_share(lambda s, t, k: (s >= _best(s, t)).sum(dim=1) <= k),
    all_of_them=_share(lambda s, t, k: (_found(s, t, k) | ~_matching(s, t)).all(dim=1)),
    first_text=_share(_first_text),
    share_of_texts=_share(_share_of_texts),
    by_text=lambda s, t, k: float(_found(s, t, k).sum() / len(t)),
    text_to_image=_share(_text_to_image),
    in_order=_in_order,
    mean_of_texts=_share(_mean_of_texts),
    first_place=lambda s, t, k: recall_at_k(s, t, 1),
    one_too_many=lambda s, t, k: recall_at_k(s, t, k + 1),
    one_too_few=lambda s, t, k: recall_at_k(s, t, k - 1),
    least_similar=lambda s, t, k: recall_at_k(-s, t, k),
    number_of_hits=lambda s, t, k: recall_at_k(s, t, k) * len(s),
    per_cent=lambda s, t, k: 100 * recall_at_k(s, t, k),
    by_k=lambda s, t, k: recall_at_k(s, t, k) / k,
    absolute=lambda s, t, k: recall_at_k(s.abs(), t, k),
)

AVERAGE_RANKS = exercise(
    "09",
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
