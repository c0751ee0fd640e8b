"""Exercises of notebook 11."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer


def combine(image: Tensor, plus: Tensor, minus: Tensor, weight: float) -> Tensor:
    """Return the direction of an image with one text added and one taken away.

    image, plus, minus: (D,) vectors of any length above zero. weight: of both texts; the image
    weighs 1. Returns a unit vector (D,).

    Paper: Section 7, footnote 4.

    >>> one, two, three = 4 * torch.eye(3)
    >>> combine(one, two, three, 2.0)
    tensor([ 0.3333,  0.6667, -0.6667])
    """
    words = _unit(plus) - _unit(minus)  # (D,)
    return _unit(_unit(image) + weight * words)


def top_k_without(similarity: Tensor, query: int, k: int) -> list[int]:
    """Return the k most similar images but the query image, the best first.

    similarity: (G,) of the query with each image. query: the place of the query image.
    Of equals the lower place comes first. A k above what is left gives all that is left.

    Paper: Section 7, Figure 5.

    >>> top_k_without(torch.tensor([0.3, 1.0, 0.7]), query=1, k=5)
    [2, 0]
    """
    order = similarity.argsort(descending=True, stable=True).tolist()
    return [place for place in order if place != query][:k]


def _unit(vector: Tensor) -> Tensor:
    return F.normalize(vector, dim=0)


def _combine_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        ([4.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 5.0], 2.0),  # (1, 2, -2) / 3
        ([0.0, 3.0], [2.0, 0.0], [0.0, -0.5], 1.0),  # (1, 2) / sqrt(5)
        ([3.0, 4.0], [5.0, 0.0], [0.0, 0.5], 0.5),  # (1.1, 0.3) / sqrt(1.3)
        ([3.0, 4.0], [5.0, 0.0], [0.0, 0.5], 0.0),  # the words do not count: (0.6, 0.8)
        ([0.0, 2.0], [3.0, 3.0], [1.0, 1.0], 4.0),  # plus and minus cancel out: (0, 1)
    ]
    cases: list[tuple[Any, ...]] = [
        (*(torch.tensor(vector) for vector in vectors), weight) for *vectors, weight in by_hand
    ]
    for width, weight in ((3, 1.0), (5, 2.0), (8, 0.7), (12, 3.0)):
        lengths = 0.5 + 5 * torch.rand(3, 1, generator=generator)
        vectors = lengths * torch.randn(3, width, generator=generator)
        cases.append((*vectors, weight))
    return cases


def _top_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand: list[tuple[Any, ...]] = [
        ([0.2, 1.0, 0.5, 0.7], 1, 2),  # 3, 2
        ([0.9, 0.2, 0.6, 0.1], 2, 2),  # the query image is not the most similar: 0, 1
        ([0.4, 0.8, 0.4, 0.4, 0.8], 1, 3),  # ties: 4, 0, 2
        ([-0.2, -0.9, -0.4, 0.1], 3, 2),  # all that is left is negative: 0, 2
        ([0.3, 0.9, 0.5], 1, 9),  # more than is left: 2, 0
        ([0.3, 0.1, 0.9, 0.5], 0, 3),  # exactly what is left: 2, 3, 1
        ([0.7], 0, 1),  # nothing is left
    ]
    cases = [(torch.tensor(row), query, k) for row, query, k in by_hand]
    for n, k in ((8, 3), (12, 5), (20, 4), (6, 6)):
        row = torch.rand(n, generator=generator) * 2 - 1
        query = int(torch.randint(n, (1,), generator=generator))
        cases.append(((5 * row).round() / 5, query, k))  # many ties
        cases.append((row, query, k))
    return cases


def _order(s: Tensor) -> list[int]:
    return s.argsort(descending=True, stable=True).tolist()


def _last_of_equals(s: Tensor, query: int, k: int) -> list[int]:
    order = s.argsort(stable=True).flip(0).tolist()
    return [place for place in order if place != query][:k]


def _shifted(s: Tensor, query: int, k: int) -> list[int]:
    return _order(torch.cat([s[:query], s[query + 1 :]]))[:k]


def _topk(s: Tensor, query: int, k: int) -> list[int]:
    return _set(s, query, -torch.inf).topk(k).indices.tolist()


def _set(s: Tensor, query: int, value: float) -> Tensor:
    s = s.clone()
    s[query] = value
    return s


def _without_equals(s: Tensor, query: int, k: int) -> list[int]:
    return [place for place in _order(s) if s[place] != s[query]][:k]


COMBINE = (
    WrongAnswer(
        lambda i, p, m, w: _unit(i + w * (p - m)),
        "The vectors are added as they come, so long ones count more. Normalise each one first.",
    ),
    WrongAnswer(
        lambda i, p, m, w: _unit(i) + w * (_unit(p) - _unit(m)),
        "The sum is not of length 1. Normalise it once more at the end.",
    ),
    WrongAnswer(
        lambda i, p, m, w: i + w * (p - m),
        "Nothing is normalised. Normalise the three vectors, and then their sum.",
    ),
    WrongAnswer(
        lambda i, p, m, w: _unit(w * _unit(i) + _unit(p) - _unit(m)),
        "You weigh the image. The weight belongs to the texts; the image has 1.",
    ),
    WrongAnswer(
        lambda i, p, m, w: _unit(_unit(i) + w * _unit(p) - _unit(m)),
        "Only the text to add is weighed. The one to take away has the same weight.",
    ),
    WrongAnswer(
        lambda i, p, m, w: _unit(_unit(i) + w * (_unit(p) + _unit(m))),
        "You add both texts. The second one is to be taken away.",
    ),
    WrongAnswer(
        lambda i, p, m, w: _unit(_unit(i) + w * (_unit(m) - _unit(p))),
        "The signs are the wrong way round: plus is added, minus taken away.",
    ),
    WrongAnswer(
        lambda i, p, m, w: _unit(_unit(i) + w * _unit(p)),
        "The text to take away is missing.",
    ),
    WrongAnswer(
        lambda i, p, m, w: _unit(_unit(i) + w * _unit(p - m)),
        "You normalise the difference of the texts. Normalise each text, then subtract.",
    ),
    WrongAnswer(
        lambda i, p, m, w: _unit(_unit(i) + w * _unit(_unit(p) - _unit(m))),
        "The difference of the two unit texts is made a unit vector again. Leave its length: two "
        "texts that say nearly the same must nearly cancel.",
    ),
    WrongAnswer(
        lambda i, p, m, w: _unit(_unit(i) + w * (p - m)),
        "Only the image is normalised before the sum. The texts need it too.",
    ),
    WrongAnswer(
        lambda i, p, m, w: _unit(i + w * (_unit(p) - _unit(m))),
        "Only the texts are normalised before the sum. The image needs it too.",
    ),
    WrongAnswer(
        lambda i, p, m, w: _unit(_unit(i) + _unit(p) - _unit(m)),
        "The weight has no effect. Multiply the texts by it, not the whole sum.",
    ),
    WrongAnswer(
        lambda i, p, m, w: _unit((1 - w) * _unit(i) + w * (_unit(p) - _unit(m))),
        "You mix with 1 - weight. The image keeps the weight 1, whatever the texts have.",
    ),
    WrongAnswer(
        lambda i, p, m, w: F.normalize(_unit(i) + w * (_unit(p) - _unit(m)), dim=0, p=1),
        "At the end you divide by the sum of absolute values, the L1 norm. L2 takes the root of "
        "the sum of squares.",
    ),
)

TOP_K_WITHOUT = (
    WrongAnswer(
        lambda s, query, k: _order(s)[:k],
        "The query image is among its own results. Leave it out.",
    ),
    WrongAnswer(
        lambda s, query, k: _order(s)[1 : k + 1],
        "You drop the best one. After words are added the query image need not be the best: drop "
        "it by its index.",
    ),
    WrongAnswer(
        lambda s, query, k: [place for place in _order(s)[:k] if place != query],
        "You cut to k and then leave the query image out, so one is missing. Leave out first.",
    ),
    WrongAnswer(
        _shifted,
        "Without the query image all later ones move down by one, and your indices are theirs no "
        "more. Rank first, or set its similarity to minus infinity.",
    ),
    WrongAnswer(
        lambda s, query, k: _order(_set(s, query, 0.0))[:k],
        "You set the query's similarity to 0, which is above all negative ones.",
    ),
    WrongAnswer(
        lambda s, query, k: _order(_set(s, query, -torch.inf))[:k],
        "Where k is larger than what is left, the query image comes back as the last one.",
    ),
    WrongAnswer(
        _topk,
        "topk cannot give more than there are, and of equals it may take any. Sort with "
        "stable=True and cut the list.",
    ),
    WrongAnswer(
        _last_of_equals,
        "Of equally similar images yours takes the last. The lower index comes first.",
    ),
    WrongAnswer(
        lambda s, query, k: top_k_without(-s, query, k),
        "You begin with the least similar. The largest cosine comes first.",
    ),
    WrongAnswer(
        lambda s, query, k: torch.tensor(top_k_without(s, query, k)),
        "You return a tensor. Make it a list: .tolist().",
    ),
    WrongAnswer(
        lambda s, query, k: s[top_k_without(s, query, k)].tolist(),
        "You return the similarities. Asked for is where they are: the indices.",
    ),
    WrongAnswer(
        lambda s, query, k: top_k_without(s.abs(), query, k),
        "You compare absolute values. A cosine near -1 is the least similar.",
    ),
    WrongAnswer(
        _without_equals,
        "You leave out every image that is as similar as the query image. Only that one goes.",
    ),
    WrongAnswer(
        lambda s, query, k: sorted(top_k_without(s, query, k)),
        "The right images in the wrong order: the most similar one comes first.",
    ),
    WrongAnswer(
        lambda s, query, k: [place + 1 for place in top_k_without(s, query, k)],
        "You count from 1. The first image is number 0.",
    ),
)

EXERCISES = (
    Exercise(
        "11",
        combine,
        _combine_cases,
        COMBINE,
        (
            Hint("What comes before the sum?", "Each vector by its own length: x / x.norm()."),
            Hint("Where does the weight go?", "image + weight * (plus - minus), of unit vectors."),
            Hint("What comes after it?", "Divide the sum by its own length."),
        ),
    ),
    Exercise(
        "11",
        top_k_without,
        _top_cases,
        TOP_K_WITHOUT,
        (
            Hint("In which order?", "similarity.argsort(descending=True, stable=True).tolist()."),
            Hint("What is left out?", "[i for i in order if i != query], before you cut to k."),
            Hint("What if k is too large?", "A slice [:k] gives what there is."),
        ),
    ),
)
