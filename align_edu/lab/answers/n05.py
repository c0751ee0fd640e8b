"""Exercises of notebook 05."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from align_edu.lab.answers import n05_matrix
from align_edu.lab.exercise import Exercise, Hint, WrongAnswer

Vector = Sequence[float]


def cosine(x: Vector, y: Vector) -> float:
    """Return the cosine of the angle between two vectors of the same width, neither all zero.

    Paper: Section 4.1.

    >>> cosine([3.0, 4.0], [4.0, 3.0]), cosine([1.0, 0.0], [0.0, 2.0])
    (0.96, 0.0)
    """
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    return dot / (math.hypot(*x) * math.hypot(*y))


def best_matches(similarity: Tensor) -> list[int]:
    """Return for each image the index of its most similar text; of equal ones the first.

    similarity: (I, T), image i in row i, text t in column t.

    Paper: Section 4.2.

    >>> best_matches(torch.tensor([[0.1, 0.9, 0.2], [0.4, 0.3, 0.4]]))
    [1, 0]
    """
    return similarity.argmax(dim=1).tolist()  # (I,)


def _cosine_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        ([3.0, 4.0], [4.0, 3.0]),  # 24 / 25
        ([3.0, 4.0], [30.0, 40.0]),  # the same direction: 1
        ([1.0, 0.0], [0.0, 2.0]),  # a right angle: 0
        ([3.0, 4.0], [-6.0, -8.0]),  # opposite: -1
        ([0.6, 0.8], [5.0, 0.0]),  # one is of length 1 already: 0.6
        ([0.03, 0.04], [12.0, 5.0]),  # short against long: 56 / 65
        ([2.0, 1.0, 2.0], [0.0, 0.0, -3.0]),  # -2 / 3
    ]
    random = []
    for width in (3, 8, 20):
        x, y = 2 * torch.randn(2, width, generator=generator) + 0.5
        random.append((x.tolist(), y.tolist()))
    return by_hand + random


def _match_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        [[0.9, 0.1, 0.2], [0.3, 0.2, 0.8]],  # 0, 2
        [[0.2, 0.7], [0.1, 0.9], [0.3, 0.5]],  # one text is best for all three: 1, 1, 1
        [[0.5, 0.5, 0.1], [0.2, 0.6, 0.6]],  # ties: 0, 1
        [[-0.3, -0.9], [-0.8, -0.2]],  # all negative: 0, 1
        [[0.1, 0.8, 0.3], [0.7, 0.2, 0.4], [0.2, 0.3, 0.6]],  # not the diagonal: 1, 0, 2
        [[0.1, 0.4, 0.2]],
    ]
    random = [torch.rand(*shape, generator=generator) * 2 - 1 for shape in ((5, 8), (8, 5), (9, 9))]
    return [(torch.tensor(rows),) for rows in by_hand] + [(matrix,) for matrix in random]


def _dot(x: Vector, y: Vector) -> float:
    return sum(a * b for a, b in zip(x, y, strict=True))


def _squares(x: Vector) -> float:
    return _dot(x, x)


def _taxi(x: Vector) -> float:
    return sum(map(abs, x))


def _centred(x: Vector) -> list[float]:
    mean = sum(x) / len(x)
    return [a - mean for a in x]


def _angle(x: Vector, y: Vector) -> float:
    return math.acos(min(max(cosine(x, y), -1.0), 1.0))


def _distance(x: Vector, y: Vector) -> float:
    u, v = ([a / math.hypot(*some) for a in some] for some in (x, y))
    return math.dist(u, v)


def _last_of_equals(s: Tensor) -> list[int]:
    return (s.shape[1] - 1 - s.flip(1).argmax(dim=1)).tolist()


def _from_zero(s: Tensor) -> list[int]:
    """The best text of each row by a search that begins with 0 as the best value so far."""
    return s.clamp(min=0).argmax(dim=1).tolist()


def _each_text_once(s: Tensor) -> list[int]:
    chosen = []
    for row in range(len(s)):
        chosen.append(int(s[row].argmax()))
        s[:, chosen[-1]] = -torch.inf
    return chosen


COSINE = (
    WrongAnswer(
        _dot,
        "That is the dot product: long vectors win. Divide it by both lengths.",
    ),
    WrongAnswer(
        lambda x, y: _dot(x, y) / (_squares(x) * _squares(y)),
        "The square root is missing: a length is the root of the sum of squares.",
    ),
    WrongAnswer(
        lambda x, y: _dot(x, y) / math.sqrt(_squares(x)),
        "You divide by the length of x only. Then the length of y still counts.",
    ),
    WrongAnswer(
        lambda x, y: _dot(x, y) / math.sqrt(_squares(y)),
        "You divide by the length of y only. Then the length of x still counts.",
    ),
    WrongAnswer(
        lambda x, y: _dot(x, y) / (math.hypot(*x) + math.hypot(*y)),
        "You divide by the sum of the lengths. Divide by their product.",
    ),
    WrongAnswer(
        lambda x, y: _dot(x, y) / (_taxi(x) * _taxi(y)),
        "You measure length as the sum of absolute values, the L1 norm. L2 squares, sums and takes "
        "the root.",
    ),
    WrongAnswer(
        lambda x, y: cosine(_centred(x), _centred(y)),
        "You subtract each vector's mean first: that is a correlation. A cosine leaves the vectors "
        "where they are.",
    ),
    WrongAnswer(
        _angle,
        "You return the angle. Its cosine is asked for: leave out the arc cosine.",
    ),
    WrongAnswer(
        lambda x, y: math.degrees(_angle(x, y)),
        "You return the angle in degrees. Its cosine is asked for: leave out the arc cosine.",
    ),
    WrongAnswer(
        lambda x, y: max(cosine(x, y), 0.0),
        "You cut off what is below zero. A cosine goes down to -1, and vectors that point apart "
        "must show it.",
    ),
    WrongAnswer(
        lambda x, y: abs(cosine(x, y)),
        "You take the absolute value: opposite vectors then look alike. Keep the sign.",
    ),
    WrongAnswer(
        lambda x, y: 1 - cosine(x, y),
        "That is the cosine distance, one minus the cosine. Equal directions must give 1.",
    ),
    WrongAnswer(
        _distance,
        "That is the distance between the two unit vectors. Take their dot product.",
    ),
    WrongAnswer(
        lambda x, y: cosine(x, y) / len(x),
        "You average the products. The dot product is their sum.",
    ),
)

BEST_MATCHES = (
    WrongAnswer(
        lambda s: s.argmax(dim=1),
        "You return a tensor. Make it a list: .tolist().",
    ),
    WrongAnswer(
        lambda s: s.argmax(dim=0).tolist(),
        "You look down the columns: that gives each text its image. Here each row, an image, "
        "looks for its text.",
    ),
    WrongAnswer(
        lambda s: s.argmin(dim=1).tolist(),
        "You take the least similar text. The best match has the largest cosine.",
    ),
    WrongAnswer(
        lambda s: s.amax(dim=1).tolist(),
        "You return the largest similarities. Asked for is where they are: the text's index.",
    ),
    WrongAnswer(
        lambda s: int(s.argmax()),
        "argmax without dim looks at the whole matrix and gives one place. Each row needs its own.",
    ),
    WrongAnswer(
        lambda s: (s.argmax(dim=1) + 1).tolist(),
        "You count the texts from 1. Their indices begin at 0.",
    ),
    WrongAnswer(
        _last_of_equals,
        "Of equally similar texts you take the last. Take the first.",
    ),
    WrongAnswer(
        _from_zero,
        "Your best value so far begins at 0, and cosines may all be negative. Begin with the row's "
        "first value.",
    ),
    WrongAnswer(
        lambda s: s.abs().argmax(dim=1).tolist(),
        "You compare absolute values. A cosine near -1 is the worst match, not the best.",
    ),
    WrongAnswer(
        _each_text_once,
        "You give each text away once. One text may be the best of several images.",
    ),
    WrongAnswer(
        lambda s: s.argmax(dim=1).unique().tolist(),
        "You list each text that was found once. There is one entry for each image, in order.",
    ),
    WrongAnswer(
        lambda s: list(range(len(s))),
        "You return the right answers, not the found ones: look at the similarities.",
    ),
    WrongAnswer(
        lambda s: s.argsort(dim=1, descending=True, stable=True).tolist(),
        "You return the whole ranking of each image. Only its first text is asked for.",
    ),
)

EXERCISES = (
    Exercise(
        "05",
        cosine,
        _cosine_cases,
        COSINE,
        (
            Hint("What goes on top?", "The dot product: sum(a * b for a, b in zip(x, y))."),
            Hint("What is a length?", "math.sqrt(sum(a * a for a in x)), and so for y."),
            Hint("What goes below?", "The product of both lengths."),
        ),
    ),
    Exercise(
        "05",
        best_matches,
        _match_cases,
        BEST_MATCHES,
        (
            Hint("Rows or columns?", "A row holds one image against all texts: dim=1."),
            Hint("The value or its place?", "The place: argmax, which takes the first of equals."),
            Hint("A tensor or a list?", "A list of whole numbers: .tolist()."),
        ),
    ),
    n05_matrix.EXERCISE,
)
