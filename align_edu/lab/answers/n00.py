"""Exercises of notebook 00."""

import math
from typing import Any

import torch
from torch import Tensor

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer
from align_edu.loss import chance_loss


def recall_at_1(similarity: Tensor) -> float:
    """Return the fraction of images whose own text is the most similar one.

    similarity: (N, N), image i in row i, its own text in column i. A wrong text that is
    exactly as similar counts as more similar.

    Paper: Section 5.1.

    >>> recall_at_1(torch.tensor([[0.9, 0.2], [0.8, 0.3]]))
    0.5
    """
    own = similarity.diagonal()[:, None]  # (N, 1)
    at_least_as_similar = (similarity >= own).sum(dim=1)  # (N,), the own text included
    return (at_least_as_similar == 1).float().mean().item()


def _recall_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        [[0.9, 0.1, 0.2], [0.3, 0.8, 0.4], [0.1, 0.7, 0.6]],  # the last row misses: 2/3
        [[0.2, 0.1], [0.9, 0.3]],  # rows 1/2, columns 1/2 of another pair
        [[0.3, 0.1, 0.9], [0.2, 0.4, 0.1], [0.4, 0.3, 0.2]],  # rows 1/3
        [[0.7, 0.2, 0.1], [0.5, 0.5, 0.1], [0.1, 0.2, 0.6]],  # row 2 ties with a wrong text: 2/3
        [[-0.5]],
    ]
    sizes = (4, 7, 50)
    random = [torch.rand(n, n, generator=generator) * 2 - 1 for n in sizes]
    return [(torch.tensor(rows),) for rows in by_hand] + [
        (matrix + 0.7 * torch.eye(len(matrix)),) for matrix in random
    ]


def _chance_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    random = torch.randint(3, 5000, (4,), generator=generator).tolist()
    return [(n,) for n in (2, 128, 16384, *random)]


def _diagonal_is_largest(similarity: Tensor, dim: int) -> Tensor:
    return similarity.argmax(dim=dim) == torch.arange(len(similarity))


def _last_best(similarity: Tensor) -> Tensor:
    return len(similarity) - 1 - similarity.flip(1).argmax(dim=1)


RECALL_AT_1 = (
    WrongAnswer(
        lambda s: _diagonal_is_largest(s, 0).float().mean(),
        "You look down the columns: that asks which image a text finds. Here each row, an image, "
        "looks for its text.",
    ),
    WrongAnswer(
        lambda s: (_diagonal_is_largest(s, 0).float() + _diagonal_is_largest(s, 1)).mean() / 2,
        "You average both directions. Only rows count here: each image looks for its text.",
    ),
    WrongAnswer(
        lambda s: _diagonal_is_largest(s, 1).sum(),
        "You return how many rows are hits. A recall is a fraction: divide by the number of rows.",
    ),
    WrongAnswer(
        lambda s: 100 * _diagonal_is_largest(s, 1).float().mean(),
        "You return per cent. A recall is a fraction between 0 and 1.",
    ),
    WrongAnswer(
        lambda s: (s.argmin(dim=1) == torch.arange(len(s))).float().mean(),
        "You take the least similar text. The best candidate has the largest similarity.",
    ),
    WrongAnswer(
        lambda s: (s.diagonal() >= s.max(dim=1).values).float().mean(),
        "You count a tie as a hit. A model that gives every pair the same score would then be "
        "perfect; a wrong text that is just as similar must count against it.",
    ),
    WrongAnswer(
        lambda s: s.diagonal().mean(),
        "You average the similarities of the matched pairs. Only the order within a row counts, "
        "not how large the numbers are.",
    ),
    WrongAnswer(
        lambda s: (s.diagonal() > 0.5).float().mean(),
        "You compare with a fixed threshold. A row's own text must beat the row's other texts.",
    ),
    WrongAnswer(
        lambda s: 1 - _diagonal_is_largest(s, 1).float().mean(),
        "You return the fraction of misses: one minus the recall.",
    ),
)

CHANCE_LOSS = (
    WrongAnswer(
        lambda n: math.log(n),
        "That is one direction only. The loss is the sum of two: image to text and text to image.",
    ),
    WrongAnswer(
        lambda n: 2 * math.log2(n),
        "You count in bits. The paper's log is the natural one: math.log.",
    ),
    WrongAnswer(
        lambda n: 2 * math.log10(n),
        "You take the logarithm to base 10. The paper's log is the natural one: math.log.",
    ),
    WrongAnswer(
        lambda n: -2 * math.log(n),
        "The sign is wrong: a loss is minus the log of a probability, so it is not negative.",
    ),
    WrongAnswer(
        lambda n: math.log(2 * n),
        "The 2 belongs outside the logarithm: two losses of ln N each.",
    ),
    WrongAnswer(
        lambda n: 2 * math.log(n - 1),
        "You leave the right answer out of the choices: the sum under the fraction has N terms, "
        "the matching one among them.",
    ),
    WrongAnswer(
        lambda n: 2 * n * math.log(n),
        "You add up the whole batch. Eq. (1) and eq. (2) both divide by N.",
    ),
    WrongAnswer(
        lambda n: 2 * math.log(n) / n,
        "You divide by N once too often: the average over N equal terms is the term itself.",
    ),
    WrongAnswer(
        lambda n: 2 / n,
        "That is twice the probability of the right choice. The loss is minus its logarithm.",
    ),
)

EXERCISES = (
    Exercise(
        "00",
        chance_loss,
        _chance_cases,
        CHANCE_LOSS,
        (
            Hint("How likely is a blind guess?", "One choice in N is right: 1/N."),
            Hint("What loss does a probability give?", "Minus its natural logarithm."),
            Hint("How many losses are added?", "Two: image to text and text to image."),
        ),
    ),
    Exercise(
        "00",
        recall_at_1,
        _recall_cases,
        RECALL_AT_1,
        (
            Hint("Rows or columns?", "A row holds one image's similarities to all texts."),
            Hint("Where is the right answer?", "Row i is a hit when column i is its largest."),
            Hint("A number or a fraction?", "Average the hits: `.float().mean()`."),
        ),
    ),
)
