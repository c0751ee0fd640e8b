"""Exercises of notebook 10."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer


def ensemble(prompts: Tensor) -> Tensor:
    """Return one unit vector for each class: its prompts' directions, averaged.

    prompts: (K, P, D), P vectors of any length for each of K classes. Returns (K, D).

    Paper: arXiv v2, Section 5.3, with the prompts of Radford et al. (2021).

    >>> ensemble(torch.tensor([[[2.0, 0.0], [0.0, 6.0]]]))
    tensor([[0.7071, 0.7071]])
    """
    directions = F.normalize(prompts, dim=2)  # (K, P, D)
    return F.normalize(directions.mean(dim=1), dim=1)  # (K, D)


def top_k_accuracy(similarity: Tensor, labels: Tensor, k: int) -> float:
    """Return the share of images whose right class is among the k most similar ones.

    similarity: (N, K), image i in row i, class c in column c. labels: (N,) the right classes.
    A wrong class that is as similar as the right one counts as more similar.

    Paper: Section 5.2, Table 4 (top-1 and top-5).

    >>> similarity = torch.tensor([[0.9, 0.1, 0.5], [0.4, 0.2, 0.7]])
    >>> top_k_accuracy(similarity, torch.tensor([0, 1]), 1)
    0.5
    """
    right = similarity.gather(1, labels[:, None])  # (N, 1)
    rank = (similarity >= right).sum(dim=1)  # (N,) the right one counts itself
    return (rank <= k).double().mean().item()


def _ensemble_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        [[[2.0, 0.0], [0.0, 6.0]]],  # one class: half-way between the axes
        [[[3.0, 4.0], [3.0, 4.0]], [[0.0, 0.5], [8.0, 0.0]]],  # (0.6, 0.8); half-way again
        [[[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]]],  # 1 / sqrt(3) each
        [[[0.0, 5.0]], [[-2.0, 0.0]]],  # one prompt a class
    ]
    shapes = ((3, 4, 5), (4, 3, 8), (5, 5, 5))
    random = [
        torch.randn(*shape, generator=generator)
        * (1 + 5 * torch.rand(*shape[:2], 1, generator=generator))
        + 0.4
        for shape in ((2, 7, 3), *shapes)
    ]
    return [(torch.tensor(rows),) for rows in by_hand] + [(vectors,) for vectors in random]


def _accuracy_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand: list[tuple[Any, ...]] = [
        ([[0.9, 0.1, 0.5], [0.4, 0.2, 0.7], [0.3, 0.8, 0.6]], [0, 1, 2], 1),  # 1 of 3
        ([[0.9, 0.1, 0.5], [0.4, 0.2, 0.7], [0.3, 0.8, 0.6]], [0, 1, 2], 2),  # 2 of 3
        ([[0.5, 0.5], [0.1, 0.7], [0.2, 0.2], [0.6, 0.3]], [0, 1, 1, 0], 1),  # ties: 2 of 4
        ([[-0.2, -0.9, -0.4, -0.6]] * 2, [0, 2], 1),  # all negative: 1 of 2
        ([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1], [0.7, 0.2, 0.4], [0.1, 0.3, 0.9]], [0, 0, 0, 1], 1),
    ]
    cases = [(torch.tensor(rows), torch.tensor(labels), k) for rows, labels, k in by_hand]
    for n, classes, k in ((40, 6, 1), (30, 9, 3), (50, 12, 5)):
        labels = torch.randint(classes, (n,), generator=generator) // 2
        scores = torch.randn(n, classes, generator=generator)
        scores += 1.2 * F.one_hot(labels, classes)
        cases.append((scores, labels, k))
        cases.append((scores.round(), labels, k))  # many ties
    return cases


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


def _hits(similarity: Tensor, labels: Tensor, k: int) -> Tensor:
    right = similarity.gather(1, labels[:, None])
    return ((similarity >= right).sum(dim=1) <= k).double()


def _by_class(similarity: Tensor, labels: Tensor, k: int) -> float:
    hits = _hits(similarity, labels, k)
    return float(torch.stack([hits[labels == c].mean() for c in labels.unique()]).mean())


def _own_number(similarity: Tensor, labels: Tensor, k: int) -> float:
    """Image i is taken to be of class i."""
    return top_k_accuracy(similarity, torch.arange(len(labels)) % similarity.shape[1], k)


ENSEMBLE = (
    WrongAnswer(
        lambda p: _unit(p.mean(dim=1)),
        "Long vectors count more in your mean. Normalise each prompt first.",
    ),
    WrongAnswer(
        lambda p: _unit(p).mean(dim=1),
        "The mean of unit vectors is shorter than 1, more so where prompts disagree. Normalise it.",
    ),
    WrongAnswer(
        lambda p: p.mean(dim=1),
        "Nothing is normalised. Each prompt must count by its direction, and the mean again.",
    ),
    WrongAnswer(
        lambda p: _unit(_unit(p).mean(dim=0)),
        "You average over the classes. The prompts of one class lie along dimension 1.",
    ),
    WrongAnswer(
        lambda p: _unit(p)[:, 0],
        "You use the first prompt only. All prompts of a class take part.",
    ),
    WrongAnswer(
        lambda p: _unit(_unit(p).amax(dim=1)),
        "You take the largest number in each place. The mean is asked for.",
    ),
    WrongAnswer(
        lambda p: _unit(_unit(p).sum(dim=1) / p.shape[2]).sum(dim=0, keepdim=True),
        "You return one vector for all classes. Each class keeps its own row.",
    ),
    WrongAnswer(
        lambda p: _unit(F.normalize(p, dim=1).mean(dim=1)),
        "You normalise along the prompts. A vector's numbers lie along the last dimension.",
    ),
    WrongAnswer(
        lambda p: F.normalize(_unit(p).mean(dim=1), dim=0),
        "In the end you normalise along the classes. Each row must be of length 1.",
    ),
    WrongAnswer(
        lambda p: F.normalize(_unit(p).mean(dim=1), dim=1, p=1),
        "You divide by the sum of absolute values, the L1 norm. L2 takes the root of squares.",
    ),
    WrongAnswer(
        lambda p: torch.softmax(_unit(p).mean(dim=1), dim=1),
        "You apply a softmax. A direction is wanted, not probabilities: divide by the length.",
    ),
    WrongAnswer(
        lambda p: _unit(p),
        "Normalised, but not averaged: each class must end as one vector.",
    ),
)

TOP_K_ACCURACY = (
    WrongAnswer(
        lambda s, y, k: ((s > s.gather(1, y[:, None])).sum(dim=1) < k).double().mean().item(),
        "Of equally similar classes you let the right one win. A tie counts against it.",
    ),
    WrongAnswer(
        lambda s, y, k: top_k_accuracy(s, y, 1),
        "You look at the best class only. With k above 1 the right one may stand lower.",
    ),
    WrongAnswer(
        lambda s, y, k: _hits(s, y, k).sum().item(),
        "You return how many. A share is asked for: divide by the number of images.",
    ),
    WrongAnswer(
        lambda s, y, k: 100 * top_k_accuracy(s, y, k),
        "You return percent. Return the share, between 0 and 1.",
    ),
    WrongAnswer(
        lambda s, y, k: 1 - top_k_accuracy(s, y, k),
        "That is the error, one minus the accuracy.",
    ),
    WrongAnswer(
        lambda s, y, k: top_k_accuracy(-s, y, k),
        "You rank from the least similar. The largest cosine comes first.",
    ),
    WrongAnswer(
        lambda s, y, k: top_k_accuracy(s, y, k + 1),
        "You let one too many through: ranks count from 1, and rank k is the last that counts.",
    ),
    WrongAnswer(
        lambda s, y, k: top_k_accuracy(s, y, k - 1),
        "You let one too few through: a right class at rank k still counts.",
    ),
    WrongAnswer(
        _own_number,
        "You expect class i for image i. The right class of image i is labels[i].",
    ),
    WrongAnswer(
        _by_class,
        "You average over the classes. Each image counts once, however many its class has.",
    ),
    WrongAnswer(
        lambda s, y, k: top_k_accuracy(s, y, k) / k,
        "You divide by k. One right class among the k is a whole hit.",
    ),
    WrongAnswer(
        lambda s, y, k: top_k_accuracy(s.abs(), y, k),
        "You compare absolute values. A cosine near -1 is the least similar.",
    ),
)

EXERCISES = (
    Exercise(
        "10",
        ensemble,
        _ensemble_cases,
        ENSEMBLE,
        (
            Hint("Which prompt counts more?", "None: make each a unit vector along dimension 2."),
            Hint("Which dimension is averaged?", "Dimension 1, the prompts of one class."),
            Hint("What is still missing?", "The mean is shorter than 1: normalise each row."),
        ),
    ),
    Exercise(
        "10",
        top_k_accuracy,
        _accuracy_cases,
        TOP_K_ACCURACY,
        (
            Hint("Where is the right similarity?", "similarity.gather(1, labels[:, None])."),
            Hint("What is its rank?", "How many classes of its row are as similar or more."),
            Hint("What counts?", "A rank of at most k; then the mean over all images."),
        ),
    ),
)
