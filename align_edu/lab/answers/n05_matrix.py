"""The third exercise of notebook 05: all cosines at once."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from align_edu.lab.exercise import Exercise, Hint, WrongAnswer


def cosine_matrix(images: Tensor, texts: Tensor) -> Tensor:
    """Return the cosine of each image with each text: (I, D), (T, D) → (I, T); no row is zero.

    Paper: Section 4.1.

    >>> cosine_matrix(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0], [6.0, 8.0]]))
    tensor([[0.9600, 1.0000]])
    """
    return F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T


def _cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    by_hand = [
        ([[3.0, 4.0]], [[4.0, 3.0], [30.0, 40.0]]),  # 0.96 and 1
        ([[3.0, 4.0], [0.0, 2.0]], [[1.0, 0.0], [1.0, 1.0]]),  # 0.6, 7/5√2; 0, 1/√2
        ([[2.0, 1.0, 2.0], [0.0, -1.0, 0.0]], [[0.0, 0.0, -3.0]]),  # -2/3; 0
    ]
    cases = [(torch.tensor(x), torch.tensor(y)) for x, y in by_hand]
    for i, t, width in ((4, 7, 5), (7, 4, 3), (6, 6, 6)):
        x = 2 * torch.randn(i, width, generator=generator) + 0.5
        cases.append((x, 3 * torch.randn(t, width, generator=generator) - 0.5))
    return cases


def _over_the_batch(x: Tensor, y: Tensor) -> Tensor:
    return F.normalize(x, dim=0) @ F.normalize(y, dim=0).T


def _only_pairs(x: Tensor, y: Tensor) -> Tensor:
    pairs = min(len(x), len(y))
    return F.cosine_similarity(x[:pairs], y[:pairs], dim=1)


def _by_squares(x: Tensor, y: Tensor) -> Tensor:
    return (x / x.square().sum(1, keepdim=True)) @ (y / y.square().sum(1, keepdim=True)).T


COSINE_MATRIX = (
    WrongAnswer(
        lambda x, y: x @ y.T,
        "Those are dot products: divide each row by its length first.",
    ),
    WrongAnswer(
        _over_the_batch,
        "You normalise down the columns, over the batch: a vector is a row, so dim=1.",
    ),
    WrongAnswer(
        lambda x, y: (x / x.norm()) @ (y / y.norm()).T,
        "You divide by the length of the whole matrix: each row has a length of its own, "
        "norm(dim=1, keepdim=True).",
    ),
    WrongAnswer(
        lambda x, y: cosine_matrix(y, x),
        "It is transposed: images are the rows, texts the columns.",
    ),
    WrongAnswer(
        _only_pairs,
        "You compare image i with text i only: each image meets each text, a matrix product.",
    ),
    WrongAnswer(
        lambda x, y: F.normalize(x, dim=1) @ y.T,
        "Only the images are normalised: a long text still wins everywhere.",
    ),
    WrongAnswer(
        lambda x, y: x @ F.normalize(y, dim=1).T,
        "Only the texts are normalised: the rows of long images are still large.",
    ),
    WrongAnswer(
        lambda x, y: F.normalize(x @ y.T, dim=1),
        "You normalise the products, not the vectors: first the lengths, then the product.",
    ),
    WrongAnswer(
        _by_squares,
        "The square root is missing: a length is the root of the sum of squares.",
    ),
    WrongAnswer(
        lambda x, y: F.normalize(x, p=1.0, dim=1) @ F.normalize(y, p=1.0, dim=1).T,
        "You measure length as the sum of absolute values, the L1 norm. L2 squares, sums and takes "
        "the root.",
    ),
    WrongAnswer(
        lambda x, y: torch.cdist(F.normalize(x, dim=1), F.normalize(y, dim=1)),
        "Those are distances: small where the cosine is large.",
    ),
    WrongAnswer(
        lambda x, y: cosine_matrix(x, y).softmax(dim=1),
        "You add a softmax: that comes later, in the loss. A cosine is between -1 and 1.",
    ),
)

EXERCISE = Exercise(
    "05",
    cosine_matrix,
    _cases,
    COSINE_MATRIX,
    (
        Hint("Which vectors?", "Each row is one: its length is images.norm(dim=1, keepdim=True)."),
        Hint("How do all rows meet?", "In one matrix product: (I, D) @ (D, T)."),
        Hint("Which is transposed?", "The texts: images are to be the rows of the result."),
    ),
)
