"""Exercises of notebook 09."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from align_edu.lab.answers.n09_mistakes import AVERAGE_RANKS, RECALL_AT_K
from align_edu.lab.exercise import Exercise, Hint


def recall_at_k(similarity: Tensor, text_to_image: Tensor, k: int) -> float:
    """Return the share of images that find any of their own texts among the k most similar.

    similarity: (I, T), image i in row i, text t in column t. text_to_image: (T,) the image that
    each text describes; every image has a text. A text of another image that is as similar
    counts as more similar; the other texts of the same image push nothing down.

    Paper: Section 5.1, Table 1 (image to text).

    >>> similarity = torch.tensor([[0.9, 0.1, 0.5], [0.4, 0.2, 0.3]])
    >>> recall_at_k(similarity, torch.tensor([0, 1, 1]), 1)
    0.5
    """
    images = torch.arange(len(similarity))[:, None]
    own = text_to_image[None] == images  # (I, T)
    best = similarity.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)  # (I, 1)
    rank = 1 + ((similarity >= best) & ~own).sum(dim=1)  # (I,)
    return (rank <= k).double().mean().item()


def average_ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, 1 for the smallest; equal values share their mean rank.

    Paper: Section 5.1, Table 3 (Spearman's correlation is that of the ranks).

    >>> average_ranks([0.3, 0.9, 0.3, 0.1])
    [2.5, 4.0, 2.5, 1.0]
    """
    ranks = []
    for value in values:
        below = sum(other < value for other in values)
        equal = sum(other == value for other in values)  # itself among them
        ranks.append(below + (equal + 1) / 2)
    return ranks


def _recall_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand: list[tuple[Any, ...]] = [
        # image 0 finds text 0; image 1's texts 1 and 2 come second and third: 1 of 2
        ([[0.9, 0.1, 0.5], [0.4, 0.2, 0.3]], [0, 1, 1], 1),
        ([[0.9, 0.1, 0.5], [0.4, 0.2, 0.3]], [0, 1, 1], 2),  # now 2 of 2
        # ties: image 0's text ties with text 1, a wrong one; image 1 is alone at the top: 1 of 2
        ([[0.5, 0.5, 0.1], [0.1, 0.2, 0.6]], [0, 1, 1], 1),
        # both texts of image 0 are equally good: neither pushes the other down: 2 of 2
        ([[0.7, 0.7, 0.1], [0.2, 0.3, 0.4]], [0, 0, 1], 1),
        # all alike, as a collapsed model has it: two wrong ones ahead of each: 0 of 3
        ([[0.4, 0.4, 0.4]] * 3, [0, 1, 2], 2),
        # all negative, the texts in no order; image 0 has text 2, image 1 has 0 and 1: 2 of 2
        ([[-0.9, -0.4, -0.3], [-0.8, -0.1, -0.6]], [1, 1, 0], 1),
    ]
    cases = [(torch.tensor(rows), torch.tensor(owner), k) for rows, owner, k in by_hand]
    for n, texts, k in ((20, 50, 1), (24, 61, 3), (30, 80, 5)):
        owner = torch.randint(n, (texts - n,), generator=generator)
        owner = torch.cat([torch.arange(n), owner])
        owner = owner[torch.randperm(texts, generator=generator)]
        own = owner[None] == torch.arange(n)[:, None]
        scores = torch.randn(n, texts, generator=generator) + 1.5 * own
        cases += [(scores, owner, k), (scores.round(), owner, k)]  # the second has many ties
    return cases


def _rank_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        [0.3, 0.9, 0.3, 0.1],  # 2.5, 4, 2.5, 1
        [5.0, 1.0, 3.0],  # 3, 1, 2
        [2.0, 2.0, 2.0],  # all share 2
        [-3.0, 2.0, -1.0, 0.0],  # 1, 4, 2, 3
        [1.0, 4.0, 4.0, 4.0, 0.0, 4.0],  # 2, then four that share 4.5, and 1
        [7.5],
    ]
    random = [
        (torch.randint(-4, 5, (n,), generator=generator) / 2).tolist() for n in (6, 9, 12, 15)
    ]
    return [(values,) for values in by_hand + random]


EXERCISES = (
    Exercise(
        "09",
        recall_at_k,
        _recall_cases,
        RECALL_AT_K,
        (
            Hint("Which texts are an image's own?", "text_to_image == i, for image i."),
            Hint("Which of its own counts?", "The most similar one: one found is a hit."),
            Hint("What is ahead of it?", "Texts of other images with as much similarity or more."),
        ),
    ),
    Exercise(
        "09",
        average_ranks,
        _rank_cases,
        AVERAGE_RANKS,
        (
            Hint("What is ahead of a value?", "Those below it: sum(v < value for v in values)."),
            Hint("And those that are equal?", "e equal ones take the next e ranks and share them."),
            Hint("What is their mean?", "Of the ranks b + 1 to b + e it is b + (e + 1) / 2."),
        ),
    ),
)
