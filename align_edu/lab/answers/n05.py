"""Exercises of notebook 05: the cosine, all cosines at once, and the best matches."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize as unit

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


def _dot(x: Vector, y: Vector) -> float:
    return sum(a * b for a, b in zip(x, y))


def _angle(x: Vector, y: Vector) -> float:
    return math.acos(min(max(cosine(x, y), -1.0), 1.0))


def _each_text_once(s: Tensor) -> list[int]:
    chosen = []
    for row in range(len(s)):
        chosen.append(int(s[row].argmax()))
        s[:, chosen[-1]] = -torch.inf
    return chosen


exercise(
    cosine,
    lambda g: [(2 * torch.randn(2, d, generator=g) + 0.5).tolist() for d in (3, 8, 20)],
    dot_product=_dot,
    no_root=lambda x, y: _dot(x, y) / (_dot(x, x) * _dot(y, y)),
    length_of_x=lambda x, y: _dot(x, y) / math.sqrt(_dot(x, x)),
    length_of_y=lambda x, y: _dot(x, y) / math.sqrt(_dot(y, y)),
    sum_of_lengths=lambda x, y: _dot(x, y) / (math.hypot(*x) + math.hypot(*y)),
    l1=lambda x, y: _dot(x, y) / (sum(map(abs, x)) * sum(map(abs, y))),
    correlation=lambda x, y: float(np.corrcoef(x, y)[0, 1]),
    angle=_angle,
    degrees=lambda x, y: math.degrees(_angle(x, y)),
    cut_at_zero=lambda x, y: max(cosine(x, y), 0.0),
    absolute=lambda x, y: abs(cosine(x, y)),
    one_minus=lambda x, y: 1 - cosine(x, y),
    distance=lambda x, y: math.sqrt(max(0.0, 2 - 2 * cosine(x, y))),
    mean_product=lambda x, y: cosine(x, y) / len(x),
)

exercise(
    best_matches,
    lambda g: [(torch.rand(*s, generator=g) * 2 - 1,) for s in ((5, 8), (8, 5), (9, 9))],
    tensor=lambda s: s.argmax(dim=1),
    columns=lambda s: s.argmax(dim=0).tolist(),
    least_similar=lambda s: s.argmin(dim=1).tolist(),
    values=lambda s: s.amax(dim=1).tolist(),
    whole_matrix=lambda s: int(s.argmax()),
    from_1=lambda s: (s.argmax(dim=1) + 1).tolist(),
    last_of_equals=lambda s: (s.shape[1] - 1 - s.flip(1).argmax(dim=1)).tolist(),
    from_zero=lambda s: s.clamp(min=0).argmax(dim=1).tolist(),
    absolute=lambda s: s.abs().argmax(dim=1).tolist(),
    each_once=_each_text_once,
    unique=lambda s: s.argmax(dim=1).unique().tolist(),
    diagonal=lambda s: list(range(len(s))),
    ranking=lambda s: s.argsort(dim=1, descending=True, stable=True).tolist(),
)

exercise(
    cosine_matrix,
    _matrix_cases,
    dot_products=lambda x, y: x @ y.T,
    over_the_batch=lambda x, y: unit(x, dim=0) @ unit(y, dim=0).T,
    one_length=lambda x, y: (x / x.norm()) @ (y / y.norm()).T,
    transposed=lambda x, y: cosine_matrix(y, x),
    only_pairs=lambda x, y: (unit(x)[: len(y)] * unit(y)[: len(x)]).sum(dim=1),
    only_images=lambda x, y: unit(x) @ y.T,
    only_texts=lambda x, y: x @ unit(y).T,
    products=lambda x, y: unit(x @ y.T),
    no_root=lambda x, y: x @ y.T / torch.outer(x.square().sum(1), y.square().sum(1)),
    l1=lambda x, y: unit(x, p=1) @ unit(y, p=1).T,
    distances=lambda x, y: torch.cdist(unit(x), unit(y)),
    softmax=lambda x, y: cosine_matrix(x, y).softmax(dim=1),
)
