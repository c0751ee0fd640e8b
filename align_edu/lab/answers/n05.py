"""Exercises of notebook 05: the cosine, all cosines at once, and the best matches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from align_edu.lab.exercises import Cases, exercise

Vector = Sequence[float]


def cosine(x: Vector, y: Vector) -> float:
    """Return the cosine of the angle between two vectors of the same width, neither all zero.

    Paper: Section 4.1.

    >>> cosine([3.0, 4.0], [4.0, 3.0]), cosine([1.0, 0.0], [0.0, 2.0])
    (0.96, 0.0)
    """
    import math

    dot = sum(a * b for a, b in zip(x, y, strict=True))
    return dot / (math.hypot(*x) * math.hypot(*y))


def best_matches(similarity: Tensor) -> list[int]:
    """Return for each image the index of its most similar text; the first one if several tie.

    similarity: (I, T), image i in row i, text t in column t.

    Paper: Section 4.2.

    >>> best_matches(torch.tensor([[0.1, 0.9, 0.2], [0.4, 0.3, 0.4]]))
    [1, 0]
    """
    return similarity.argmax(dim=1).tolist()  # (I,)


def cosine_matrix(images: Tensor, texts: Tensor) -> Tensor:
    """Return the cosine of each image with each text: (I, D), (T, D) → (I, T); no row is zero.

    Paper: Section 4.1.

    >>> cosine_matrix(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0], [6.0, 8.0]]))
    tensor([[0.9600, 1.0000]])
    """
    images = images / images.norm(dim=1, keepdim=True)
    texts = texts / texts.norm(dim=1, keepdim=True)
    return images @ texts.T


def _matrix_cases(g: torch.Generator) -> Cases:
    cases: Cases = []
    for i, t, width in ((4, 7, 5), (7, 4, 3), (6, 6, 6)):
        x = 2 * torch.randn(i, width, generator=g) + 0.5
        cases.append((x, 3 * torch.randn(t, width, generator=g) - 0.5))
    return cases


exercise(
    cosine, lambda g: [(2 * torch.randn(2, d, generator=g) + 0.5).tolist() for d in (3, 8, 20)]
)

exercise(
    best_matches,
    lambda g: [(torch.rand(*s, generator=g) * 2 - 1,) for s in ((5, 8), (8, 5), (9, 9))],
)

exercise(cosine_matrix, _matrix_cases)
